//! Parsed flags and the environment become [`Options`]: defaults, precedence, and what does not go together.
//!
//! Invariant: a flag wins over a variable, a variable over a default; an empty value and vLLM's `None` are no value.
//! Called by `options::parse`.

use super::flags::{
    BenchArgs, EngineArgs, HealthArgs, LogArgs, LogFormatArgs, ModelArgs, ScoreArgs, ServeArgs, ServerArgs, TlsArgs,
};
use super::*;
use super::{ignored, json, keys, pooler};
use crate::file;
use std::path::Path;

/// Variables that `/server_info` may tell: a list of those without secrets, for one with a secret is easily forgotten.
const TOLD: [&str; 9] = [
    "IRONRANK_INSTRUCTION",
    "IRONRANK_ISA",
    "RUST_LOG",
    "VLLM_CPU_OMP_THREADS_BIND",
    "VLLM_HF_OVERRIDES",
    "VLLM_HTTP_TIMEOUT_KEEP_ALIVE",
    "VLLM_LOGGING_LEVEL",
    "VLLM_SERVER_DEV_MODE",
    "VLLM_SKIP_MODEL_NAME_VALIDATION",
];

/// The options of `serve`; `ignored` are the flags that were given in vain.
pub fn options(args: ServeArgs, ignored: Vec<String>, env: impl Fn(&str) -> Option<String>) -> Result<Options, String> {
    let ServeArgs { config, model, score, mut server, tls, log, engine } = args;
    let api_keys = keys::api_keys(std::mem::take(&mut server.api_key), config.as_deref(), &env)?;
    let env = |name: &str| env(name).filter(|value| !value.trim().is_empty());
    let mut notices: Vec<String> =
        ignored.iter().map(|flag| format!("{flag} is accepted for vLLM's sake and has no effect here.")).collect();
    notices.extend(ignored::variables(env));
    notices.extend(keys::doubts(&api_keys));
    let engine = engine_options(model, engine, env, &mut notices)?;
    let server = server_options(server, score, tls, &log, &engine, env, &mut notices)?;
    let server = ServerOptions { api_keys, ..server };
    Ok(Options { engine, server, log: log_options(log.format, log.uvicorn_log_level, env, notices) })
}

/// The options of `bench`.
pub fn bench_options(args: BenchArgs, env: impl Fn(&str) -> Option<String>) -> Result<BenchOptions, String> {
    let env = |name: &str| env(name).filter(|value| !value.trim().is_empty());
    let BenchArgs { workload, requests, json, model, engine, log } = args;
    let mut notices = Vec::new();
    let engine = engine_options(model, engine, env, &mut notices)?;
    let log = log_options(log, None, env, notices);
    Ok(BenchOptions { engine, log, workload: workload.unwrap_or(Workload::Rag), requests, json })
}

/// The server that `health` is told to ask, if it is told.
pub fn health_options(args: HealthArgs) -> Result<Option<HealthOptions>, String> {
    let local = |port| Listen::Tcp { host: DEFAULT_HOST.to_owned(), port };
    Ok(match (args.url, args.port, args.uds) {
        (Some(url), ..) => Some(values::health_url(&url)?),
        (None, Some(port), _) => Some(HealthOptions::of(local(port))),
        (None, None, Some(path)) => Some(HealthOptions::of(Listen::Unix(PathBuf::from(path)))),
        (None, None, None) => None,
    })
}

/// What is logged, and how; `http` is the level of the HTTP server's own lines.
pub fn log_options(
    args: LogFormatArgs,
    http: Option<&str>,
    env: impl Fn(&str) -> Option<String>,
    notices: Vec<String>,
) -> LogOptions {
    let filter = env("RUST_LOG").unwrap_or_else(|| values::log_filter(env("VLLM_LOGGING_LEVEL").as_deref(), http));
    // https://no-color.org
    let colours = env("NO_COLOR").is_none() && env("TERM").is_none_or(|terminal| terminal != "dumb");
    LogOptions { filter, format: args.log_format.unwrap_or(LogFormat::Text), colours, notices }
}

