//! The flags that mean something here, as clap knows them, in groups that subcommands share.
//!
//! Invariants: no default stands here (they are in `options`); every switch has a `--no-...` twin, of which the last
//! one given counts. Called by `options::parse`.

use super::{Workload, cache, check, download, ignored, json, score, values};
use clap::{Arg, ArgAction, Args, Command};
use std::time::Duration;

/// Which model, and what is made of its files.
#[derive(Debug, Args)]
#[command(next_help_heading = "Model")]
pub struct ModelArgs {
    /// Model directory (config.json, tokenizer.json, *.safetensors); without it a built-in dummy model is served
    #[arg(value_name = "MODEL", help_heading = None::<&str>)]
    pub model_tag: Option<String>,
    /// Model directory, in place of the positional
    #[arg(long, value_name = "DIR")]
    pub model: Option<String>,
    /// Directory of tokenizer.json [default: the model's]
    #[arg(long, value_name = "DIR")]
    pub tokenizer: Option<String>,
    /// Longest prompt in tokens; 8k is 8000, 8K is 8192, auto is the model's [default: auto]
    #[arg(long, value_name = "N", value_parser = values::model_len, allow_hyphen_values = true)]
    pub max_model_len: Option<values::ModelLen>,
    /// auto or float32; bfloat16, half and float16 are computed in float32 too, unlike in vLLM [default: float32]
    #[arg(long, value_parser = values::dtype)]
    pub dtype: Option<String>,
    /// auto, safetensors, or dummy (weights made up, scores without meaning) [default: auto]
    #[arg(long, value_name = "FORMAT", value_parser = values::load_format)]
    pub load_format: Option<String>,
    /// Replacements for keys of config.json: JSON, or dotted as in --hf-overrides.num_labels 1
    /// [env: VLLM_HF_OVERRIDES, which vLLM ignores]
    #[arg(long, value_name = "JSON")]
    pub hf_overrides: Option<String>,
    /// score, classify or auto; vLLM removed this flag, here it still works
    #[arg(long, value_parser = values::task)]
    pub task: Option<String>,
    /// auto or pooling
    #[arg(long, value_parser = values::runner)]
    pub runner: Option<String>,
    /// auto, none or classify
    #[arg(long, value_parser = values::convert)]
    pub convert: Option<String>,
    /// Accepted; no code of a model is ever run
    #[arg(long)]
    pub trust_remote_code: bool,
    #[arg(long, hide = true, value_parser = values::quantization)]
    pub quantization: Option<String>,
    #[arg(long, hide = true)]
    pub rope_scaling: Option<String>,
    #[arg(long, hide = true)]
    pub rope_theta: Option<f64>,
    #[arg(long, hide = true)]
    pub hf_config_path: Option<String>,
}

/// How the machine is used.
#[derive(Debug, Args)]
#[command(next_help_heading = "Speed")]
pub struct EngineArgs {
    /// Tokens that go through the model together [default: 2048]
    #[arg(long, value_name = "N", value_parser = values::batch_tokens, allow_hyphen_values = true)]
    pub max_num_batched_tokens: Option<usize>,
    /// Pairs that go through the model together [default: as the tokens allow; vLLM's: 128]
    #[arg(long, value_name = "N", value_parser = values::human_count, allow_hyphen_values = true)]
    pub max_num_seqs: Option<usize>,
    /// Memory for keys and values of prompts' beginnings that come again, in MiB; 0 turns it off
    /// [default: 256, or a sixteenth of the memory if that is less]
    #[arg(long, value_name = "MIB", value_parser = values::mebibytes, allow_hyphen_values = true)]
    pub prefix_cache_mib: Option<usize>,
    /// As --prefix-cache-mib 0, in vLLM's words
    #[arg(long)]
    pub no_enable_prefix_caching: bool,
    /// Directory where weights are kept as the kernels read them, packed at the first start and mapped by the next;
    /// off packs into memory at every start [default: ~/.cache/ironrank]
    #[arg(long, value_name = "DIR|off")]
    pub weight_cache: Option<String>,
    /// Compute threads [default: one per physical core this process may use, or per core of
    /// VLLM_CPU_OMP_THREADS_BIND]
    #[arg(long, value_name = "N", value_parser = values::threads, allow_hyphen_values = true)]
    pub threads: Option<usize>,
    /// Leave it to the system which core a compute thread runs on
    #[arg(long)]
    pub no_pin: bool,
    /// auto spreads weights over the memory nodes of the machine, off leaves placement to the system [default: auto]
    #[arg(long, value_name = "auto|off", value_parser = values::numa)]
    pub numa: Option<bool>,
    /// Instruction set, an error if this CPU lacks it [default: the best] [env: IRONRANK_ISA]
    #[arg(long, value_name = "NAME")]
    pub isa: Option<String>,
}

