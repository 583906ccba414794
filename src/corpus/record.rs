//! The record beside an output: which work it belongs to, and the beginning of the input that was read for it.
//!
//! Invariant: every row of the output stands in the recorded beginning, for the record is written first; so an input
//! that changed is found out before anything is written behind the rows of another. It is replaced as a whole, never
//! changed in place. Kept by [`super::output`].

use super::job::{ISA, Job, PRECISION};
use super::lines::Mark;
use super::sheet::cannot_write;
use crate::error::{Error, ErrorKind, Result};
use crate::file::Fault;
use crate::precision::Precision;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Changes when the same options no longer mean the same answers, or with the record itself.
const VERSION: u32 = 2;

#[derive(Serialize, Deserialize)]
struct Content {
    version: u32,
    job: Job,
    input: Mark,
}

/// A record and its file.
pub(super) struct Record {
    path: PathBuf,
    content: Content,
}

impl Record {
    /// Where the record of `output` is.
    pub fn path(output: &Path) -> PathBuf {
        let mut path = output.as_os_str().to_owned();
        path.push(".job");
        PathBuf::from(path)
    }

    /// Reads the record at `path`, if there is one.
    pub fn read(path: PathBuf) -> Result<Option<Self>> {
        let name = path.display().to_string();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(err) => {
                return Err(Error::new(ErrorKind::Machine, format!("{name} {}.", Fault::of(&path, &err))));
            }
        };
        match serde_json::from_slice::<Content>(&text) {
            Ok(content) if content.version == VERSION => Ok(Some(Self { path, content })),
            Ok(Content { version, .. }) => Err(Error::new(
                ErrorKind::Options,
                format!("{name} was written by another version of this program ({version}, not {VERSION})."),
            )),
            Err(err) => Err(Error::new(ErrorKind::Options, format!("{name} is not a record of this program: {err}."))),
        }
    }

    /// Writes the first record of `job`.
    pub fn begin(path: PathBuf, job: Job) -> Result<Self> {
        let content = Content { version: VERSION, job, input: Mark { lines: 0, xxh3: String::new() } };
        let record = Self { path, content };
        record.write()?;
        Ok(record)
    }

    /// An error that names the first difference if the record is not of `job`. A record without an instruction set takes
    /// that of `job`, which is written before rows follow, and one without a precision is of exact ones.
    pub fn check(&mut self, job: &Job) -> Result<()> {
        if let (Some(isa), None) = (job.get(ISA), self.content.job.get(ISA)) {
            self.content.job.insert(ISA.to_owned(), isa.clone());
        }
        self.content.job.entry(PRECISION).or_insert_with(|| Precision::Exact.name().into());
        let Some((key, now)) = job.iter().find(|(key, now)| self.content.job.get(*key) != Some(now)) else {
            return Ok(());
        };
        let was = self.content.job.get(key).unwrap_or(&Value::Null);
        let same = match was {
            Value::String(isa) if key == ISA => format!("--isa {isa}"),
            Value::String(precision) if key == PRECISION => match precision.as_str() {
                "exact" => "--dtype float32".to_owned(),
                "int8" => "--quantization int8".to_owned(),
                _ => "--dtype bfloat16, on a CPU that is faster with 16 bits,".to_owned(),
            },
            _ => "the same options".to_owned(),
        };
        let (path, output) = (self.path.display(), self.path.with_extension(""));
        Err(Error::new(
            ErrorKind::Options,
            format!(
                "{} was begun with {key} {was}, which is {now} now. Take {same} to go on, or another \
                 --output; to begin anew, remove it, {path} and the rejected rows.",
                output.display()
            ),
        ))
    }

    /// The beginning of the input that was read.
    pub fn input(&self) -> &Mark {
        &self.content.input
    }

    /// Says that the input was read up to `mark`.
    pub fn advance(&mut self, mark: &Mark) -> Result<()> {
        self.content.input = mark.clone();
        self.write()
    }

    /// Writes the record as it is now.
    pub fn write(&self) -> Result<()> {
        let unfinished = self.path.with_extension("job.unfinished");
        let text = serde_json::to_vec(&self.content).unwrap_or_default();
        fs::write(&unfinished, text)
            .and_then(|()| fs::rename(&unfinished, &self.path))
            .map_err(|err| cannot_write(&self.path.display().to_string(), &err))
    }
}
