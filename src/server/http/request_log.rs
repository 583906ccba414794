//! What the log tells of requests: of each under `--enable-log-requests`, else of those that failed or were given up.
//!
//! Invariants: nothing that a client may put its texts into is part of a line: no body, no query string, no sentence that
//! quotes a value ([`ApiError::reason`]). A line is one line, and short, whatever a client sends; where requests fail by
//! the thousand, most are only counted. Called by `app`, and by `scoring` for what a request is made of.

use super::error::ApiError;
use super::request_id;
use super::shown::shown;
use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_LENGTH;
use indicatif::HumanCount;
use std::cell::RefCell;
use std::fmt::Write;
use std::future::Future;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failed requests that have a line, in every [`WINDOW`].
const MOST_LINES: u32 = 20;
/// The time in which lines are counted.
pub const WINDOW: Duration = Duration::from_secs(10);
/// A request that takes longer is one that clients give up. RAGFlow's 30 s began before the request was here.
const SLOW: Duration = Duration::from_millis(29_500);

tokio::task_local! {
    /// What the request that is answered here is made of.
    static WORK: Rc<RefCell<Work>>;
}

/// What a request is made of, as far as it has been read.
#[derive(Debug, Clone, Default)]
pub struct Work {
    /// The model, where there are several.
    pub model: Option<String>,
    /// Pairs of texts.
    pub documents: usize,
    /// Tokens of their prompts.
    pub tokens: usize,
    /// How long the last of them waited for a batch.
    pub queued: Option<Duration>,
}

/// Tells of the request that this runs for.
pub fn note(change: impl FnOnce(&mut Work)) {
    // Outside of a request nobody asks.
    let _ = WORK.try_with(|work| change(&mut work.borrow_mut()));
}

/// What the operator wants to be told of, and what the server remembers of the lines that it has written.
#[derive(Debug, Default)]
pub struct Told {
    /// Whether each request is a line.
    each: bool,
    failures: Mutex<Failures>,
    /// Whether a slow request was told of.
    slow: AtomicBool,
}

#[derive(Debug, Default)]
struct Failures {
    /// When the window began.
    since: Option<Instant>,
    /// Lines in it.
    lines: u32,
    /// Failures without a line that nobody has been told of.
    unsaid: u64,
}

impl Told {
    /// Nothing has been written yet; `each` is whether each request is a line, or only what goes wrong.
    pub fn new(each: bool) -> Self {
        Self { each, ..Self::default() }
    }

    /// Whether one more request that went wrong may have a line.
    pub fn admits(&self, now: Instant) -> bool {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.since.is_none_or(|since| now.duration_since(since) >= WINDOW) {
            (failures.since, failures.lines) = (Some(now), 0);
        }
        if failures.lines < MOST_LINES {
            failures.lines += 1;
            return true;
        }
        failures.unsaid += 1;
        false
    }

    /// Whether a request took so long that clients give up, and is the first.
    fn is_first_slow(&self, elapsed: Duration) -> bool {
        elapsed >= SLOW && !self.slow.swap(true, Ordering::Relaxed)
    }

    /// How many failures had no line since this was asked.
    pub fn unsaid(&self) -> u64 {
        std::mem::take(&mut self.failures.lock().unwrap_or_else(PoisonError::into_inner).unsaid)
    }
}

/// A request on its way. Dropped without an answer, it says who has given it up.
pub struct Record<'a> {
    request: &'a HttpRequest,
    told: &'a Told,
    stopping: &'a AtomicBool,
    started: Instant,
    work: Rc<RefCell<Work>>,
    /// Whether nothing is to be said any more.
    done: bool,
}

impl<'a> Record<'a> {
    /// From now on the request is answered.
    pub fn begin(request: &'a HttpRequest, told: &'a Told, stopping: &'a AtomicBool) -> Self {
        Self { request, told, stopping, started: Instant::now(), work: Rc::default(), done: false }
    }

    /// Runs what answers it; [`note`] tells of this request there.
    pub async fn of<T>(&self, answer: impl Future<Output = T>) -> T {
        WORK.scope(self.work.clone(), answer).await
    }