/// What becomes of a pair of texts.
#[derive(Debug, Args)]
#[command(next_help_heading = "Scores")]
pub struct ScoreArgs {
    /// File or text of a Jinja template, rendered as vLLM does [default: the model card's prompt; vLLM's: none]
    #[arg(long, value_name = "FILE|TEXT")]
    pub chat_template: Option<String>,
    /// Instruction of texts that bring none, for clients that cannot send one; not in vLLM [default: the model card's, for
    /// web search] [env: IRONRANK_INSTRUCTION]
    #[arg(long, value_name = "TEXT")]
    pub instruction: Option<String>,
    /// What becomes of a pair longer than --max-model-len: error (400, as vLLM) or truncate (its document is
    /// shortened; not in vLLM) [default: error]
    #[arg(long, value_name = "error|truncate", value_parser = values::overflow)]
    pub overflow: Option<super::Overflow>,
    /// use_activation (false: scores are raw logits), logit_mean, logit_sigma: JSON, or dotted as in
    /// --pooler-config.use_activation false
    #[arg(long, value_name = "JSON", alias = "override-pooler-config")]
    pub pooler_config: Option<String>,
}

/// Where and to whom it is served.
#[derive(Debug, Args)]
#[command(next_help_heading = "Server")]
pub struct ServerArgs {
    /// Names that requests may use; answers carry the first [default: MODEL as given]
    #[arg(long, value_name = "NAME", num_args = 1.., action = ArgAction::Set)]
    pub served_model_name: Vec<String>,
    /// Address to listen on [default: 0.0.0.0]
    #[arg(long)]
    pub host: Option<String>,
    /// TCP port, 0 for any free one [default: 8000]
    #[arg(long, value_parser = values::port, allow_hyphen_values = true)]
    pub port: Option<u16>,
    /// Unix socket to listen on, in place of host and port
    #[arg(long, value_name = "PATH")]
    pub uds: Option<String>,
    /// Prefix that a proxy puts before every path; paths without it are served too
    #[arg(long, value_name = "PATH", value_parser = values::root_path)]
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

/// Encryption.
#[derive(Debug, Args)]
#[command(next_help_heading = "TLS")]
pub struct TlsArgs {
    /// Certificate chain (PEM); the server then speaks https
    #[arg(long, value_name = "FILE")]
    pub ssl_certfile: Option<String>,
    /// Its private key (PEM) [default: in --ssl-certfile]
    #[arg(long, value_name = "FILE")]
    pub ssl_keyfile: Option<String>,
    /// Authorities (PEM) that client certificates are checked against
    #[arg(long, value_name = "FILE")]
    pub ssl_ca_certs: Option<String>,
    /// Client certificates: 0 are not asked for, 1 are checked if sent, 2 are required [default: 0]
    #[arg(long, value_name = "0|1|2", value_parser = values::cert_reqs, allow_hyphen_values = true)]
    pub ssl_cert_reqs: Option<super::ClientCertificates>,
    /// Take renewed certificates when their files change, and at SIGHUP
    #[arg(long)]
    pub enable_ssl_refresh: bool,
}

/// How every command writes its log.
#[derive(Debug, Args)]
#[command(next_help_heading = "Log")]
pub struct LogFormatArgs {
    /// text, or json: an object a line, for what collects logs [default: text; not in vLLM]
    #[arg(long, value_name = "text|json", value_parser = values::log_format)]
    pub log_format: Option<super::LogFormat>,
}

/// What a server writes to the log.
#[derive(Debug, Args)]
#[command(next_help_heading = "Log")]
pub struct LogArgs {
    #[command(flatten)]
    pub format: LogFormatArgs,
    /// One line per request, without its texts
    #[arg(long)]
    pub enable_log_requests: bool,
    #[arg(long, hide = true, overrides_with = "enable_log_requests")]
    pub disable_log_requests: bool,
    /// Level of the HTTP server's own lines: critical, error, warning, info, debug (every request) or trace
    #[arg(long, value_name = "LEVEL", value_parser = values::uvicorn_log_level)]
    pub uvicorn_log_level: Option<&'static str>,
}

/// The arguments of `serve`, still without defaults.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// YAML file whose keys are these flags; the command line wins over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<String>,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub score: ScoreArgs,
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(flatten)]
    pub tls: TlsArgs,
    #[command(flatten)]
    pub log: LogArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// The arguments of `bench`, still without defaults.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// What is asked of the model [default: rag]
    #[arg(long, value_enum, help_heading = "Benchmark")]
    pub workload: Option<Workload>,
    /// Requests that are timed [default: by workload]
    #[arg(long, value_name = "N", value_parser = values::human_count, allow_hyphen_values = true, help_heading = "Benchmark")]
    pub requests: Option<usize>,
    /// Print one JSON object instead of a table
    #[arg(long, help_heading = "Benchmark")]
    pub json: bool,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub log: LogFormatArgs,
}

