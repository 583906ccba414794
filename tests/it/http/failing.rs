//! A server whose engine fails: what is in flight gets an error, health tells, and the server ends with the reason.

use super::contract::{JSON, send as send_to};
use super::{reranker, state_over, subject_over};
use actix_web::http::Method;
use ironrank::batch::Batch;
use ironrank::checkpoint::Activation;
use ironrank::engine::{BatchLimits, Engine, QueueLimits, Turns};
use ironrank::error::{Error, ErrorKind, Result};
use ironrank::model::{Model, Outcome, Progress, Rows, Slot};
use ironrank::prompt::PromptEncoder;
use ironrank::server;
use ironrank::serves::Serves;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const BODY: &str = r#"{"query":"q","documents":["a","b"]}"#;

/// How a model fails.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// By a bug.
    Panic,
    /// Its files have changed.
    Changed,
}

/// Begins, tells the test, waits for it, and fails.
struct Failing {
    fault: Fault,
    begun: Sender<()>,
    go_on: Receiver<()>,
    sequences: usize,
}

impl Model for Failing {
    fn begin(&mut self, _: Slot, batch: Batch) {
        self.sequences = batch.last_tokens().of_sequence.len();
        // Not every test listens.
        _ = self.begun.send(());
    }

    fn advance(&mut self, _: Slot) -> Progress {
        self.go_on.recv().expect("the test answers");
        assert!(self.fault != Fault::Panic, "a bug of this test");
        let rows = Rows { width: 1, values: vec![0.5; self.sequences] };
        Progress::Done(Outcome { rows, kept: Vec::new(), flop: 0 })
    }

    fn retain(&mut self, _: Slot, _: &[bool]) {}

    fn remaining(&self, _: Slot) -> usize {
        1
    }

    fn width(&self) -> usize {
        1
    }

    fn check(&self) -> Result<()> {
        Err(Error::new(ErrorKind::Checkpoint, "The weights were changed while they were in use."))
    }
}

async fn send(port: u16, request: String) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("connects");
    stream.write_all(request.as_bytes()).await.expect("sends");
    stream
}

async fn answer(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("reads");
    answer
}

fn rerank() -> String {
    format!(
        "POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    )
}

async fn a_failure(fault: Fault) -> Error {
    let (begun, is_begun) = channel();
    let (go_on, goes_on) = channel();
    let model = Failing { fault, begun, go_on: goes_on, sequences: 0 };
    let engine =
        Engine::start(Box::new(model), &Turns::default(), BatchLimits::default(), QueueLimits::default()).unwrap();
    let encoder = PromptEncoder::builtin(512).expect("the tokenizer opens");
    let reserved = server::reserve("127.0.0.1", 0).expect("a free port");
    let port = reserved.address().expect("a TCP address").port();
    let minute = Duration::from_secs(60);
    let client = async {
        let (running, waiting) = (send(port, rerank()).await, send(port, rerank()).await);
        let is_begun = tokio::task::spawn_blocking(move || is_begun.recv()).await.expect("no panic");
        is_begun.expect("the model has begun");
        while engine.waiting() + engine.running() < 4 {
            tokio::task::yield_now().await;
        }
        go_on.send(()).expect("the model waits");
        for stream in [running, waiting] {
            let answer = answer(stream).await;
            assert!(answer.starts_with("HTTP/1.1 500"), "{answer}");
            assert!(answer.contains(r#""message":"The engine failed while it computed this request.""#), "{answer}");
        }
    };
    let state = state_over((engine.clone(), reranker(encoder, Activation::Sigmoid)), |_| {});
    let serving = server::run(state, reserved.listen().expect("listens"), std::future::pending());
    let both = async { tokio::join!(serving, client) };
    let (served, ()) = tokio::time::timeout(minute, both).await.expect("ends by itself");
    served.expect_err("a failure is no ordinary end")
}

#[actix_web::test]
async fn a_panic_of_the_engine_fails_what_is_in_flight_and_ends_the_server_with_the_reason() {
    let failure = a_failure(Fault::Panic).await;
    assert_eq!(failure.kind(), ErrorKind::Internal);
    assert_eq!(failure.to_string(), "The engine failed, which is a bug: a bug of this test.");
}

#[actix_web::test]
async fn scores_from_files_that_have_changed_are_not_given_out() {
    let failure = a_failure(Fault::Changed).await;
    assert_eq!(failure.to_string(), "The weights were changed while they were in use.");
}

/// An engine that fails at the first request.
pub fn engine() -> (Engine, Serves) {
    let ((begun, _), (go_on, goes_on)) = (channel(), channel());
    let model = Failing { fault: Fault::Panic, begun, go_on: goes_on, sequences: 0 };
    go_on.send(()).expect("the model is there");
    let engine = Engine::start(Box::new(model), &Turns::default(), BatchLimits::default(), QueueLimits::default());
    let encoder = PromptEncoder::builtin(512).expect("the tokenizer opens");
    (engine.expect("threads"), reranker(encoder, Activation::Sigmoid))
}

#[actix_web::test]
async fn health_says_503_from_the_failure_on() {
    let subject = subject_over(engine(), |_| {});
    let ask = async |method, path, body: &str| {
        let (status, answer) = send_to(&subject, method, path, &[JSON], body.as_bytes()).await;
        (status, answer["message"].as_str().unwrap_or_default().to_owned())
    };
    let failed = "The engine failed while it computed this request.";
    assert_eq!(ask(Method::POST, "/rerank", BODY).await, (500, failed.to_owned()));
    let (status, said) = ask(Method::GET, "/health", "").await;
    assert_eq!((status, said.as_str()), (503, "The engine has failed; restart the server."));
    let (status, said) = ask(Method::POST, "/rerank", BODY).await;
    assert_eq!((status, said.as_str()), (503, "The engine has stopped and takes no more requests."));
}
