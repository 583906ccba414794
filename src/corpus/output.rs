//! Where answered and rejected rows go, and how a later run finds what an earlier one wrote.
//!
//! Invariants: rows stand in the order of the input. A row is in the output only after every rejected row before it is
//! set aside and the record covers both; so the last whole row of the output tells where to go on, whenever the process
//! was killed: what stands behind it in either file is cut off and made again. Nothing else is ever cut or overwritten.
//! Filled by [`super`].

use super::job::Job;
use super::lines::Mark;
use super::record::Record;
use super::row::RejectedRow;
use super::sheet::Sheet;
use crate::error::Result;
use crate::options::CorpusOptions;
use serde::Serialize;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Open files for answered and rejected rows.
pub(crate) struct Output {
    rows: Sheet,
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
    pub done: u64,
    pub rejected: u64,
    /// The beginning of the input that it read.
    pub input: Mark,
}

impl Output {
    /// Opens what is to be written and finds out what is there, without changing it.
    pub fn open(options: &CorpusOptions) -> Result<Self> {
        let (rows, place) = match &options.output {
            None => (Sheet::stream("standard output".to_owned(), Box::new(io::stdout()))?, None),
            Some(path) if is_device(path) => (Sheet::device(path)?, None),
            Some(path) => (Sheet::open(path, u64::MAX)?, Some(Record::path(path))),
        };
        let record = place.clone().map(Record::read).transpose()?.flatten();
        let rejected = options.rejected.as_deref().map(|path| match is_device(path) {
            true => Sheet::device(path),
            false => Sheet::open(path, rows.last),
        });
        let rejected = rejected.transpose()?;
        if record.is_none() {
            for sheet in [Some(&rows), rejected.as_ref()].into_iter().flatten() {
                sheet.check_empty()?;
            }
        }
        Ok(Self { rows, rejected, record, place, cut: false })
    }

    /// Makes sure that what is there belongs to `job`, and tells where to go on.
    pub(super) fn begin(&mut self, job: Job) -> Result<Begun> {
        match (&mut self.record, self.place.take()) {
            (Some(record), _) => record.check(&job)?,
            (None, Some(place)) => self.record = Some(Record::begin(place, job)?),
            (None, None) => {}
        }
        Ok(Begun {
            line: self.rows.last,
            done: self.rows.rows,
            rejected: self.rejected.as_ref().map_or(0, |sheet| sheet.rows),
            input: self.record.as_ref().map_or(Mark { lines: 0, xxh3: String::new() }, |record| record.input().clone()),
        })
    }

    /// Takes a row, to be written with the next flush.
    pub fn answer(&mut self, line: u64, row: &impl Serialize) {
        self.rows.push(line, row);
    }

    /// The same for a row that cannot be scored.
    pub(super) fn reject(&mut self, row: &RejectedRow<'_>) {
        if let Some(sheet) = &mut self.rejected {
            sheet.push(row.line, row);
        }
    }

    /// Writes what was taken; the input has been read up to `mark`. What an earlier run left behind its last whole row is
    /// cut off first: only now is it sure that it will be made again.
    pub async fn flush(&mut self, mark: &Mark) -> Result<()> {
        let nothing = self.rows.is_flushed() && self.rejected.as_ref().is_none_or(Sheet::is_flushed);
        if nothing {
            return Ok(());
        }
        if !self.cut {
            self.rows.cut()?;
            self.rejected.as_mut().map_or(Ok(()), Sheet::cut)?;
            // With the instruction set that it lacked, even if these rows were read by the run before.
            self.record.as_ref().map_or(Ok(()), Record::write)?;
            self.cut = true;
        }
        if let Some(record) = &mut self.record
            && record.input().lines < self.rows.last.max(self.rejected.as_ref().map_or(0, |sheet| sheet.last))
        {
            record.advance(mark)?;
        }
        if let Some(rejected) = &mut self.rejected {
            rejected.flush().await?;
        }
        self.rows.flush().await
    }

    /// Brings everything to the disk.
    pub async fn finish(&mut self, mark: &Mark) -> Result<()> {
        self.flush(mark).await?;
        self.rejected.as_mut().map_or(Ok(()), Sheet::sync)?;
        self.rows.sync()
    }

    /// Whether a later run can go on after this one.
    pub fn can_be_continued(&self) -> bool {
        self.record.is_some()
    }
}

/// Whether a path is there and neither a file nor a directory: nothing in it could be found again.
fn is_device(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|facts| !facts.is_file() && !facts.is_dir())
}
