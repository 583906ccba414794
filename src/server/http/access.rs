//! The API key: who may pass when the operator has configured keys.
//!
//! Invariant: keys are compared in a time that does not depend on where they differ. Called by `app`.

use super::error::{ApiError, Refusal};
use actix_web::http::header::{AUTHORIZATION, HeaderMap, HeaderName};

/// Where clients put a key: OpenAI's and Cohere's, Azure's, Anthropic's and most gateways'.
const HEADERS: [HeaderName; 3] =
    [AUTHORIZATION, HeaderName::from_static("api-key"), HeaderName::from_static("x-api-key")];

/// Lets a request pass that carries one of `keys` in any of [`HEADERS`], as `Bearer KEY` or as the bare key; no keys let
/// all pass.
///
/// No header stands over another. `Authorization` may be a proxy's, or hold what a library that insists on a key was
/// given; and refusing a right key for a wrong one beside it would keep nobody out: who knows the right one need only
/// leave the other away.
pub fn check(keys: &[String], headers: &HeaderMap) -> Result<(), ApiError> {
    if keys.is_empty() {
        return Ok(());
    }
    let mut refused = None;
    for name in HEADERS {
        for value in headers.get_all(&name) {
            let given = token(value.as_bytes());
            // Every key is compared, so that the time does not tell which one was near.
            if keys.iter().fold(false, |known, key| known | same(key.as_bytes(), given)) {
                return Ok(());
            }
            if !given.is_empty() {
                refused.get_or_insert(name.clone());
            }
        }
    }
    let sentence = match refused {
        None => "This server asks for an API key: send it as 'Authorization: Bearer KEY'.".to_owned(),
        Some(AUTHORIZATION) => "The API key in the Authorization header is not one of this server's.".to_owned(),
        Some(name) => format!("The API key in the {name} header is not one of this server's."),
    };
    Err(ApiError::new(Refusal::Unauthorized, sentence))
}

/// The key of a header's value.
fn token(value: &[u8]) -> &[u8] {
    let value = value.trim_ascii();
    match value.split_at_checked(6) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer") && token.first().is_none_or(is_space) => {
            token.trim_ascii()
        }
        _ => value,
    }
}

fn is_space(byte: &u8) -> bool {
    byte.is_ascii_whitespace()
}

fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && std::hint::black_box(a.iter().zip(b).fold(0, |acc, (x, y)| acc | (x ^ y))) == 0
}
