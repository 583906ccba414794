//! How the rows of a command look and what is said of them.
//!
//! Given by the command; asked by who reads the beginning of an input and by who tells of the work.

/// Says whether an object has what makes a row.
pub(crate) type Fits = Box<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// The rows that a command takes.
pub(crate) struct Form {
    /// The least of a row, as JSON.
    pub example: String,
    /// What makes rows of lines that are JSON arrays, in jq's words.
    pub of_arrays: String,
    /// What a table's columns must be, at least.
    pub columns: String,
    /// All that a table's header may name.
    pub header: String,
    /// Knows its rows.
    pub fits: Fits,
    /// What a row is when it is done.
    pub done: &'static str,
    /// What is shortened in it.
    pub texts: &'static str,
    /// What the engine is asked for it.
    pub prompts: &'static str,
}
