//! The client's name of a request, `X-Request-Id`, as answers and log lines carry it.
//!
//! Invariant: a name is short and plain ASCII, whatever a client sends: one that is not ASCII counts as none, a long one is
//! cut. Called by `app`, `route` and `request_log`.

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};

/// The header.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Longest name in bytes; a UUID has 36.
pub const LONGEST: usize = 128;

/// The name that the client gave.
pub fn of(headers: &HeaderMap) -> Option<&str> {
    let name = headers.get(&HEADER)?.to_str().ok()?;
    Some(&name[..name.len().min(LONGEST)])
}

/// The client's name, or one of 32 random hexadecimal digits, to be sent back.
pub fn sent_back(headers: &HeaderMap) -> Option<HeaderValue> {
    let own = || format!("{:032x}", rand::random::<u128>());
    HeaderValue::from_str(&of(headers).map_or_else(own, str::to_owned)).ok()
}
