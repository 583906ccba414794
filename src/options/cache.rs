//! The options of `cache`: which directory of packed weights, and what is done about it.
//!
//! Called by `options::parse`.

use super::build::{default_weight_cache, given, log_options};
use super::flags::LogFormatArgs;
use super::{LogOptions, values};
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
    #[arg(long, value_name = "DIR")]
    pub weight_cache: Option<String>,
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
             it. Exit code 1 if something could not be removed.",
        )
        .infer_long_args(true)
        // Before the word `list` or `prune`, or behind it.
        .mut_args(|arg| arg.global(true))
}

/// The options of `cache`.
pub fn options(args: CacheArgs, env: impl Fn(&str) -> Option<String>) -> Result<CacheOptions, String> {
    let env = |name: &str| env(name).filter(|value| !value.trim().is_empty());
    let dir = match given(args.weight_cache) {
        Some(dir) if dir == "off" => return Err("--weight-cache off is no directory.".to_owned()),
        Some(dir) => PathBuf::from(dir),
        None => default_weight_cache(env).ok_or(
            "Neither XDG_CACHE_HOME nor HOME names a directory; say which with --weight-cache DIR, as the server does.",
        )?,
    };
    let prune = match args.action {
        None | Some(Action::List) => None,
        Some(Action::Prune(PruneArgs { older_than, all, dry_run })) => Some(Prune { older_than, all, dry_run }),
    };
    Ok(CacheOptions { dir, prune, json: args.json, log: log_options(args.log, None, env, Vec::new()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Command, parse};

    fn parsed(args: &str, env: &[(&str, &str)]) -> Command {
        let args = format!("ironrank cache {args}");
        let env = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        parse(args.split_whitespace(), env)
    }

    #[test]
    fn every_flag_may_stand_before_the_action_and_behind_it() {
        for args in ["list --log-format json", "--log-format json list", "prune --log-format json"] {
            assert_eq!(options_of(args, &[("HOME", "/h")]).log.format, crate::options::LogFormat::Json, "{args}");
        }
    }

    fn options_of(args: &str, env: &[(&str, &str)]) -> CacheOptions {
        match parsed(args, env) {
            Command::Cache(options) => *options,
            other => panic!("{args}: {other:?}"),
        }
    }

    #[test]
    fn it_lists_unless_it_is_told_to_prune() {
        let home = [("HOME", "/home/a")];
        for args in ["", "list", "list --json", "--json list"] {
            let options = options_of(args, &home);
            assert_eq!((options.prune, options.json), (None, args.contains("json")), "{args}");
            assert_eq!(options.dir, PathBuf::from("/home/a/.cache/ironrank"));
        }
        let nothing = Prune { older_than: None, all: false, dry_run: false };
        let month = Some(Duration::from_secs(30 * 86_400));
        for (args, prune) in [
            ("prune", nothing),
            ("prune --older-than 30d", Prune { older_than: month, ..nothing }),
            ("prune --older_than=30d --dry_run", Prune { older_than: month, dry_run: true, ..nothing }),
            ("prune --all", Prune { all: true, ..nothing }),
        ] {
            assert_eq!(options_of(args, &home).prune, Some(prune), "{args}");
        }
        assert_eq!(options_of("prune --weight-cache /w", &[]).dir, PathBuf::from("/w"));
        assert_eq!(options_of("--weight-cache /w", &[]).dir, PathBuf::from("/w"));
    }

    #[test]
    fn what_cannot_be_meant_is_said() {
        for (args, words) in [
            ("", "Neither XDG_CACHE_HOME nor HOME"),
            ("--weight-cache off", "no directory"),
            ("prune --older-than 30", "30d"),
            ("prune --older-than soon", "30d"),
            ("prune --older-than 1d --all", "cannot be used with"),
            ("purge", "purge"),
        ] {
            match parsed(args, &[]) {
                Command::Say { text, code: 2 } => assert!(text.contains(words), "{args}: {text}"),
                other => panic!("{args}: {other:?}"),
            }
        }
    }
}
