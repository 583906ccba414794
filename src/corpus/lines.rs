//! An input row by row: a line is one, or the lines that the quotes of a [`Table`] hold together.
//!
//! Invariants: lines are counted from 1 as `wc` counts them, whatever stands in them; at most one row is in memory, and
//! no more of it than [`MAX_ROW_BYTES`]: what is longer, as behind a quote that is never closed, ends with its line, and
//! the next begins another row. Read by [`super::source`].

use super::table::Table;
use crate::file;
use crate::options::DEFAULT_MAX_BODY_BYTES;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::io::{self, BufRead, Read};
use xxhash_rust::xxh3::Xxh3Default;

/// Longest row, as the server limits a request.
pub(super) const MAX_ROW_BYTES: usize = DEFAULT_MAX_BODY_BYTES;
/// What is kept of a row that is longer.
const KEPT_BYTES: usize = 1000;

/// The beginning of an input: how many lines, and their hash, every one ending in a newline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// Lines.
    pub lines: u64,
    /// XXH3 of 128 bits, in hexadecimal.
    pub xxh3: String,
}

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A row.
    Whole,
    /// The beginning of one that is too long.
    Cut,
    /// An empty line, or the header of a table.
    NoRow,
}

/// An input and what was read of it.
pub(super) struct Lines {
    input: Box<dyn BufRead + Send>,
    table: Option<Table>,
    /// Whether the header of the table is still to come.
    headed: bool,
    hash: Xxh3Default,
    /// Lines that were read.
    pub number: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// What was read as a row, whatever its kind.
    pub rows: u64,
    /// The line in which the last of them began.
    pub first: u64,
    /// Its text, without the newline at its end.
    pub text: Vec<u8>,
}

impl Lines {
    pub fn new(input: Box<dyn BufRead + Send>, table: Option<Table>) -> Self {
        let headed = table.is_some();
        let (hash, text) = (Xxh3Default::new(), Vec::new());
        Self { input, table, headed, hash, number: 0, bytes: 0, rows: 0, first: 0, text }
    }

    /// All that was read.
    pub fn mark(&self) -> Mark {
        Mark { lines: self.number, xxh3: format!("{:032x}", self.hash.digest128()) }
    }

    /// Reads what comes next, `None` at the end.
    pub fn next(&mut self) -> io::Result<Option<Kind>> {
        self.text.clear();
        let Some(mut whole) = self.append_line()? else { return Ok(None) };
        (self.rows, self.first) = (self.rows + 1, self.number);
        let blank = match &self.table {
            None => self.text.trim_ascii().is_empty(),
            // Tabs are empty fields.
            Some(_) => self.text.iter().all(|byte| b" \r".contains(byte)),
        };
        if blank {
            return Ok(Some(Kind::NoRow));
        }
        if let Some(table) = &mut self.table {
            table.begin_record();
        }
        let mut seen = 0;
        while whole && self.table.as_mut().is_some_and(|table| table.is_open_after(&self.text[seen..])) {
            self.text.push(b'\n');
            seen = self.text.len();
            let Some(all) = self.append_line()? else {
                self.text.pop();
                break;
            };
            whole = all;
        }
        Ok(Some(match (std::mem::take(&mut self.headed), whole) {
            (true, _) => Kind::NoRow,
            (false, true) => Kind::Whole,
            (false, false) => Kind::Cut,
        }))
    }

