//! The options of `score`: a file of pairs, one for their scores, and which rows are whose.
//!
//! The flags that only this command has and what is made of them stand here; the others are those of the engine and of
//! scores. Called by `options::parse`.

use super::engine::{self, AnswerCacheArgs, EngineArgs, EngineOptions};
use super::environment::Environment;
use super::log::{self, LogFormatArgs, LogOptions};
use super::model::ModelArgs;
use super::pooler::Pooling;
use super::scoring::{Overflow, ScoringArgs};
use super::values::{self, OrNone};
use clap::{Args, Command};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A file of pairs to score.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreOptions {
    /// Which model, and how it runs.
    pub engine: EngineOptions,
    /// What is logged.
    pub log: LogOptions,
    /// The rows; `None` is standard input.
    pub input: Option<PathBuf>,
    /// Where scores go; `None` is standard output.
    pub output: Option<PathBuf>,
    /// Where rows go that cannot be scored; `None` only reports them.
    pub rejected: Option<PathBuf>,
    /// Which of the rows are scored.
    pub shard: Shard,
    /// The instruction of rows that bring none; `None` is the model card's.
    pub instruction: Option<String>,
    /// Text of a Jinja template; `None` is the model card's prompt.
    pub chat_template: Option<String>,
    /// What becomes of a pair that is too long.
    pub overflow: Overflow,
    /// How a logit becomes a score.
    pub pooling: Pooling,
}

impl ScoreOptions {
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

/// The arguments of `score`, still without defaults.
#[derive(Debug, Args)]
pub struct OfflineArgs {
    /// Rows to score, or - for standard input: JSON objects, one a line, with a query, a document or a list of
    /// documents, and perhaps an id and an instruction; or CSV or TSV whose header names query and document
    #[arg(long, value_name = "FILE|-", value_parser = file, required = true, help_heading = "Files")]
    pub input: OrNone<PathBuf>,
    /// Scores, one line a row in the order of the input, or - for standard output. A file that is there is continued
    /// after its last row
    #[arg(long, value_name = "FILE|-", value_parser = file, required = true, help_heading = "Files")]
    pub output: OrNone<PathBuf>,
    /// Rows that cannot be scored, each with its line number and the reason
    /// [default: OUTPUT.rejected.jsonl; with --output - only reported]
    #[arg(long, value_name = "FILE", value_parser = values::path, help_heading = "Files")]
    pub rejected: Option<OrNone<PathBuf>>,
    /// Score every N-th line (of CSV: record), from line I on, so that N processes share a file: 1/N to N/N
    /// [default: 1/1]
    #[arg(long, value_name = "I/N", value_parser = shard, help_heading = "Files")]
    pub shard: Option<Shard>,
    #[command(flatten)]
    pub scoring: ScoringArgs,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub answers: AnswerCacheArgs,
    #[command(flatten)]
    pub log: LogFormatArgs,
}

const RULES: &str = "\
A killed or stopped run goes on where it was when it is started again with the same options: nothing that was written is
lost, nothing is scored twice. OUTPUT.job says what the file belongs to; other rows or options are refused. With --output -
there is no going on. Standard input has to bring the same rows again.

Exit codes: 0 all rows were scored; 1 a file, the model or the machine was at fault; 2 the command line was; 3 all rows
are done, some of them were rejected; 130 and 143 stopped by SIGINT and SIGTERM, after the batch that ran.";

/// The command.
pub fn command() -> Command {
    OfflineArgs::augment_args(Command::new("score"))
        .about("Score a file of query-document pairs, without a server")
        .after_help(RULES)
        .args_override_self(true)
        .infer_long_args(true)
}

/// The options of `score`.
pub fn options(args: OfflineArgs, env: Environment) -> Result<ScoreOptions, String> {
    let OfflineArgs { input, output, rejected, shard, scoring, model, engine, answers, log } = args;
    let (input, output) = (input.0, output.0);
    let rejected = rejected.and_then(|file| file.0).or_else(|| output.as_deref().map(ScoreOptions::beside));
    if rejected.is_some() && rejected == output {
        return Err("--output and --rejected name the same file.".to_owned());
    }
    model.needed_by("score")?;
    let mut notices = Vec::new();
    let pooling = scoring.pooling(&mut notices)?;
    let engine = engine::options(model, engine, answers.bytes(env)?, env, &mut notices)?;
    Ok(ScoreOptions {
        engine,
        log: log::options(log, env, notices),
        input,
        output,
        rejected,
        shard: shard.unwrap_or(Shard::WHOLE),
        instruction: scoring.instruction(env),
        chat_template: scoring.template()?,
        overflow: scoring.overflow.unwrap_or(Overflow::DEFAULT),
        pooling,
    })
}

/// The path of a file; `-` is standard input or output.
fn file(text: &str) -> Result<OrNone<PathBuf>, String> {
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
