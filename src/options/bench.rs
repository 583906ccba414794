//! The options of `bench`: what is asked of the model, and those of the engine. Called by `options::parse`.

use super::engine::{self, EngineArgs, EngineOptions};
use super::environment::Environment;
use super::log::{self, LogFormatArgs, LogOptions};
use super::model::ModelArgs;
use super::values;
use clap::{Args, Command};

/// A benchmark.
#[derive(Debug, Clone, PartialEq)]
pub struct BenchOptions {
    /// Which model, and how it runs.
    pub engine: EngineOptions,
    /// What is logged.
    pub log: LogOptions,
    /// What is asked of the model; `None` is what is usual for its task.
    pub workload: Option<Workload>,
    /// Requests that are timed; `None` is the workload's own number.
    pub requests: Option<usize>,
    /// Whether the report is JSON.
    pub json: bool,
}

/// What `bench` asks of the model: documents a request, and their words, stand in `bench::workload`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Workload {
    /// One document of 60 words, a new query each time.
    Pair,
    /// 32 documents of 40 words.
    Short,
    /// 32 documents of 200 words.
    Rag,
    /// 64 documents of 350 words.
    Chunk,
    /// 4 documents of 1,500 words.
    Long,
    /// One document of 5,600 words.
    Max,
    /// 64 texts of 512 tokens, of an embedding model.
    Texts,
}

/// The arguments of `bench`, still without defaults.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// What is asked of the model [default: rag; of an embedding model: texts]
    #[arg(long, value_enum, help_heading = "Benchmark")]
    pub workload: Option<Workload>,
    /// Requests that are timed [default: by workload]
    #[arg(long, value_name = "N", value_parser = values::human_count, allow_hyphen_values = true, help_heading = "Benchmark")]
    pub requests: Option<usize>,
    /// Print one JSON object instead of a table
    #[arg(long, help_heading = "Benchmark")]
    pub json: bool,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub log: LogFormatArgs,
}

/// The command.
pub fn command() -> Command {
    BenchArgs::augment_args(Command::new("bench"))
        .about("Measure how fast this machine scores or embeds, and how near that is to its limits")
        .after_help("Example:\n  ironrank bench /models/qwen3-reranker-0.6b --workload rag")
        .args_override_self(true)
        .infer_long_args(true)
}

/// The options of `bench`.
pub fn options(args: BenchArgs, env: Environment) -> Result<BenchOptions, String> {
    let BenchArgs { workload, requests, json, model, engine, log } = args;
    let mut notices = Vec::new();
    // What is measured is computing: no answer is kept.
    let engine = engine::options(model, engine, Some(0), env, &mut notices)?;
    let log = log::options(log, env, notices);
    Ok(BenchOptions { engine, log, workload, requests, json })
}
