//! Command line, environment and configuration file become one validated plain struct; every default of the program is
//! written here.
//!
//! Invariant: an [`Options`] holds only values that make sense together; what is wrong is said in a sentence before
//! anything is loaded. The way is: arguments -> `launcher` (what stands before them) -> `spelling` (one spelling for each
//! flag, `config_file` included) -> `flags` and `ignored` (clap) -> `values` (units) and `json` -> `build` (`Options`).
//! The environment comes in as a function, so that tests need not change it; of files, only those are read that a flag
//! names and that are options themselves (`--config`, `--chat-template`), and the token of the hub. Called by `main`;
//! imports `file` alone.

mod build;
mod cache;
mod check;
mod config_file;
mod download;
mod flags;
mod ignored;
mod json;
mod keys;
mod launcher;
mod pooler;
mod score;
mod spelling;
mod values;

pub use cache::{CacheOptions, Prune};
pub use check::CheckOptions;
pub use download::{DEFAULT_ENDPOINT, DEFAULT_PATIENCE, DownloadOptions, Patience, Token};
pub use keys::ApiKeys;
pub use score::{ScoreOptions, Shard};

use clap::FromArgMatches;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Address to listen on.
pub const DEFAULT_HOST: &str = "0.0.0.0";
/// TCP port to listen on.
pub const DEFAULT_PORT: u16 = 8000;
/// Tokens that go through the model together, as vLLM has it on a CPU.
pub const DEFAULT_MAX_NUM_BATCHED_TOKENS: usize = 2048;
/// Keys and values kept between batches: about 1,100 tokens of the 0.6B shape, which is some fifty queries.
pub const DEFAULT_PREFIX_CACHE_BYTES: usize = 256 << 20;
/// Where that is more than this part of the memory that the process may use, the part is the default.
pub const DEFAULT_PREFIX_CACHE_PART: u64 = 16;
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
/// The name of the built-in model when no other is given; clients look for `rerank` in it.
pub const BUILTIN_MODEL_NAME: &str = "qwen3-reranker-0.6b-dummy";
/// Least severe log level that is written.
pub const DEFAULT_LOG_LEVEL: &str = "info";

/// Everything the program was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Which model, and how it runs.
    pub engine: EngineOptions,
    /// Where, to whom and how its scores are served.
    pub server: ServerOptions,
    /// What is logged.
    pub log: LogOptions,
}

/// What is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOptions {
    /// A level, or `RUST_LOG` syntax.
    pub filter: String,
    /// Who reads it.
    pub format: LogFormat,
    /// Whether levels may be coloured, where the log is a terminal.
    pub colours: bool,
    /// One sentence for each thing that was accepted but means nothing here, to be logged first.
    pub notices: Vec<String>,
}

/// How a line of the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// A JSON object, for what collects logs.
    Json,
}

/// Which model, and how the machine is used for it.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineOptions {
    /// Model directory; `None` is the built-in 0.6B shape with dummy weights.
    pub model: Option<PathBuf>,
    /// Directory of `tokenizer.json`, when it is not the model's.
    pub tokenizer: Option<PathBuf>,
    /// Where the weights come from.
    pub load_format: LoadFormat,
    /// Replacements for keys of the model's `config.json`.
    pub hf_overrides: Map<String, Value>,
    /// Longest prompt in tokens; `None` is what the model's configuration says.
    pub max_model_len: Option<usize>,
    /// Tokens that go through the model together.
    pub max_num_batched_tokens: usize,
    /// Pairs that go through the model together; `None` is no limit besides the tokens.
    pub max_num_seqs: Option<usize>,
    /// Bytes of keys and values kept between batches; 0 turns it off, `None` is the default for this machine's memory.
    pub prefix_cache_bytes: Option<usize>,
    /// Directory of the packed-weight file; `None` packs into memory at every start.
    pub weight_cache: Option<PathBuf>,
    /// Compute threads; `None` is one per physical core this process may use, or one per core of `cores`.
    pub threads: Option<usize>,
    /// Logical CPUs that compute threads are confined to; `None` is all this process may use.
    pub cores: Option<Vec<usize>>,
    /// Whether compute threads are pinned to cores.
    pub pin: bool,
    /// Whether weights are spread over the memory nodes.
    pub numa: bool,
    /// Instruction set to use; `None` is the best available.
    pub isa: Option<String>,
}

