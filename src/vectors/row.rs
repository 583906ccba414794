//! A row of a text: what a line of the input says, or the object of a table's record, and the line that answers it.
//!
//! Invariant: fields that are not known are passed over. Called by [`super`].

use crate::corpus::{Asked, Form, Text, parse};
use crate::prompt::{Encoded, TextEncoder, TextOptions};
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserializer, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use std::fmt;

/// The fields that a text may stand in, unless one is named.
const FIELDS: [&str; 3] = ["text", "input", "inputs"];

/// The prompt that a line asks for, its text behind `prompt`; an error is the reason why it is rejected.
pub(super) fn ask(
    line: &[u8],
    field: Option<&str>,
    encoder: &TextEncoder,
    prompt: &str,
    options: &TextOptions,
) -> Result<Asked, String> {
    let Row { text, id } = parse(line, Field(field))?;
    let prompt = encoder.behind(prompt, options).and_then(|mut behind| behind.prompt(&text));
    let mut encoded = Encoded::default();
    encoded.push(prompt.map_err(|err| err.to_string())?);
    Ok(Asked { encoded, id: id.map(ToOwned::to_owned), many: false })
}

/// What rows are, and are called.
pub(super) fn form(field: Option<&str>) -> Form {
    let name = field.unwrap_or(FIELDS[0]);
    let own = field.map(str::to_owned);
    Form {
        example: format!("{{{}: \"...\"}}", json!(name)),
        of_arrays: format!("{{{}: .[0]}}", json!(name)),
        columns: name.to_owned(),
        header: format!("{name}, once, and perhaps id"),
        fits: Box::new(move |row| parse(row, Field(own.as_deref())).is_ok()),
        done: "embedded",
        texts: "texts",
        prompts: "texts",
    }
}

/// What a line says.
struct Row<'a> {
    text: String,
    id: Option<&'a RawValue>,
}

/// Reads a row whose text stands in this field, or in one of [`FIELDS`].
struct Field<'f>(Option<&'f str>);

impl<'de> DeserializeSeed<'de> for Field<'_> {
    type Value = Row<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Row<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Field<'_> {
    type Value = Row<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Row<'de>, M::Error> {
        let (mut text, mut id) = (None, None);
        let holds_text = |key: &str| self.0.map_or_else(|| FIELDS.contains(&key), |field| field == key);
        while let Some(key) = map.next_key::<String>()? {
            if holds_text(&key) {
                let Text(its) = map.next_value()?;
                if text.replace(its).is_some() {
                    return Err(M::Error::custom(format!("duplicate field `{key}`")));
                }
            } else if key == "id" {
                if id.replace(map.next_value()?).is_some() {
                    return Err(M::Error::duplicate_field("id"));
                }
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        match text {
            Some(text) => Ok(Row { text, id }),
            None => Err(M::Error::custom(format!("missing field `{}`", self.0.unwrap_or(FIELDS[0])))),
        }
    }
}

/// The line that answers a row.
#[derive(Serialize)]
pub(super) struct EmbeddedRow<'a> {
    /// Of the input, counted from 1, in which the row begins.
    pub line: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a RawValue>,
    /// As few digits as give the same float32 again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding: Option<&'a [f32]>,
    /// 1 if the text was shortened to fit.
    #[serde(skip_serializing_if = "is_zero")]
    pub truncated: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}
