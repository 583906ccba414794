//! The API key: who may pass when the operator has configured keys.
//!
//! Invariant: keys are compared in a time that does not depend on where they differ. Called by `server`.

use super::error::{ApiError, Refusal};
use actix_web::http::header::{AUTHORIZATION, HeaderMap};

/// Lets a request pass that carries one of `keys`, as `Bearer KEY` or as the bare key; no keys let all pass.
pub fn check(keys: &[String], headers: &HeaderMap) -> Result<(), ApiError> {
    if keys.is_empty() {
        return Ok(());
    }
    let given = headers.get(AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes()).trim_ascii();
    let token = match given.split_at_checked(7) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => token.trim_ascii(),
        _ => given,
    };
    // Every key is compared, so that the time does not tell which one was near.
    let known = keys.iter().fold(false, |known, key| known | same(key.as_bytes(), token));
    if known {
        return Ok(());
    }
    let sentence = if given.is_empty() {
        "This server asks for an API key: send it as 'Authorization: Bearer KEY'."
    } else {
        "The API key in the Authorization header is not one of this server's."
    };
    Err(ApiError::new(Refusal::Unauthorized, sentence))
}

fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && std::hint::black_box(a.iter().zip(b).fold(0, |acc, (x, y)| acc | (x ^ y))) == 0
}
