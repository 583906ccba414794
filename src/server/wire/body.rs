//! From the bytes of a request to a JSON object: content type, encoding, syntax.
//!
//! Invariants: any bytes at all give an object or an error, never a panic; what reading them takes is charged before.
//! Called by `route`, `scoring`, `tokenize` and `invocations`.

use super::fields::{self, Issue};
use super::halves;
use crate::server::http::budget::{Loan, Share};
use crate::server::http::error::{ApiError, Refusal};
use crate::server::http::intake::Body;
use actix_web::http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;

/// Copies of a text without what Python's JSON has more than others': one, and another that may be half as large again.
const COPIES: usize = 3;

/// Refuses every content type but `application/json`, parameters aside.
pub fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let value = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let essence = value.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
    if essence.eq_ignore_ascii_case(b"application/json") {
        return Ok(());
    }
    let sentence = "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed";
    Err(ApiError::new(Refusal::Malformed, sentence))
}

/// The fields of a body, charged for as long as they live.
pub struct Object {
    fields: Map<String, Value>,
    loan: Loan,
}

impl Object {
    /// Bytes that it is charged.
    pub fn bytes(&self) -> usize {
        self.loan.bytes()
    }
}

impl Deref for Object {
    type Target = Map<String, Value>;

    fn deref(&self) -> &Self::Target {
        &self.fields
    }
}

/// Reads a body that must be a JSON object, in any encoding of Unicode, whatever its headers say of it.
pub fn read(body: &Body) -> Result<Object, ApiError> {
    let text = text(body)?;
    let loan = body.share.lend(tree_bytes(text.as_bytes()))?;
    let mut fields = object(&text, &body.share)?;
    if let Some(model) = &body.model {
        fields.insert("model".to_owned(), model.as_str().into());
    }
    Ok(Object { fields, loan })
}

/// Reads the bytes of a body as JSON, whatever it holds, for a route that has words of its own for what is none.
pub fn syntax(body: &Body) -> Result<serde_json::Result<()>, ApiError> {
    let _tree = body.share.lend(tree_bytes(body))?;
    Ok(serde_json::from_slice::<Value>(body).map(drop))
}

fn object(text: &str, share: &Arc<Share>) -> Result<Map<String, Value>, ApiError> {
    match value(text, share)? {
        Value::Object(map) => Ok(map),
        Value::Null => Err(fields::refuse(Issue::missing_body())),
        other => Err(fields::refuse(Issue::not_an_object(&other))),
    }
}

fn value(text: &str, share: &Arc<Share>) -> Result<Value, ApiError> {
    if text.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(text).or_else(|err| {
        // Neither of what Python's JSON has more than others', if it is that.
        let _copies = share.lend(COPIES * text.len())?;
        let marked = halves::marked(text);
        match quote_non_finite(&marked) {
            Cow::Owned(quoted) => serde_json::from_str(&quoted).map_err(|_| syntax_error(text, &err)),
            Cow::Borrowed(marked) => serde_json::from_str(marked).map_err(|err| syntax_error(text, &err)),
        }
    })
}

/// The body as text. JSON begins with two ASCII characters, so the zeros among its first bytes tell the encoding (RFC 4627,
/// section 3), as Python's `json.loads` does it; a byte order mark tells it as well, and is skipped.
fn text(bytes: &[u8]) -> Result<Cow<'_, str>, ApiError> {
    match bytes {
        [0xFF, 0xFE, 0, 0, rest @ ..] => utf32(rest, u32::from_le_bytes),
        [0, 0, 0xFE, 0xFF, rest @ ..] => utf32(rest, u32::from_be_bytes),
        [0xFF, 0xFE, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xFE, 0xFF, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0, 0, _, _, ..] => utf32(bytes, u32::from_be_bytes),
        [0, _, _, _, ..] | [0, _] => utf16(bytes, u16::from_be_bytes),
        [_, 0, 0, 0, ..] => utf32(bytes, u32::from_le_bytes),
        [_, 0, _, _, ..] | [_, 0] => utf16(bytes, u16::from_le_bytes),
        _ => {
            let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
            let text = std::str::from_utf8(bytes).map_err(|err| not_text("UTF-8", err.valid_up_to()))?;
            Ok(Cow::Borrowed(text))
        }
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<Cow<'static, str>, ApiError> {
    let (units, rest) = bytes.as_chunks();
    if !rest.is_empty() {
        return Err(not_text("UTF-16", bytes.len() - rest.len()));
    }
    let text: Result<String, _> = char::decode_utf16(units.iter().map(|&bytes| unit(bytes))).collect();
    // The only mistake that is left: half of a surrogate pair.
    text.map(Cow::Owned).map_err(|_| halves::refusal(""))
}

fn utf32(bytes: &[u8], unit: fn([u8; 4]) -> u32) -> Result<Cow<'static, str>, ApiError> {
    let (units, rest) = bytes.as_chunks();
    let text: Option<String> = units.iter().map(|&bytes| char::from_u32(unit(bytes))).collect();
    match text {
        Some(text) if rest.is_empty() => Ok(Cow::Owned(text)),
        _ => {
            let good = units.iter().take_while(|&&bytes| char::from_u32(unit(bytes)).is_some()).count();
            Err(not_text("UTF-32", 4 * good))
        }
    }
}

fn not_text(encoding: &str, at: usize) -> ApiError {
    let sentence = format!("The body is not valid {encoding} (byte {at}).");
    ApiError::new(Refusal::Malformed, sentence).with_detail("There was an error parsing the body")
}

