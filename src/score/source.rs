//! The input, on a thread of its own: lines become prompts, or reasons why they cannot.
//!
//! Invariants: lines are counted from 1 as `wc` counts them, whatever stands in them; at most one line is in memory, and
//! no more of it than [`MAX_LINE_BYTES`]; what was read before is the same now, or the work ends with an error. Lines of
//! other shards and those before the place to begin are counted and hashed, not read. Run by [`super`].

use super::input::Input;
use super::row::{self, Asked};
use crate::error::{Error, ErrorKind, Result};
use crate::file;
use crate::options::{DEFAULT_MAX_BODY_BYTES, Shard};
use crate::prompt::{Prompt, PromptEncoder, PromptOptions};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::io::{self, BufRead, Read};
use tokio::sync::mpsc;
use xxhash_rust::xxh3::Xxh3Default;

/// Longest line, as the server limits a request.
const MAX_LINE_BYTES: usize = DEFAULT_MAX_BODY_BYTES;
/// What is kept of a line that is longer.
const KEPT_BYTES: usize = 1000;

/// The beginning of an input: how many lines, and their hash, every one ending in a newline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Lines.
    pub lines: u64,
    /// XXH3 of 128 bits, in hexadecimal.
    pub xxh3: String,
}

/// Where in the input a row stands.
pub(super) struct Place {
    /// Its line, counted from 1.
    pub line: u64,
    /// Bytes up to its end.
    pub bytes: u64,
    /// All up to its end.
    pub mark: Mark,
}

/// What comes of the input: the pairs of a row, then the row itself.
pub(super) enum Item {
    Pair(Prompt),
    Row { place: Place, id: Option<Box<RawValue>>, many: bool, truncated: usize },
    Rejected { place: Place, reason: String, row: String },
}

/// An open input.
pub(super) struct Source(pub Input);

/// A line that is to be scored.
struct Wanted {
    line: Vec<u8>,
    /// Whether it is all there.
    whole: bool,
    place: Place,
}

/// What is made of the input.
pub(super) struct Reader {
    pub source: Source,
    pub encoder: std::sync::Arc<PromptEncoder>,
    pub options: PromptOptions,
    pub shard: Shard,
    /// Lines up to this one are done.
    pub done: u64,
    /// What was read before.
    pub known: Mark,
}

impl Reader {
    /// Sends what comes of the input until its end, an error, or nobody listening.
    pub fn run(self, items: &mpsc::Sender<Result<Item>>) {
        if let Err(err) = self.send(items) {
            // Who does not listen needs no error.
            let _ = items.blocking_send(Err(err));
        }
    }

    fn send(self, items: &mpsc::Sender<Result<Item>>) -> Result<()> {
        let Self { source, encoder, options, shard, done, known } = self;
        let Input { reader, name, .. } = source.0;
        // Until the input has shown to be the one of before nothing may come of it: no more lines than were in flight.
        let mut wanted = Vec::new();
        let mut lines = Lines { input: reader, number: 0, bytes: 0, hash: Xxh3Default::new(), line: Vec::new() };
        let failed = |err| Error::new(ErrorKind::Unavailable, format!("Cannot read {name}: {err}."));
        while let Some(whole) = lines.next().map_err(failed)? {
            if lines.number == known.lines && lines.mark() != known {
                return Err(changed(&name, &format!("its first {} lines are no longer those", known.lines)));
            }
            if lines.number > done && shard.has(lines.number) && !lines.line.trim_ascii().is_empty() {
                let place = Place { line: lines.number, bytes: lines.bytes, mark: lines.mark() };
                wanted.push(Wanted { line: std::mem::take(&mut lines.line), whole, place });
            }
            if lines.number < known.lines {
                continue;
            }
            for item in wanted.drain(..).flat_map(|wanted| wanted.items(&encoder, &options)) {
                if items.blocking_send(Ok(item)).is_err() {
                    return Ok(());
                }
            }
        }
        match lines.number < known.lines.max(done) {
            true => Err(changed(&name, &format!("it has only {} lines", lines.number))),
            false => Ok(()),
        }
    }
}

