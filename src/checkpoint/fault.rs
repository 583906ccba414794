//! Errors about what a checkpoint's files hold: sentences that name the file and show what was found in it.
//!
//! Invariant: an error is one line, whatever a file holds. Called by all that reads a checkpoint.

use crate::error::{Error, ErrorKind};
use std::fmt;
use std::path::Path;

/// Text of a file as part of a sentence: one line, not too long.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 120;
    let mut short: String = text.chars().take(MOST).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    short.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// An error about a file or directory; `what` goes on after its name.
pub(super) fn fail(path: &Path, what: impl fmt::Display) -> Error {
    let sentence = format!("{} {what}.", path.display()).replace(['\n', '\r'], " ");
    Error::new(ErrorKind::Checkpoint, sentence)
}