    /// How long it has taken so far.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// It is answered; `is_news` unless it is one of those that ask every few seconds.
    pub fn answered(mut self, status: StatusCode, refused: Option<&ApiError>, is_news: bool) {
        self.done = true;
        let elapsed = self.elapsed();
        let line = || answered(self.request, status, elapsed, &self.work.borrow(), refused);
        let failed = status.is_client_error() || status.is_server_error();
        match (self.told.each, failed) {
            (true, _) if is_news => tracing::info!(target: "request", "{}", line()),
            (false, true) if is_news && self.told.admits(Instant::now()) => match status.is_server_error() {
                true => tracing::warn!(target: "request", "{}", line()),
                false => tracing::info!(target: "request", "{}", line()),
            },
            _ => tracing::debug!("{}", line()),
        }
        self.warn_if_slow(elapsed);
    }

    /// Once: those who wait so long are many then, and know.
    fn warn_if_slow(&self, elapsed: Duration) {
        if self.told.is_first_slow(elapsed) {
            tracing::warn!(
                "a request took {}{}; clients such as RAGFlow give up after 30 s: docs/ragflow.md says what helps (this is \
                 said once)",
                seconds(elapsed),
                made_of(&self.work.borrow()),
            );
        }
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let elapsed = self.elapsed();
        if self.told.each || self.told.admits(Instant::now()) {
            let line = given_up(self.request, self.stopping.load(Ordering::Relaxed), elapsed, &self.work.borrow());
            tracing::info!(target: "request", "{line}");
        }
        self.warn_if_slow(elapsed);
    }
}

/// What was asked for, what came of it, how long it took, how large it was, whose it was, and why it was refused.
fn answered(
    request: &HttpRequest,
    status: StatusCode,
    elapsed: Duration,
    work: &Work,
    refused: Option<&ApiError>,
) -> String {
    let mut line = format!("{} {} in {:.1} ms", asked(request), status.as_u16(), elapsed.as_secs_f64() * 1e3);
    line += &whose(request);
    line += &made_of(work);
    if let Some(queued) = work.queued {
        let _ = write!(line, ", {} in the queue", seconds(queued));
    }
    line += &name(request);
    if let Some(refused) = refused {
        // Some of vLLM's sentences have several lines.
        let _ = write!(line, ": {}", plain(&refused.reason().split_whitespace().collect::<Vec<_>>().join(" ")));
    }
    line
}

/// What became of a request whose answer nobody waits for.
fn given_up(request: &HttpRequest, stopping: bool, elapsed: Duration, work: &Work) -> String {
    let who = if stopping { "not answered before the stop," } else { "the client left" };
    format!("{}: {who} after {}{}{}{}", asked(request), seconds(elapsed), made_of(work), whose(request), name(request))
}

fn asked(request: &HttpRequest) -> String {
    format!("{} {}", plain(request.method().as_str()), plain(request.path()))
}

/// From where, and how large.
fn whose(request: &HttpRequest) -> String {
    let client = request.peer_addr().map_or_else(|| "a local socket".to_owned(), |address| address.ip().to_string());
    let bytes = request.headers().get(CONTENT_LENGTH).and_then(|bytes| bytes.to_str().ok());
    match bytes.and_then(|bytes| bytes.parse::<u64>().ok()) {
        Some(bytes) => format!(" from {client}, {bytes} bytes"),
        None => format!(" from {client}"),
    }
}

/// The client's name of the request.
fn name(request: &HttpRequest) -> String {
    request_id::of(request.headers()).map_or_else(String::new, |id| format!(", id {}", plain(id)))
}

