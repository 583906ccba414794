//! The options of `cache`: which directory of packed weights, and what is done about it.
//!
//! Called by `options::parse`.

use super::engine;
use super::environment::Environment;
use super::log::{self, LogFormatArgs, LogOptions};
use super::values::{self, OrNone};
use clap::{Args, Command, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// What becomes of the packed weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheOptions {
    /// Their directory.
    pub dir: PathBuf,
    /// What is removed; `None` only lists.
    pub prune: Option<Prune>,
    /// Whether the report is JSON.
    pub json: bool,
    /// What is logged.
    pub log: LogOptions,
}

/// What is removed besides what no start can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prune {
    /// What was last used before this time.
    pub older_than: Option<Duration>,
    /// All of it, also what is in use.
    pub all: bool,
    /// Whether nothing is removed, only said.
    pub dry_run: bool,
}

/// The arguments of `cache`.
#[derive(Debug, Args)]
pub struct CacheArgs {
    #[command(subcommand)]
    pub action: Option<Action>,
    /// Directory of packed weights [default: ~/.cache/ironrank]
    #[arg(long, value_name = "DIR", value_parser = values::path)]
    pub weight_cache: Option<OrNone<PathBuf>>,
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub log: LogFormatArgs,
}

/// What is done.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// List the files: model, size, when they were made and last used, whether they are in use
    List,
    /// Remove what is of no use: left over by starts that were killed, damaged, of another version, of a model that is gone
    Prune(PruneArgs),
}

/// The arguments of `cache prune`.
#[derive(Debug, Args)]
pub struct PruneArgs {
    /// Also what no start has used for so long: 12h, 30d, 8w
    #[arg(long, value_name = "TIME", value_parser = values::age)]
    pub older_than: Option<Duration>,
    /// All packed weights, also those in use: a running server keeps what it has mapped until it ends
    #[arg(long, conflicts_with = "older_than")]
    pub all: bool,
    /// Only say what would be removed
    #[arg(long)]
    pub dry_run: bool,
}

/// The command as clap knows it.
pub fn command() -> Command {
    CacheArgs::augment_args(Command::new("cache"))
        .about("List the packed weights that starts have left in the weight cache, or remove what is of no use")
        .after_help(
            "Only files of ironrank's are told of and removed. What is removed is made again by the next start that needs \
             it. Exit code 1 if something could not be removed.\n\nExample:\n  ironrank cache prune --older-than 30d --dry-run",
        )
        .infer_long_args(true)
        // Before the word `list` or `prune`, or behind it.
        .mut_args(|arg| arg.global(true))
}

/// The options of `cache`.
pub fn options(args: CacheArgs, env: Environment) -> Result<CacheOptions, String> {
    let dir = match args.weight_cache.and_then(|dir| dir.0) {
        Some(dir) if dir.as_os_str() == "off" => return Err("--weight-cache off is no directory.".to_owned()),
        Some(dir) => dir,
        None => engine::default_weight_cache(env).ok_or(
            "Neither XDG_CACHE_HOME nor HOME names a directory; say which with --weight-cache DIR, as the server does.",
        )?,
    };
    let prune = match args.action {
        None | Some(Action::List) => None,
        Some(Action::Prune(PruneArgs { older_than, all, dry_run })) => Some(Prune { older_than, all, dry_run }),
    };
    Ok(CacheOptions { dir, prune, json: args.json, log: log::options(args.log, env, Vec::new()) })
}
