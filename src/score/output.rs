//! Where scores and rejected rows go, and how a later run finds what an earlier one wrote.
//!
//! Invariants: rows stand in the order of the input. A row is in the output only after every rejected row before it is
//! set aside and the record covers both; so the last whole row of the output tells where to go on, whenever the process
//! was killed: what stands behind it in either file is cut off and made again. Nothing else is ever cut or overwritten.
//! Filled by [`super`].

use super::lines::Mark;
use super::record::{Job, Record, cannot_write};
use super::row::{RejectedRow, ScoredRow};
use crate::error::{Error, ErrorKind, Result};
use crate::options::ScoreOptions;
use crate::threads::{Size, Threads};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, TryLockError};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Open files for scores and rejected rows.
pub(super) struct Output {
    scores: Sheet,
    /// `None` if rejected rows are only reported.
    rejected: Option<Sheet>,
    /// `None` if nothing is continued.
    record: Option<Record>,
    /// Where the record belongs, if the output can be continued.
    place: Option<PathBuf>,
    /// Whether what is not whole has been cut off.
    cut: bool,
}

/// What an earlier run has done.
pub(super) struct Begun {
    /// Rows up to this line are done.
    pub line: u64,
    pub scored: u64,
    pub rejected: u64,
    /// The beginning of the input that it read.
    pub input: Mark,
}

impl Output {
    /// Opens what is to be written and finds out what is there, without changing it.
    pub fn open(options: &ScoreOptions) -> Result<Self> {
        let (scores, place) = match &options.output {
            None => (Sheet::stream("standard output".to_owned(), Box::new(io::stdout()))?, None),
            Some(path) if is_device(path) => (Sheet::device(path)?, None),
            Some(path) => (Sheet::open(path, u64::MAX)?, Some(Record::path(path))),
        };
        let record = place.clone().map(Record::read).transpose()?.flatten();
        let rejected = options.rejected.as_deref().map(|path| match is_device(path) {
            true => Sheet::device(path),
            false => Sheet::open(path, scores.last),
        });
        let rejected = rejected.transpose()?;
        if record.is_none() {
            for sheet in [Some(&scores), rejected.as_ref()].into_iter().flatten() {
                sheet.check_empty()?;
            }
        }
        Ok(Self { scores, rejected, record, place, cut: false })
    }

    /// Makes sure that what is there belongs to `job`, and tells where to go on.
    pub fn begin(&mut self, job: Job) -> Result<Begun> {
        match (&mut self.record, self.place.take()) {
            (Some(record), _) => record.check(&job)?,
            (None, Some(place)) => self.record = Some(Record::begin(place, job)?),
            (None, None) => {}
        }
        Ok(Begun {
            line: self.scores.last,
            scored: self.scores.rows,
            rejected: self.rejected.as_ref().map_or(0, |sheet| sheet.rows),
            input: self.record.as_ref().map_or(Mark { lines: 0, xxh3: String::new() }, |record| record.input().clone()),
        })
    }

    /// Takes a row, to be written with the next flush.
    pub fn score(&mut self, row: &ScoredRow<'_>) {
        self.scores.push(row.line, row);
    }

    /// The same for a row that cannot be scored.
    pub fn reject(&mut self, row: &RejectedRow<'_>) {
        if let Some(sheet) = &mut self.rejected {
            sheet.push(row.line, row);
        }
    }

    /// Writes what was taken; the input has been read up to `mark`. What an earlier run left behind its last whole row is
    /// cut off first: only now is it sure that it will be made again.
    pub async fn flush(&mut self, mark: &Mark) -> Result<()> {
        let nothing =
            self.scores.waiting.is_empty() && self.rejected.as_ref().is_none_or(|sheet| sheet.waiting.is_empty());
        if nothing {
            return Ok(());
        }
        if !self.cut {
            self.scores.cut()?;
            self.rejected.as_mut().map_or(Ok(()), Sheet::cut)?;
            // With the instruction set that it lacked, even if these rows were read by the run before.
            self.record.as_ref().map_or(Ok(()), Record::write)?;
            self.cut = true;
        }
        if let Some(record) = &mut self.record
            && record.input().lines < self.scores.last.max(self.rejected.as_ref().map_or(0, |sheet| sheet.last))
        {
            record.advance(mark)?;
        }
        if let Some(rejected) = &mut self.rejected {
            rejected.flush().await?;
        }
        self.scores.flush().await
    }

