//! A server that is told to stop, over real connections: what balancers and clients see, and what `ironrank health`
//! says.

use super::state_alone_with;
use ironrank::health;
use ironrank::options::{ClientCertificates, HealthOptions, Listen, Tls};
use ironrank::server::{self, Reserved};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

const HEALTH: &str = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
const RERANK: &str = "POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 35\r\n\r\n\
                      {\"query\":\"q\",\"documents\":[\"a\",\"b\"]}";
/// Longer than all of a test's exchanges take.
const DELAY: Duration = Duration::from_secs(6);

/// What comes back for `request` up to the end of the connection.
async fn last_answer(mut stream: TcpStream, request: &str) -> String {
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).await.expect("sends");
    stream.read_to_string(&mut answer).await.expect("reads");
    answer
}

async fn well(port: u16, tls: bool) -> Result<String, String> {
    let listen = Listen::Tcp { host: "localhost".to_owned(), port };
    let asked = HealthOptions { tls, ..HealthOptions::of(listen) };
    let checked = tokio::task::spawn_blocking(move || health::check(&asked)).await.expect("no panic");
    checked.map_err(|err| err.to_string())
}

fn reserve() -> (Reserved, u16) {
    let reserved = server::reserve("127.0.0.1", 0).expect("a free port");
    let port = reserved.address().expect("a TCP address").port();
    (reserved, port)
}

#[actix_web::test]
async fn a_stopping_server_is_unwell_first_and_answers_what_still_comes() {
    let (reserved, port) = reserve();
    let stop = Notify::new();
    let client = async {
        let connect = || async { TcpStream::connect(("127.0.0.1", port)).await.expect("connects") };
        assert!(well(port, false).await.expect("well").ends_with("is well."));
        let mut kept = connect().await;
        kept.write_all(HEALTH.as_bytes()).await.expect("sends");
        let mut first = Vec::new();
        while !first.ends_with(b"\r\n\r\n") {
            assert_ne!(kept.read_buf(&mut first).await.expect("reads"), 0, "closed too early");
        }
        let first = String::from_utf8_lossy(&first).to_lowercase();
        assert!(first.starts_with("http/1.1 200") && !first.contains("connection: close"), "{first}");
        stop.notify_one();
        // The stop is seen at once, but not by those who ask in the same instant.
        while well(port, false).await.is_ok() {
            tokio::task::yield_now().await;
        }
        let why = well(port, false).await.expect_err("unwell");
        assert!(why.ends_with("status 503."), "{why}");
        for (what, stream) in [("kept", kept), ("new", connect().await)] {
            let answer = last_answer(stream, RERANK).await.to_lowercase();
            assert!(answer.starts_with("http/1.1 200") && answer.contains("connection: close"), "{what}: {answer}");
            assert!(answer.contains("relevance_score"), "{what}: {answer}");
        }
        let answer = last_answer(connect().await, HEALTH).await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("The server is stopping"), "{answer}");
    };
    let state = state_alone_with(|options| options.drain_delay = DELAY);
    let serving = server::run(state, reserved.listen().expect("listens"), stop.notified());
    let both = async { tokio::join!(serving, client) };
    let (served, ()) = tokio::time::timeout(Duration::from_secs(60), both).await.expect("stops in time");
    served.expect("stops in order");
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err(), "a stopped server takes no connections");
}

#[actix_web::test]
async fn health_asks_an_encrypted_server_without_checking_its_certificate() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let made = rcgen::generate_simple_self_signed(["elsewhere".to_owned()]).expect("a certificate");
    let file = dir.path().join("both.pem");
    std::fs::write(&file, made.cert.pem() + &made.signing_key.serialize_pem()).expect("written");
    let tls = Tls {
        certificate: file.clone(),
        key: file,
        client_authorities: None,
        client_certificates: ClientCertificates::Ignored,
        refresh: false,
    };
    let (reserved, port) = reserve();
    let listening = reserved.secured(&tls).expect("good files").listen().expect("listens");
    let stop = Notify::new();
    let client = async {
        let (encrypted, plain) = (well(port, true).await, well(port, false).await);
        stop.notify_one();
        assert_eq!(encrypted, Ok(format!("https://localhost:{port}/health is well.")));
        assert!(plain.is_err(), "{plain:?}");
    };
    let serving = server::run(state_alone_with(|_| {}), listening, stop.notified());
    let (served, ()) = tokio::join!(serving, client);
    served.expect("stops in order");
}
