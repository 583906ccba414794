//! Strings that hold half of a surrogate pair, which Python's JSON can say and no Unicode text can hold.
//!
//! Invariant: such a string does no harm in a field that nobody reads, and is refused by its place where a text is wanted.
//! In the tree it is [`HALF`], a number that every reader of a text refuses; a client that sends this number itself is
//! refused in the same words. Called by `body`, which marks, and `fields`, which refuses.

use crate::server::http::error::ApiError;
use serde_json::Value;
use std::borrow::Cow;

/// What Hugging Face's tokenizers say about text that is not Unicode; vLLM passes it on.
const NOT_UNICODE: &str = "TextEncodeInput must be Union[TextInputSequence, Tuple[InputSequence, InputSequence]]: a string \
                           contains half of a surrogate pair, which is not a character.";
/// The mark, no longer than the shortest such string. No reader of whole numbers or of truth values takes it either.
const HALF: &str = "-7e-22";
/// What the parser makes of it: the quotient of two numbers that a float holds exactly, so that all parsers agree.
const HALF_READ: f64 = -7e-22;

/// The refusal of a body with such a string at `place`, as `documents[37]`; empty if it is not known.
pub fn refusal(place: &str) -> ApiError {
    let refused = ApiError::invalid(NOT_UNICODE);
    if place.is_empty() { refused } else { refused.and(&format!("It stands in {place}.")) }
}

/// `json` with a mark in the place of each such string, and with other characters in names. No byte moves.
pub fn marked(json: &str) -> Cow<'_, str> {
    let bytes = json.as_bytes();
    let (mut out, mut from, mut at) = (String::new(), 0, 0);
    while let Some(start) = memchr::memchr(b'"', &bytes[at..]).map(|found| at + found) {
        let mut is_whole = true;
        // One without end is for the parser to find.
        let Some(end) = string(bytes, start, |_| is_whole = false) else { break };
        at = end;
        if is_whole {
            continue;
        }
        out.push_str(&json[from..start]);
        from = start;
        if bytes[end..].trim_ascii_start().first() == Some(&b':') {
            string(bytes, start, |half| {
                out.push_str(&json[from..half]);
                out.push_str("\\ufffd");
                from = half + 6;
            });
            out.push_str(&json[from..end]);
        } else {
            out.push_str(HALF);
            out.extend(std::iter::repeat_n(' ', end - start - HALF.len()));
        }
        from = end;
    }
    match from {
        0 => Cow::Borrowed(json),
        _ => Cow::Owned(out + &json[from..]),
    }
}

/// The end of the string that begins at `start`, its quote included, if it has one; tells where in it halves of pairs are
/// escaped.
fn string(bytes: &[u8], start: usize, mut half: impl FnMut(usize)) -> Option<usize> {
    let mut at = start + 1;
    while let Some(found) = memchr::memchr2(b'"', b'\\', bytes.get(at..).unwrap_or_default()) {
        at += found;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        match (unit(bytes, at), unit(bytes, at + 6)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => at += 12,
            (Some(0xD800..=0xDFFF), _) => {
                half(at);
                at += 6;
            }
            _ => at += 2,
        }
    }
    None
}

/// The code unit of the escape `\uXXXX` at `at`, if there is one.
fn unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|c| c.is_ascii_hexdigit()))?;
    u16::from_str_radix(digits, 16).ok()
}

/// Where in `value` the first mark is, as what follows the name of `value`; empty if it is the mark itself.
pub fn place(value: &Value) -> Option<String> {
    match value {
        Value::Number(number) => (number.as_f64() == Some(HALF_READ)).then(String::new),
        Value::Array(items) => items.iter().enumerate().find_map(|(i, item)| Some(format!("[{i}]{}", place(item)?))),
        Value::Object(fields) => fields.iter().find_map(|(name, field)| Some(format!(".{name}{}", place(field)?))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{marked, place};
    use serde_json::{Value, json};

    #[test]
    fn half_a_pair_is_marked_wherever_it_stands_and_no_byte_moves() {
        for (text, expected) in [
            (r#"{"a":"\ud800"}"#, Some(".a")),
            (r#"{"a":["x","y\uDC00"]}"#, Some(".a[1]")),
            (r#"{"a":{"b":[{"c":"\ud800\ud800"}]}}"#, Some(".a.b[0].c")),
            (r#"{"a":"\ud83d\ude00"}"#, None),
            (r#"{"a":"\\ud800"}"#, None),
            (r#"{"a":"\\\ud800"}"#, Some(".a")),
            (r#"{"a":"\ude00\ud83d"}"#, Some(".a")),
            (r#"{"a":"\ud83d\ude00\ud83d"}"#, Some(".a")),
            (r#"{"\ud800" : "x", "b\ud83d\ude00\udc00": 1}"#, None),
            (r#"{"a":"\ud800\u0041"}"#, Some(".a")),
        ] {
            let marks = marked(text);
            assert_eq!(marks.len(), text.len(), "{text}");
            let value: Value = serde_json::from_str(&marks).unwrap_or_else(|err| panic!("{text}: {err}"));
            assert_eq!(place(&value).as_deref(), expected, "{text}");
        }
        assert_eq!(marked(r#"{"\ud83d\ude00\ud800":1}"#), r#"{"\ud83d\ude00\ufffd":1}"#);
        assert_eq!(place(&json!({"a": -7.1e-22, "b": 0})), None);
    }

    #[test]
    fn what_is_no_json_is_left_to_the_parser() {
        for text in [r#"{"a":"\ud800"#, r#""\ud8"#, r#""\u"#, r#""\"#, "\"", "", r#"{"a":"\ud8zz"}"#] {
            assert_eq!(marked(text), text);
        }
    }
}
