//! The program: parse options, load the model, serve it, leave with an exit code.
//!
//! Exit codes: 0 when all went well, 1 when a model, a port or the machine was at fault, 2 when the command line was.
#![forbid(unsafe_code)]

use actix_web::rt::System;
use ironrank::checkpoint::{Checkpoint, Config};
use ironrank::engine::{Engine, Limits};
use ironrank::error::{Error, ErrorKind, Result};
use ironrank::model;
use ironrank::options::{self, Command, LoadFormat, Options};
use ironrank::prompt::PromptEncoder;
use ironrank::server::{self, Lifecycle, Settings, State};
use ironrank_kernels::{Cpu, Isa, Pool};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;
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
        Command::Serve(options) => {
            start_logging(&options.log_filter);
            match serve(&options) {
                Ok(()) => ExitCode::SUCCESS,
                Err(err) => {
                    tracing::error!("{err}");
                    ExitCode::from(if err.kind() == ErrorKind::Options { 2 } else { 1 })
                }
            }
        }
    }
}

fn serve(options: &Options) -> Result<()> {
    for notice in &options.notices {
        tracing::warn!("{notice}");
    }
    let reserved = server::reserve(&options.host, options.port)?;
    let Loaded { engine, encoder, max_model_len } = load(options)?;
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

/// A model that is ready to score.
struct Loaded {
    engine: Engine,
    encoder: PromptEncoder,
    /// Longest prompt in tokens: the option, or what the model's configuration says.
    max_model_len: usize,
}

fn load(options: &Options) -> Result<Loaded> {
    let start = Instant::now();
    let cpu = cpu(options)?;
    let (isa, threads) = (cpu.isa().name(), cpu.threads());
    let checkpoint = match (&options.model, options.load_format) {
        (Some(dir), LoadFormat::Safetensors) => Checkpoint::open(dir, &options.hf_overrides)?,
        (dir, _) => {
            tracing::warn!("the weights are made up (--load-format dummy): scores carry no meaning");
            Checkpoint::dummy(dir.as_deref(), &options.hf_overrides)?
        }
    };
    let config = checkpoint.config();
    let max_model_len = model_len(options, config)?;
    let encoder = match options.tokenizer.as_deref().or(options.model.as_deref()) {
        Some(dir) => PromptEncoder::open(dir, max_model_len)?,
        None => PromptEncoder::builtin(max_model_len)?,
    };
    tracing::info!(
        "loading {} layers of {} channels, {} heads ({} key heads), {:.2} GB, on {threads} threads of {isa}",
        config.num_hidden_layers,
        config.hidden_size,
        config.num_attention_heads,
        config.num_key_value_heads,
        checkpoint.bytes() as f64 / 1e9,
    );
    let model = model::load(cpu, &checkpoint, &encoder, max_model_len, options.weight_cache.as_deref())?;
    tracing::info!(
        "loaded in {:.1} s: {:.2} GB in memory, prompts up to {max_model_len} tokens",
        start.elapsed().as_secs_f64(),
        model.bytes() as f64 / 1e9,
    );
    let limits = Limits {
        tokens: options.max_num_batched_tokens,
        sequences: options.max_num_seqs.unwrap_or(usize::MAX),
        prefix_cache_bytes: options.prefix_cache_bytes,
    };
    let engine = Engine::start(model, limits);
    Ok(Loaded { engine, encoder, max_model_len })
}

fn cpu(options: &Options) -> Result<Cpu> {
    let isa = match &options.isa {
        Some(name) => Isa::named(name).map_err(|err| Error::new(ErrorKind::Options, err.to_string()))?,
        None => Isa::best(),
    };
    Ok(Cpu::new(isa, Pool::new(options.threads, options.pin)))
}

/// The asked model length, which the positions that the model was trained for limit.
fn model_len(options: &Options, config: &Config) -> Result<usize> {
    let limit = config.max_position_embeddings;
    match options.max_model_len {
        Some(asked) if asked > limit => Err(Error::new(
            ErrorKind::Options,
            format!(
                "--max-model-len {asked} is more than the {limit} positions of the model (max_position_embeddings)."
            ),
        )),
        asked => Ok(asked.unwrap_or(limit)),
    }
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
