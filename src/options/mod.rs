//! Command line and environment become one validated plain struct; every default of the program is written here.
//!
//! Invariant: an [`Options`] holds only values that make sense together; what is wrong is said in a sentence before
//! anything is loaded. The way is: arguments -> `spelling` (one spelling for each flag) -> `flags` (clap) ->
//! `values` (units, JSON) -> `Options`. The environment comes in as a function, so that tests need not change it.
//! Called by `main`; imports nothing of the rest.

mod flags;
mod spelling;
mod values;

use clap::FromArgMatches;
use serde_json::{Map, Value};
use std::path::PathBuf;
use std::time::Duration;

/// Address to listen on.
pub const DEFAULT_HOST: &str = "0.0.0.0";
/// TCP port to listen on.
pub const DEFAULT_PORT: u16 = 8000;
/// Tokens that go through the model together, as vLLM has it on a CPU.
pub const DEFAULT_MAX_NUM_BATCHED_TOKENS: usize = 2048;
/// Keys and values kept between batches: about 1,100 tokens of the 0.6B shape, which is some fifty queries.
pub const DEFAULT_PREFIX_CACHE_BYTES: usize = 256 << 20;
/// How long a stopping server waits for running requests. vLLM's default is 0, which aborts them.
pub const DEFAULT_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an idle connection stays open, as vLLM has it.
pub const DEFAULT_KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Largest request body in bytes. vLLM has no limit; 1,000 documents of 32 kB fit, and the worst JSON of this size
/// (a list of one-digit numbers) takes about half a gigabyte while it is read.
pub const DEFAULT_MAX_BODY_BYTES: usize = 32 << 20;
/// The name of the built-in model when no other is given; clients look for `rerank` in it.
pub const BUILTIN_MODEL_NAME: &str = "qwen3-reranker-0.6b-dummy";
/// Least severe log level that is written.
pub const DEFAULT_LOG_LEVEL: &str = "info";

/// Where the weights come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadFormat {
    /// The safetensors files of the model directory.
    Safetensors,
    /// Weights made by a function, no file needed: scores carry no meaning.
    Dummy,
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
    /// What the model is loaded and run with; what concerns the server is at its defaults.
    pub options: Options,
    /// What is asked of it.
    pub workload: Workload,
    /// Requests that are timed; `None` is the workload's own number.
    pub requests: Option<usize>,
    /// Whether the report is JSON.
    pub json: bool,
}

/// Everything the program was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Model directory; `None` is the built-in 0.6B shape with dummy weights.
    pub model: Option<PathBuf>,
    /// Directory of `tokenizer.json`, when it is not the model's.
    pub tokenizer: Option<PathBuf>,
    /// Names that requests may use, never empty; answers carry the first.
    pub served_model_names: Vec<String>,
    /// Address to listen on.
    pub host: String,
    /// TCP port; 0 asks the system for a free one.
    pub port: u16,
    /// Longest prompt in tokens; `None` is what the model's configuration says.
    pub max_model_len: Option<usize>,
    /// Tokens that go through the model together.
    pub max_num_batched_tokens: usize,
    /// Pairs that go through the model together; `None` is no limit besides the tokens.
    pub max_num_seqs: Option<usize>,
    /// Bytes of keys and values kept between batches; 0 turns it off.
    pub prefix_cache_bytes: usize,
    /// Directory of the packed-weight file; `None` packs into memory at every start.
    pub weight_cache: Option<PathBuf>,
    /// Compute threads; `None` is one per physical core this process may use.
    pub threads: Option<usize>,
    /// Whether compute threads are pinned to cores.
    pub pin: bool,
    /// Whether weights are spread over the memory nodes.
    pub numa: bool,
    /// Instruction set to use; `None` is the best available.
    pub isa: Option<String>,
    /// Where the weights come from.
    pub load_format: LoadFormat,
    /// Replacements for keys of the model's `config.json`.
    pub hf_overrides: Map<String, Value>,
    /// Keys that open the API; empty leaves it open to all.
    pub api_keys: Vec<String>,
    /// Whether a request may name any model.
    pub skip_model_name_validation: bool,
    /// How long a stopping server waits for running requests; zero aborts them.
    pub shutdown_timeout: Duration,
    /// How long an idle connection stays open.
    pub keep_alive: Duration,
    /// Largest request body in bytes, after decompression.
    pub max_body_bytes: usize,
    /// Log filter: a level, or `RUST_LOG` syntax.
    pub log_filter: String,
    /// One sentence for each thing that was accepted but means nothing here; `main` logs them.
    pub notices: Vec<String>,
}

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Serve a model.
    Serve(Box<Options>),
    /// Measure this machine.
    Bench(Box<BenchOptions>),
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
    let args = spelling::normalise(args.into_iter().map(Into::into).collect());
    let matches = match flags::command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(err) => {
            return Command::Say { text: err.render().to_string(), code: u8::try_from(err.exit_code()).unwrap_or(2) };
        }
    };
    let built = match matches.subcommand() {
        Some(("serve", serve)) => flags::ServeArgs::from_arg_matches(serve)
            .map_err(|err| err.to_string())
            .and_then(|args| build(args.engine, args.server, flags::ignored_in(serve), env))
            .map(|options| Command::Serve(Box::new(options))),
        Some(("bench", bench)) => {
            flags::BenchArgs::from_arg_matches(bench).map_err(|err| err.to_string()).and_then(|args| {
                let options = build(args.engine, flags::ServerArgs::default(), Vec::new(), env)?;
                let workload = args.workload.unwrap_or(Workload::Rag);
                Ok(Command::Bench(Box::new(BenchOptions {
                    options,
                    workload,
                    requests: args.requests,
                    json: args.json,
                })))
            })
        }
        _ => Err("The commands are `serve` and `bench`.".to_owned()),
    };
    built.unwrap_or_else(mistake)
}

