//! The options of the server: where, to whom and how scores are served.
//!
//! Invariant: what is learned of the model when it is loaded is no option and not in here. Called by the options of
//! `serve`.

use super::environment::Environment;
use super::json::{self, StringList};
use super::keys::ApiKeys;
use super::listen::{self, DEFAULT_HOST, DEFAULT_PORT, Listen};
use super::pooler::Pooling;
use super::scoring::{Overflow, ScoringArgs};
use super::tls::{self, Tls, TlsArgs};
use super::values::{self, OrNone};
use clap::{ArgAction, Args};
use serde_json::{Map, Value};
use std::path::PathBuf;
use std::time::Duration;

/// How long a stopping server waits for running requests. vLLM's default is 0, which aborts them.
pub const DEFAULT_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a server that was told to stop goes on taking connections: not at all, as in vLLM.
pub const DEFAULT_DRAIN_DELAY: Duration = Duration::ZERO;
/// How long an idle connection stays open. vLLM closes it after 5 s, in the face of clients that keep theirs for longer:
/// aiohttp for 15 s, Java (from 20 on) for 30 s, Go for 90 s.
pub const DEFAULT_KEEP_ALIVE: Duration = Duration::from_secs(90);
/// Largest request body in bytes. vLLM has no limit; 1,000 documents of 32 kB fit; the memory of all requests follows
/// from it, see `server::http::budget`.
pub const DEFAULT_MAX_BODY_BYTES: usize = 32 << 20;
/// How long a request's head may take to come, and then its body. Long bodies get more.
pub const DEFAULT_RECEIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Clients that may be connected at a time.
pub const DEFAULT_MAX_CONNECTIONS: usize = 4096;

/// Variables that `/server_info` may tell: a list of those without secrets, for one with a secret is easily forgotten.
const TOLD: [&str; 12] = [
    "IRONRANK_ANSWER_CACHE_MIB",
    "IRONRANK_DOCUMENT_PROMPT",
    "IRONRANK_INSTRUCTION",
    "IRONRANK_ISA",
    "IRONRANK_QUERY_PROMPT",
    "RUST_LOG",
    "VLLM_CPU_OMP_THREADS_BIND",
    "VLLM_HF_OVERRIDES",
    "VLLM_HTTP_TIMEOUT_KEEP_ALIVE",
    "VLLM_LOGGING_LEVEL",
    "VLLM_SERVER_DEV_MODE",
    "VLLM_SKIP_MODEL_NAME_VALIDATION",
];

/// Where, to whom and how scores are served.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerOptions {
    /// Where clients find the server.
    pub listen: Listen,
    /// Prefix that a proxy puts before every path: empty, or `/` and more without a `/` at the end.
    pub root_path: String,
    /// Keys that open the API.
    pub api_keys: ApiKeys,
    /// Whether a request may name any model.
    pub skip_model_name_validation: bool,
    /// Pairs that may wait or run before new requests are refused.
    pub max_queued_pairs: Option<usize>,
    /// Tokens that may wait or run before new requests are refused.
    pub max_queued_tokens: Option<usize>,
    /// Which web pages of other origins may call the API.
    pub cors: Cors,
    /// Encryption; `None` is plain HTTP.
    pub tls: Option<Tls>,
    /// What becomes of a pair that is too long.
    pub overflow: Overflow,
    /// How a logit becomes a score.
    pub pooling: Pooling,
    /// Whether each request is a line in the log.
    pub log_requests: bool,
    /// Whether answers name their request in `X-Request-Id`.
    pub request_id_headers: bool,
    /// Whether the API is described at `/openapi.json` and `/docs`.
    pub docs: bool,
    /// Whether `/tokenizer_info` tells the tokenizer's configuration.
    pub tokenizer_info: bool,
    /// The variables that `/server_info` tells developers; `None` if there is no such route.
    pub server_info: Option<Map<String, Value>>,
    /// How long a server that was told to stop goes on taking connections, saying that it is not well.
    pub drain_delay: Duration,
    /// How long a stopping server waits for running requests; zero aborts them.
    pub shutdown_timeout: Duration,
    /// How long an idle connection stays open.
    pub keep_alive: Duration,
    /// Largest request body in bytes, after decompression.
    pub max_body_bytes: usize,
    /// How long a request's head may take to come, and then its body; a long body gets more.
    pub receive_timeout: Duration,
    /// Clients that may be connected at a time; others wait until one leaves.
    pub max_connections: usize,
}

