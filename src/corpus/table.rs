//! A table, as CSV or TSV: its first record, the header, names the fields of the others.
//!
//! Invariants: a record becomes a JSON object of the names and its fields, so that the command alone knows what
//! they mean; no file is a table whose header makes no rows. Recognised by [`super::input`], read by [`super::lines`] and
//! [`super::source`].

use super::form::Form;
use super::row::utf8;
use crate::file;
use csv_core::{ReadRecordResult, Reader, ReaderBuilder, Terminator};
use serde::Serializer;

const KINDS: [(u8, &str); 3] = [(b'\t', "TSV"), (b',', "CSV"), (b';', "CSV")];
/// What would separate the fields of a table that has but one.
const ALONE: u8 = b',';
/// Columns that a sentence lists.
const LISTED: usize = 10;

/// What the header says.
pub(super) struct Table {
    /// Made once: its tables take longer than a record does, and are lost by a clone.
    reader: Reader,
    separator: char,
    names: Vec<String>,
}

impl Table {
    /// The table that begins so, with a line's end behind it if that is all. An error is why it has no rows, as what
    /// follows the name of the file; `None` is no table.
    pub fn begin(first: &[u8], form: &Form) -> Option<Result<Self, String>> {
        let mut text = file::without_mark(first);
        while let Some((b' ' | b'\r' | b'\n', rest)) = text.split_first() {
            text = file::without_mark(rest);
        }
        if text.starts_with(b"{") || text.starts_with(b"[") {
            return None;
        }
        let mut fault = None;
        for (separator, kind) in
            KINDS.into_iter().filter(|(separator, _)| *separator == ALONE || text.contains(separator))
        {
            // A return stays in the last field, for it may be part of any other.
            let mut reader = ReaderBuilder::new().delimiter(separator).terminator(Terminator::Any(b'\n')).build();
            let why = match fields(&mut reader, text, text.len()) {
                Ok(names) if names.len() < 2 && separator != ALONE => continue,
                Ok(names) => {
                    let separator = separator.into();
                    let table = Self { reader, separator, names: names.iter().map(|name| normal(name)).collect() };
                    if (form.fits)(&table.object(&names)) {
                        return Some(Ok(table));
                    }
                    if names.len() < 2 {
                        continue;
                    }
                    format!("looks like {kind}, but its header names {}, expected {}", listed(&names), form.header)
                }
                Err(_) if !text.contains(&separator) => continue,
                Err(_) => format!("looks like {kind}, but no header ends within its first {} bytes", text.len()),
            };
            fault.get_or_insert(why);
        }
        fault.map(Err)
    }

    /// Takes what is read next for the beginning of a record.
    pub fn begin_record(&mut self) {
        self.reader.reset();
    }

    /// Whether the record goes on behind the next line of it.
    pub fn is_open_after(&mut self, line: &[u8]) -> bool {
        // Nobody looks at the fields.
        let (mut fields, mut ends) = ([0; 1024], [0; 64]);
        for mut text in [line, b"\n"] {
            while !text.is_empty() {
                let (result, read, ..) = self.reader.read_record(text, &mut fields, &mut ends);
                text = &text[read..];
                if result == ReadRecordResult::Record {
                    return false;
                }
            }
        }
        true
    }

    /// The JSON object of a record; an error is the reason why it is rejected.
    pub fn row(&mut self, record: &[u8]) -> Result<Vec<u8>, String> {
        let record = utf8(record)?;
        let record = record.strip_suffix('\r').unwrap_or(record);
        let expected = self.names.len();
        let fields = match fields(&mut self.reader, [record, "\n"].concat().as_bytes(), expected) {
            Ok(fields) if fields.len() == expected => fields,
            Ok(fields) => {
                return Err(format!("It has {} of the {expected} fields that the header names.", fields.len()));
            }
            Err(Unlike::More) => return Err(format!("It has more than the {expected} fields that the header names.")),
            Err(Unlike::Open) => return Err("It has a quote that is not closed.".to_owned()),
        };
        // The parser would take it without that quote: another text, with another score.
        if self.rest(record, &fields) != Some("") {
            return Err("It has text behind a closing quote; within quotes a quote is written twice.".to_owned());
        }
        // Files that were put together have it more than once.
        match fields.iter().map(|field| normal(field)).eq(self.names.iter().cloned()) {
            true => Err("It is the header again.".to_owned()),
            false => Ok(self.object(&fields)),
        }
    }

    /// What is left of a record behind its fields, if they stand there as such.
    fn rest<'r>(&self, record: &'r str, fields: &[String]) -> Option<&'r str> {
        let mut rest = record;
        for (i, field) in fields.iter().enumerate() {
            if i > 0 {
                rest = rest.strip_prefix(self.separator)?;
            }
            rest = match rest.strip_prefix('"') {
                Some(rest) => rest.strip_prefix(&field.replace('"', "\"\""))?.strip_prefix('"')?,
                None => rest.strip_prefix(field)?,
            };
        }
        Some(rest)
    }

    fn object(&self, fields: &[String]) -> Vec<u8> {
        let mut object = Vec::new();
        let pairs = self.names.iter().zip(fields);
        serde_json::Serializer::new(&mut object).collect_map(pairs).expect("texts, in memory");
        object
    }
}

/// Why a text does not begin with a record of a table.
enum Unlike {
    /// It does not end.
    Open,
    /// It has more fields.
    More,
}