/// Bytes that the tree of this JSON takes at most: a list of one-digit numbers is 36 times as large as its text, lists of
/// lists or of objects with one element a hundred times.
fn tree_bytes(json: &[u8]) -> usize {
    const VALUE: usize = size_of::<Value>();
    const ALLOCATION: usize = 32;
    const QUOTES: usize = 2;
    // Hash, key and value, in a list that has grown by half of what it holds or more, and the place in the table.
    const FIELD: usize = 3 * (size_of::<usize>() + size_of::<String>() + VALUE) / 2 + ALLOCATION;
    // What the first element of a list or of an object reserves.
    const LIST: usize = 4 * VALUE + ALLOCATION;
    const OBJECT: usize = 3 * FIELD;

    let (bytes, mut at, mut total) = (json, 0, json.len());
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        total += match byte {
            b'"' => {
                let length = end_of_string(&bytes[at..]);
                at += length;
                if length > 1 { ALLOCATION } else { 0 }
            }
            b',' => VALUE,
            b':' => FIELD,
            b'[' => LIST,
            b'{' => OBJECT,
            // Of NaN and of Infinity, which become strings.
            b'N' | b'I' => QUOTES + ALLOCATION,
            _ => 0,
        };
    }
    total
}

/// Bytes of a string's rest, its last quote included.
fn end_of_string(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = memchr::memchr2(b'"', b'\\', &bytes[at..]) {
        at += found + 1;
        if bytes[at - 1] == b'"' {
            return at;
        }
        at = (at + 1).min(bytes.len());
    }
    bytes.len()
}

fn syntax_error(text: &str, err: &serde_json::Error) -> ApiError {
    let reason = err.to_string();
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
    use super::*;
    use crate::server::http::budget::Budget;
    use proptest::prelude::*;

    fn object(bytes: &[u8]) -> Result<Map<String, Value>, ApiError> {
        super::object(&text(bytes)?, &Budget::new(1 << 20).share())
    }

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
    fn json_is_read_in_every_encoding_of_unicode_with_a_byte_order_mark_or_without() {
        for text in [r#"{"query":"什么 🦀","n":1}"#, "{}", "[1]", "7", "\"\"", ""] {
            let utf16: Vec<u16> = text.encode_utf16().collect();
            let utf32: Vec<u32> = text.chars().map(u32::from).collect();
            for (mark, bytes) in [
                (&[0xEF, 0xBB, 0xBF][..], text.as_bytes().to_vec()),
                (&[0xFF, 0xFE], utf16.iter().flat_map(|unit| unit.to_le_bytes()).collect()),
                (&[0xFE, 0xFF], utf16.iter().flat_map(|unit| unit.to_be_bytes()).collect()),
                (&[0xFF, 0xFE, 0, 0], utf32.iter().flat_map(|unit| unit.to_le_bytes()).collect()),
                (&[0, 0, 0xFE, 0xFF], utf32.iter().flat_map(|unit| unit.to_be_bytes()).collect()),
            ] {
                assert_eq!(super::text(&[mark, &bytes].concat()).expect("text"), text, "{mark:?} {text}");
                // As in Python, one character of UTF-32 is not recognised.
                if text.len() > 1 {
                    assert_eq!(super::text(&bytes).expect("text"), text, "without {mark:?} {text}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_text_is_refused_in_a_sentence_that_names_the_encoding() {
        for (bytes, said) in [
            (&b"{\"a\":\"\xFF\"}"[..], "not valid UTF-8 (byte 6)"),
            (b"{\0}\0\0", "not valid UTF-16 (byte 4)"),
            (b"\xFF\xFE\"\0\x00\xD8\"\0", "surrogate"),
            (b"{\0\0\0}\0\0", "not valid UTF-32 (byte 4)"),
            (b"{\0\0\0\x00\xD8\0\0", "not valid UTF-32 (byte 4)"),
        ] {
            let refused = object(bytes).expect_err("no text");
            assert!(refused.message().contains(said), "{}", refused.message());
        }
    }

    #[test]
    fn what_a_tree_takes_is_known_before_it_is_made() {
        let of = |item: &str, count: usize| tree_bytes(format!("[{}]", vec![item; count].join(",")).as_bytes());
        for (item, least) in [
            ("0", size_of::<Value>()),
            ("[0]", 5 * size_of::<Value>()),
            (r#"{"":0}"#, 5 * size_of::<Value>()),
            (r#""a""#, size_of::<Value>() + 16),
            ("NaN", size_of::<Value>() + 16),
            ("-Infinity", size_of::<Value>() + 16),
            (r#"["\\",0]"#, 5 * size_of::<Value>()),
        ] {
            let (few, more) = (of(item, 1000), of(item, 3000));
            assert!(more - few >= 2000 * least, "{} bytes for {item}", (more - few) / 2000);
        }
        let text = r#"[0,{\"a\":[1,2,3]}]"#.repeat(1000);
        let json = format!(r#"{{"a":"{text}"}}"#);
        assert!(tree_bytes(json.as_bytes()) < json.len() + 1500, "what stands in strings is text");
        assert!(tree_bytes(b"\"") + tree_bytes(b"\"\\") < 100, "a string without end ends");
    }

    #[test]
    fn bare_nan_is_read_outside_strings_only() {
        let map = object(br#"{"a":NaN,"b":"NaN \" NaN","c":[-Infinity]}"#).expect("readable");
        assert_eq!(serde_json::to_string(&map).expect("writable"), r#"{"a":"NaN","b":"NaN \" NaN","c":["-Infinity"]}"#);
    }
}
