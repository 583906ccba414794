//! What goes over the wire, with a real connection: bodies in chunks and compressed, connections that stay, HEAD.

use super::state_alone;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use ironrank::server::{self, Lifecycle};
use std::io::Write;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const BODY: &str = r#"{"query":"q","documents":["a","b"],"request_id":"r"}"#;

/// Sends `requests` over one connection, each after the answer to the one before it has begun, and gives back all that
/// came until the server closed it.
async fn exchange(requests: &[Vec<u8>]) -> String {
    let reserved = server::reserve("127.0.0.1", 0).expect("a free port");
    let address = reserved.address().expect("a TCP address");
    let listening = reserved.listen().expect("listens");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let minute = Duration::from_secs(60);
    let lifecycle = Lifecycle {
        keep_alive: minute,
        receive_timeout: minute,
        max_connections: 100,
        drain_delay: Duration::ZERO,
        shutdown_timeout: minute,
    };
    let client = async {
        let mut stream = TcpStream::connect(address).await.expect("connects");
        let mut answers = Vec::new();
        for (i, request) in requests.iter().enumerate() {
            stream.write_all(request).await.expect("sends");
            if i + 1 < requests.len() {
                assert_ne!(stream.read_buf(&mut answers).await.expect("reads"), 0, "closed after request {i}");
            }
        }
        stream.read_to_end(&mut answers).await.expect("reads");
        let _ = stop.send(());
        String::from_utf8(answers).expect("UTF-8")
    };
    let serving = server::run(state_alone(), listening, lifecycle, async {
        let _ = stopped.await;
    });
    let patience = Duration::from_secs(60);
    let (served, answers) = tokio::join!(serving, tokio::time::timeout(patience, client));
    served.expect("stops in order");
    answers.expect("answers in time")
}

fn post(headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{headers}\r\n"
    );
    [head.as_bytes(), body].concat()
}

#[actix_web::test]
async fn a_connection_stays_for_bodies_of_every_encoding() {
    let gzip = {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(BODY.as_bytes()).and_then(|()| encoder.finish()).expect("compresses")
    };
    let deflate = {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(BODY.as_bytes()).and_then(|()| encoder.finish()).expect("compresses")
    };
    let (start, end) = BODY.split_at(20);
    let chunked = format!(
        "POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
         {:x}\r\n{start}\r\n{:x}\r\n{end}\r\n0\r\n\r\n",
        start.len(),
        end.len()
    );
    let answers = exchange(&[
        post("", BODY.as_bytes()),
        chunked.into_bytes(),
        post("Content-Encoding: gzip\r\n", &gzip),
        post("Content-Encoding: deflate\r\nConnection: close\r\n", &deflate),
    ])
    .await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 4, "{answers}");
    let bodies: Vec<&str> =
        answers.split("\r\n\r\n").skip(1).map(|rest| rest.split("HTTP/1.1").next().unwrap_or("")).collect();
    assert_eq!(bodies.len(), 4);
    assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
    let keys =
        ["{\"id\":\"score-r\"", "\"model\"", "\"usage\"", "\"prompt_tokens\"", "\"total_tokens\"", "\"results\""];
    let places: Vec<usize> = keys.iter().map(|key| bodies[0].find(key).unwrap_or_else(|| panic!("no {key}"))).collect();
    assert!(places.is_sorted(), "{}", bodies[0]);
    assert!(!answers.to_ascii_lowercase().contains("content-encoding"), "answers are plain: nobody asked for less");
}

#[actix_web::test]
async fn a_client_that_waits_to_be_asked_for_its_body_is_asked() {
    let request = post("Expect: 100-continue\r\nConnection: close\r\n", BODY.as_bytes());
    let head = request.len() - BODY.len();
    let answers = exchange(&[request[..head].to_vec(), request[head..].to_vec()]).await;
    assert!(answers.starts_with("HTTP/1.1 100 Continue\r\n"), "{answers}");
    assert!(answers.contains("HTTP/1.1 200 OK"), "{answers}");
}

#[actix_web::test]
async fn head_gets_the_headers_alone() {
    let head = |path: &str, more: &str| format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n{more}\r\n").into_bytes();
    let answers = exchange(&[head("/health", ""), head("/docs", "Connection: close\r\n")]).await;
    let (refused, page) = answers.split_once("HTTP/1.1 200 OK").expect("two answers");
    let refused = refused.to_ascii_lowercase();
    assert!(refused.starts_with("http/1.1 405 method not allowed") && refused.ends_with("\r\n\r\n"), "{refused}");
    assert!(refused.contains("allow: get\r\n") && refused.contains("content-type: application/json"), "{refused}");
    assert!(page.ends_with("\r\n\r\n") && !page.contains('<'), "{page}");
}