impl EngineOptions {
    /// Bytes of keys and values kept between batches where this many bytes of memory may be used.
    pub fn prefix_cache_bytes(&self, memory: Option<u64>) -> usize {
        self.prefix_cache_bytes.unwrap_or_else(|| {
            let part = memory.map_or(u64::MAX, |bytes| bytes / DEFAULT_PREFIX_CACHE_PART);
            DEFAULT_PREFIX_CACHE_BYTES.min(usize::try_from(part).unwrap_or(usize::MAX))
        })
    }

    /// Directory of the tokenizer; `None` is the built-in one.
    pub fn tokenizer_dir(&self) -> Option<&Path> {
        self.tokenizer.as_deref().or(self.model.as_deref())
    }

    /// The model as it was given.
    pub fn model_name(&self) -> String {
        self.model.as_ref().map_or_else(|| BUILTIN_MODEL_NAME.to_owned(), |model| model.to_string_lossy().into_owned())
    }
}

/// Where the weights come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadFormat {
    /// The safetensors files of the model directory.
    Safetensors,
    /// Weights made by a function, no file needed: scores carry no meaning.
    Dummy,
}

/// Where, to whom and how scores are served.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerOptions {
    /// Names that requests may use, never empty; answers carry the first.
    pub served_model_names: Vec<String>,
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
    /// Text of a Jinja template; `None` is the model card's prompt.
    pub chat_template: Option<String>,
    /// The instruction of requests that bring none; `None` is the model card's.
    pub instruction: Option<String>,
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

/// Where clients find the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// An address and a port, 0 being any free one.
    Tcp {
        /// Name or address of the interface.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// The path of a Unix socket.
    Unix(PathBuf),
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

/// Files of an encrypted server, all PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Certificate chain, the server's own first.
    pub certificate: PathBuf,
    /// Private key; may be the same file.
    pub key: PathBuf,
    /// Authorities of client certificates; there if `client_certificates` asks for any.
    pub client_authorities: Option<PathBuf>,
    /// What clients have to show.
    pub client_certificates: ClientCertificates,
    /// Whether files that change are read again.
    pub refresh: bool,
}

/// What clients have to show, as Python's `ssl.CERT_*` count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Nothing.
    Ignored,
    /// A certificate that is good, or none.
    Optional,
    /// A certificate that is good.
    Required,
}

/// What becomes of a pair with more tokens than the model length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// The request is refused, as vLLM does.
    Error,
    /// The document is shortened.
    Truncate,
}

/// How a logit becomes a score: `sigmoid((logit - mean) / sigma)`, or without the sigmoid.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pooling {
    /// Whether the sigmoid is applied when a request does not say.
    pub use_activation: bool,
    /// Subtracted from the logit.
    pub logit_mean: f32,
    /// Divides the difference; positive.
    pub logit_sigma: f32,
}

/// What `bench` asks of the model: documents a request, and their words, stand in `bench::workload`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Workload {
    /// One document of 60 words, a new query each time.
    Pair,
    /// 32 documents of 40 words.
    Short,
    /// 32 documents of 200 words.
    Rag,
    /// 64 documents of 350 words.
    Chunk,
    /// 4 documents of 1,500 words.
    Long,
    /// One document of 5,600 words.
    Max,
}

/// A benchmark.
#[derive(Debug, Clone, PartialEq)]
pub struct BenchOptions {
    /// Which model, and how it runs.
    pub engine: EngineOptions,
    /// What is logged.
    pub log: LogOptions,
    /// What is asked of the model.
    pub workload: Workload,
    /// Requests that are timed; `None` is the workload's own number.
    pub requests: Option<usize>,
    /// Whether the report is JSON.
    pub json: bool,
}

