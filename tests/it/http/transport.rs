//! What goes over the wire, with a real connection: bodies in chunks and compressed, connections that stay, HEAD.

use super::state_with;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use ironrank::server::{self, State};
use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const BODY: &str = r#"{"query":"q","documents":["a","b"],"request_id":"r"}"#;

/// Sends `requests` over one connection, each after the answer to the one before it has begun, and gives back all that
/// came until the server closed it.
async fn exchange(requests: &[Vec<u8>]) -> String {
    exchange_with(state_with(|_| {}), requests).await
}

async fn exchange_with(state: State, requests: &[Vec<u8>]) -> String {
    serving(state, async |address| talk(address, requests).await).await
}

async fn talk(address: SocketAddr, requests: &[Vec<u8>]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    let mut answers = Vec::new();
    for (i, request) in requests.iter().enumerate() {
        stream.write_all(request).await.expect("sends");
        if i + 1 < requests.len() {
            assert_ne!(stream.read_buf(&mut answers).await.expect("reads"), 0, "closed after request {i}");
        }
    }
    stream.read_to_end(&mut answers).await.expect("reads");
    String::from_utf8(answers).expect("UTF-8")
}

/// What `client` makes of a server.
pub async fn serving<T>(state: State, client: impl AsyncFnOnce(SocketAddr) -> T) -> T {
    let reserved = server::reserve("127.0.0.1", 0).expect("a free port");
    let address = reserved.address().expect("a TCP address");
    let listening = reserved.listen().expect("listens");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let minute = Duration::from_secs(60);
    let client = async {
        let made = tokio::time::timeout(minute, client(address)).await;
        let _ = stop.send(());
        made
    };
    let serving = server::run(state, listening, async {
        let _ = stopped.await;
    });
    let (served, made) = tokio::join!(serving, client);
    served.expect("stops in order");
    made.expect("answers in time")
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
    let raw = {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(BODY.as_bytes()).and_then(|()| encoder.finish()).expect("compresses")
    };
    let utf16: Vec<u8> = BODY.encode_utf16().flat_map(u16::to_le_bytes).collect();
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
        post("Content-Encoding: identity, X-GZIP\r\n", &gzip),
        post("Content-Encoding: deflate\r\n", &raw),
        post("Content-Encoding: identity\r\n", BODY.as_bytes()),
        post("Content-Encoding: None\r\n", BODY.as_bytes()),
        post("Content-Encoding: utf-8\r\n", BODY.as_bytes()),
        post("Content-Encoding:\r\n", BODY.as_bytes()),
        post("Content-Encoding: UTF8\r\nContent-Encoding: identity\r\n", BODY.as_bytes()),
        post("", &utf16),
        post("Content-Encoding: deflate\r\nConnection: close\r\n", &deflate),
    ])
    .await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 12, "{answers}");
    let bodies: Vec<&str> =
        answers.split("\r\n\r\n").skip(1).map(|rest| rest.split("HTTP/1.1").next().unwrap_or("")).collect();
    assert_eq!(bodies.len(), 12);
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
async fn a_body_that_the_head_refuses_is_not_asked_for() {
    let refusals = [
        ("POST /rerank", "Content-Type: application/json\r\nContent-Length: 9\r\n", 401),
        ("POST /nope", "Authorization: k\r\nContent-Length: 9\r\n", 404),
        ("PUT /rerank", "Authorization: k\r\nContent-Length: 9\r\n", 405),
        ("POST /rerank", "Authorization: k\r\nContent-Type: application/json\r\nContent-Length: 9999999\r\n", 413),
        ("POST /rerank", "Authorization: k\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n", 400),
        (
            "POST /rerank",
            "Authorization: k\r\nContent-Type: application/json\r\nContent-Encoding: br\r\nContent-Length: 9\r\n",
            400,
        ),
    ];
    let state = state_with(|options| options.api_keys.keys = vec!["k".to_owned()]);
    serving(state, async |address| {
        // Side by side: the server waits some seconds for what such a client may have sent already.
        let asked = refusals.map(|(line, headers, status)| {
            actix_web::rt::spawn(async move {
                let head =
                    format!("{line} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nConnection: close\r\n{headers}\r\n");
                let answers = talk(address, &[head.into_bytes()]).await;
                assert!(answers.starts_with(&format!("HTTP/1.1 {status} ")), "{line} {headers}: {answers}");
                assert!(!answers.contains("keep-alive:"), "the connection ends: {answers}");
            })
        });
        for answered in asked {
            answered.await.expect("as it should be");
        }
    })
    .await;
}