/// The arguments of `health`.
#[derive(Debug, Args)]
pub struct HealthArgs {
    /// Address to ask, as in http://HOST:PORT/health; the certificate of an https server is not checked
    #[arg(long, value_name = "URL", conflicts_with_all = ["port", "uds"])]
    pub url: Option<String>,
    /// TCP port on this machine
    #[arg(long, value_parser = values::port, conflicts_with = "uds")]
    pub port: Option<u16>,
    /// Unix socket
    #[arg(long, value_name = "PATH")]
    pub uds: Option<String>,
}

const SPELLINGS: &str = "\
Flags take vLLM's spellings: --max_model_len, unique prefixes, --no-x for a switch, dotted JSON
(--hf-overrides.classifier_from_token+ no,yes). vLLM's other flags, old ones included, are accepted with a line in the
log; unknown flags are errors. Not in vLLM: --instruction, --overflow, --drain-delay, --max-body-mib, --receive-timeout,
--max-connections, --prefix-cache-mib, --weight-cache, --threads, --no-pin, --numa, --isa, --log-format. Environment:
VLLM_API_KEY, VLLM_HF_OVERRIDES, VLLM_CPU_OMP_THREADS_BIND, VLLM_LOGGING_LEVEL, VLLM_HTTP_TIMEOUT_KEEP_ALIVE,
VLLM_SKIP_MODEL_NAME_VALIDATION, VLLM_SERVER_DEV_MODE, RUST_LOG, NO_COLOR.";

/// The whole command line.
pub fn command() -> Command {
    let serve = ServeArgs::augment_args(Command::new("serve"))
        .about("Serve a reranker over HTTP, as `vllm serve` does")
        .args(ignored::args())
        .args_override_self(true)
        .infer_long_args(true)
        .after_help(SPELLINGS);
    let bench = BenchArgs::augment_args(Command::new("bench"))
        .about("Measure how fast this machine scores, and how near that is to its limits")
        .args_override_self(true)
        .infer_long_args(true);
    let check = check::CheckArgs::augment_args(Command::new("check"))
        .about("Say whether a model will load here, what is wrong if not, and what memory and time it will take")
        .after_help("Exit code 0 if the model will load, 1 if not. Give the options that the server will have.")
        .args_override_self(true)
        .infer_long_args(true);
    let fetch = download::DownloadArgs::augment_args(Command::new("download"))
        .about("Fetch a model from the hub, or a mirror, into a directory that `serve` takes")
        .args_override_self(true)
        .infer_long_args(true)
        .after_help(download::ENVIRONMENT);
    let health = HealthArgs::augment_args(Command::new("health"))
        .about("Ask a server whether it is well: exit code 0 if it is, 1 if not")
        .after_help(
            "Without an option the server is the one that runs as process 1, as in a container, found by its own \
             command line; where there is none, port 8000 is asked.",
        )
        .args_override_self(true);
    Command::new("ironrank")
        .version(crate::version())
        .about("Serves Qwen3 rerankers on ordinary CPUs, behind vLLM's score and rerank API")
        .after_help("`ironrank MODEL --flags` is `ironrank serve MODEL --flags`.")
        .arg_required_else_help(true)
        .subcommand_required(true)
        .subcommand(with_twins(serve))
        .subcommand(with_twins(score::command()))
        .subcommand(with_twins(bench))
        .subcommand(with_twins(check))
        .subcommand(cache::command())
        .subcommand(fetch)
        .subcommand(health)
}

/// The name that takes a switch back: `no-x` of `x`, and `x` of `no-x`.
pub fn twin(name: &str) -> String {
    name.strip_prefix("no-").map_or_else(|| format!("no-{name}"), str::to_owned)
}

/// Gives every switch of `command` its hidden twin, the last of the two being the one that counts.
fn with_twins(command: Command) -> Command {
    let switches: Vec<(String, String)> = command
        .get_arguments()
        .filter(|arg| matches!(arg.get_action(), ArgAction::SetTrue))
        .filter_map(|arg| Some((arg.get_id().to_string(), arg.get_long()?.to_owned())))
        .collect();
    switches.into_iter().fold(command, |command, (id, long)| {
        let twin = twin(&long);
        let negative = Arg::new(twin.clone()).long(twin).hide(true).action(ArgAction::SetTrue);
        command.arg(negative.overrides_with(id))
    })
}
