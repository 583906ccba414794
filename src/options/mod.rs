//! Command line, environment and configuration file become one validated plain struct; every default of the program is
//! written here, a constant beside the options that it belongs to.
//!
//! Invariant: an [`Options`] holds only values that make sense together; what is wrong is said in a sentence before
//! anything is loaded. The way is: arguments -> `launcher` (what stands before them) -> `spelling` (one spelling for each
//! flag, `config_file` included) -> `command` (clap, with the flags of each command and those that are `ignored`; a
//! flag's value leaves clap with its type, by `values` and `json`) -> the options of the command, in a file of its name,
//! out of the groups that commands share: `model` and `engine`, `scoring`, `embedding`, `log`; and `served`'s and `server`'s
//! with `listen` and `tls`.
//! A flag wins over a variable, a variable over a default; an empty value and vLLM's `None` are no value.
//! The environment comes in as a function, so that tests need not change it; of files, only those are read that a flag
//! names and that are options themselves (`--config`, `--chat-template`), and the token of the hub. Called by `main`;
//! imports `file`, `precision` and `task` alone.

mod bench;
mod binding;
mod cache;
mod check;
mod command;
mod compare;
mod config_file;
mod corpus;
mod download;
mod embed;
mod embedding;
mod engine;
mod environment;
mod health;
mod ignored;
mod json;
mod keys;
mod launcher;
mod listen;
mod log;
mod manual;
mod model;
mod names;
mod pooler;
mod score;
mod scoring;
mod serve;
mod served;
mod server;
mod spelling;
mod tei;
mod tls;
mod values;

pub use bench::{BenchOptions, Workload};
pub use cache::{CacheOptions, Prune};
pub use check::CheckOptions;
pub use compare::{CompareOptions, Compared};
pub use corpus::{CorpusOptions, Shard};
pub use download::{DEFAULT_ENDPOINT, DEFAULT_PATIENCE, DownloadOptions, Patience, Token};
pub use embed::EmbedOptions;
pub use embedding::NamedPrompts;
pub use engine::{Caches, EngineOptions, MachineOptions};
pub use health::HealthOptions;
pub use keys::ApiKeys;
pub use listen::Listen;
pub use log::{DEFAULT_LOG_LEVEL, LogFormat, LogOptions};
pub use model::{BUILTIN_MODEL_NAME, LoadFormat, ModelOptions};
pub use pooler::Pooling;
pub use score::ScoreOptions;
pub use scoring::Overflow;
pub use serve::Options;
pub use served::ServedModel;
pub use server::{Cors, DEFAULT_MAX_BODY_BYTES, DEFAULT_MAX_CONNECTIONS, ServerOptions};
pub use tls::{ClientCertificates, Tls};

use clap::{ArgMatches, FromArgMatches};
use environment::Environment;

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Serve a model.
    Serve(Box<Options>),
    /// Measure this machine.
    Bench(Box<BenchOptions>),
    /// Say whether a model will load.
    Check(Box<CheckOptions>),
    /// Say how far the scores of a precision are from exact ones.
    Compare(Box<CompareOptions>),
    /// List or prune the packed weights.
    Cache(Box<CacheOptions>),
    /// Fetch a model.
    Download(Box<DownloadOptions>),
    /// Score a file of pairs.
    Score(Box<ScoreOptions>),
    /// Make vectors of a file of texts.
    Embed(Box<EmbedOptions>),
    /// Ask a server whether it is well; `None` is the one of this container.
    Health(Option<HealthOptions>),
    /// Print `text` and exit: help, version, completions and manual pages on stdout with code 0, mistakes on stderr with code 2.
    Say {
        /// What to print, newline included.
        text: String,
        /// Exit code of the process.
        code: u8,
    },
}

/// Reads the command line (`args[0]` is the program) and the environment.
pub fn parse<S: Into<String>>(args: impl IntoIterator<Item = S>, env: impl Fn(&str) -> Option<String>) -> Command {
    let mut args: Vec<String> = args.into_iter().map(Into::into).collect();
    // TEI's image needs no argument.
    if args.len() == 1 && Environment(&env).get(tei::MODEL).is_some() {
        args.push("serve".to_owned());
    }
    let args = match spelling::normalise(args) {
        Ok(args) => args,
        Err(sentence) => return mistake(&sentence),
    };
    match command::command().try_get_matches_from(args) {
        Ok(matches) => options(&matches, Environment(&env)).unwrap_or_else(|sentence| mistake(&sentence)),
        Err(err) => Command::Say { text: err.render().to_string(), code: u8::try_from(err.exit_code()).unwrap_or(2) },
    }
}

/// The options of the command that was given.
fn options(matches: &ArgMatches, env: Environment) -> Result<Command, String> {
    Ok(match matches.subcommand() {
        Some(("serve", it)) => Command::Serve(Box::new(serve::options(read(it)?, ignored::given(it)?, env)?)),
        Some(("score", it)) => Command::Score(Box::new(score::options(read(it)?, env)?)),
        Some(("embed", it)) => Command::Embed(Box::new(embed::options(read(it)?, env)?)),
        Some(("bench", it)) => Command::Bench(Box::new(bench::options(read(it)?, env)?)),
        Some(("check", it)) => Command::Check(Box::new(check::options(read(it)?, env)?)),
        Some(("compare", it)) => Command::Compare(Box::new(compare::options(read(it)?, env)?)),
        Some(("cache", it)) => Command::Cache(Box::new(cache::options(read(it)?, env)?)),
        Some(("download", it)) => Command::Download(Box::new(download::options(read(it)?, env)?)),
        Some(("health", it)) => Command::Health(health::options(read(it)?)?),
        Some(("completions", it)) => Command::Say { text: manual::completions(command::command(), read(it)?), code: 0 },
        Some(("man", it)) => Command::Say { text: manual::page(command::command(), read(it)?)?, code: 0 },
        _ => {
            return Err(
                "The commands are `serve`, `score`, `embed`, `bench`, `check`, `compare`, `cache`, `download`, `health`, \
                 `completions` and `man`."
                    .to_owned(),
            );
        }
    })
}

/// A command's arguments as clap has typed them.
fn read<T: FromArgMatches>(matches: &ArgMatches) -> Result<T, String> {
    T::from_arg_matches(matches).map_err(|err| err.to_string())
}

/// Whether a command line, right or wrong, wants its log for machines.
pub fn asks_for_json(args: &[String]) -> bool {
    let names: Vec<String> = args.iter().map(|arg| names::flag_name(arg)).collect();
    names.iter().any(|arg| arg == "--log-format=json")
        || names.windows(2).any(|pair| pair[0] == "--log-format" && pair[1] == "json")
}

fn mistake(sentence: &str) -> Command {
    Command::Say { text: format!("error: {sentence}\n\nFor more information, try '--help'.\n"), code: 2 }
}

#[cfg(test)]
mod tests;