impl Wanted {
    /// Its pairs and the row, or why there are none.
    fn items(self, encoder: &PromptEncoder, options: &PromptOptions) -> impl Iterator<Item = Item> + use<> {
        let Self { line, whole, place } = self;
        let asked = match whole {
            true => row::read(&line, encoder, options),
            false => Err(format!("It is longer than {MAX_LINE_BYTES} bytes.")),
        };
        let (pairs, end) = match asked {
            Ok(Asked { encoded, id, many }) => {
                (encoded.prompts, Item::Row { place, id, many, truncated: encoded.shortened })
            }
            Err(reason) => {
                let row = String::from_utf8_lossy(&line).into_owned();
                (Vec::new(), Item::Rejected { place, reason, row })
            }
        };
        pairs.into_iter().map(Item::Pair).chain([end])
    }
}

fn changed(name: &str, how: &str) -> Error {
    let sentence = format!("{name} is not the input that the output belongs to: {how}. Name another --output for it.");
    Error::new(ErrorKind::Options, sentence)
}

/// An input line by line.
struct Lines {
    input: Box<dyn BufRead + Send>,
    /// Of the last line that was read.
    number: u64,
    /// Up to its end.
    bytes: u64,
    hash: Xxh3Default,
    /// Without its newline.
    line: Vec<u8>,
}

impl Lines {
    /// Reads the next line; the answer is whether `line` is all of it, `None` at the end.
    fn next(&mut self) -> io::Result<Option<bool>> {
        self.line.clear();
        let limit = MAX_LINE_BYTES as u64 + 1;
        let read = self.input.by_ref().take(limit).read_until(b'\n', &mut self.line)?;
        if read == 0 {
            return Ok(None);
        }
        let ended = self.line.pop_if(|last| *last == b'\n').is_some();
        self.hash.update(&self.line);
        self.bytes += read as u64;
        let whole = ended || self.line.len() <= MAX_LINE_BYTES;
        if !whole {
            self.line.truncate(KEPT_BYTES);
            self.pass_the_rest()?;
        }
        // The last line is the same with a newline and without one.
        self.hash.update(b"\n");
        self.number += 1;
        // Files that were put together may have a mark before any line.
        let marks = self.line.len() - file::without_mark(&self.line).len();
        self.line.drain(..marks);
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

    fn mark(&self) -> Mark {
        Mark { lines: self.number, xxh3: format!("{:032x}", self.hash.digest128()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUFFER_BYTES: usize = 1 << 18;

    fn lines(bytes: impl AsRef<[u8]> + Send + 'static) -> Vec<(Vec<u8>, bool, Mark)> {
        let input = Box::new(io::BufReader::with_capacity(BUFFER_BYTES, io::Cursor::new(bytes)));
        let mut lines = Lines { input, number: 0, bytes: 0, hash: Xxh3Default::new(), line: Vec::new() };
        std::iter::from_fn(|| {
            let whole = lines.next().expect("bytes can be read")?;
            Some((lines.line.clone(), whole, lines.mark()))
        })
        .collect()
    }

    #[test]
    fn the_last_line_is_the_same_with_a_newline_and_without() {
        let texts: Vec<Vec<u8>> = lines("\u{feff}a\n\n\u{feff}b\r\n c").into_iter().map(|(line, ..)| line).collect();
        assert_eq!(texts, [&b"a"[..], b"", b"b\r", b" c"]);
        assert_eq!(lines("a\nb"), lines("a\nb\n"));
        assert_ne!(lines("a\nb").last(), lines("a\n\nb").last());
        assert!(lines("").is_empty());
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over_but_counted_and_hashed() {
        let long = |last: u8| {
            let mut bytes = vec![b'x'; MAX_LINE_BYTES + 2 * BUFFER_BYTES];
            bytes.push(last);
            bytes.extend(b"\nnext\n");
            lines(bytes)
        };
        let read = long(b'y');
        assert_eq!(read[0].0, [b'x'; KEPT_BYTES]);
        assert_eq!((read[0].1, read[0].2.lines), (false, 1));
        assert_eq!((read[1].0.as_slice(), read[1].1, read[1].2.lines), (&b"next"[..], true, 2));
        assert_ne!(read[0].2, long(b'z')[0].2, "all of it counts");
        let mut fits = vec![b'x'; MAX_LINE_BYTES];
        fits.push(b'\n');
        assert!(lines(fits)[0].1);
    }
}
