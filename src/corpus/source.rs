//! The input, on a thread of its own: rows become prompts, or reasons why they cannot.
//!
//! Invariants: what was read before is the same now, or the work ends with an error. Rows of other shards and those
//! before the place to begin are counted and hashed, not parsed. Run by [`super`].

use super::input::Input;
use super::lines::{Kind, Lines, Mark};
use super::row::{Ask, Asked};
use crate::error::{Error, ErrorKind, Result};
use crate::options::Shard;
use crate::prompt::Prompt;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::io;
use tokio::sync::mpsc;

/// Where in the input a row stands.
pub(crate) struct Place {
    /// The line in which it begins, counted from 1.
    pub line: u64,
    /// Bytes up to its end.
    pub bytes: u64,
    /// All up to its end.
    pub mark: Mark,
}

/// What comes of the input: the prompts of a row, then the row itself.
pub(super) enum Item {
    Prompt(Prompt),
    Row { place: Place, id: Option<Box<RawValue>>, many: bool, truncated: usize },
    Rejected { place: Place, reason: String, row: String },
}

/// A row that is to be done.
struct Wanted {
    text: Vec<u8>,
    kind: Kind,
    place: Place,
}

/// Hands every row of an input to `take`, with the line in which it begins: its object, or why there is none.
pub(crate) fn each(
    input: Input,
    mut take: impl FnMut(u64, std::result::Result<Cow<'_, [u8]>, String>) -> Result<()>,
) -> Result<()> {
    let Input { reader, table, name, .. } = input;
    let mut lines = Lines::new(reader, table);
    while let Some(kind) = lines.next().map_err(|err| cannot_read(&name, &err))? {
        if kind != Kind::NoRow {
            let (line, text) = (lines.first, std::mem::take(&mut lines.text));
            take(line, lines.object(&text, kind))?;
        }
    }
    Ok(())
}

/// What is made of the input.
pub(super) struct Reader {
    pub input: Input,
    pub ask: Ask,
    pub shard: Shard,
    /// Rows up to the one that begins in this line are done.
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
        let Self { input, ask, shard, done, known } = self;
        let Input { reader, table, name, .. } = input;
        // Until the input has shown to be the one of before nothing may come of it: no more rows than were in flight.
        let mut wanted = Vec::new();
        let mut lines = Lines::new(reader, table);
        loop {
            let before = lines.number;
            let Some(kind) = lines.next().map_err(|err| cannot_read(&name, &err))? else { break };
            if before < known.lines && lines.number >= known.lines && lines.mark() != known {
                return Err(changed(&name, &format!("its first {} lines are no longer those", known.lines)));
            }
            if lines.first > done && shard.has(lines.rows) && kind != Kind::NoRow {
                let place = Place { line: lines.first, bytes: lines.bytes, mark: lines.mark() };
                wanted.push(Wanted { text: std::mem::take(&mut lines.text), kind, place });
            }
            if lines.number < known.lines {
                continue;
            }
            for item in wanted.drain(..).flat_map(|wanted| wanted.items(&mut lines, &ask)) {
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
    /// Its prompts and the row, or why there are none.
    fn items(self, lines: &mut Lines, ask: &Ask) -> impl Iterator<Item = Item> + use<> {
        let Self { text, kind, place } = self;
        let asked = lines.object(&text, kind).and_then(|row| ask(&row));
        let (prompts, end) = match asked {
            Ok(Asked { encoded, id, many }) => {
                (encoded.prompts, Item::Row { place, id, many, truncated: encoded.shortened })
            }
            Err(reason) => {
                let row = String::from_utf8_lossy(&text).into_owned();
                (Vec::new(), Item::Rejected { place, reason, row })
            }
        };
        prompts.into_iter().map(Item::Prompt).chain([end])
    }
}

fn cannot_read(name: &str, err: &io::Error) -> Error {
    Error::new(ErrorKind::Machine, format!("Cannot read {name}: {err}."))
}

fn changed(name: &str, how: &str) -> Error {
    let sentence = format!("{name} is not the input that the output belongs to: {how}. Name another --output for it.");
    Error::new(ErrorKind::Options, sentence)
}
