//! What the log of a running server tells of requests that fail, are given up or cut off, and what it keeps to itself.

use crate::support::process::{Process, server};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;

const TEXT: &str = "confidential-text-of-a-client";

fn connect(port: u16) -> TcpStream {
    TcpStream::connect(("127.0.0.1", port)).expect("connects")
}

fn post(port: u16, path: &str, body: &str) -> TcpStream {
    let mut stream = connect(port);
    let head = "Host: x\r\nConnection: close\r\nContent-Type: application/json\r\nX-Request-Id: r-7";
    write!(stream, "POST {path} HTTP/1.1\r\n{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).expect("sent");
    stream
}

/// The status of an answer.
fn status(mut stream: TcpStream) -> u16 {
    let mut answer = String::new();
    // A server that refuses early may end the connection while there is more to send.
    let _ = stream.read_to_string(&mut answer);
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no status: {answer}"))
}

fn get(port: u16, path: &str) -> String {
    let (mut stream, mut answer) = (connect(port), String::new());
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
    stream.read_to_string(&mut answer).expect("answered");
    answer
}

/// What `/metrics` says of `name`.
fn metric(port: u16, name: &str) -> f64 {
    let answer = get(port, "/metrics");
    let line = answer.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}: {answer}"));
    line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
}

/// A request of 1,000 documents with half a million tokens.
fn long() -> String {
    let documents: Vec<String> = (0..1_000).map(|i| format!("{i} {}", "word ".repeat(400))).collect();
    json!({"query": "q", "documents": documents}).to_string()
}

#[test]
fn a_refused_request_is_told_of_with_a_reason_that_holds_none_of_its_texts() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (mut server, port) = server(dir.path(), &["--log-format", "json"]);
    let many = "word ".repeat(600);
    let cases: [(&str, Value, u16, &str); 12] = [
        ("/rerank", json!({"query": TEXT, "documents": []}), 400, ""),
        ("/rerank", json!({"query": TEXT}), 400, "Bad Request (body.documents)"),
        ("/rerank", json!({"query": [TEXT], "documents": [TEXT]}), 400, "Bad Request (body.query)"),
        ("/rerank", json!({"query": TEXT, "documents": [{TEXT: TEXT}], "rank_fields": ["absent"]}), 400, ""),
        ("/rerank", json!({"query": "q", "documents": ["d"], "top_n": TEXT}), 400, "Bad Request (body.top_n)"),
        ("/rerank", json!({"query": "q", "documents": ["d"], "model": TEXT}), 404, "NotFoundError"),
        ("/score", json!({"text_1": TEXT, "text_2": format!("{TEXT} {many}")}), 400, "maximum context length is 512"),
        ("/score", json!({"text_1": TEXT, "text_2": TEXT, "chat_template_kwargs": TEXT}), 400, ""),
        ("/score", json!({"text_1": TEXT, "text_2": TEXT, "cache_salt": format!("{TEXT}@")}), 400, "cache_salt"),
        ("/score", json!(TEXT), 400, "Bad Request (body)"),
        ("/v1/embeddings", json!({"input": TEXT}), 404, ""),
        ("/invocations", json!({TEXT: TEXT}), 400, ""),
    ];
    for (path, body, expected, _) in &cases {
        assert_eq!(status(post(port, path, &body.to_string())), *expected, "{path} {body}");
    }
    assert_eq!(status(post(port, "/rerank", &format!("{{\"query\": \"{TEXT}\", {TEXT}"))), 400);
    for (path, _, status, reason) in &cases {
        let line = server.wait_for(&format!("POST {path} {status} in "));
        assert!(line.contains("\"level\":\"INFO\"") && line.contains(", id r-7: ") && line.contains(reason), "{line}");
        assert!(!line.contains(TEXT), "{line}");
    }
    server.send(Signal::TERM);
    let rest = server.rest();
    assert!(rest.contains("POST /rerank 400 in ") && !rest.contains(TEXT), "{rest}");
}

#[test]
fn a_storm_of_bad_requests_does_not_flood_the_log_and_each_counts() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (mut server, port) = server(dir.path(), &[]);
    for _ in 0..300 {
        assert_eq!(status(post(port, "/rerank", "{}")), 400);
    }
    server.send(Signal::TERM);
    let rest = server.rest();
    let lines = rest.lines().filter(|line| line.contains("POST /rerank 400")).count();
    // However slow the machine, there are few windows of ten seconds in it.
    assert!((20..=100).contains(&lines), "{lines} lines");
    let counted = rest
        .lines()
        .filter_map(|line| line.split_once(" more requests failed"))
        .map(|(before, _)| before.rsplit(' ').next().and_then(|count| count.parse::<usize>().ok()).expect("a count"));
    assert_eq!(lines + counted.sum::<usize>(), 300, "{rest}");
}

fn at_work(port: u16, server: &mut Process) -> TcpStream {
    let client = post(port, "/v1/rerank", &long());
    while metric(port, "vllm:num_requests_running{") < 1.0 {
        assert!(server.child.try_wait().expect("asked").is_none(), "the server has ended");
    }
    client
}

#[test]
fn who_has_given_a_request_up_is_told_and_what_it_was_made_of() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (mut server, port) = server(dir.path(), &["--shutdown-timeout", "0", "--answer-cache-mib", "0"]);
    drop(at_work(port, &mut server));
    let line = server.wait_for("POST /v1/rerank: ");
    assert!(line.contains(": the client left after ") && line.contains("1,000 documents, "), "{line}");

    // Its work ends with the layer that runs.
    while metric(port, "vllm:num_requests_running{") > 0.0 {}
    let _waiting = at_work(port, &mut server);
    server.send(Signal::TERM);
    let line = server.wait_for("POST /v1/rerank: ");
    assert!(line.contains(": not answered before the stop, after ") && line.contains("1,000 documents, "), "{line}");
    assert_eq!(server.code(), Some(0));
}

#[test]
fn asked_for_lines_tell_of_every_request_what_it_was_made_of() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (mut server, port) = server(dir.path(), &["--enable-log-requests", "--answer-cache-mib", "0"]);
    let body = json!({"query": TEXT, "documents": [TEXT, "another"]}).to_string();
    assert_eq!(status(post(port, "/v1/rerank?a=confidential", &body)), 200);
    let line = server.wait_for("POST /v1/rerank 200 in ");
    for part in [" ms from 127.0.0.1, ", " bytes, 2 documents, ", " tokens, 0.", " s in the queue, id r-7\n"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(!line.contains("confidential"), "{line}");
    for _ in 0..40 {
        assert_eq!(status(post(port, "/rerank", "{}")), 400);
    }
    for _ in 0..40 {
        server.wait_for("POST /rerank 400 in ");
    }
    let is_at_work = || !get(port, "/load").ends_with("{\"server_load\":0}");
    let long = long();
    for _ in 0..25 {
        let client = post(port, "/v1/rerank", &long);
        while !is_at_work() {}
        drop(client);
        while is_at_work() {}
    }
    server.send(Signal::TERM);
    let rest = server.rest();
    assert_eq!(rest.matches("POST /v1/rerank: the client left after ").count(), 25, "{rest}");
}
