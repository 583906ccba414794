//! A file that rows are appended to as lines of JSON, each with the number of the input's line that it belongs to; or a
//! stream that takes the same.
//!
//! Invariants: no other process writes a file that is open here; nothing but what this program wrote there is taken for
//! its rows, and nothing is changed before [`Sheet::cut`]. Owned by [`super::output`].

use crate::error::{Error, ErrorKind, Result};
use crate::file::{Locked, access};
use crate::threads::{Size, Threads};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::Path;

/// Something that rows are appended to.
pub(super) struct Sheet {
    name: String,
    to: To,
    /// Whole rows that were there, later also those written.
    pub rows: u64,
    /// The line of the last of them.
    pub last: u64,
    /// Bytes of those that were there.
    whole: u64,
    /// Taken and not yet written.
    waiting: Vec<u8>,
}

enum To {
    File(Locked),
    /// And the thread that writes to it; it is gone meanwhile.
    Stream(Option<Box<dyn Write + Send>>, Threads),
}

impl Sheet {
    /// What is written to standard output or a device, and not read again.
    pub fn stream(name: String, stream: Box<dyn Write + Send>) -> Result<Self> {
        let to = To::Stream(Some(stream), Threads::start("writer", 1)?);
        Ok(Self { name, to, rows: 0, last: 0, whole: 0, waiting: Vec::new() })
    }

    /// Opens what is there and can neither be read again nor cut.
    pub fn device(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let device = File::options().write(true).open(path).map_err(|err| cannot_write(&name, &err))?;
        Self::stream(name, Box::new(device))
    }

    /// Opens or creates a file that no other process writes, and reads the lines of its rows: none beyond line `limit`, and
    /// `most` of them at most.
    pub fn open(path: &Path, limit: u64, most: u64) -> Result<Self> {
        let name = path.display().to_string();
        let fail = |err: &io::Error| cannot_write(&name, err);
        let file = locked(path)?;
        let (mut rows, mut last, mut whole) = (0, 0, 0);
        let (mut reader, mut line) = (BufReader::new(&*file), Vec::new());
        loop {
            line.clear();
            let bytes = reader.read_until(b'\n', &mut line).map_err(|err| fail(&err))?;
            if line.last() != Some(&b'\n') {
                break;
            }
            let number = number(&line).filter(|number| *number > last).ok_or_else(|| {
                Error::new(
                    ErrorKind::Options,
                    format!(
                        "Line {} of {name} is not a row that this program wrote there; it is left as it is. Name \
                         another file.",
                        rows + 1
                    ),
                )
            })?;
            if number > limit || rows == most {
                break;
            }
            (rows, last, whole) = (rows + 1, number, whole + bytes as u64);
        }
        Ok(Self { name, to: To::File(file), rows, last, whole, waiting: Vec::new() })
    }

    /// An error if there is anything in it, which no record tells of.
    pub fn check_empty(&self) -> Result<()> {
        match &self.to {
            To::File(file) => check_empty(&self.name, file),
            To::Stream(..) => Ok(()),
        }
    }

    /// Cuts off what stands behind the whole rows.
    pub fn cut(&mut self) -> Result<()> {
        let To::File(file) = &self.to else { return Ok(()) };
        let mut file: &File = file;
        let cut = file.set_len(self.whole).and_then(|()| file.seek(SeekFrom::Start(self.whole)));
        cut.map(|_| ()).map_err(|err| cannot_write(&self.name, &err))
    }

    /// Takes the row of a line.
    pub fn push(&mut self, line: u64, row: &impl Serialize) {
        serde_json::to_writer(&mut self.waiting, row).expect("rows are texts and numbers, in memory");
        self.waiting.push(b'\n');
        (self.rows, self.last) = (self.rows + 1, line);
    }

    /// Whether nothing is to be written.
    pub fn is_flushed(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Writes what was pushed. A stream is written to on a thread of its own, since whoever reads it may keep it waiting for
    /// ever. If that is not waited for to its end, nothing more can be written.
    pub async fn flush(&mut self) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let written = match &mut self.to {
            To::File(file) => {
                let mut file: &File = file;
                let written = file.write_all(&self.waiting);
                self.waiting.clear();
                written
            }
            To::Stream(place, thread) => {
                let mut stream = place.take().expect("nothing is written after a write that was given up");
                let rows = std::mem::take(&mut self.waiting);
                let write = move || (stream.write_all(&rows).and_then(|()| stream.flush()), stream);
                let (written, stream) = thread.run(Size::Small, write).await.expect("writing does not panic");
                *place = Some(stream);
                written
            }
        };
        written.map_err(|err| cannot_write(&self.name, &err))
    }

    /// Brings it to the disk.
    pub fn sync(&mut self) -> Result<()> {
        match &self.to {
            To::File(file) => file.sync_all().map_err(|err| cannot_write(&self.name, &err)),
            To::Stream(..) => Ok(()),
        }
    }
}

/// The number of the input's line that a row belongs to.
fn number(row: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Numbered {
        line: u64,
    }
    serde_json::from_slice(row).ok().map(|Numbered { line }| line)
}

/// Opens or creates a file that no other process writes.
pub(super) fn locked(path: &Path) -> Result<Locked> {
    let name = path.display().to_string();
    let file = File::options().create(true).truncate(false).read(true).write(true).open(path);
    let file = file.map_err(|err| cannot_write(&name, &err))?;
    Locked::if_possible(file)
        .ok_or_else(|| Error::new(ErrorKind::Machine, format!("Another process is writing {name}.")))
}

/// An error if there is anything in a file, which no record tells of.
pub(super) fn check_empty(name: &str, file: &File) -> Result<()> {
    match file.metadata() {
        Ok(facts) if facts.len() == 0 => Ok(()),
        Ok(_) => Err(Error::new(
            ErrorKind::Options,
            format!(
                "{name} is there already, without the record (.job) by which it could be continued; it is left as it is. \
                 Name another file."
            ),
        )),
        Err(err) => Err(cannot_write(name, &err)),
    }
}

/// The error of an output, or of what stands beside it.
pub(super) fn cannot_write(name: &str, err: &io::Error) -> Error {
    let why = access::explained(Path::new(name), err);
    Error::new(ErrorKind::Machine, format!("Cannot write {name}: {why}."))
}
