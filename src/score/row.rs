//! A row: what a line of the input says, or the object of a table's record, and the line that answers it.
//!
//! Invariant: fields that are not known are passed over. Called by [`super`] and [`super::pairs`].

use crate::corpus::{Asked, Form, Texts, id, parse};
use crate::prompt::{Encoded, PromptEncoder, PromptOptions};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::marker::PhantomData;

/// What a line says.
#[derive(Deserialize)]
pub(super) struct Row<'a> {
    #[serde(alias = "queries", alias = "text_1", alias = "data_1")]
    query: Texts,
    document: Option<Texts>,
    #[serde(alias = "texts", alias = "items", alias = "text_2", alias = "data_2")]
    documents: Option<Texts>,
    #[serde(alias = "instruct")]
    instruction: Option<String>,
    #[serde(borrow, default, deserialize_with = "id")]
    id: Option<&'a RawValue>,
}

/// What rows are, and are called.
pub(super) fn form() -> Form {
    Form {
        example: "{\"query\": \"...\", \"document\": \"...\"}".to_owned(),
        of_arrays: "{query: .[0], document: .[1]}".to_owned(),
        columns: "query and document".to_owned(),
        header: "query and document (or text_1 and text_2), each once, and perhaps id and instruction".to_owned(),
        fits: Box::new(|row| Row::parse(row).is_ok_and(|row| row.documents().is_ok())),
        done: "scored",
        texts: "documents",
        prompts: "pairs",
    }
}

/// The prompts that a line asks for; an error is the reason why it is rejected.
pub(super) fn ask(line: &[u8], encoder: &PromptEncoder, options: &PromptOptions) -> Result<Asked, String> {
    let row = Row::parse(line)?;
    let options = match row.instruction() {
        Some(instruction) => &options.clone().instructed(instruction),
        None => options,
    };
    let (pairs, many) = (row.pairs()?, row.query.many || row.documents()?.many);
    let mut encoded = Encoded::default();
    for same_query in pairs.chunk_by(|(a, _), (b, _)| a == b) {
        let mut made = encoder.for_query(same_query[0].0, options).map_err(|err| err.to_string())?;
        for (_, document) in same_query {
            let prompt = made.prompt(document).map_err(|err| match many {
                // Which of them it was, since the row may be long.
                true => format!("documents[{}]: {err}", encoded.prompts.len()),
                false => err.to_string(),
            })?;
            encoded.push(prompt);
        }
    }
    Ok(Asked { encoded, id: row.id.map(ToOwned::to_owned), many })
}

impl<'a> Row<'a> {
    pub fn parse(line: &'a [u8]) -> Result<Self, String> {
        parse(line, PhantomData)
    }

    /// Its queries and documents, each with its own.
    pub fn pairs(&self) -> Result<Vec<(&str, &str)>, String> {
        let (queries, documents) = (&self.query.texts, &self.documents()?.texts);
        let documents = documents.iter().map(String::as_str);
        match (queries.len(), documents.len()) {
            (1, _) => Ok(documents.map(|document| (queries[0].as_str(), document)).collect()),
            (n, m) if n == m => Ok(queries.iter().map(String::as_str).zip(documents).collect()),
            (n, m) => Err(format!("It has {n} queries and {m} documents; as many of both pair, or one query.")),
        }
    }

    /// The instruction that it brings.
    pub fn instruction(&self) -> Option<&str> {
        self.instruction.as_deref().filter(|text| !text.is_empty())
    }

    fn documents(&self) -> Result<&Texts, String> {
        match (&self.document, &self.documents) {
            (Some(documents), None) | (None, Some(documents)) => Ok(documents),
            (Some(_), Some(_)) => Err("It has both `document` and `documents`.".to_owned()),
            (None, None) => Err("It has neither `document` nor `documents`.".to_owned()),
        }
    }
}

/// The line that answers a row; scores as the server writes them.
#[derive(Serialize)]
pub(super) struct ScoredRow<'a> {
    /// Of the input, counted from 1, in which the row begins.
    pub line: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scores: Option<Vec<f64>>,
    /// Documents that were shortened to fit.
    #[serde(skip_serializing_if = "is_zero")]
    pub truncated: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::Row;

    #[test]
    fn what_is_no_row_is_told_with_its_place() {
        for (line, expected) in [
            (&b"{\"query\": \"q\", \"document\": \"d\""[..], "It is not JSON: EOF while parsing an object"),
            (b"[\"q\", \"d\", null, null, null]", "It is not a JSON object."),
            (b"{\"document\": \"d\"}", "It is not a row: missing field `query` (byte 17)."),
            (
                b"{\"query\": 5, \"document\": \"d\"}",
                "It is not a row: invalid type: integer `5`, expected a string or a list of strings (byte 11).",
            ),
            (b"{\"query\": \"q\", \"query\": \"q\"}", "It is not a row: duplicate field `query` (byte 22)."),
            (b"{\"query\": \"\\ud800\"}", "It is not JSON: unexpected end of hex escape"),
            (b"{\"query\": \"a\0b\"}", ""),
            (b"{\"query\": \"\xff\"}", "It is not valid UTF-8 (byte 12)."),
        ] {
            let said = Row::parse(line).map(|_| ()).expect_err("no row");
            assert!(said.starts_with(expected), "{said}");
            assert!(!said.contains("line 1"), "{said}");
        }
    }

    #[test]
    fn an_id_keeps_its_digits_and_null_is_one() {
        for id in ["12345678901234567890123", "1.50", "null", "{\"a\": [1,  2]}", "\"\\u00e4\""] {
            let line = format!("{{\"id\": {id}, \"query\": \"\", \"other\": 1}}");
            let row = Row::parse(line.as_bytes()).unwrap_or_else(|why| panic!("{why}"));
            assert_eq!(row.id.map(|id| id.get()), Some(id));
        }
        assert!(Row::parse(b"{\"query\": \"\"}").is_ok_and(|row| row.id.is_none()));
    }
}