#[actix_web::test]
async fn an_unknown_coding_is_named_and_of_two_neither_is_guessed() {
    let long = "x".repeat(100_000);
    serving(state_with(|_| {}), async |address| {
        for (coding, said) in
            [("br", "'br'"), ("gzip, gzip", "'gzip, gzip'"), ("zstd, gzip", "'zstd, gzip'"), (&long, "xxx…'")]
        {
            let request = post(&format!("Content-Encoding: {coding}\r\nConnection: close\r\n"), BODY.as_bytes());
            let answer = talk(address, &[request]).await;
            assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains(said), "{answer}");
            assert!(answer.len() < 2000, "cut: {} bytes", answer.len());
        }
    })
    .await;
}

#[actix_web::test]
async fn header_values_that_are_not_ascii_change_no_answer_nor_does_any_charset() {
    let headers = [
        "Content-Type: application/json; x=é\r\n",
        "Content-Type: application/json; charset=utf8\r\n",
        "Content-Type: Application/JSON ;charset=\"UTF-8\"\r\n",
        "Content-Type: application/json; charset=utf-16\r\n",
        "X-Request-Id: 请求-1\r\n",
        "X-Request-Id: \u{ff}\u{80}\r\n",
        "Authorization: Bearer schlüssel\r\nOrigin: http://é.example\r\nAccept: é\r\nAccept-Language: é\r\n",
        "User-Agent: é\r\nCookie: a=é\r\nExpect: é\r\nX-Api-Key: é\r\nX-Forwarded-For: é\r\nTraceparent: é\r\n",
        "Connection: é\r\nUpgrade: é\r\nKeep-Alive: é\r\nContent-Encoding: identity\r\n",
    ];
    let json = "Content-Type: application/json\r\n";
    let body = r#"{"query":"q","documents":["a","b"]}"#;
    serving(state_with(|_| {}), async |address| {
        for header in headers {
            let json = if header.starts_with("Content-Type") { "" } else { json };
            let length = body.len();
            let last = if header.starts_with("Connection") { "" } else { "Connection: close\r\n" };
            let first = format!(
                "POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{json}{header}{last}\r\n{body}"
            );
            let end = b"GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec();
            let mut requests = vec![first.into_bytes()];
            requests.extend(last.is_empty().then_some(end));
            let answers = talk(address, &requests).await;
            assert!(
                answers.starts_with("HTTP/1.1 200 OK") && answers.contains("relevance_score"),
                "{header}: {answers}"
            );
            let id = answers.split("\"id\":\"score-").nth(1).and_then(|rest| rest.split('"').next()).expect("an id");
            assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "its own: {id}");
        }
    })
    .await;
}

#[actix_web::test]
async fn an_id_of_a_request_is_cut_wherever_it_stands() {
    let long = "r".repeat(120_000);
    let header = post(&format!("X-Request-Id: {long}\r\n"), BODY.as_bytes());
    let body = post("Connection: close\r\n", BODY.replace("\"r\"", &format!("\"{long}\"")).as_bytes());
    let answers = exchange(&[header, body]).await;
    let short = format!("\"id\":\"score-{}\"", &long[..128]);
    assert_eq!(answers.matches(&short).count(), 2, "{answers}");
    assert!(answers.len() < 3000);
}

#[actix_web::test]
async fn head_is_get_without_its_body_on_every_route_that_has_it() {
    let paths = [
        "/health",
        "/ping",
        "/",
        "/v1",
        "/version",
        "/v1/models",
        "/v1/models/tiny",
        "/info",
        "/v1/cluster/auth",
        "/metrics",
        "/load",
        "/kv_event_sources",
        "/openapi.json",
        "/docs",
    ];
    let mut requests = Vec::new();
    for path in paths {
        requests.push(format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes());
    }
    requests.push(b"HEAD /rerank HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec());
    let answers = exchange(&requests).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), paths.len(), "{answers}");
    let refused = answers.rsplit("HTTP/1.1 ").next().expect("the last");
    assert!(refused.starts_with("405 ") && refused.contains("allow: POST\r\n"), "{refused}");
    for answer in answers.split("HTTP/1.1 ").skip(1) {
        assert!(answer.ends_with("\r\n\r\n") && answer.matches("\r\n\r\n").count() == 1, "no body: {answer}");
        assert!(answer.contains("content-length: "), "{answer}");
    }
    let get = exchange(&[b"GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec()]).await;
    let length = get.split_once("\r\n\r\n").expect("a body").1.len();
    let head = answers.split("HTTP/1.1 ").nth(5).expect("that of /version");
    assert!(head.contains(&format!("content-length: {length}\r\n")), "{head}");
}

#[actix_web::test]
async fn the_plain_check_of_haproxy_finds_the_server_well_also_without_a_key() {
    let state = state_with(|options| options.api_keys.keys = vec!["k".to_owned()]);
    serving(state, async |address| {
        for line in ["OPTIONS / HTTP/1.0\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"] {
            let answer = talk(address, &[line.as_bytes().to_vec()]).await;
            assert!(answer.contains(" 200 OK\r\n") && answer.contains("allow: GET, HEAD, POST, OPTIONS"), "{answer}");
        }
    })
    .await;
}