fn mistake(sentence: String) -> Command {
    Command::Say { text: format!("error: {sentence}\n\nFor more information, try '--help'.\n"), code: 2 }
}

fn build(
    args: flags::EngineArgs,
    server: flags::ServerArgs,
    ignored: Vec<String>,
    env: impl Fn(&str) -> Option<String>,
) -> Result<Options, String> {
    let env = |name: &str| env(name).filter(|value| !value.trim().is_empty());
    let mut notices = Vec::new();
    for flag in ignored {
        notices.push(format!("{flag} is accepted for vLLM's sake and has no effect here."));
    }
    if let Some(dtype @ ("bfloat16" | "half" | "float16")) = args.dtype.as_deref() {
        notices.push(format!("--dtype {dtype} is accepted; the model is computed in float32."));
    }
    if args.trust_remote_code {
        notices.push("--trust-remote-code has no effect: no code of a model is ever run.".to_owned());
    }
    let model = match (args.model_tag, args.model) {
        (Some(positional), Some(flag)) if positional != flag => {
            notices.push(format!("--model {flag} is overruled by the positional {positional}."));
            Some(positional)
        }
        (positional, flag) => positional.or(flag),
    };
    let load_format = match (args.load_format.as_deref().unwrap_or("auto"), &model) {
        ("dummy", _) | ("auto", None) => LoadFormat::Dummy,
        (_, Some(_)) => LoadFormat::Safetensors,
        (_, None) => return Err("--load-format safetensors needs a MODEL directory to read from.".to_owned()),
    };
    let hf_overrides = match (args.hf_overrides, env("VLLM_HF_OVERRIDES")) {
        (Some(json), _) => values::json_object("--hf-overrides", &json)?,
        (None, Some(json)) => values::json_object("VLLM_HF_OVERRIDES", &json)?,
        (None, None) => Map::new(),
    };
    let served_model_names = match server.served_model_name {
        names if !names.is_empty() => names,
        _ => vec![model.clone().unwrap_or_else(|| BUILTIN_MODEL_NAME.to_owned())],
    };
    let keep_alive = match env("VLLM_HTTP_TIMEOUT_KEEP_ALIVE") {
        Some(text) => values::seconds(&text).map_err(|err| format!("VLLM_HTTP_TIMEOUT_KEEP_ALIVE: {err}"))?,
        None => DEFAULT_KEEP_ALIVE,
    };
    let api_keys = match server.api_key {
        keys if !keys.is_empty() => keys,
        _ => env("VLLM_API_KEY").into_iter().collect(),
    };
    let pin = if args.no_pin { false } else { env("VLLM_CPU_OMP_THREADS_BIND").as_deref() != Some("nobind") };
    Ok(Options {
        model: model.map(PathBuf::from),
        tokenizer: args.tokenizer.map(PathBuf::from),
        served_model_names,
        host: server.host.unwrap_or_else(|| DEFAULT_HOST.to_owned()),
        port: server.port.unwrap_or(DEFAULT_PORT),
        max_model_len: args.max_model_len.and_then(|len| len.0),
        max_num_batched_tokens: args.max_num_batched_tokens.unwrap_or(DEFAULT_MAX_NUM_BATCHED_TOKENS),
        max_num_seqs: args.max_num_seqs,
        prefix_cache_bytes: match args.prefix_cache_mib {
            Some(bytes) => bytes,
            None if args.no_enable_prefix_caching => 0,
            None => DEFAULT_PREFIX_CACHE_BYTES,
        },
        weight_cache: match args.weight_cache.as_deref() {
            Some("off") => None,
            Some(dir) => Some(PathBuf::from(dir)),
            None => default_weight_cache(env),
        },
        threads: args.threads,
        pin,
        numa: args.numa.unwrap_or(true),
        isa: args.isa.or_else(|| env("IRONRANK_ISA")),
        load_format,
        hf_overrides,
        api_keys: api_keys.into_iter().filter(|key| !key.is_empty()).collect(),
        skip_model_name_validation: env("VLLM_SKIP_MODEL_NAME_VALIDATION").is_some_and(|value| values::truthy(&value)),
        shutdown_timeout: server.shutdown_timeout.unwrap_or(DEFAULT_SHUTDOWN_TIMEOUT),
        keep_alive,
        max_body_bytes: DEFAULT_MAX_BODY_BYTES,
        log_filter: env("RUST_LOG").unwrap_or_else(|| values::log_level(env("VLLM_LOGGING_LEVEL").as_deref())),
        notices,
    })
}

/// The directory of packed weights when none is named, as the XDG base directories have it: `None` without a home.
fn default_weight_cache(env: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let absolute = |name: &str| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(caches.join("ironrank"))
}

#[cfg(test)]
mod tests;
