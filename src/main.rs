//! The program: parse options, load the model, serve or measure it, leave with an exit code.
//!
//! Exit codes: 0 when all went well, 1 when a model, a port or the machine was at fault, 2 when the command line was.
#![forbid(unsafe_code)]

use actix_web::rt::System;
use ironrank::bench;
use ironrank::error::{Error, ErrorKind, Result};
use ironrank::options::{self, BenchOptions, Command, Options};
use ironrank::server::{self, Lifecycle, Settings, State};
use ironrank::startup::{Loaded, load};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let args = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned());
    match options::parse(args, |name| std::env::var(name).ok()) {
        Command::Say { text, code } => {
            if code == 0 {
                print!("{text}");
            } else {
                eprint!("{text}");
            }
            ExitCode::from(code)
        }
        Command::Serve(options) => run(&options, || serve(&options)),
        Command::Bench(bench) => run(&bench.options, || measure(&bench)),
    }
}

/// Runs a command with the log open; what goes wrong is the log's last line and the exit code.
fn run(options: &Options, command: impl FnOnce() -> Result<()>) -> ExitCode {
    start_logging(&options.log_filter);
    for notice in &options.notices {
        tracing::warn!("{notice}");
    }
    match command() {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            tracing::error!("{err}");
            ExitCode::from(if err.kind() == ErrorKind::Options { 2 } else { 1 })
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

fn serve(options: &Options) -> Result<()> {
    let reserved = server::reserve(&options.host, options.port)?;
    let Loaded { engine, encoder, max_model_len, .. } = load(options)?;
    let settings = settings(options, max_model_len);
    let names = settings.served_model_names.join(", ");
    let state = State::new(settings, engine, Arc::new(encoder))?;
    let lifecycle = Lifecycle { keep_alive: options.keep_alive, shutdown_timeout: options.shutdown_timeout };
    System::new().block_on(async {
        let stop = stop_signal()?;
        let address = reserved.address();
        let listening = reserved.listen()?;
        tracing::info!("ready: serving {names} on http://{address}");
        server::run(state, listening, lifecycle, stop).await?;
        tracing::info!("stopped");
        Ok(())
    })
}

fn settings(options: &Options, max_model_len: usize) -> Settings {
    let root = options.model.as_ref().map(|model| model.to_string_lossy().into_owned());
    Settings {
        served_model_names: options.served_model_names.clone(),
        root: root.unwrap_or_else(|| options::BUILTIN_MODEL_NAME.to_owned()),
        max_model_len,
        api_keys: options.api_keys.clone(),
        skip_model_name_validation: options.skip_model_name_validation,
        max_body_bytes: options.max_body_bytes,
    }
}

/// Resolves at the first SIGTERM or SIGINT.
fn stop_signal() -> Result<impl Future<Output = ()>> {
    let fail = |err| Error::new(ErrorKind::Internal, format!("Signals cannot be received: {err}."));
    let mut terminate = signal(SignalKind::terminate()).map_err(fail)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(fail)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: no new connections; finishing what is running");
    })
}

/// One line per event on stderr, with plain text where nobody watches.
fn start_logging(filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new(options::DEFAULT_LOG_LEVEL));
    tracing_subscriber::fmt()
        .compact()
        .with_target(false)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_env_filter(filter)
        .init();
}
