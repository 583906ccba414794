//! How much of what a client wrote an answer or a log line repeats.

use std::borrow::Cow;

/// Most characters of what a client wrote that an answer or a log line repeats.
const MOST_SHOWN: usize = 200;

/// The beginning of what a client wrote.
pub fn shown(text: &str) -> Cow<'_, str> {
    beginning(text, MOST_SHOWN)
}

/// At most so many characters of `text`.
pub fn beginning(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        None => text.into(),
        Some((end, _)) => format!("{}…", &text[..end]).into(),
    }
}