fn made_of(work: &Work) -> String {
    let (documents, tokens) = (HumanCount(work.documents as u64), HumanCount(work.tokens as u64));
    let mut made_of = match work.documents {
        0 => return String::new(),
        1 => format!(", 1 document, {tokens} tokens"),
        _ => format!(", {documents} documents, {tokens} tokens"),
    };
    if let Some(model) = &work.model {
        let _ = write!(made_of, " for {}", plain(model));
    }
    made_of
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// The beginning of what a client has written, on one line.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for c in shown(text).chars() {
        match c {
            '\'' | '"' | '\\' => plain.push(c),
            c => plain.extend(c.escape_debug()),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::http::error::Refusal;
    use actix_web::test::TestRequest;

    fn work() -> Work {
        Work { model: None, documents: 66, tokens: 36_000, queued: Some(Duration::from_millis(1_240)) }
    }

    fn request() -> TestRequest {
        TestRequest::post()
            .uri("/v1/rerank?query=secret")
            .insert_header(("x-request-id", "r-7"))
            .peer_addr(([10, 0, 0, 3], 4711).into())
            .set_payload("secret")
    }

    #[test]
    fn a_line_tells_of_the_request_and_nothing_of_its_texts() {
        let (request, elapsed) = (request().to_http_request(), Duration::from_micros(41_250));
        let line = |work: Work, refused: Option<&ApiError>| {
            let status = refused.map_or(StatusCode::OK, |_| StatusCode::BAD_REQUEST);
            answered(&request, status, elapsed, &work, refused)
        };
        assert_eq!(line(Work::default(), None), "POST /v1/rerank 200 in 41.2 ms from 10.0.0.3, 6 bytes, id r-7");
        assert_eq!(
            line(work(), None),
            "POST /v1/rerank 200 in 41.2 ms from 10.0.0.3, 6 bytes, 66 documents, 36,000 tokens, 1.2 s in the queue, id r-7"
        );
        let one_of_several = line(Work { model: Some("a".to_owned()), ..work() }, None);
        assert!(one_of_several.contains("36,000 tokens for a, 1.2 s in the queue"), "{one_of_several}");
        let fixed = ApiError::invalid("At least one text element must be given");
        assert!(line(Work::default(), Some(&fixed)).ends_with(", id r-7: At least one text element must be given"));
        let quoting =
            ApiError::new(Refusal::Malformed, format!("'{}' is wrong.", "secret")).with_param("body.documents.3");
        assert!(line(Work::default(), Some(&quoting)).ends_with(", id r-7: Bad Request (body.documents.3)"));
    }

    #[test]
    fn who_has_given_a_request_up_is_told_with_what_it_was_made_of() {
        let request = request().to_http_request();
        let told = |stopping| given_up(&request, stopping, Duration::from_millis(30_040), &work());
        let rest = "after 30.0 s, 66 documents, 36,000 tokens from 10.0.0.3, 6 bytes, id r-7";
        assert_eq!(told(false), format!("POST /v1/rerank: the client left {rest}"));
        assert_eq!(told(true), format!("POST /v1/rerank: not answered before the stop, {rest}"));
    }

    #[test]
    fn whatever_a_client_sends_a_line_is_one_line_and_short() {
        let request = TestRequest::with_uri(&format!("/%0a{}", "x".repeat(60_000)))
            .method(actix_web::http::Method::from_bytes("M".repeat(9_000).as_bytes()).expect("a method"))
            .insert_header(("x-request-id", "i\t".repeat(10_000)))
            .to_http_request();
        let written = answered(&request, StatusCode::NOT_FOUND, Duration::ZERO, &Work::default(), None);
        assert!(written.len() < 4_000 && written.contains("/%0axxx"), "{} bytes", written.len());
        assert!(!written.contains(|c: char| c.is_control() || c == '\u{202e}'), "{written}");
        assert_eq!(plain("a\r\n\x1b[31m"), "a\\r\\n\\u{1b}[31m");
    }

    #[test]
    fn only_the_first_slow_request_is_warned_of() {
        let told = Told::default();
        let seconds = [1, 29, 30, 300].map(|seconds| told.is_first_slow(Duration::from_secs(seconds)));
        assert_eq!(seconds, [false, false, true, false]);
    }

    #[test]
    fn a_storm_of_failures_has_a_few_lines_and_a_count() {
        let (told, start) = (Told::default(), Instant::now());
        let lines = |from: Duration| (0..1_000).filter(|_| told.admits(start + from)).count();
        assert_eq!(lines(Duration::ZERO), MOST_LINES as usize);
        assert_eq!(lines(WINDOW - Duration::from_millis(1)), 0);
        assert_eq!(told.unsaid(), 2_000 - u64::from(MOST_LINES));
        assert_eq!(told.unsaid(), 0, "they are said once");
        assert_eq!(lines(WINDOW), MOST_LINES as usize, "another window");
    }
}
