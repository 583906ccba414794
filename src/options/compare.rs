//! The options of `compare`: the pairs, those of the engine and of scores, and how the answer is written. Called by
//! `options::parse`.

use super::engine::{self, EngineArgs, EngineOptions};
use super::environment::Environment;
use super::log::{self, LogFormatArgs, LogOptions};
use super::model::ModelArgs;
use super::pooler::Pooling;
use super::scoring::{Overflow, ScoringArgs};
use clap::{Args, Command};
use std::path::PathBuf;

/// A precision beside the exact one.
#[derive(Debug, Clone, PartialEq)]
pub struct CompareOptions {
    /// Which model, and how it runs.
    pub engine: EngineOptions,
    /// The pairs.
    pub compared: Compared,
    /// The instruction of rows that bring none; `None` is the model card's.
    pub instruction: Option<String>,
    /// Text of a Jinja template; `None` is the model card's prompt.
    pub chat_template: Option<String>,
    /// What becomes of a pair that is too long.
    pub overflow: Overflow,
    /// How a logit becomes a score.
    pub pooling: Pooling,
    /// What is logged.
    pub log: LogOptions,
    /// Whether the report is JSON.
    pub json: bool,
}

/// Where the pairs are from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compared {
    /// Those that the program carries.
    BuiltIn,
    /// Rows of standard input.
    StandardInput,
    /// Rows of a file.
    File(PathBuf),
}

/// The arguments of `compare`, still without defaults.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Rows to score as `ironrank score` takes them, or - for standard input; rows of one query belong together
    /// [default: a built-in set, 40 queries of several languages with 8 passages each]
    #[arg(long, value_name = "FILE|-", value_parser = compared, help_heading = "Comparison")]
    pub input: Option<Compared>,
    /// Print one JSON object instead of a table
    #[arg(long, help_heading = "Comparison")]
    pub json: bool,
    #[command(flatten)]
    pub scoring: ScoringArgs,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub log: LogFormatArgs,
}

/// The command.
pub fn command() -> Command {
    CompareArgs::augment_args(Command::new("compare"))
        .about("Say how far the scores of a precision are from exact ones, on pairs of yours, and how much faster they come")
        .after_help(
            "The model runs twice, once in float32. Give the options that the server will have.\n\nExample:\n  ironrank compare \
             /models/qwen3-reranker-0.6b --quantization int8 --input pairs.jsonl",
        )
        .args_override_self(true)
        .infer_long_args(true)
}

/// The options of `compare`.
pub fn options(args: CompareArgs, env: Environment) -> Result<CompareOptions, String> {
    let CompareArgs { input, json, scoring, model, engine, log } = args;
    model.needed_by("compare")?;
    let mut notices = Vec::new();
    let pooling = scoring.pooling(&mut notices)?;
    // How fast they come is measured: no answer is kept.
    let engine = engine::options(model, engine, Some(0), env, &mut notices)?;
    Ok(CompareOptions {
        engine,
        compared: input.unwrap_or(Compared::BuiltIn),
        instruction: scoring.instruction(env),
        chat_template: scoring.template()?,
        overflow: scoring.overflow.unwrap_or(Overflow::DEFAULT),
        pooling,
        log: log::options(log, env, notices),
        json,
    })
}

/// `--input`.
fn compared(text: &str) -> Result<Compared, String> {
    match text {
        "" | "None" => Err("it names no file; leave it out for the built-in set.".to_owned()),
        "-" => Ok(Compared::StandardInput),
        path => Ok(Compared::File(PathBuf::from(path))),
    }
}
