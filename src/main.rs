//! The program: parse options, load the model, serve, measure or compare it or go through a file with it; or check or fetch one, or
//! ask a server how it is; leave with an exit code.
//!
//! Exit codes: 0 when all went well, 1 when a model, a port or the machine was at fault, 2 when the command line was.
//! `score` and `embed` also have 3 when rows were rejected. 128 and the signal's number when a signal ended it, unless that was a
//! server's order to stop.
#![forbid(unsafe_code)]

use ironrank::bench;
use ironrank::cache;
use ironrank::check;
use ironrank::compare;
use ironrank::corpus::Outcome;
use ironrank::download;
use ironrank::error::{ErrorKind, Result};
use ironrank::health;
use ironrank::logging;
use ironrank::options::{
    self, BenchOptions, CacheOptions, CheckOptions, Command, CompareOptions, DownloadOptions, HealthOptions, LogOptions,
};
use ironrank::score;
use ironrank::serve;
use ironrank::signals::Signals;
use ironrank::vectors;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let is_for_machines = options::asks_for_json(&args);
    // What is not Unicode is there all the same: a key above all.
    match options::parse(args, |name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())) {
        Command::Say { text, code } => {
            match code {
                0 => print!("{text}"),
                _ if is_for_machines => logging::refuse(&text),
                _ => eprint!("{text}"),
            }
            ExitCode::from(code)
        }
        Command::Serve(options) => {
            run(&options.log, |signals| serve::run(&options, signals).map(|()| ExitCode::SUCCESS))
        }
        Command::Score(options) => run(&options.log, |signals| score::run(&options, signals).map(code_of)),
        Command::Embed(options) => run(&options.log, |signals| vectors::run(&options, signals).map(code_of)),
        Command::Check(options) => run(&options.log, |_| Ok(check_model(&options))),
        Command::Compare(options) => run(&options.log, |_| compare_precisions(&options).map(|()| ExitCode::SUCCESS)),
        Command::Cache(options) => run(&options.log, |_| tidy(&options)),
        Command::Download(options) => run(&options.log, |_| fetch(&options).map(|()| ExitCode::SUCCESS)),
        Command::Health(asked) => check_health(asked),
        Command::Bench(bench) => run(&bench.log, |_| measure(&bench).map(|()| ExitCode::SUCCESS)),
    }
}

/// Runs a command with the log open and signals received; what goes wrong is the log's last line and the exit code.
fn run(log: &LogOptions, command: impl FnOnce(&Signals) -> Result<ExitCode>) -> ExitCode {
    let signals = Signals::receive();
    logging::start(log);
    match signals.and_then(|signals| command(&signals)) {
        Ok(code) => code,
        Err(err) => {
            tracing::error!("{err}");
            ExitCode::from(if err.kind() == ErrorKind::Options { 2 } else { 1 })
        }
    }
}

/// Says whether a model will load, by the exit code too.
fn check_model(options: &CheckOptions) -> ExitCode {
    let report = check::run(options);
    match options.json {
        true => println!("{}", report.to_json()),
        false => print!("{report}"),
    }
    if report.loads() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Asks a server whether it is well and says so in one sentence.
fn check_health(asked: Option<HealthOptions>) -> ExitCode {
    match health::check(&asked.unwrap_or_else(health::here)) {
        Ok(sentence) => {
            println!("{sentence}");
            ExitCode::SUCCESS
        }
        Err(err) => {
            eprintln!("{err}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &BenchOptions) -> Result<()> {
    let report = bench::run(options)?;
    match options.json {
        true => println!("{}", report.to_json()),
        false => print!("{report}"),
    }
    Ok(())
}

/// Scores pairs twice and says how well both agree.
fn compare_precisions(options: &CompareOptions) -> Result<()> {
    let report = compare::run(options)?;
    match options.json {
        true => println!("{}", report.to_json()),
        false => print!("{report}"),
    }
    Ok(())
}

/// Lists the packed weights and removes what is to be removed, which the exit code tells.
fn tidy(options: &CacheOptions) -> Result<ExitCode> {
    let report = cache::run(options)?;
    match options.json {
        true => println!("{}", report.to_json()),
        false => print!("{report}"),
    }
    Ok(if report.is_complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Fetches a model; its directory is all that goes to stdout, for scripts.
fn fetch(options: &DownloadOptions) -> Result<()> {
    println!("{}", download::run(options)?.display());
    Ok(())
}

/// Whether all rows of a file have an answer.
fn code_of(outcome: Outcome) -> ExitCode {
    match outcome {
        Outcome { stopped: Some(stop), .. } => ExitCode::from(stop.exit_code()),
        Outcome { rejected: 1.., .. } => ExitCode::from(3),
        Outcome { .. } => ExitCode::SUCCESS,
    }
}
