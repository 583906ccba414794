//! The line that `--enable-log-requests` writes for a request.
//!
//! Invariant: nothing that a client may put its texts into is part of it: no body, no query string, no error message.
//! Called by `server`.

use super::{request_id, shown};
use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_LENGTH, HeaderValue};
use std::time::Duration;

/// What was asked for, what came of it, how long it took, how large it was, whose it was.
pub fn line(request: &HttpRequest, status: StatusCode, elapsed: Duration) -> String {
    let header = |name: &str| request.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let client = request.peer_addr().map_or_else(|| "a local socket".to_owned(), |address| address.ip().to_string());
    let mut line = format!(
        "{} {} {} in {:.1} ms from {client}",
        shown(request.method().as_str()),
        shown(request.path()),
        status.as_u16(),
        elapsed.as_secs_f64() * 1e3,
    );
    if let Some(bytes) = header(CONTENT_LENGTH.as_str()) {
        line.push_str(", ");
        line.push_str(bytes);
        line.push_str(" bytes");
    }
    if let Some(id) = request_id::of(request.headers()) {
        line.push_str(", id ");
        line.push_str(id);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::line;
    use actix_web::http::StatusCode;
    use actix_web::test::TestRequest;
    use std::time::Duration;

    #[test]
    fn a_line_tells_of_the_request_and_nothing_of_its_texts() {
        let request = TestRequest::post()
            .uri("/v1/rerank?query=secret")
            .insert_header(("x-request-id", "r-7"))
            .peer_addr(([10, 0, 0, 3], 4711).into())
            .set_payload("secret")
            .to_http_request();
        let written = line(&request, StatusCode::OK, Duration::from_micros(41_250));
        assert_eq!(written, "POST /v1/rerank 200 in 41.2 ms from 10.0.0.3, 6 bytes, id r-7");
    }
}
