//! `serve`: take the place that clients connect to, load the models, answer until told to stop.
//!
//! Invariant: what is wrong with a name, a port, a certificate or a template is said before a model is loaded, and nobody
//! is answered before all are. Called by `main`.

use crate::engine::QueueLimits;
use crate::error::Result;
use crate::notify::ServiceManager;
use crate::options::{ApiKeys, Listen, LoadFormat, Options, ServedModel, ServerOptions};
use crate::prompt::{self, Template};
use crate::server::{self, Model, Reserved, Served, State};
use crate::serves::Serves;
use crate::signals::{Signals, Stop};
use crate::startup::{Loaded, Prompts, Wanted, load_all};
use actix_web::rt::System;
use serde_json::{Map, Value, json};

/// Serves until it is told to stop.
pub fn run(options: &Options, signals: &Signals) -> Result<()> {
    server::distinct(&options.models.iter().map(|model| model.names.as_slice()).collect::<Vec<_>>())?;
    let prompts = options.models.iter().map(|asked| Ok((&asked.model, prompts(asked)?))).collect::<Result<Vec<_>>>()?;
    let mut tokenizer_info = match &options.models[..] {
        [first, ..] if options.server.tokenizer_info => {
            Some(prompt::described(first.model.tokenizer_dir(), first.chat_template.as_deref())?)
        }
        _ => None,
    };
    let system = System::new();
    let hang_ups = system.block_on(async { server::hang_ups() })?;
    let mut reserved = reserve(&options.server)?;
    let manager = ServiceManager::of_this_process();
    let names = options.models.iter().map(|model| model.names.join(", ")).collect::<Vec<_>>().join("; ");
    manager.doing(&format!("loading {names}"));
    let queued = [options.server.max_queued_pairs, options.server.max_queued_tokens];
    let [sequences, tokens] = queued.map(|limit| limit.unwrap_or(usize::MAX));
    let loaded = load_all(&options.machine, prompts, QueueLimits { sequences, tokens }, Wanted::Any)?;
    let tasks = loaded.iter().map(|loaded| loaded.serves.task()).collect::<Vec<_>>();
    let models =
        options.models.iter().zip(loaded).map(|(asked, loaded)| model(options, asked, loaded, tokenizer_info.take()));
    let state = State::new(options.server.clone(), models.collect::<Result<Vec<_>>>()?)?;
    system.block_on(async {
        let stop = signals.orderly();
        let stop = async {
            let again = if stop.await == Stop::Interrupt { "; once more ends it at once" } else { "" };
            match options.server.drain_delay.as_secs() {
                0 => tracing::info!("stopping: no new connections; finishing what is running{again}"),
                delay => tracing::info!("stopping: not healthy from now on, no new connections in {delay} s{again}"),
            }
            manager.stopping();
        };
        let (url, renewal) = (reserved.url(), reserved.renewal());
        let listening = reserved.listen()?;
        match &options.server.api_keys {
            ApiKeys { keys, .. } if keys.is_empty() => {}
            ApiKeys { keys, from } => tracing::info!("the API asks for a key: {} in force, from {from}", keys.len()),
        }
        let names = options.models.iter().zip(&tasks).map(|(served, task)| match served.model.load_format {
            LoadFormat::Dummy => {
                format!("{} (made-up weights: {} carry no meaning)", served.names.join(", "), task.numbers())
            }
            LoadFormat::Safetensors => served.names.join(", "),
        });
        let serving = format!("serving {} on {url}", names.collect::<Vec<_>>().join("; "));
        tracing::info!("ready: {serving}");
        manager.ready(&serving);
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

/// How texts become prompts of a model.
fn prompts(asked: &ServedModel) -> Result<Prompts> {
    let template = asked.chat_template.as_deref().map(Template::parse).transpose()?;
    Ok(Prompts { template, instruction: asked.instruction.clone(), named: asked.named_prompts.clone() })
}

/// A model as it is served; `/tokenizer_info` tells of the first alone.
fn model(
    options: &Options,
    asked: &ServedModel,
    loaded: Loaded,
    tokenizer_info: Option<Map<String, Value>>,
) -> Result<Model> {
    let told = told(options, asked, &loaded);
    let Loaded { engine, serves, config, runs_on, max_model_len, .. } = loaded;
    if let (Serves::Embed(embedder), Some(normalize)) = (&serves, options.server.pooling.normalize)
        && normalize != embedder.normalize
    {
        let length = if normalize { "length 1" } else { "any length" };
        tracing::info!("vectors: of {length} where a request does not say, by --pooler-config");
    }
    let served = Served {
        task: serves.task(),
        root: asked.model.name(),
        dummy: asked.model.load_format == LoadFormat::Dummy,
        max_model_len,
        isa: runs_on.isa,
        threads: runs_on.threads,
        precision: runs_on.precision,
        dtype: asked.model.precision.dtype,
        label: config.label,
        tokenizer_info,
        config: told,
    };
    Model::new(asked.names.clone(), served, engine, serves)
}

/// What `/server_info` tells of the options of a model, and of all: chosen one by one, so that no key gets among them.
fn told(Options { machine, server, .. }: &Options, asked: &ServedModel, loaded: &Loaded) -> Map<String, Value> {
    let config = json!({
        "model": asked.model.name(),
        "served_model_name": asked.names,
        "dtype": asked.model.precision.dtype.name(),
        "quantization": asked.model.precision.int8.then_some("int8"),
        "precision": loaded.runs_on.precision.name(),
        "isa": loaded.runs_on.isa,
        "max_model_len": loaded.max_model_len,
        "max_num_batched_tokens": machine.max_num_batched_tokens,
        "max_num_seqs": machine.max_num_seqs,
        "prefix_cache_bytes": loaded.engine.prefix_cache_limit_bytes(),
        "answer_cache_bytes": loaded.engine.answer_cache_limit_bytes(),
        "threads": machine.threads,
        "hf_overrides": asked.model.hf_overrides,
        "max_num_queued_reqs": server.max_queued_pairs,
        "max_num_queued_tokens": server.max_queued_tokens,
        "max_body_bytes": server.max_body_bytes,
        "receive_timeout_s": server.receive_timeout.as_secs(),
        "max_connections": server.max_connections,
        "root_path": server.root_path,
        "allowed_origins": server.cors.allowed_origins,
        "instruction": asked.instruction,
        "query_prompt": asked.named_prompts.query,
        "document_prompt": asked.named_prompts.document,
        "use_activation": server.pooling.use_activation,
        "normalize": server.pooling.normalize,
        "has_api_key": !server.api_keys.keys.is_empty(),
        "has_tls": server.tls.is_some(),
        "has_chat_template": asked.chat_template.is_some(),
    });
    config.as_object().cloned().unwrap_or_default()
}
