//! Where answered and rejected rows go, and how a later run finds what an earlier one wrote.
//!
//! Invariants: rows stand in the order of the input. A row is in the output only after every rejected row before it is
//! set aside and the record covers both; so the last whole row of the output tells where to go on, whenever the process
//! was killed: what stands behind it in either file is cut off and made again. Nothing else is ever cut or overwritten.
//! Where vectors have an array of their own, its first rows are those of the lines beside it. Filled by [`super`].

use super::array::Array;
use super::columns;
use super::job::Job;
use super::lines::Mark;
use super::record::Record;
use super::row::RejectedRow;
use super::sheet::Sheet;
use crate::error::{Error, ErrorKind, Result};
use crate::options::CorpusOptions;
use serde::Serialize;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Endings of what stands beside an output: its rows, where vectors have an array, and the array, where both become a table.
const ROWS: &str = ".rows.jsonl";
const VECTORS: &str = ".vectors.npy";

/// What an output is, by the ending of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Lines of JSON.
    Lines,
    /// An array of vectors, and lines of JSON beside it.
    Vectors,
    /// A Parquet file, made of an array and lines when all of them are there.
    Columns,
}

impl Layout {
    /// That of an output with vectors.
    pub fn of_vectors(output: Option<&Path>) -> Self {
        let ending = output.and_then(Path::extension).and_then(OsStr::to_str).map(str::to_ascii_lowercase);
        match ending.as_deref() {
            Some("npy") => Self::Vectors,
            Some("parquet") => Self::Columns,
            _ => Self::Lines,
        }
    }

    /// In one word, for the record.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lines => "jsonl",
            Self::Vectors => "npy",
            Self::Columns => "parquet",
        }
    }
}

/// Open files for answered and rejected rows.
pub(crate) struct Output {
    rows: Sheet,
    /// `None` if vectors stand in the rows, or if there are none.
    vectors: Option<Array>,
    /// `None` if the other files are the output.
    columns: Option<Columns>,
    /// `None` if rejected rows are only reported.
    rejected: Option<Sheet>,
    /// `None` if nothing is continued.
    record: Option<Record>,
    /// Where the record belongs, if the output can be continued.
    place: Option<PathBuf>,
    /// Whether what is not whole has been cut off.
    cut: bool,
}

/// A file that is made of rows and vectors.
struct Columns {
    path: PathBuf,
    /// Where the rows are.
    rows: PathBuf,
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
    pub fn open(options: &CorpusOptions, layout: Layout) -> Result<Self> {
        if let (Some(output), Some(rejected)) = (&options.output, &options.rejected) {
            check_apart(output, rejected, layout)?;
        }
        if layout == Layout::Lines {
            options.output.as_deref().map_or(Ok(()), |path| check_ending("--output", path))?;
        }
        options.rejected.as_deref().map_or(Ok(()), |path| check_ending("--rejected", path))?;
        let (mut vectors, mut columns) = (None, None);
        let (rows, place) = match &options.output {
            None => (Sheet::stream("standard output".to_owned(), Box::new(io::stdout()))?, None),
            Some(path) if is_device(path) => (Sheet::device(path)?, None),
            Some(path) if layout == Layout::Lines => (Sheet::open(path, u64::MAX, u64::MAX)?, Some(Record::path(path))),
            Some(path) => {
                let lines = beside(path, ROWS);
                let array = match layout {
                    Layout::Columns => beside(path, VECTORS),
                    _ => path.clone(),
                };
                let mut array = Array::open(&array)?;
                let rows = Sheet::open(&lines, u64::MAX, array.rows())?;
                array.keep(rows.rows);
                if layout == Layout::Columns {
                    // A run that answered no row has made a table of none.
                    let is_empty = || Record::path(path).exists() && columns::rows(path) == Some(0);
                    if rows.rows == 0 && path.exists() && !is_empty() {
                        return Err(without(path, &lines));
                    }
                    columns = Some(Columns { path: path.clone(), rows: lines });
                }
                vectors = Some(array);
                (rows, Some(Record::path(path)))
            }
        };
        let record = place.clone().map(Record::read).transpose()?.flatten();
        let rejected = options.rejected.as_deref().map(|path| match is_device(path) {
            true => Sheet::device(path),
            false => Sheet::open(path, rows.last, u64::MAX),
        });
        let rejected = rejected.transpose()?;
        if record.is_none() {
            for sheet in [Some(&rows), rejected.as_ref()].into_iter().flatten() {
                sheet.check_empty()?;
            }
            vectors.as_ref().map_or(Ok(()), Array::check_empty)?;
        }
        Ok(Self { rows, vectors, columns, rejected, record, place, cut: false })
    }