/// An error where `command` would go on with made-up weights that nobody has asked for.
pub fn needs_model(command: &str, model: &ModelArgs) -> Result<(), String> {
    let named = model.model_tag.is_some() || model.model.is_some();
    match named || model.load_format.as_deref() == Some("dummy") {
        true => Ok(()),
        false => Err(format!(
            "`ironrank {command}` needs a MODEL directory; --load-format dummy takes made-up weights, without meaning."
        )),
    }
}

/// The part of the options that every command has.
pub fn engine_options(
    model: ModelArgs,
    engine: EngineArgs,
    env: impl Fn(&str) -> Option<String>,
    notices: &mut Vec<String>,
) -> Result<EngineOptions, String> {
    if let Some(dtype @ ("auto" | "bfloat16" | "half" | "float16")) = model.dtype.as_deref() {
        notices.push(format!("--dtype {dtype} is accepted; the model is computed in float32."));
    }
    if model.trust_remote_code {
        notices.push("--trust-remote-code has no effect: no code of a model is ever run.".to_owned());
    }
    for (place, text) in [("MODEL", &model.model_tag), ("--model", &model.model)] {
        if let Some(text) = text.as_deref().filter(|text| text.trim().is_empty() || *text == "None") {
            return Err(format!(
                "{place} is '{text}', which names no model: perhaps a variable is not set. Give a model directory; without \
                 any MODEL, `serve` and `bench` take a built-in dummy."
            ));
        }
    }
    let dir = match (given(model.model_tag), given(model.model)) {
        (Some(positional), Some(flag)) if positional != flag => {
            notices.push(format!("--model {flag} is overruled by the positional {positional}."));
            Some(positional)
        }
        (positional, flag) => positional.or(flag),
    };
    if let Some(config) = given(model.hf_config_path).filter(|path| Some(path) != dir.as_ref()) {
        return Err(format!(
            "--hf-config-path {config} is not possible: config.json is read from the model directory."
        ));
    }
    let load_format = match (model.load_format.as_deref().unwrap_or("auto"), &dir) {
        ("dummy", _) | ("auto", None) => LoadFormat::Dummy,
        (_, Some(_)) => LoadFormat::Safetensors,
        (_, None) => return Err("--load-format safetensors needs a MODEL directory to read from.".to_owned()),
    };
    let mut hf_overrides = match (given(model.hf_overrides), env("VLLM_HF_OVERRIDES")) {
        (Some(json), _) => json::object("--hf-overrides", &json)?,
        (None, Some(json)) => json::object("VLLM_HF_OVERRIDES", &json)?,
        (None, None) => Map::new(),
    };
    if let Some(json) = given(model.rope_scaling) {
        hf_overrides.insert("rope_scaling".to_owned(), json::object("--rope-scaling", &json)?.into());
    }
    if let Some(theta) = model.rope_theta {
        hf_overrides.insert("rope_theta".to_owned(), theta.into());
    }
    let (cores, bound) = match env("VLLM_CPU_OMP_THREADS_BIND") {
        None => (None, true),
        Some(text) => match values::binding(&text)? {
            values::Binding::Auto => (None, true),
            values::Binding::Free => (None, false),
            values::Binding::Cores { first, more } => {
                if more {
                    notices.push(format!(
                        "VLLM_CPU_OMP_THREADS_BIND={text}: the cores of the first list are used, because there is one \
                         process; start another for the others."
                    ));
                }
                (Some(first), true)
            }
        },
    };
    if let (Some(threads), Some(cores)) = (engine.threads, &cores)
        && threads > cores.len()
    {
        return Err(format!(
            "--threads {threads} is more than the {} cores that VLLM_CPU_OMP_THREADS_BIND lists.",
            cores.len()
        ));
    }
    Ok(EngineOptions {
        model: dir.map(PathBuf::from),
        tokenizer: given(model.tokenizer).map(PathBuf::from),
        load_format,
        hf_overrides,
        max_model_len: model.max_model_len.and_then(|len| len.0),
        max_num_batched_tokens: engine.max_num_batched_tokens.unwrap_or(DEFAULT_MAX_NUM_BATCHED_TOKENS),
        max_num_seqs: engine.max_num_seqs,
        prefix_cache_bytes: match engine.prefix_cache_mib {
            None if engine.no_enable_prefix_caching => Some(0),
            asked => asked,
        },
        weight_cache: match engine.weight_cache.as_deref() {
            Some("off") => None,
            Some(dir) => Some(PathBuf::from(dir)),
            None => default_weight_cache(&env).or_else(|| {
                notices.push(
                    "Neither XDG_CACHE_HOME nor HOME names a directory: the weights are packed into memory at every \
                     start. --weight-cache DIR keeps them."
                        .to_owned(),
                );
                None
            }),
        },
        threads: engine.threads,
        cores,
        pin: bound && !engine.no_pin,
        numa: engine.numa.unwrap_or(true),
        isa: engine.isa.or_else(|| env("IRONRANK_ISA")),
    })
}

