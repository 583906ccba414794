//! The options of `check`: those of the engine and of prompts, and how the answer is written.
//!
//! Called by `options::parse`.

use super::embedding::{EmbeddingArgs, NamedPrompts};
use super::engine::{self, AnswerCacheArgs, EngineArgs, EngineOptions};
use super::environment::Environment;
use super::log::{self, LogFormatArgs, LogOptions};
use super::model::ModelArgs;
use super::scoring::ScoringArgs;
use clap::{Args, Command};

/// What is checked.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckOptions {
    /// Which model, and how it would run.
    pub engine: EngineOptions,
    /// Text of a Jinja template; `None` is the model card's prompt.
    pub chat_template: Option<String>,
    /// The instruction of texts that bring none; `None` is the model card's.
    pub instruction: Option<String>,
    /// What stands before the texts of an embedding model.
    pub named_prompts: NamedPrompts,
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
    pub scoring: ScoringArgs,
    #[command(flatten)]
    pub embedding: EmbeddingArgs,
    #[command(flatten)]
    pub model: ModelArgs,
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
        .after_help("Exit code 0 if the model will load, 1 if not. Give the options that the server will have.")
        .args_override_self(true)
        .infer_long_args(true)
}

/// The options of `check`.
pub fn options(args: CheckArgs, env: Environment) -> Result<CheckOptions, String> {
    let CheckArgs { json, scoring, embedding, model, engine, answers, log } = args;
    model.needed_by("check")?;
    let mut notices = Vec::new();
    // It is not heard here, but a mistake in it is one.
    scoring.pooling(&mut notices)?;
    let chat_template = scoring.template()?;
    let (instruction, named_prompts) = (scoring.instruction(env), embedding.prompts(env));
    let engine = engine::options(model, engine, answers.bytes(env)?, env, &mut notices)?;
    let log = log::options(log, env, notices);
    Ok(CheckOptions { engine, chat_template, instruction, named_prompts, log, json })
}
