//! The beginning of a text: its byte order marks, and how it is quoted in a sentence.
//!
//! Used by [`super`] and by what knows a file by its first bytes.

/// As an editor of another system puts it before a text.
pub const BYTE_ORDER_MARK: &str = "\u{feff}";

/// A text without the byte order marks that it begins with: more than one where tools have each put theirs.
pub fn without_mark(mut text: &[u8]) -> &[u8] {
    while let Some(rest) = text.strip_prefix(BYTE_ORDER_MARK.as_bytes()) {
        text = rest;
    }
    text
}

/// How a text begins, quoted, for a sentence about what it is not.
pub fn beginning(text: &[u8]) -> String {
    const MOST: usize = 40;
    let line = text.trim_ascii_start();
    let line = &line[..line.iter().position(|byte| b"\r\n".contains(byte)).unwrap_or(line.len())];
    // A character may be cut in two here.
    let shown = String::from_utf8_lossy(&line[..line.len().min(4 * MOST)]);
    let short: String = shown.chars().take(MOST).filter(|c| !c.is_control()).collect();
    let more = if short.len() < line.len() { "..." } else { "" };
    format!("\"{short}{more}\"")
}