/// The fields of the record that `text` begins with, if they are `most` or fewer.
fn fields(reader: &mut Reader, text: &[u8], most: usize) -> Result<Vec<String>, Unlike> {
    let (mut bytes, mut ends) = (vec![0; text.len() + 1], vec![0; most + 1]);
    reader.reset();
    let (result, _, _, count) = reader.read_record(text, &mut bytes, &mut ends);
    match result {
        ReadRecordResult::Record if count <= most => {}
        ReadRecordResult::Record | ReadRecordResult::OutputEndsFull => return Err(Unlike::More),
        _ => return Err(Unlike::Open),
    }
    let mut begin = 0;
    let field = |&end: &usize| String::from_utf8_lossy(&bytes[std::mem::replace(&mut begin, end)..end]).into_owned();
    Ok(ends[..count].iter().map(field).collect())
}

/// A name as it is compared.
fn normal(name: &str) -> String {
    name.trim().to_lowercase()
}

/// Names for a sentence.
fn listed(names: &[String]) -> String {
    let mut listed: Vec<String> = names.iter().take(LISTED).map(|name| file::beginning(name.as_bytes())).collect();
    if names.len() > LISTED {
        listed.push(format!("{} more", names.len() - LISTED));
    }
    listed.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::tests::pairs;

    fn begun(first: &str) -> Result<Table, String> {
        Table::begin(first.as_bytes(), &pairs()).expect("a table")
    }

    fn row(header: &str, record: &str) -> Result<String, String> {
        begun(header)?.row(record.as_bytes()).map(|row| String::from_utf8(row).expect("JSON is a text"))
    }

    #[test]
    fn a_record_is_the_object_of_its_header_whatever_separates_its_fields() {
        for (header, record) in [
            ("query,document\n", "q,d"),
            ("Query\tDOCUMENT\r\n", "q\td\r"),
            ("\u{feff}\"query\"; document \r\n", "\"q\";d\r"),
            ("\r\n \n\u{feff}query,\"document\n\"\n", "\"q\",\"d\""),
        ] {
            assert_eq!(row(header, record).as_deref(), Ok("{\"query\":\"q\",\"document\":\"d\"}"), "{header:?}");
        }
        let quoted = row("text_1,text_2,\n", "\"a \"\"b\"\"\r\n,c\rd\",\" e\"\"\r\",\r");
        assert_eq!(
            quoted.as_deref(),
            Ok("{\"text_1\":\"a \\\"b\\\"\\r\\n,c\\rd\",\"text_2\":\" e\\\"\\r\",\"\":\"\"}")
        );
    }

    #[test]
    fn a_record_that_does_not_fit_its_header_is_told_of() {
        for (record, words) in [
            ("q", "It has 1 of the 2 fields that"),
            ("q,d,", "It has more than the 2 fields that"),
            (",,,,,,,,,,", "It has more than the 2 fields"),
            ("q,\"d", "It has a quote that is not closed."),
            ("q,\"A\" is a letter", "It has text behind a closing quote"),
            ("q,\"A\" is \"a letter\"", "It has text behind a closing quote"),
            ("\"q\" ,d", "It has text behind a closing quote"),
            ("Document , QUERY", "It is the header again."),
        ] {
            let said = row("document,query\n", record).expect_err("no row");
            assert!(said.starts_with(words), "{record}: {said}");
        }
        assert!(
            begun("document,query\n")
                .and_then(|mut table| table.row(b"q,\xff"))
                .expect_err("no text")
                .contains("UTF-8")
        );
    }

    #[test]
    fn a_header_that_makes_no_rows_is_told_of_with_its_names() {
        for (first, words) in [
            ("q\tpassage\n", "TSV, but its header names \"q\", \"passage\", expected query and document"),
            ("query,text\nq,d\n", "CSV, but its header names \"query\", \"text\", expected"),
            ("query;text_1;document\n", "CSV, but its header names \"query\", \"text_1\", \"document\", expected"),
            ("query,document,documents\n", "each once"),
            (&format!("{}\n", ["c"; 50].join(",")), "\"c\", 40 more, expected"),
            ("query,\"document\nq,d\n", "no header ends within its first 20 bytes"),
            ("query,docu", "no header ends"),
        ] {
            let said = begun(first).map(|_| ()).expect_err("no pairs");
            assert!(said.contains(words), "{first}: {said}");
        }
        for no_table in
            ["", "a text, but not a line", "a text\nwith, commas\n", "{\"query\": \"q\", \"document\"", "[1, 2]\n"]
        {
            assert!(!matches!(Table::begin(no_table.as_bytes(), &pairs()), Some(Ok(_))), "{no_table}");
        }
    }

    #[test]
    fn quotes_hold_the_lines_of_a_record_together() {
        for (lines, open) in [
            (&["q,d\r"][..], false),
            (&["q,\"d"], true),
            (&["q,\"d", "", "\"\"", "\r", "\",\"x\""], false),
            (&["q,\"d\"\""], true),
            (&["a \"quote, in a field"], false),
            (&[&"x,".repeat(3000)], false),
        ] {
            let mut table = begun("query,document\n").expect("a table");
            table.is_open_after(b"\"an open quote");
            table.begin_record();
            let last = lines.iter().map(|line| table.is_open_after(line.as_bytes())).last();
            assert_eq!(last, Some(open), "{lines:?}");
        }
    }
}
