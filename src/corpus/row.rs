//! A row in the words of every command: the object that a line of the input is, what the engine is asked for it, and the
//! line that sets it aside.
//!
//! Invariant: an `id` is carried through as it was written, digit for digit. Read by the commands, for
//! [`super::source`]; set aside by [`super::output`].

use crate::prompt::Encoded;
use serde::de::DeserializeSeed;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use std::sync::Arc;

/// What a row asks for: its prompts, and what its answer will need.
pub(crate) struct Asked {
    pub encoded: Encoded,
    pub id: Option<Box<RawValue>>,
    /// Whether it has a list of texts.
    pub many: bool,
}

/// How a command finds that out; an error is the reason why a row is rejected.
pub(crate) type Ask = Arc<dyn Fn(&[u8]) -> Result<Asked, String> + Send + Sync>;

/// The text of a row.
pub(crate) fn utf8(row: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(row).map_err(|err| format!("It is not valid UTF-8 (byte {}).", err.valid_up_to() + 1))
}

/// What an object says; an error is the reason why it is rejected.
pub(crate) fn parse<'a, S: DeserializeSeed<'a>>(line: &'a [u8], row: S) -> Result<S::Value, String> {
    let text = utf8(line)?;
    if !text.trim_start().starts_with('{') {
        return Err("It is not a JSON object.".to_owned());
    }
    let mut json = serde_json::Deserializer::from_str(text);
    row.deserialize(&mut json).and_then(|row| json.end().map(|()| row)).map_err(|err| {
        // "Line 1" would be read as one of the file.
        let (place, sentence) = (format!(" at line {} column {}", err.line(), err.column()), err.to_string());
        match sentence.strip_suffix(&place) {
            Some(what) if err.is_data() => format!("It is not a row: {what} (byte {}).", err.column()),
            Some(what) => format!("It is not JSON: {what} (byte {}).", err.column()),
            None => format!("It is not JSON: {sentence}."),
        }
    })
}

/// The id of a row, of which `null` is one as any other.
pub(crate) fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// A row that cannot be answered, as it is set aside.
#[derive(Serialize)]
pub(super) struct RejectedRow<'a> {
    pub line: u64,
    pub reason: &'a str,
    /// As it stands in the input; what is not UTF-8 in it is replaced.
    pub row: &'a str,
}
