//! The options of `check`: those of the engine and of prompts, and how the answer is written.
//!
//! Called by `options::parse`.

use super::flags::{EngineArgs, LogFormatArgs, ModelArgs, ScoreArgs};
use super::{EngineOptions, LogOptions, build};
use clap::Args;

/// What is checked.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckOptions {
    /// Which model, and how it would run.
    pub engine: EngineOptions,
    /// Text of a Jinja template; `None` is the model card's prompt.
    pub chat_template: Option<String>,
    /// The instruction of texts that bring none; `None` is the model card's.
    pub instruction: Option<String>,
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
    pub score: ScoreArgs,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub log: LogFormatArgs,
}

/// The options of `check`.
pub fn options(args: CheckArgs, env: impl Fn(&str) -> Option<String>) -> Result<CheckOptions, String> {
    let env = |name: &str| env(name).filter(|value| !value.trim().is_empty());
    let CheckArgs { json, score, model, engine, log } = args;
    build::needs_model("check", &model)?;
    let mut notices = Vec::new();
    // It is not heard here, but a mistake in it is one.
    build::pooling(score.pooler_config, &mut notices)?;
    let chat_template = build::given(score.chat_template).map(|text| build::template(&text)).transpose()?;
    let instruction = build::instruction(score.instruction, env);
    let engine = build::engine_options(model, engine, env, &mut notices)?;
    let log = build::log_options(log, None, env, notices);
    Ok(CheckOptions { engine, chat_template, instruction, log, json })
}