impl Default for ServerOptions {
    /// Those of `ironrank serve` without any flag or variable.
    fn default() -> Self {
        Self {
            listen: Listen::default(),
            root_path: String::new(),
            api_keys: ApiKeys::default(),
            skip_model_name_validation: false,
            max_queued_pairs: None,
            max_queued_tokens: None,
            cors: Cors::default(),
            tls: None,
            overflow: Overflow::DEFAULT,
            pooling: Pooling::DEFAULT,
            log_requests: false,
            request_id_headers: false,
            docs: true,
            tokenizer_info: false,
            server_info: None,
            drain_delay: DEFAULT_DRAIN_DELAY,
            shutdown_timeout: DEFAULT_SHUTDOWN_TIMEOUT,
            keep_alive: DEFAULT_KEEP_ALIVE,
            max_body_bytes: DEFAULT_MAX_BODY_BYTES,
            receive_timeout: DEFAULT_RECEIVE_TIMEOUT,
            max_connections: DEFAULT_MAX_CONNECTIONS,
        }
    }
}

/// Which web pages of other origins may call the API, with what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    /// Origins; `*` is any.
    pub allowed_origins: Vec<String>,
    /// Methods; `*` is any.
    pub allowed_methods: Vec<String>,
    /// Request headers; `*` is any.
    pub allowed_headers: Vec<String>,
    /// Whether cookies may be sent.
    pub allow_credentials: bool,
}

impl Default for Cors {
    /// No page of another origin, as in vLLM.
    fn default() -> Self {
        let any = || vec!["*".to_owned()];
        Self { allowed_origins: Vec::new(), allowed_methods: any(), allowed_headers: any(), allow_credentials: false }
    }
}

/// Where and to whom it is served.
#[derive(Debug, Args)]
#[command(next_help_heading = "Server")]
pub struct ServerArgs {
    /// Address to listen on [default: 0.0.0.0]
    #[arg(long, value_parser = values::text)]
    pub host: Option<OrNone<String>>,
    /// TCP port, 0 for any free one [default: 8000]
    #[arg(long, value_parser = listen::port, allow_hyphen_values = true)]
    pub port: Option<u16>,
    /// Unix socket to listen on, in place of host and port
    #[arg(long, value_name = "PATH", value_parser = values::path)]
    pub uds: Option<OrNone<PathBuf>>,
    /// Prefix that a proxy puts before every path; paths without it are served too
    #[arg(long, value_name = "PATH", value_parser = root_path)]
    pub root_path: Option<String>,
    /// Keys that open the API, /score and /rerank included, which vLLM leaves open; the last flag counts, and it may
    /// list several. White space around a key is left out, an empty key is an error [env: VLLM_API_KEY]
    #[arg(long, value_name = "KEY", num_args = 1.., action = ArgAction::Set)]
    pub api_key: Vec<String>,
    /// Pairs that may wait or run; with so many a new request is answered with 503. vLLM also refuses a request that
    /// would pass the limit by itself [default: no limit]
    #[arg(long, value_name = "N", value_parser = values::human_count, allow_hyphen_values = true)]
    pub max_num_queued_reqs: Option<usize>,
    /// The same, counted in tokens of the prompts [default: no limit]
    #[arg(long, value_name = "N", value_parser = values::human_count, allow_hyphen_values = true)]
    pub max_num_queued_tokens: Option<usize>,
    /// Largest request body in MiB, unpacked; a larger one is answered with 413 [default: 32; not in vLLM]
    #[arg(long, value_name = "MIB", value_parser = values::body_mebibytes, allow_hyphen_values = true)]
    pub max_body_mib: Option<usize>,
    /// Seconds that a request's head may take to come, and then its body, which gets another second for every 16 KiB;
    /// then 408 [default: 20; not in vLLM]
    #[arg(long, value_name = "S", value_parser = values::whole_seconds, allow_hyphen_values = true)]
    pub receive_timeout: Option<Duration>,
    /// Clients that may be connected at a time; beyond that idle ones make room, or others wait [default: 4096, or what
    /// the limit of open files allows; not in vLLM]
    #[arg(long, value_name = "N", value_parser = values::human_count, allow_hyphen_values = true)]
    pub max_connections: Option<usize>,
    /// Seconds that running requests get when the server is told to stop; 0 aborts them [default: 30; vLLM's: 0]
    #[arg(long, value_name = "S", value_parser = values::seconds, allow_hyphen_values = true)]
    pub shutdown_timeout: Option<Duration>,
    /// Seconds that a server that is told to stop goes on taking connections, /health answering 503, so that a load
    /// balancer can turn away before it is gone; then comes --shutdown-timeout [default: 0; not in vLLM]
    #[arg(long, value_name = "S", value_parser = values::seconds, allow_hyphen_values = true)]
    pub drain_delay: Option<Duration>,
    /// Name each request in its answer's X-Request-Id, as the client did or at random
    #[arg(long)]
    pub enable_request_id_headers: bool,
    /// Tell the tokenizer's configuration at /tokenizer_info
    #[arg(long)]
    pub enable_tokenizer_info_endpoint: bool,
    /// Serve neither /docs nor /openapi.json
    #[arg(long)]
    pub disable_fastapi_docs: bool,
    /// Origins of web pages that may call the API, as a JSON list; ["*"] is any [default: []]
    #[arg(long, value_name = "JSON", value_parser = json::string_list)]
    pub allowed_origins: Option<json::StringList>,
    /// Methods that such pages may use [default: ["*"]]
    #[arg(long, value_name = "JSON", value_parser = json::string_list)]
    pub allowed_methods: Option<json::StringList>,
    /// Headers that such pages may send [default: ["*"]]
    #[arg(long, value_name = "JSON", value_parser = json::string_list)]
    pub allowed_headers: Option<json::StringList>,
    /// Whether such pages may send cookies
    #[arg(long)]
    pub allow_credentials: bool,
}

