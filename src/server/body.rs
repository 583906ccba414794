//! From the bytes of a request to a JSON object: content type, encoding, syntax.
//!
//! Invariant: any bytes at all give an object or an error, never a panic. Called by `server` and `scoring`.

use super::error::{ApiError, Refusal};
use super::fields::{self, Issue};
use actix_web::http::header::{CONTENT_TYPE, HeaderMap};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// What Hugging Face's tokenizers say about text that is not Unicode; vLLM passes it on.
const NOT_UNICODE: &str = "TextEncodeInput must be Union[TextInputSequence, Tuple[InputSequence, InputSequence]]: a string \
                           contains half of a surrogate pair, which is not a character.";

/// Refuses every content type but `application/json`, parameters aside.
pub fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = value.split(';').next().unwrap_or("").trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let sentence = "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed";
    Err(ApiError::new(Refusal::Malformed, sentence))
}

/// Reads a body that must be a JSON object; a byte order mark before it is skipped.
pub fn object(bytes: &[u8]) -> Result<Map<String, Value>, ApiError> {
    match value(bytes)? {
        Value::Object(map) => Ok(map),
        Value::Null => Err(fields::refuse(Issue::missing_body())),
        other => Err(fields::refuse(Issue::not_an_object(&other))),
    }
}

fn value(bytes: &[u8]) -> Result<Value, ApiError> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let text = std::str::from_utf8(bytes).map_err(|err| {
        let sentence = format!("The body is not valid UTF-8 (byte {}).", err.valid_up_to());
        ApiError::new(Refusal::Malformed, sentence).with_detail("There was an error parsing the body")
    })?;
    serde_json::from_str(text).or_else(|err| match quote_non_finite(text) {
        Cow::Owned(quoted) => serde_json::from_str(&quoted).map_err(|_| syntax_error(text, &err)),
        Cow::Borrowed(_) => Err(syntax_error(text, &err)),
    })
}

fn syntax_error(text: &str, err: &serde_json::Error) -> ApiError {
    let reason = err.to_string();
    if reason.contains("surrogate") || reason.contains("unexpected end of hex escape") {
        return ApiError::invalid(NOT_UNICODE);
    }
    // serde_json counts bytes of a line from 1, Python's offsets are into the whole text.
    let offset = if err.is_eof() {
        text.len()
    } else {
        let before: usize = text.split_inclusive('\n').take(err.line().saturating_sub(1)).map(str::len).sum();
        before + err.column().saturating_sub(1)
    };
    fields::refuse(Issue::json(offset, &reason))
}

/// Python clients can send the bare words NaN and Infinity, which are not JSON. As strings they reach the reader of
/// the field, which refuses them by name.
fn quote_non_finite(text: &str) -> Cow<'_, str> {
    if !text.contains("NaN") && !text.contains("Infinity") {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let (mut rest, mut in_string) = (text, false);
    while let Some(first) = rest.chars().next() {
        let word = ["NaN", "-Infinity", "Infinity"].into_iter().find(|word| !in_string && rest.starts_with(word));
        let taken = match (word, first) {
            (Some(word), _) => {
                out.extend(["\"", word, "\""]);
                rest = &rest[word.len()..];
                continue;
            }
            (None, '\\') => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            (None, '"') => {
                in_string = !in_string;
                1
            }
            (None, other) => other.len_utf8(),
        };
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::object;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = object(&bytes);
        }

        #[test]
        fn no_text_made_of_json_pieces_makes_the_reader_panic(
            pieces in proptest::collection::vec(
                prop::sample::select(vec!["{", "}", "[", "]", "\"", ":", ",", "NaN", "-", "Infinity", "\\", "\\u", "d800", "é", "1e999", "\n", " "]),
                0..24,
            )
        ) {
            let _ = object(pieces.concat().as_bytes());
        }
    }

    #[test]
    fn bare_nan_is_read_outside_strings_only() {
        let map = object(br#"{"a":NaN,"b":"NaN \" NaN","c":[-Infinity]}"#).expect("readable");
        assert_eq!(serde_json::to_string(&map).expect("writable"), r#"{"a":"NaN","b":"NaN \" NaN","c":["-Infinity"]}"#);
    }
}
