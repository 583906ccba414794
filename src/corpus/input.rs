//! The input of a command, opened: a file, a pipe or standard input, compressed with gzip or not.
//!
//! Invariant: what holds neither rows as JSON objects, one a line, nor a table of them is known by its beginning and
//! refused in one sentence before a model is loaded; a file with some bad lines is not, for those are set aside. Called
//! by [`super`].

use super::form::Form;
use super::table::Table;
use crate::error::{Error, ErrorKind, Result};
use crate::file::{self, Fault};
use flate2::bufread::MultiGzDecoder;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

const BUFFER_BYTES: usize = 1 << 18;
/// So much of the beginning is looked at, unless less shows what it is: whoever writes to a pipe may wait for an answer.
const FIRST_BYTES: usize = 1 << 14;
/// No row is shorter, and no signature of a file is longer.
const LEAST_BYTES: usize = 16;
const GZIP: &[u8] = b"\x1f\x8b";
const PARQUET: &[u8] = b"PAR1";

/// An input that may be read.
pub(crate) struct Input {
    pub(super) reader: Box<dyn BufRead + Send>,
    /// `None` if its rows are JSON.
    pub(super) table: Option<Table>,
    /// For people.
    pub name: String,
    /// Its size, if it is known.
    pub(super) bytes: Option<u64>,
}

impl Input {
    /// Rows that the program carries.
    pub fn of(name: &str, rows: &'static str) -> Self {
        Self { reader: Box::new(Cursor::new(rows)), table: None, name: name.to_owned(), bytes: None }
    }

    /// Opens a file, or standard input.
    pub fn open(path: Option<&Path>, form: &Form) -> Result<Self> {
        let Some(path) = path else {
            return known("Standard input".to_owned(), Box::new(io::stdin()), None, form);
        };
        let name = path.display().to_string();
        let refuse = |what: String| Error::new(ErrorKind::Machine, format!("{name} {what}."));
        let open = || {
            let file = File::open(path)?;
            let facts = file.metadata()?;
            Ok((file, facts))
        };
        let (file, facts) = open().map_err(|err| refuse(Fault::of(path, &err).to_string()))?;
        if facts.is_dir() {
            return Err(refuse("is a directory, expected a file".to_owned()));
        }
        known(name, Box::new(file), facts.is_file().then_some(facts.len()), form)
    }
}

/// The rows of `input`, if its beginning is that of rows.
fn known(name: String, input: Box<dyn Read + Send>, bytes: Option<u64>, form: &Form) -> Result<Input> {
    let failed = |err| Error::new(ErrorKind::Machine, format!("Cannot read {name}: {err}."));
    let (mut first, mut reader) = peeked(input, form).map_err(failed)?;
    let mut bytes = bytes;
    if first.starts_with(GZIP) {
        // How much of it is done cannot be told from its unpacked rows.
        bytes = None;
        (first, reader) = peeked(Box::new(Unpacked(MultiGzDecoder::new(reader))), form).map_err(failed)?;
    }
    match table_of(first, form) {
        Ok(table) => Ok(Input { reader, table, name, bytes }),
        Err(what) => Err(Error::new(
            ErrorKind::Options,
            format!(
                "{name} {what}. Rows are JSON objects, one a line, as in {}, or records of CSV (with , or ;) or TSV below a \
                 header.",
                form.example
            ),
        )),
    }
}

/// What gzip has packed; what is wrong with it is said so that it can be mended.
struct Unpacked<R>(MultiGzDecoder<R>);

impl<R: BufRead> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        self.0.read(buffer).map_err(|err| match err.kind() {
            UnexpectedEof | InvalidInput | InvalidData => {
                let why = "its gzip data is damaged, cut, or followed by something else";
                io::Error::new(err.kind(), format!("{why} ({err})"))
            }
            _ => err,
        })
    }
}