    /// Brings everything to the disk.
    pub async fn finish(&mut self, mark: &Mark) -> Result<()> {
        self.flush(mark).await?;
        self.rejected.as_mut().map_or(Ok(()), Sheet::sync)?;
        self.scores.sync()
    }

    /// Whether a later run can go on after this one.
    pub fn can_be_continued(&self) -> bool {
        self.record.is_some()
    }
}

/// Something that lines are appended to.
struct Sheet {
    name: String,
    to: To,
    /// Whole rows that were there, later also those written.
    rows: u64,
    /// The line of the last of them.
    last: u64,
    /// Bytes of those that were there.
    whole: u64,
    /// Taken and not yet written.
    waiting: Vec<u8>,
}

enum To {
    File(File),
    /// And the thread that writes to it; it is gone meanwhile.
    Stream(Option<Box<dyn Write + Send>>, Threads),
}

impl Sheet {
    fn stream(name: String, stream: Box<dyn Write + Send>) -> Result<Self> {
        let to = To::Stream(Some(stream), Threads::start("writer", 1)?);
        Ok(Self { name, to, rows: 0, last: 0, whole: 0, waiting: Vec::new() })
    }

    /// Opens what is there and can neither be read again nor cut.
    fn device(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let device = File::options().write(true).open(path).map_err(|err| cannot_write(&name, &err))?;
        Self::stream(name, Box::new(device))
    }

    /// Opens or creates a file that no other process writes, and reads the lines of its rows, none beyond `limit`.
    fn open(path: &Path, limit: u64) -> Result<Self> {
        let name = path.display().to_string();
        let fail = |err: &io::Error| cannot_write(&name, err);
        let file = File::options().create(true).truncate(false).read(true).write(true).open(path);
        let file = file.map_err(|err| fail(&err))?;
        // Where locks can't be had, as on some network file systems, there are none.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Err(Error::new(ErrorKind::Machine, format!("Another process is writing {name}.")));
        }
        let (mut rows, mut last, mut whole) = (0, 0, 0);
        let (mut reader, mut line) = (BufReader::new(&file), Vec::new());
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
            if number > limit {
                break;
            }
            (rows, last, whole) = (rows + 1, number, whole + bytes as u64);
        }
        Ok(Self { name, to: To::File(file), rows, last, whole, waiting: Vec::new() })
    }

    /// An error if there is anything in it.
    fn check_empty(&self) -> Result<()> {
        let To::File(file) = &self.to else { return Ok(()) };
        match file.metadata() {
            Ok(facts) if facts.len() == 0 => Ok(()),
            Ok(_) => Err(Error::new(
                ErrorKind::Options,
                format!(
                    "{} is there already, without the record (.job) by which it could be continued; it is left as it \
                     is. Name another file.",
                    self.name
                ),
            )),
            Err(err) => Err(cannot_write(&self.name, &err)),
        }
    }

    /// Cuts off what stands behind the whole rows.
    fn cut(&mut self) -> Result<()> {
        let To::File(file) = &mut self.to else { return Ok(()) };
        let cut = file.set_len(self.whole).and_then(|()| file.seek(SeekFrom::Start(self.whole)));
        cut.map(|_| ()).map_err(|err| cannot_write(&self.name, &err))
    }

    fn push(&mut self, line: u64, row: &impl Serialize) {
        serde_json::to_writer(&mut self.waiting, row).expect("rows are texts and numbers, in memory");
        self.waiting.push(b'\n');
        (self.rows, self.last) = (self.rows + 1, line);
    }

    /// A stream is written to on a thread of its own, since whoever reads it may keep it waiting for ever. If that is not
    /// waited for to its end, nothing more can be written.
    async fn flush(&mut self) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let written = match &mut self.to {
            To::File(file) => {
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

    fn sync(&mut self) -> Result<()> {
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

/// Whether a path is there and neither a file nor a directory: nothing in it could be found again.
fn is_device(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|facts| !facts.is_file() && !facts.is_dir())
}
