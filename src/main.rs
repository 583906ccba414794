//! The program: parse options, load the model, serve or measure it or score a file with it; or check or fetch one, or
//! ask a server how it is; leave with an exit code.
//!
//! Exit codes: 0 when all went well, 1 when a model, a port or the machine was at fault, 2 when the command line was.
//! `score` also has 3 when rows were rejected. 128 and the signal's number when a signal ended it, unless that was a
//! server's order to stop.
#![forbid(unsafe_code)]

use actix_web::rt::System;
use ironrank::bench;
use ironrank::cache;
use ironrank::check;
use ironrank::download;
use ironrank::engine::QueueLimits;
use ironrank::error::{ErrorKind, Result};
use ironrank::health;
use ironrank::logging;
use ironrank::options::{
    self, ApiKeys, BenchOptions, CacheOptions, CheckOptions, Command, DownloadOptions, HealthOptions, Listen,
    LoadFormat, LogOptions, Options, ScoreOptions, ServerOptions,
};
use ironrank::prompt::{self, Template};
use ironrank::score::{self, Outcome};
use ironrank::server::{self, Lifecycle, Reserved, ServerInfo, Settings, State};
use ironrank::signals::{Signals, Stop};
use ironrank::startup::{Loaded, Prompts, load};
use serde_json::{Map, Value, json};
use std::process::ExitCode;
use std::sync::Arc;

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
        Command::Serve(options) => run(&options.log, |signals| serve(&options, signals).map(|()| ExitCode::SUCCESS)),
        Command::Score(options) => run(&options.log, |signals| score_file(&options, signals)),
        Command::Check(options) => run(&options.log, |_| Ok(check_model(&options))),
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

/// Scores a file; the exit code says whether all of it was.
fn score_file(options: &ScoreOptions, signals: &Signals) -> Result<ExitCode> {
    Ok(match score::run(options, signals)? {
        Outcome { stopped: Some(stop), .. } => ExitCode::from(stop.exit_code()),
        Outcome { rejected: 1.., .. } => ExitCode::from(3),
        Outcome { .. } => ExitCode::SUCCESS,
    })
}

fn serve(options: &Options, signals: &Signals) -> Result<()> {
    let template = options.server.chat_template.as_deref().map(Template::parse).transpose()?;
    let (tokenizer, templated) = (options.engine.tokenizer_dir(), options.server.chat_template.as_deref());
    let tokenizer_info = options.server.tokenizer_info.then(|| prompt::described(tokenizer, templated)).transpose()?;
    let system = System::new();
    let hang_ups = system.block_on(async { server::hang_ups() })?;
    let mut reserved = reserve(&options.server)?;
    let queued = [options.server.max_queued_pairs, options.server.max_queued_tokens];
    let [sequences, tokens] = queued.map(|limit| limit.unwrap_or(usize::MAX));
    let queue = QueueLimits { sequences, tokens };
    let prompts = Prompts { template, instruction: options.server.instruction.clone() };
    let loaded = load(&options.engine, prompts, queue)?;
    let settings = settings(options, tokenizer_info, &loaded);
    let Loaded { engine, encoder, .. } = loaded;
    let names = settings.served_model_names.join(", ");
    let state = State::new(settings, engine, Arc::new(encoder))?;
    let ServerOptions { keep_alive, receive_timeout, max_connections, drain_delay, shutdown_timeout, .. } =
        options.server;
    let lifecycle = Lifecycle { keep_alive, receive_timeout, max_connections, drain_delay, shutdown_timeout };
    system.block_on(async {
        let stop = signals.orderly();
        let stop = async {
            let again = if stop.await == Stop::Interrupt { "; once more ends it at once" } else { "" };
            match drain_delay.as_secs() {
                0 => tracing::info!("stopping: no new connections; finishing what is running{again}"),
                delay => tracing::info!("stopping: not healthy from now on, no new connections in {delay} s{again}"),
            }
        };
        let (url, renewal) = (reserved.url(), reserved.renewal());
        let listening = reserved.listen()?;
        match &options.server.api_keys {
            ApiKeys { keys, .. } if keys.is_empty() => {}
            ApiKeys { keys, from } => tracing::info!("the API asks for a key: {} in force, from {from}", keys.len()),
        }
        let meaning = match options.engine.load_format {
            LoadFormat::Dummy => " (made-up weights: scores carry no meaning)",
            LoadFormat::Safetensors => "",
        };
        tracing::info!("ready: serving {names}{meaning} on {url}");
        let following = actix_web::rt::spawn(server::follow(renewal, hang_ups));
        let served = server::run(state, listening, lifecycle, stop).await;
        following.abort();
        served?;
        tracing::info!("stopped");
        Ok(())
    })
}

/// Takes the place that clients will connect to, with its certificates, so that what is wrong there is said at once.
fn reserve(options: &ServerOptions) -> Result<Reserved> {
    let reserved = match &options.listen {
        Listen::Tcp { host, port } => server::reserve(host, *port)?,
        Listen::Unix(path) => server::reserve_unix(path)?,
    };
    match &options.tls {
        Some(tls) => reserved.secured(tls),
        None => Ok(reserved),
    }
}

fn settings(options: &Options, tokenizer_info: Option<Map<String, Value>>, loaded: &Loaded) -> Settings {
    let &Loaded { ref engine, config: ref shape, activation, max_model_len, .. } = loaded;
    let prefix_cache_bytes = engine.prefix_cache_limit_bytes();
    let server = options.server.clone();
    let server_info = server
        .server_info
        .map(|environment| ServerInfo { config: config(options, max_model_len, prefix_cache_bytes), environment });
    Settings {
        served_model_names: server.served_model_names,
        root: options.engine.model_name(),
        dummy: options.engine.load_format == LoadFormat::Dummy,
        max_model_len,
        api_keys: server.api_keys.keys,
        skip_model_name_validation: server.skip_model_name_validation,
        max_body_bytes: server.max_body_bytes,
        receive_timeout: server.receive_timeout,
        root_path: server.root_path,
        cors: server.cors,
        overflow: server.overflow,
        pooling: server.pooling,
        activation,
        log_requests: server.log_requests,
        request_id_headers: server.request_id_headers,
        docs: server.docs,
        label: shape.label.clone(),
        tokenizer_info,
        server_info,
    }
}

/// What `/server_info` tells of the options: chosen one by one, so that no key gets among them.
fn config(options: &Options, max_model_len: usize, prefix_cache_bytes: usize) -> Map<String, Value> {
    let (engine, server) = (&options.engine, &options.server);
    let config = json!({
        "model": engine.model_name(),
        "served_model_name": server.served_model_names,
        "max_model_len": max_model_len,
        "max_num_batched_tokens": engine.max_num_batched_tokens,
        "max_num_seqs": engine.max_num_seqs,
        "prefix_cache_bytes": prefix_cache_bytes,
        "threads": engine.threads,
        "hf_overrides": engine.hf_overrides,
        "max_num_queued_reqs": server.max_queued_pairs,
        "max_num_queued_tokens": server.max_queued_tokens,
        "max_body_bytes": server.max_body_bytes,
        "receive_timeout_s": server.receive_timeout.as_secs(),
        "max_connections": server.max_connections,
        "root_path": server.root_path,
        "allowed_origins": server.cors.allowed_origins,
        "instruction": server.instruction,
        "use_activation": server.pooling.use_activation,
        "has_api_key": !server.api_keys.keys.is_empty(),
        "has_tls": server.tls.is_some(),
        "has_chat_template": server.chat_template.is_some(),
    });
    config.as_object().cloned().unwrap_or_default()
}