/// The options of the server, those of `scoring` among them that hold for all models; keys and the log's own come from
/// elsewhere.
pub fn options(
    args: ServerArgs,
    scoring: &ScoringArgs,
    tls: TlsArgs,
    env: Environment,
    notices: &mut Vec<String>,
) -> Result<ServerOptions, String> {
    let default = ServerOptions::default();
    let keep_alive = match env.get("VLLM_HTTP_TIMEOUT_KEEP_ALIVE") {
        Some(text) => values::seconds(&text).map_err(|err| format!("VLLM_HTTP_TIMEOUT_KEEP_ALIVE: {err}"))?,
        None => default.keep_alive,
    };
    let listen = match args.uds.and_then(|path| path.0) {
        Some(path) => Listen::Unix(path),
        None => Listen::Tcp {
            host: args.host.and_then(|host| host.0).unwrap_or_else(|| DEFAULT_HOST.to_owned()),
            port: args.port.unwrap_or(DEFAULT_PORT),
        },
    };
    let tls = tls::options(tls, notices)?;
    if tls.is_some() && matches!(listen, Listen::Unix(_)) {
        return Err("--uds and --ssl-certfile do not go together: a Unix socket never leaves the machine.".to_owned());
    }
    let list = |asked: Option<StringList>, default| asked.map_or(default, |StringList(items)| items);
    Ok(ServerOptions {
        listen,
        root_path: args.root_path.unwrap_or(default.root_path),
        skip_model_name_validation: env.switched_on("VLLM_SKIP_MODEL_NAME_VALIDATION").is_some(),
        max_queued_pairs: args.max_num_queued_reqs,
        max_queued_tokens: args.max_num_queued_tokens,
        cors: Cors {
            allowed_origins: list(args.allowed_origins, default.cors.allowed_origins),
            allowed_methods: list(args.allowed_methods, default.cors.allowed_methods),
            allowed_headers: list(args.allowed_headers, default.cors.allowed_headers),
            allow_credentials: args.allow_credentials,
        },
        tls,
        pooling: scoring.pooling(notices)?,
        overflow: scoring.overflow.unwrap_or(default.overflow),
        request_id_headers: args.enable_request_id_headers,
        docs: !args.disable_fastapi_docs,
        tokenizer_info: args.enable_tokenizer_info_endpoint,
        server_info: env.switched_on("VLLM_SERVER_DEV_MODE").map(|_| told(env)),
        drain_delay: args.drain_delay.unwrap_or(default.drain_delay),
        shutdown_timeout: args.shutdown_timeout.unwrap_or(default.shutdown_timeout),
        keep_alive,
        max_body_bytes: args.max_body_mib.unwrap_or(default.max_body_bytes),
        receive_timeout: args.receive_timeout.unwrap_or(default.receive_timeout),
        max_connections: args.max_connections.unwrap_or(default.max_connections),
        ..default
    })
}

/// The variables of [`TOLD`] that are set.
fn told(env: Environment) -> Map<String, Value> {
    TOLD.iter().filter_map(|name| Some(((*name).to_owned(), Value::String(env.get(name)?)))).collect()
}

/// `--root-path`: empty, or with a `/` before and none behind.
fn root_path(text: &str) -> Result<String, String> {
    match text.trim_end_matches('/') {
        "" | "None" => Ok(String::new()),
        path if path.starts_with('/') => Ok(path.to_owned()),
        _ => Err(format!("'{text}' is not a path; it begins with a slash, as /reranker does.")),
    }
}
