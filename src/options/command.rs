//! The whole command line as clap knows it: the commands, and the twin of every switch.
//!
//! Invariant: every switch of a command that takes vLLM's spellings has a hidden `--no-...` twin, of which the last one
//! given counts. Called by `options::parse` and, for the names that a `--config` file may have, by `options::spelling`.

use super::names::twin;
use super::{bench, cache, check, compare, download, embed, health, manual, score, serve};
use clap::{Arg, ArgAction, Command};

/// Columns of a help, where the terminal has as many.
const MAX_WIDTH: usize = 120;

/// The whole command line.
pub fn command() -> Command {
    Command::new("ironrank")
        .version(crate::version())
        .about("Serves Qwen3 rerankers and embedding models on ordinary CPUs, behind vLLM's API")
        .after_help(
            "`ironrank MODEL --flags` is `ironrank serve MODEL --flags`.\n\nExample:\n  ironrank serve \
             /models/qwen3-reranker-0.6b --port 8000",
        )
        // Of the commands too. A terminal that is wider leaves the rest empty; what is none counts as 100.
        .max_term_width(MAX_WIDTH)
        .arg_required_else_help(true)
        .subcommand_required(true)
        .subcommand(with_twins(serve::command()))
        .subcommand(with_twins(score::command()))
        .subcommand(with_twins(embed::command()))
        .subcommand(with_twins(bench::command()))
        .subcommand(with_twins(check::command()))
        .subcommand(with_twins(compare::command()))
        .subcommand(cache::command())
        .subcommand(download::command())
        .subcommand(health::command())
        .subcommand(manual::completions_command())
        .subcommand(manual::man_command())
}

/// Gives every switch of `command` its hidden twin, the last of the two being the one that counts.
fn with_twins(command: Command) -> Command {
    let switches: Vec<(String, String)> = command
        .get_arguments()
        .filter(|arg| matches!(arg.get_action(), ArgAction::SetTrue))
        .filter_map(|arg| Some((arg.get_id().to_string(), arg.get_long()?.to_owned())))
        .collect();
    switches.into_iter().fold(command, |command, (id, long)| {
        let twin = twin(&long);
        let negative = Arg::new(twin.clone()).long(twin).hide(true).action(ArgAction::SetTrue);
        command.arg(negative.overrides_with(id))
    })
}
