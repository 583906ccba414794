//! The options of `check`: those of the engine, and how the answer is written.
//!
//! Called by `options::parse`.

use super::flags::{EngineArgs, LogFormatArgs, ModelArgs};
use super::{EngineOptions, LogOptions, build};
use clap::Args;

/// What is checked.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckOptions {
    /// Which model, and how it would run.
    pub engine: EngineOptions,
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
    pub model: ModelArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub log: LogFormatArgs,
}

/// The options of `check`.
pub fn options(args: CheckArgs, env: impl Fn(&str) -> Option<String>) -> Result<CheckOptions, String> {
    let env = |name: &str| env(name).filter(|value| !value.trim().is_empty());
    let CheckArgs { json, model, engine, log } = args;
    build::needs_model("check", &model)?;
    let mut notices = Vec::new();
    let engine = build::engine_options(model, engine, env, &mut notices)?;
    let log = build::log_options(log, None, env, notices);
    Ok(CheckOptions { engine, log, json })
}
