//! The options of commands that go through a file: the rows, where their answers go, and which rows are whose. Called by the
//! options of these commands.

use super::values::{self, OrNone};
use clap::Args;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A file of rows and one for their answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorpusOptions {
    /// The rows; `None` is standard input.
    pub input: Option<PathBuf>,
    /// Where answers go; `None` is standard output.
    pub output: Option<PathBuf>,
    /// Where rows go that have no answer; `None` only reports them.
    pub rejected: Option<PathBuf>,
    /// Which of the rows are done.
    pub shard: Shard,
}

impl CorpusOptions {
    /// Where the rejected rows of `output` go unless another place is named.
    pub fn beside(output: &Path) -> PathBuf {
        let mut path = OsString::from(output);
        path.push(".rejected.jsonl");
        PathBuf::from(path)
    }
}

/// Every `count`-th line, from line `index` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// From 1 to `count`.
    pub index: u64,
    /// How many shards there are.
    pub count: u64,
}

impl Shard {
    /// All lines.
    pub const WHOLE: Self = Self { index: 1, count: 1 };

    /// Whether `line`, counted from 1, is one of it.
    pub fn has(self, line: u64) -> bool {
        line % self.count == self.index % self.count
    }
}

/// The arguments for files, still without defaults.
#[derive(Debug, Args)]
#[command(next_help_heading = "Files")]
pub struct CorpusArgs {
    /// Rows, or - for standard input: JSON objects, one a line, or CSV or TSV whose header names the fields
    #[arg(long, value_name = "FILE|-", value_parser = file, required = true)]
    pub input: OrNone<PathBuf>,
    /// What answers them, in the order of the input, or - for standard output. A file that is there is continued after its
    /// last row
    #[arg(long, value_name = "FILE|-", value_parser = file, required = true)]
    pub output: OrNone<PathBuf>,
    /// Rows that have no answer, each with its line number and the reason
    /// [default: OUTPUT.rejected.jsonl; with --output - only reported]
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    pub rejected: Option<OrNone<PathBuf>>,
    /// Take every N-th line (of CSV: record), from line I on, so that N processes share a file: 1/N to N/N
    /// [default: 1/1]
    #[arg(long, value_name = "I/N", value_parser = shard)]
    pub shard: Option<Shard>,
}

impl CorpusArgs {
    /// What they ask for.
    pub fn options(self) -> CorpusOptions {
        let Self { input, output, rejected, shard } = self;
        let (input, output) = (input.0, output.0);
        let rejected = rejected.and_then(|file| file.0).or_else(|| output.as_deref().map(CorpusOptions::beside));
        CorpusOptions { input, output, rejected, shard: shard.unwrap_or(Shard::WHOLE) }
    }
}

/// The path of a file; `-` is standard input or output.
fn file(text: &str) -> Result<OrNone<PathBuf>, String> {
    if text.is_empty() {
        return Err("it names no file: perhaps a variable is not set.".to_owned());
    }
    Ok(OrNone(Some(text).filter(|text| *text != "-").map(PathBuf::from)))
}

/// `--shard`.
fn shard(text: &str) -> Result<Shard, String> {
    let parts = text.split_once('/').and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
    match parts {
        Some((index, count)) if 1 <= index && index <= count => Ok(Shard { index, count }),
        _ => Err(format!("'{text}' is not a shard; write 1/4, 2/4, 3/4 or 4/4 for a quarter of the lines.")),
    }
}
