//! `serve`: take the place that clients connect to, load the model, answer until told to stop.
//!
//! Invariant: what is wrong with a port, a certificate or a template is said before the model is loaded, and nobody is
//! answered before it is. Called by `main`.

use crate::engine::{Engine, QueueLimits};
use crate::error::Result;
use crate::options::{ApiKeys, Listen, LoadFormat, Options, ServerOptions};
use crate::prompt::{self, Template};
use crate::server::{self, Model, Reserved, Served, State};
use crate::signals::{Signals, Stop};
use crate::startup::{Loaded, Prompts, RunsOn, load};
use actix_web::rt::System;
use serde_json::{Map, Value, json};

/// Serves until it is told to stop.
pub fn run(options: &Options, signals: &Signals) -> Result<()> {
    let template = options.server.chat_template.as_deref().map(Template::parse).transpose()?;
    let (tokenizer, templated) = (options.engine.model.tokenizer_dir(), options.server.chat_template.as_deref());
    let tokenizer_info = options.server.tokenizer_info.then(|| prompt::described(tokenizer, templated)).transpose()?;
    let system = System::new();
    let hang_ups = system.block_on(async { server::hang_ups() })?;
    let mut reserved = reserve(&options.server)?;
    let queued = [options.server.max_queued_pairs, options.server.max_queued_tokens];
    let [sequences, tokens] = queued.map(|limit| limit.unwrap_or(usize::MAX));
    let queue = QueueLimits { sequences, tokens };
    let prompts = Prompts {
        template,
        instruction: options.server.instruction.clone(),
        named: options.server.named_prompts.clone(),
    };
    let loaded = load(&options.engine, prompts, queue, None)?;
    let Loaded { engine, serves, config, runs_on, max_model_len, .. } = loaded;
    let served = Served {
        task: serves.task(),
        root: options.engine.model.name(),
        dummy: options.engine.model.load_format == LoadFormat::Dummy,
        max_model_len,
        isa: runs_on.isa,
        precision: runs_on.precision,
        dtype: options.engine.model.precision.dtype,
        label: config.label,
        tokenizer_info,
        config: told(options, runs_on, max_model_len, &engine),
    };
    let model = Model::new(options.server.served_model_names.clone(), served, engine, serves)?;
    let state = State::new(options.server.clone(), vec![model])?;
    system.block_on(async {
        let stop = signals.orderly();
        let stop = async {
            let again = if stop.await == Stop::Interrupt { "; once more ends it at once" } else { "" };
            match options.server.drain_delay.as_secs() {
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
        let meaning = match options.engine.model.load_format {
            LoadFormat::Dummy => " (made-up weights: scores carry no meaning)",
            LoadFormat::Safetensors => "",
        };
        let names = options.server.served_model_names.join(", ");
        tracing::info!("ready: serving {names}{meaning} on {url}");
        let following = actix_web::rt::spawn(server::follow(renewal, hang_ups));
        let served = server::run(state, listening, stop).await;
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

/// What `/server_info` tells of the options: chosen one by one, so that no key gets among them.
fn told(options: &Options, runs_on: RunsOn, max_model_len: usize, started: &Engine) -> Map<String, Value> {
    let (engine, server) = (&options.engine, &options.server);
    let config = json!({
        "model": engine.model.name(),
        "served_model_name": server.served_model_names,
        "dtype": engine.model.precision.dtype.name(),
        "quantization": engine.model.precision.int8.then_some("int8"),
        "precision": runs_on.precision.name(),
        "isa": runs_on.isa,
        "max_model_len": max_model_len,
        "max_num_batched_tokens": engine.machine.max_num_batched_tokens,
        "max_num_seqs": engine.machine.max_num_seqs,
        "prefix_cache_bytes": started.prefix_cache_limit_bytes(),
        "answer_cache_bytes": started.answer_cache_limit_bytes(),
        "threads": engine.machine.threads,
        "hf_overrides": engine.model.hf_overrides,
        "max_num_queued_reqs": server.max_queued_pairs,
        "max_num_queued_tokens": server.max_queued_tokens,
        "max_body_bytes": server.max_body_bytes,
        "receive_timeout_s": server.receive_timeout.as_secs(),
        "max_connections": server.max_connections,
        "root_path": server.root_path,
        "allowed_origins": server.cors.allowed_origins,
        "instruction": server.instruction,
        "query_prompt": server.named_prompts.query,
        "document_prompt": server.named_prompts.document,
        "use_activation": server.pooling.use_activation,
        "has_api_key": !server.api_keys.keys.is_empty(),
        "has_tls": server.tls.is_some(),
        "has_chat_template": server.chat_template.is_some(),
    });
    config.as_object().cloned().unwrap_or_default()
}