/// Which server `health` asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthOptions {
    /// Where it listens.
    pub listen: Listen,
    /// Whether it speaks https.
    pub tls: bool,
    /// What is asked for, `/` first.
    pub path: String,
}

impl HealthOptions {
    /// Asks the server on `listen` for `/health`.
    pub fn of(listen: Listen) -> Self {
        Self { listen, tls: false, path: "/health".to_owned() }
    }
}

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Serve a model.
    Serve(Box<Options>),
    /// Measure this machine.
    Bench(Box<BenchOptions>),
    /// Say whether a model will load.
    Check(Box<CheckOptions>),
    /// List or prune the packed weights.
    Cache(Box<CacheOptions>),
    /// Fetch a model.
    Download(Box<DownloadOptions>),
    /// Score a file of pairs.
    Score(Box<ScoreOptions>),
    /// Ask a server whether it is well; `None` is the one of this container.
    Health(Option<HealthOptions>),
    /// Print `text` and exit: help and version on stdout with code 0, mistakes on stderr with code 2.
    Say {
        /// What to print, newline included.
        text: String,
        /// Exit code of the process.
        code: u8,
    },
}

/// Reads the command line (`args[0]` is the program) and the environment.
pub fn parse<S: Into<String>>(args: impl IntoIterator<Item = S>, env: impl Fn(&str) -> Option<String>) -> Command {
    let args = match spelling::normalise(args.into_iter().map(Into::into).collect()) {
        Ok(args) => args,
        Err(sentence) => return mistake(&sentence),
    };
    let matches = match flags::command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(err) => {
            return Command::Say { text: err.render().to_string(), code: u8::try_from(err.exit_code()).unwrap_or(2) };
        }
    };
    let built = match matches.subcommand() {
        Some(("serve", serve)) => flags::ServeArgs::from_arg_matches(serve)
            .map_err(|err| err.to_string())
            .and_then(|args| build::options(args, ignored::given(serve)?, env))
            .map(|options| Command::Serve(Box::new(options))),
        Some(("bench", bench)) => flags::BenchArgs::from_arg_matches(bench)
            .map_err(|err| err.to_string())
            .and_then(|args| build::bench_options(args, env))
            .map(|options| Command::Bench(Box::new(options))),
        Some(("check", check)) => check::CheckArgs::from_arg_matches(check)
            .map_err(|err| err.to_string())
            .and_then(|args| check::options(args, env))
            .map(|options| Command::Check(Box::new(options))),
        Some(("cache", cache)) => cache::CacheArgs::from_arg_matches(cache)
            .map_err(|err| err.to_string())
            .and_then(|args| cache::options(args, env))
            .map(|options| Command::Cache(Box::new(options))),
        Some(("download", download)) => download::DownloadArgs::from_arg_matches(download)
            .map_err(|err| err.to_string())
            .and_then(|args| download::options(args, env))
            .map(|options| Command::Download(Box::new(options))),
        Some(("score", score)) => score::OfflineArgs::from_arg_matches(score)
            .map_err(|err| err.to_string())
            .and_then(|args| score::options(args, env))
            .map(|options| Command::Score(Box::new(options))),
        Some(("health", health)) => flags::HealthArgs::from_arg_matches(health)
            .map_err(|err| err.to_string())
            .and_then(build::health_options)
            .map(Command::Health),
        _ => Err("The commands are `serve`, `score`, `bench`, `check`, `cache`, `download` and `health`.".to_owned()),
    };
    built.unwrap_or_else(|sentence| mistake(&sentence))
}

/// Whether a command line, right or wrong, wants its log for machines.
pub fn asks_for_json(args: &[String]) -> bool {
    let names: Vec<String> = args.iter().map(|arg| spelling::flag_name(arg)).collect();
    names.iter().any(|arg| arg == "--log-format=json")
        || names.windows(2).any(|pair| pair[0] == "--log-format" && pair[1] == "json")
}

fn mistake(sentence: &str) -> Command {
    Command::Say { text: format!("error: {sentence}\n\nFor more information, try '--help'.\n"), code: 2 }
}

#[cfg(test)]
mod tests;
