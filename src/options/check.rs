//! The options of `check`: those of the models and of the machine, and how the answer is written.
//!
//! Called by `options::parse`.

use super::engine::{self, AnswerCacheArgs, EngineArgs, MachineOptions};
use super::environment::Environment;
use super::log::{self, LogFormatArgs, LogOptions};
use super::served::{self, AlsoArgs, ServedArgs, ServedModel};
use clap::{Args, Command};

/// What is checked.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckOptions {
    /// Which models.
    pub models: Vec<ServedModel>,
    /// How they would run.
    pub machine: MachineOptions,
    /// What is logged.
    pub log: LogOptions,
    /// Whether the report is JSON.
    pub json: bool,
}

/// The arguments of `check`, still without defaults.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Print one JSON object instead of a table
    #[arg(long, help_heading = "Check")]
    pub json: bool,
    #[command(flatten)]
    pub first: ServedArgs,
    #[command(flatten)]
    pub also: AlsoArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub answers: AnswerCacheArgs,
    #[command(flatten)]
    pub log: LogFormatArgs,
}

/// The command.
pub fn command() -> Command {
    CheckArgs::augment_args(Command::new("check"))
        .about("Say whether a model will load here, what is wrong if not, and what memory and time it will take")
        .after_help(
            "Exit code 0 if the model will load, 1 if not. Give the options that the server will have.\n\nExample:\n  ironrank check \
             /models/qwen3-reranker-0.6b --max-model-len 8192",
        )
        .args_override_self(true)
        .infer_long_args(true)
}

/// The options of `check`.
pub fn options(args: CheckArgs, env: Environment) -> Result<CheckOptions, String> {
    let CheckArgs { json, first, also, engine, answers, log } = args;
    if also.is_empty() {
        first.model.needed_by("check")?;
    }
    let mut notices = Vec::new();
    // It is not heard here, but a mistake in it is one.
    first.scoring.pooling(&mut notices)?;
    let models = served::options(first, also, env, &mut notices)?;
    let machine = engine::machine(engine, answers.bytes(env)?, env, &mut notices)?;
    Ok(CheckOptions { models, machine, log: log::options(log, env, notices), json })
}
