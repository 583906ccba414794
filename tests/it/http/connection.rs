//! Connections that stay: clients that ask for another protocol, and clients that come back.

use super::state_with;
use super::transport::serving;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const BODY: &str = r#"{"query":"q","documents":["a","b"]}"#;
const LONG: Duration = Duration::from_secs(90);

/// What the JDK's client sends with every request over http: this is its whole head, as a socket has recorded it.
fn jdk(framing: &str) -> String {
    format!(
        "POST /v1/rerank HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\n{framing}\r\nHost: 127.0.0.1:8000\r\n\
         HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\nUpgrade: h2c\r\nUser-Agent: Java-http-client/17.0.15\r\n\
         Content-Type: application/json\r\n\r\n"
    )
}

fn with_length(head: impl Fn(&str) -> String) -> String {
    head(&format!("Content-Length: {}", BODY.len())) + BODY
}

fn in_chunks(head: impl Fn(&str) -> String) -> String {
    let (start, end) = BODY.split_at(10);
    let body = format!("{:x}\r\n{start}\r\n{:x}\r\n{end}\r\n0\r\n\r\n", start.len(), end.len());
    head("Transfer-encoding: chunked") + &body
}

/// One answer with its body; empty if the connection ended.
async fn answer(stream: &mut TcpStream) -> String {
    let mut got = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&got);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
            if body.len() >= length.and_then(|length| length.parse::<usize>().ok()).expect("a length") {
                return text.into_owned();
            }
        }
        if stream.read_buf(&mut got).await.expect("reads") == 0 {
            return String::from_utf8_lossy(&got).into_owned();
        }
    }
}

#[actix_web::test]
async fn three_hundred_posts_of_the_jdk_are_answered_over_one_connection() {
    serving(state_with(|_| {}), async |address| {
        let mut stream = TcpStream::connect(address).await.expect("connects");
        for i in 0..300 {
            let request = if i % 2 == 0 { with_length(jdk) } else { in_chunks(jdk) };
            stream.write_all(request.as_bytes()).await.expect("sends");
            let answer = answer(&mut stream).await;
            assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("relevance_score"), "{i}: {answer}");
            assert!(!answer.contains("connection:") && !answer.contains("upgrade"), "{i}: {answer}");
            assert!(answer.contains("keep-alive: timeout=90\r\n"), "{i}: {answer}");
        }
    })
    .await;
}

#[actix_web::test]
async fn a_wish_for_any_other_protocol_is_passed_over_with_a_body_of_every_form() {
    serving(state_with(|_| {}), async |address| {
        let mut stream = TcpStream::connect(address).await.expect("connects");
        for wish in [
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZQ==",
            "Connection: keep-alive, Upgrade\r\nUpgrade: h2c",
            "connection: upgrade\r\nupgrade: TLS/1.3, HTTP/2.0",
            "Upgrade: websocket",
            "Connection: upgrade",
            "Connection:upgrade,upgrade\r\nUpgrade:WebSocket\r\nUpgrade: h2c",
        ] {
            let head =
                |framing: &str| format!("POST /rerank HTTP/1.1\r\nHost: x\r\n{wish}\r\n{framing}\r\nContent-Type: application/json\r\n\r\n");
            let get = format!("GET /version HTTP/1.1\r\nHost: x\r\n{wish}\r\n\r\n");
            for request in [with_length(head), in_chunks(head), get] {
                stream.write_all(request.as_bytes()).await.expect("sends");
                let answer = answer(&mut stream).await;
                assert!(answer.starts_with("HTTP/1.1 200 OK") && !answer.contains("upgrade"), "{request}: {answer}");
            }
            // Several at once, and cut anywhere.
            let both = with_length(head) + &in_chunks(head);
            for piece in both.as_bytes().chunks(7) {
                stream.write_all(piece).await.expect("sends");
                stream.flush().await.expect("sends");
            }
            // They may come together.
            let mut answers = Vec::new();
            while String::from_utf8_lossy(&answers).matches("relevance_score").count() < 4 {
                assert_ne!(stream.read_buf(&mut answers).await.expect("reads"), 0, "both are answered");
            }
            let answers = String::from_utf8_lossy(&answers);
            assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
        }
    })
    .await;
}

#[actix_web::test]
async fn an_answer_says_how_long_the_connection_stays_and_only_where_it_does() {
    let get = |more: &str| format!("GET /version HTTP/1.1\r\nHost: x\r\n{more}\r\n");
    let old = "GET /version HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".to_owned();
    let refused = "POST /nope HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n".to_owned();
    for (keep_alive, request, said) in [
        (LONG, get(""), Some("timeout=90")),
        (LONG, get("Connection: Upgrade\r\nUpgrade: h2c\r\n"), Some("timeout=90")),
        (LONG, get("Connection: close\r\n"), None),
        (LONG, get("Connection: close, Upgrade\r\nUpgrade: h2c\r\n"), None),
        (LONG, old, Some("timeout=90")),
        (LONG, "GET /version HTTP/1.0\r\n\r\n".to_owned(), None),
        (LONG, refused, None),
        (Duration::from_secs(7), get(""), Some("timeout=7")),
        (Duration::ZERO, get(""), None),
    ] {
        serving(state_with(|options| options.keep_alive = keep_alive), async |address| {
            let mut stream = TcpStream::connect(address).await.expect("connects");
            stream.write_all(request.as_bytes()).await.expect("sends");
            let got = answer(&mut stream).await;
            let stays = got.split("keep-alive: ").nth(1).and_then(|rest| rest.split("\r\n").next());
            assert_eq!(stays, said, "{request}: {got}");
            if said.is_none() {
                let mut rest = Vec::new();
                stream.shutdown().await.expect("ends");
                stream.read_to_end(&mut rest).await.expect("ends in order");
                assert!(rest.is_empty());
            }
        })
        .await;
    }
}
