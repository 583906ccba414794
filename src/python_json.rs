//! JSON as Python's `json.dumps` spaces it: a blank behind commas and colons.
//!
//! Invariant: what is written differs from serde_json's text in those blanks, and in the escapes of [`NonAscii::Escaped`].
//! Called by `prompt::template`, whose templates were written for Python, and by the server for what stands in a header.

use serde::Serialize;
use serde::ser::Error as _;
use serde_json::ser::{Formatter, Serializer};
use std::io::{self, Write};

/// What becomes of characters that are not ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NonAscii {
    /// They stand as they are: `ensure_ascii=False`.
    Kept,
    /// They and DEL are escaped, in UTF-16: `ensure_ascii=True`.
    Escaped,
}

/// `value` on one line. An error is the value's: one that no JSON can hold.
pub fn to_string(value: &impl Serialize, non_ascii: NonAscii) -> serde_json::Result<String> {
    let mut bytes = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut bytes, Spaced { non_ascii }))?;
    String::from_utf8(bytes).map_err(serde_json::Error::custom)
}

struct Spaced {
    non_ascii: NonAscii,
}

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        if self.non_ascii == NonAscii::Kept {
            return writer.write_all(fragment.as_bytes());
        }
        let mut units = [0; 2];
        for c in fragment.chars() {
            match c {
                ' '..='~' => writer.write_all(&[c as u8])?,
                _ => c.encode_utf16(&mut units).iter().try_for_each(|unit| write!(writer, "\\u{unit:04x}"))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn value() -> Value {
        json!({"a": ["é\u{7f}\n😀", 1], "b": {}, "c": [[], null]})
    }

    #[test]
    fn a_header_is_ascii_whatever_the_name_of_the_request() {
        assert_eq!(
            to_string(&value(), NonAscii::Escaped).expect("writable"),
            r#"{"a": ["\u00e9\u007f\n\ud83d\ude00", 1], "b": {}, "c": [[], null]}"#
        );
    }

    #[test]
    fn a_template_keeps_the_characters_of_its_texts() {
        let expected = "{\"a\": [\"é\u{7f}\\n😀\", 1], \"b\": {}, \"c\": [[], null]}";
        assert_eq!(to_string(&value(), NonAscii::Kept).expect("writable"), expected);
    }

    #[test]
    fn what_is_written_reads_as_what_it_was() {
        for non_ascii in [NonAscii::Kept, NonAscii::Escaped] {
            let text = to_string(&value(), non_ascii).expect("writable");
            assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), value(), "{text}");
        }
    }
}