fn server_options(
    args: ServerArgs,
    score: ScoreArgs,
    tls: TlsArgs,
    log: &LogArgs,
    engine: &EngineOptions,
    env: impl Fn(&str) -> Option<String>,
    notices: &mut Vec<String>,
) -> Result<ServerOptions, String> {
    let names = args.served_model_name.iter().map(|name| values::bare(name).to_owned()).filter(|name| !name.is_empty());
    let served_model_names = match names.collect::<Vec<_>>() {
        names if !names.is_empty() => names,
        _ => vec![engine.model_name()],
    };
    let keep_alive = match env("VLLM_HTTP_TIMEOUT_KEEP_ALIVE") {
        Some(text) => values::seconds(&text).map_err(|err| format!("VLLM_HTTP_TIMEOUT_KEEP_ALIVE: {err}"))?,
        None => DEFAULT_KEEP_ALIVE,
    };
    let listen = match given(args.uds) {
        Some(path) => Listen::Unix(PathBuf::from(path)),
        None => Listen::Tcp {
            host: given(args.host).unwrap_or_else(|| DEFAULT_HOST.to_owned()),
            port: args.port.unwrap_or(DEFAULT_PORT),
        },
    };
    let asks_for_refresh = tls.enable_ssl_refresh;
    let tls = tls_options(tls)?;
    if asks_for_refresh && tls.is_none() {
        notices.push("--enable-ssl-refresh has no effect without --ssl-certfile.".to_owned());
    }
    if tls.is_some() && matches!(listen, Listen::Unix(_)) {
        return Err("--uds and --ssl-certfile do not go together: a Unix socket never leaves the machine.".to_owned());
    }
    let list = |list: Option<json::StringList>, default: &[&str]| match list {
        Some(json::StringList(items)) => items,
        None => default.iter().map(|&item| item.to_owned()).collect(),
    };
    let pooling = pooling(score.pooler_config, notices)?;
    Ok(ServerOptions {
        served_model_names,
        listen,
        root_path: args.root_path.unwrap_or_default(),
        api_keys: ApiKeys::default(),
        skip_model_name_validation: env("VLLM_SKIP_MODEL_NAME_VALIDATION").is_some_and(|value| values::truthy(&value)),
        max_queued_pairs: args.max_num_queued_reqs,
        max_queued_tokens: args.max_num_queued_tokens,
        cors: Cors {
            allowed_origins: list(args.allowed_origins, &[]),
            allowed_methods: list(args.allowed_methods, &["*"]),
            allowed_headers: list(args.allowed_headers, &["*"]),
            allow_credentials: args.allow_credentials,
        },
        tls,
        chat_template: given(score.chat_template).map(|text| template(&text)).transpose()?,
        instruction: instruction(score.instruction, &env),
        overflow: score.overflow.unwrap_or(Overflow::Error),
        pooling,
        log_requests: log.enable_log_requests,
        request_id_headers: args.enable_request_id_headers,
        docs: !args.disable_fastapi_docs,
        tokenizer_info: args.enable_tokenizer_info_endpoint,
        server_info: env("VLLM_SERVER_DEV_MODE").is_some_and(|value| values::truthy(&value)).then(|| told(&env)),
        drain_delay: args.drain_delay.unwrap_or(DEFAULT_DRAIN_DELAY),
        shutdown_timeout: args.shutdown_timeout.unwrap_or(DEFAULT_SHUTDOWN_TIMEOUT),
        keep_alive,
        max_body_bytes: args.max_body_mib.unwrap_or(DEFAULT_MAX_BODY_BYTES),
        receive_timeout: args.receive_timeout.unwrap_or(DEFAULT_RECEIVE_TIMEOUT),
        max_connections: args.max_connections.unwrap_or(DEFAULT_MAX_CONNECTIONS),
    })
}

