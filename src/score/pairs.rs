//! All pairs of an input at once, as texts, for who needs them together.
//!
//! Invariant: nothing is left out; a row that cannot be read is an error, as is an input with more pairs than are asked
//! for. Called by `compare`.

use super::row::{Row, form};
use crate::corpus::{self, Input};
use crate::error::{Error, ErrorKind, Result};
use std::path::Path;

/// A pair, and what its row says of it.
pub(crate) struct Pair {
    /// The line in which the row begins, counted from 1.
    pub line: u64,
    pub query: String,
    pub document: String,
    /// In place of the operator's.
    pub instruction: Option<String>,
}

/// The name of an input, for people, and its pairs: `most` of them at most, and one at least.
pub(crate) struct Pairs {
    pub name: String,
    pub pairs: Vec<Pair>,
}

impl Pairs {
    /// Those of a file, or of standard input.
    pub fn open(path: Option<&Path>, most: usize) -> Result<Self> {
        Self::read(Input::open(path, &form())?, most)
    }

    /// Those of rows that the program carries.
    pub fn of(name: &str, rows: &'static str) -> Result<Self> {
        Self::read(Input::of(name, rows), usize::MAX)
    }

    fn read(input: Input, most: usize) -> Result<Self> {
        let name = input.name.clone();
        let mut pairs = Vec::new();
        corpus::each(input, |line, object| {
            let refuse = |reason| {
                let sentence = format!("Line {line} of {name} cannot be scored. {reason}");
                Error::new(ErrorKind::Options, sentence)
            };
            let object = object.map_err(refuse)?;
            let row = Row::parse(&object).map_err(refuse)?;
            let instruction = row.instruction().map(str::to_owned);
            pairs.extend(row.pairs().map_err(refuse)?.into_iter().map(|(query, document)| Pair {
                line,
                query: query.to_owned(),
                document: document.to_owned(),
                instruction: instruction.clone(),
            }));
            if pairs.len() > most {
                return Err(Error::new(
                    ErrorKind::Options,
                    format!(
                        "{name} has more than {most} pairs, which is the limit here; take a sample of its queries."
                    ),
                ));
            }
            Ok(())
        })?;
        match pairs.is_empty() {
            true => Err(Error::new(ErrorKind::Options, format!("{name} has no pairs of a query and a document."))),
            false => Ok(Self { name, pairs }),
        }
    }
}