    /// Makes sure that what is there belongs to `job`, and tells where to go on. Vectors will have `width` numbers.
    pub(super) fn begin(&mut self, job: Job, width: usize) -> Result<Begun> {
        match (&mut self.record, self.place.take()) {
            (Some(record), _) => record.check(&job)?,
            (None, Some(place)) => self.record = Some(Record::begin(place, job)?),
            (None, None) => {}
        }
        self.vectors.as_mut().map_or(Ok(()), |vectors| vectors.begin(width))?;
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

    /// Takes the vector of the row that is answered next, unless it has to stand in the row itself, which the answer tells.
    pub fn take_vector(&mut self, vector: &[f32]) -> bool {
        self.vectors.as_mut().map(|vectors| vectors.push(vector)).is_some()
    }

    /// The same for a row that has no answer.
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
            self.vectors.as_mut().map_or(Ok(()), Array::cut)?;
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
        // A row is there only if its vector is, and counted there only if the row is.
        self.vectors.as_mut().map_or(Ok(()), Array::flush)?;
        self.rows.flush().await?;
        self.vectors.as_ref().map_or(Ok(()), Array::count)
    }

    /// Brings everything to the disk, and makes what is made of all rows, if these are `all`.
    pub async fn finish(&mut self, mark: &Mark, all: bool) -> Result<()> {
        self.flush(mark).await?;
        self.rejected.as_mut().map_or(Ok(()), Sheet::sync)?;
        self.rows.sync()?;
        let Some(vectors) = &self.vectors else { return Ok(()) };
        vectors.count()?;
        vectors.sync()?;
        match &self.columns {
            Some(Columns { path, rows }) if all && columns::rows(path) != Some(vectors.rows()) => {
                columns::write(path, rows, vectors)
            }
            _ => Ok(()),
        }
    }

    /// Whether a later run can go on after this one.
    pub fn can_be_continued(&self) -> bool {
        self.record.is_some()
    }
}

/// The name of what stands beside an output.
fn beside(output: &Path, ending: &str) -> PathBuf {
    let mut path = OsString::from(output);
    path.push(ending);
    PathBuf::from(path)
}

/// An error if rejected rows would be written into a file of the output itself.
fn check_apart(output: &Path, rejected: &Path, layout: Layout) -> Result<()> {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let with_vectors: &[&str] = match layout {
        Layout::Lines => &[],
        Layout::Vectors => &[ROWS],
        Layout::Columns => &[ROWS, VECTORS],
    };
    let with_vectors = with_vectors.iter().map(|ending| beside(output, ending));
    let mut own = [output.to_owned(), Record::path(output)].into_iter().chain(with_vectors);
    if own.all(|own| absolute(&own) != absolute(rejected)) {
        return Ok(());
    }
    let (output, rejected) = (output.display(), rejected.display());
    let what = format!("--rejected {rejected} names a file that --output {output} is made of: name another.");
    Err(Error::new(ErrorKind::Options, what))
}

/// An error if what reads `path` would take lines of JSON for something else.
fn check_ending(flag: &str, path: &Path) -> Result<()> {
    let ending = path.extension().and_then(OsStr::to_str).unwrap_or_default().to_ascii_lowercase();
    let instead = match &*ending {
        "gz" | "bz2" | "xz" | "zst" | "zip" => {
            "as they are, so that a later run can go on: compress the file when it is whole"
        }
        "parquet" | "npy" | "csv" | "tsv" | "arrow" | "feather" => "each a JSON object",
        _ => return Ok(()),
    };
    let path = path.with_extension("").with_extension("jsonl");
    let what = format!("{flag} ends in .{ending}, but lines are written there, {instead}. Name it {}.", path.display());
    Err(Error::new(ErrorKind::Options, what))
}

/// The error of a Parquet file that cannot grow.
fn without(output: &Path, rows: &Path) -> Error {
    let (output, rows) = (output.display(), rows.display());
    let what = format!(
        "{output} is there already, without {rows} by which it could be continued; it is left as it is. Name another file."
    );
    Error::new(ErrorKind::Options, what)
}

/// Whether a path is there and neither a file nor a directory: nothing in it could be found again.
fn is_device(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|facts| !facts.is_file() && !facts.is_dir())
}