    /// The JSON object of a row that was read, whose text and kind these are; an error is the reason why it is rejected.
    pub fn object<'t>(&mut self, text: &'t [u8], kind: Kind) -> Result<Cow<'t, [u8]>, String> {
        match (kind, &mut self.table) {
            (Kind::Cut, None) => Err(format!("It is longer than {MAX_ROW_BYTES} bytes.")),
            (Kind::Cut, Some(_)) => {
                Err(format!("It is longer than {MAX_ROW_BYTES} bytes, as behind a quote without an end."))
            }
            (_, None) => Ok(Cow::Borrowed(text)),
            (_, Some(table)) => table.row(text).map(Cow::Owned),
        }
    }

    /// Reads a line behind the text; the answer is whether all of that is there, `None` at the end.
    fn append_line(&mut self) -> io::Result<Option<bool>> {
        let begin = self.text.len();
        let limit = MAX_ROW_BYTES.saturating_sub(begin) as u64 + 1;
        let read = self.input.by_ref().take(limit).read_until(b'\n', &mut self.text)?;
        if read == 0 {
            return Ok(None);
        }
        let ended = self.text.pop_if(|last| *last == b'\n').is_some();
        self.hash.update(&self.text[begin..]);
        self.bytes += read as u64;
        let whole = self.text.len() <= MAX_ROW_BYTES;
        if begin == 0 {
            // Files that were put together may have a mark before any row; within one it is text.
            let marks = self.text.len() - file::without_mark(&self.text).len();
            self.text.drain(..marks);
        }
        if !whole {
            self.text.truncate(KEPT_BYTES);
            if !ended {
                self.pass_the_rest()?;
            }
        }
        // The last line is the same with a newline and without one.
        self.hash.update(b"\n");
        self.number += 1;
        Ok(Some(whole))
    }

    /// Reads to the end of a line that is too long.
    fn pass_the_rest(&mut self) -> io::Result<()> {
        loop {
            let buffer = self.input.fill_buf()?;
            let end = buffer.iter().position(|&byte| byte == b'\n');
            let length = end.unwrap_or(buffer.len());
            self.hash.update(&buffer[..length]);
            let taken = length + usize::from(end.is_some());
            self.input.consume(taken);
            self.bytes += taken as u64;
            if end.is_some() || taken == 0 {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::tests::pairs;

    const BUFFER_BYTES: usize = 1 << 18;

    /// Every text, its kind, the line in which it began, and all up to its end.
    fn read(bytes: impl AsRef<[u8]> + Clone + Send + 'static) -> Vec<(Vec<u8>, Kind, u64, Mark)> {
        let table = Table::begin(&bytes.as_ref()[..bytes.as_ref().len().min(100)], &pairs()).and_then(Result::ok);
        let input = Box::new(io::BufReader::with_capacity(BUFFER_BYTES, io::Cursor::new(bytes)));
        let mut lines = Lines::new(input, table);
        std::iter::from_fn(|| {
            let kind = lines.next().expect("bytes can be read")?;
            Some((lines.text.clone(), kind, lines.first, lines.mark()))
        })
        .collect()
    }

    #[test]
    fn the_last_line_is_the_same_with_a_newline_and_without() {
        let texts: Vec<Vec<u8>> = read("\u{feff}a\n\n\u{feff}b\r\n c").into_iter().map(|(text, ..)| text).collect();
        assert_eq!(texts, [&b"a"[..], b"", b"b\r", b" c"]);
        assert_eq!(read("a\nb"), read("a\nb\n"));
        assert_ne!(read("a\nb").last(), read("a\n\nb").last());
        assert!(read("").is_empty());
        let table = "query,document\nq,\"d\n\"";
        assert_eq!(read(table), read(table.to_owned() + "\n"));
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over_but_counted_and_hashed() {
        for header in ["", "query,document\n"] {
            let long = |last: u8| {
                let mut bytes = header.as_bytes().to_vec();
                bytes.resize(bytes.len() + MAX_ROW_BYTES + 2 * BUFFER_BYTES, b'x');
                bytes.push(last);
                bytes.extend(b"\nnext\n");
                read(bytes).split_off(header.lines().count())
            };
            let rows = long(b'y');
            let before = header.lines().count() as u64;
            assert_eq!(
                (rows[0].0.as_slice(), rows[0].1, rows[0].3.lines),
                (&[b'x'; KEPT_BYTES][..], Kind::Cut, before + 1)
            );
            assert_eq!((rows[1].0.as_slice(), rows[1].1, rows[1].3.lines), (&b"next"[..], Kind::Whole, before + 2));
            assert_ne!(rows[0].3, long(b'z')[0].3, "all of it counts");
            let mut fits = header.as_bytes().to_vec();
            fits.resize(fits.len() + MAX_ROW_BYTES, b'x');
            fits.push(b'\n');
            assert_eq!(read(fits)[before as usize].1, Kind::Whole);
        }
    }

    #[test]
    fn a_row_of_a_table_is_what_its_quotes_hold_together_and_marks_stand_at_its_end() {
        let text =
            "\nquery,\"document\n\"\n\u{feff}q,d\r\n\n \r\nq,\"a\n\n\u{feff}\"\"b\"\"\r\n\"\nq,\"no end\n\nq,d\n";
        let rows: Vec<(String, Kind, u64, u64)> = read(text)
            .into_iter()
            .map(|(text, kind, first, mark)| (String::from_utf8(text).expect("a text"), kind, first, mark.lines))
            .collect();
        let expected = [
            ("", Kind::NoRow, 1, 1),
            ("query,\"document\n\"", Kind::NoRow, 2, 3),
            ("q,d\r", Kind::Whole, 4, 4),
            ("", Kind::NoRow, 5, 5),
            (" \r", Kind::NoRow, 6, 6),
            ("q,\"a\n\n\u{feff}\"\"b\"\"\r\n\"", Kind::Whole, 7, 10),
            ("q,\"no end\n\nq,d", Kind::Whole, 11, 13),
        ];
        let expected = expected.map(|(text, kind, first, last)| (text.to_owned(), kind, first, last));
        assert_eq!(rows, expected);
    }

    #[test]
    fn a_quote_that_is_never_closed_takes_no_more_than_the_longest_row() {
        let line = "words of a text\n";
        let count = MAX_ROW_BYTES / line.len() + 10;
        let rows = read("query,document\nq,\"".to_owned() + &line.repeat(count));
        let (text, kind, first, mark) = &rows[1];
        assert_eq!((text.len(), *kind, *first), (KEPT_BYTES, Kind::Cut, 2));
        // The line in which it became too long is its last.
        let lines = mark.lines - 1;
        assert!((lines - 1) * line.len() as u64 <= MAX_ROW_BYTES as u64 && lines < count as u64, "{lines}");
        assert_eq!(
            (rows[2].0.as_slice(), rows[2].1, rows[2].2),
            (line.trim_end().as_bytes(), Kind::Whole, mark.lines + 1)
        );
        assert_eq!(rows.last().expect("rows").3.lines, count as u64 + 1);
    }
}