/// How `--pooler-config` makes scores.
pub(super) fn pooling(json: Option<String>, notices: &mut Vec<String>) -> Result<Pooling, String> {
    match given(json) {
        Some(json) => pooler::pooling(&json::object("--pooler-config", &json)?, notices),
        None => Ok(pooler::DEFAULT),
    }
}

/// The instruction of texts that bring none, without the white space around it.
pub(super) fn instruction(flag: Option<String>, env: impl Fn(&str) -> Option<String>) -> Option<String> {
    let text = given(flag).or_else(|| env("IRONRANK_INSTRUCTION"))?;
    Some(values::bare(&text).to_owned()).filter(|text| !text.is_empty())
}

/// The variables of [`TOLD`] that are set.
fn told(env: impl Fn(&str) -> Option<String>) -> Map<String, Value> {
    TOLD.iter().filter_map(|name| Some(((*name).to_owned(), Value::String(env(name)?)))).collect()
}

fn tls_options(args: TlsArgs) -> Result<Option<Tls>, String> {
    let client_authorities = given(args.ssl_ca_certs).map(PathBuf::from);
    let client_certificates = args.ssl_cert_reqs.unwrap_or(ClientCertificates::Ignored);
    let Some(certificate) = given(args.ssl_certfile) else {
        let orphan = match (given(args.ssl_keyfile), &client_authorities, client_certificates) {
            (Some(_), _, _) => "--ssl-keyfile",
            (None, Some(_), _) => "--ssl-ca-certs",
            (None, None, ClientCertificates::Optional | ClientCertificates::Required) => "--ssl-cert-reqs",
            (None, None, ClientCertificates::Ignored) => return Ok(None),
        };
        return Err(format!("{orphan} needs a --ssl-certfile; without one the server speaks plain HTTP."));
    };
    if client_certificates != ClientCertificates::Ignored && client_authorities.is_none() {
        return Err(
            "--ssl-cert-reqs 1 or 2 needs --ssl-ca-certs, which client certificates are checked against.".into()
        );
    }
    let key = given(args.ssl_keyfile).unwrap_or_else(|| certificate.clone());
    let (certificate, key) = (PathBuf::from(certificate), PathBuf::from(key));
    Ok(Some(Tls { certificate, key, client_authorities, client_certificates, refresh: args.enable_ssl_refresh }))
}

/// The text of `--chat-template`: a file's, or the value itself if it looks like Jinja.
pub(super) fn template(value: &str) -> Result<String, String> {
    match file::read_text(Path::new(value), file::MAX_TEXT_BYTES) {
        Ok(text) => Ok(text),
        Err(_) if value.contains(['{', '}', '\n']) => Ok(value.trim_start_matches(file::BYTE_ORDER_MARK).to_owned()),
        Err(fault) => Err(format!("--chat-template {value} {fault}.")),
    }
}

/// A text that is one: vLLM reads an empty one and `None` as not given.
pub fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty() && text != "None")
}

/// The directory of packed weights when none is named, as the XDG base directories have it: `None` without a home.
pub fn default_weight_cache(env: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let absolute = |name: &str| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(caches.join("ironrank"))
}