/// The beginning of `input`, and all of it.
fn peeked(mut input: Box<dyn Read + Send>, form: &Form) -> io::Result<(Vec<u8>, Box<dyn BufRead + Send>)> {
    let mut first = Vec::new();
    loop {
        let mut block = [0; FIRST_BYTES];
        let room = FIRST_BYTES - first.len();
        let read = match input.read(&mut block[..room]) {
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        first.extend(&block[..read]);
        // The first line shows it if it is a row's.
        let line = file::without_mark(&first).trim_ascii_start();
        if read == 0
            || first.len() >= FIRST_BYTES
            || (first.len() >= LEAST_BYTES
                && (first.starts_with(GZIP) || (line.starts_with(b"{") && line.contains(&b'\n'))))
            || matches!(Table::begin(&first, form), Some(Ok(_)))
        {
            break;
        }
    }
    let all = Cursor::new(first.clone()).chain(input);
    Ok((first, Box::new(BufReader::with_capacity(BUFFER_BYTES, all))))
}

/// The table that an input holds that begins so, `None` if its rows are JSON; an error is what it is without rows.
fn table_of(mut first: Vec<u8>, form: &Form) -> std::result::Result<Option<Table>, String> {
    if let Some(what) = file::unlike(&first) {
        return Err(match first.starts_with(PARQUET) {
            true => format!(
                "{what}: `python3 -c 'import pandas; pandas.read_parquet(\"IN\").to_json(\"OUT\", orient=\"records\", \
                 lines=True)'` makes rows of one with the columns {}",
                form.columns
            ),
            false => what,
        });
    }
    if first.len() < FIRST_BYTES {
        // The last line is the same with a newline and without one.
        first.push(b'\n');
    }
    let why_no_table = match Table::begin(&first, form) {
        Some(Ok(table)) => return Ok(Some(table)),
        Some(Err(why)) => Some(why),
        None => None,
    };
    unlike_json(&first, form).map_or(Ok(None), |what| Err(why_no_table.unwrap_or(what)))
}

/// What an input is that begins so, if it has no rows of JSON.
fn unlike_json(first: &[u8], form: &Form) -> Option<String> {
    let text = file::without_mark(first);
    let mut lines = text.split(|byte| *byte == b'\n').map(|line| file::without_mark(line).trim_ascii());
    let line = lines.by_ref().find(|line| !line.is_empty())?;
    if line.starts_with(b"[\"") && line.ends_with(b"]") {
        return Some(format!("has JSON arrays: `jq -c '{}'` makes rows of them", form.of_arrays));
    }
    if line.starts_with(b"[") {
        return Some("is a JSON array: `jq -c '.[]'` makes lines of its rows".to_owned());
    }
    if line.starts_with(b"{") {
        // No whole row ends so, and one that was cut there would be followed by another.
        let open = text.len() > line.len() && line.ends_with(b"{") | line.ends_with(b"[") | line.ends_with(b",");
        let next = lines.find(|line| !line.is_empty());
        return (open && next.is_some_and(|line| !line.starts_with(b"{")))
            .then(|| "has JSON over several lines: `jq -c .` makes one line of each row".to_owned());
    }
    if lines.any(|line| line.starts_with(b"{")) {
        return None;
    }
    Some(format!("holds no rows, for it begins with {}", file::beginning(line)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::tests::pairs;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn opened(bytes: &[u8]) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        known("pairs".to_owned(), Box::new(Cursor::new(bytes.to_vec())), None, &pairs())?
            .reader
            .read_to_end(&mut all)
            .expect("it can be read");
        Ok(all)
    }

    #[test]
    fn what_holds_no_rows_is_refused_by_its_beginning() {
        let long = format!("[{}", "{\"query\": \"q\", \"document\": \"d\"}, ".repeat(1000));
        for (bytes, words) in [
            (&b"PAR1\x15\x04\x15\x10"[..], "is a Parquet file"),
            (b"PAR1\x15\x04\x15\x10", "pandas.read_parquet(\"IN\")"),
            (b"[\"q\", \"d\"]\n[\"q\", \"d\"]\n", "`jq -c '{query: .[0], document: .[1]}'` makes rows of them"),
            (b"[\"q\",\n\"d\"]\n", "`jq -c '.[]'`"),
            (b"PK\x03\x04\x14\0\x08\0", "is a zip archive"),
            (b"\x28\xb5\x2f\xfd\x04", "is compressed with zstd"),
            (b"\xff\xfe{\0\"\0q\0", "is UTF-16 text"),
            (b"{\0\"\0q\0\"\0", "is UTF-16 text"),
            (b"<!DOCTYPE html>", "is an HTML page"),
            (b"\xef\xbb\xbf[\n{\"query\": \"q\", \"document\": \"d\"}\n]", "`jq -c '.[]'`"),
            (long.as_bytes(), "`jq -c '.[]'`"),
            (b"{\n  \"query\": \"q\",\n  \"document\": \"d\"\n}\n", "`jq -c .`"),
            (b"{\"query\": \"q\",\r\n \"document\": \"d\"}\r\n", "`jq -c .`"),
            (
                b"\nquery,passage\nq,d\n",
                "CSV, but its header names \"query\", \"passage\", expected query and document",
            ),
            (b"q\td", "TSV, but its header names \"q\", \"d\", expected"),
            (b"just a text\nof two lines", "holds no rows, for it begins with \"just a text\""),
        ] {
            let mut packed = GzEncoder::new(Vec::new(), Compression::default());
            packed.write_all(bytes).expect("written");
            for bytes in [bytes, &packed.finish().expect("packed")] {
                let err = opened(bytes).expect_err("no rows");
                assert_eq!(err.kind(), ErrorKind::Options);
                let said = err.to_string();
                assert!(said.contains(words) && said.ends_with('.') && !said.contains('\n'), "{words}: {said}");
            }
        }
    }

    #[test]
    fn gzip_that_ends_too_soon_or_goes_on_with_something_else_says_so() {
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        // More than is looked at before the first row.
        let rows: String =
            (0..3000).map(|i| format!("{{\"query\": \"{i}\", \"document\": \"{}\"}}\n", i * i)).collect();
        packed.write_all(rows.as_bytes()).expect("written");
        let packed = packed.finish().expect("packed");
        let mut damaged = packed.clone();
        damaged[packed.len() / 2] ^= 0xff;
        for spoiled in [packed[..packed.len() - 9].to_vec(), damaged, [&packed[..], b"the end"].concat()] {
            let input = known("pairs".to_owned(), Box::new(Cursor::new(spoiled)), None, &pairs());
            let read =
                input.map(|mut input| input.reader.read_to_end(&mut Vec::new()).expect_err("spoiled").to_string());
            let said = read.unwrap_or_else(|err| err.to_string());
            assert!(said.contains("its gzip data is damaged, cut, or followed by something else"), "{said}");
        }
    }

    #[test]
    fn what_may_hold_rows_is_read_as_it_is() {
        for text in [
            "",
            "\n\n",
            "{\"query\": \"q\", \"document\": \"d\"}",
            "{\"query\": \"a row without an end,\n{\"query\": \"q\", \"document\": \"d\"}\n",
            "no JSON\n{\"query\": \"q\", \"document\": \"d\"}\n",
            "\u{feff}{\"query\": \"q\", \"document\": \"<html>\"}\r\n",
            "query,document",
            "\u{feff}\"Query\"\tdocument\r\n{\td\r\n",
        ] {
            assert_eq!(opened(text.as_bytes()).expect("rows"), text.as_bytes());
            // Two parts, as `cat` joins them.
            let mut parts = Vec::new();
            for part in [text, "\n"] {
                let mut packed = GzEncoder::new(&mut parts, Compression::default());
                packed.write_all(part.as_bytes()).expect("written");
                packed.finish().expect("packed");
            }
            assert_eq!(opened(&parts).expect("rows"), format!("{text}\n").as_bytes());
        }
    }
}
