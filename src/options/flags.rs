//! The flags of `ironrank serve` and `ironrank bench` as clap knows them, vLLM's ignored ones included.
//!
//! Invariant: no default stands here (they are in `options`), and an ignored flag is declared with the number of
//! values that vLLM gives it, so that it never swallows or leaves behind a neighbour. Called by `options::parse`.

use super::{Workload, values};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command};
use std::time::Duration;

/// The arguments of `serve`, still without defaults.
#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub server: ServerArgs,
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
    pub engine: EngineArgs,
}

/// What a model is loaded and run with.
#[derive(Debug, Args)]
pub struct EngineArgs {
    /// Model directory (config.json, tokenizer.json, *.safetensors); without it a built-in dummy model is served
    #[arg(value_name = "MODEL")]
    pub model_tag: Option<String>,
    /// Model directory, in place of the positional
    #[arg(long, help_heading = "Model")]
    pub model: Option<String>,
    /// Directory of tokenizer.json [default: the model's]
    #[arg(long, value_name = "DIR", help_heading = "Model")]
    pub tokenizer: Option<String>,
    /// Longest prompt in tokens; 8k is 8000, 8K is 8192 [default: the model's]
    #[arg(long, value_name = "N", value_parser = values::model_len, allow_hyphen_values = true, help_heading = "Model")]
    pub max_model_len: Option<values::ModelLen>,
    /// auto, float32; others are accepted and computed in float32
    #[arg(long, value_parser = values::dtype, help_heading = "Model")]
    pub dtype: Option<String>,
    /// auto, safetensors, or dummy (weights made up, scores without meaning)
    #[arg(long, value_name = "FORMAT", value_parser = values::load_format, help_heading = "Model")]
    pub load_format: Option<String>,
    /// Replacements for keys of config.json, as a JSON object [env: VLLM_HF_OVERRIDES]
    #[arg(long, value_name = "JSON", help_heading = "Model")]
    pub hf_overrides: Option<String>,
    /// score; vLLM removed this flag, here it still works
    #[arg(long, value_parser = values::task, help_heading = "Model")]
    pub task: Option<String>,
    /// auto or pooling
    #[arg(long, value_parser = values::runner, help_heading = "Model")]
    pub runner: Option<String>,
    /// auto, none or classify
    #[arg(long, value_parser = values::convert, help_heading = "Model")]
    pub convert: Option<String>,
    /// Accepted; no code of a model is ever run
    #[arg(long, help_heading = "Model")]
    pub trust_remote_code: bool,

    /// Tokens that go through the model together [default: 2048]
    #[arg(long, value_name = "N", value_parser = values::human_count, allow_hyphen_values = true, help_heading = "Speed")]
    pub max_num_batched_tokens: Option<usize>,
    /// Pairs that go through the model together [default: as the tokens allow]
    #[arg(long, value_name = "N", value_parser = values::human_count, allow_hyphen_values = true, help_heading = "Speed")]
    pub max_num_seqs: Option<usize>,
    /// Memory for keys and values of prompts' beginnings that come again, in MiB; 0 turns it off [default: 256]
    #[arg(long, value_name = "MIB", value_parser = values::mebibytes, allow_hyphen_values = true, help_heading = "Speed")]
    pub prefix_cache_mib: Option<usize>,
    #[arg(long, hide = true, overrides_with = "no_enable_prefix_caching")]
    pub enable_prefix_caching: bool,
    /// As --prefix-cache-mib 0, in vLLM's words
    #[arg(long, help_heading = "Speed")]
    pub no_enable_prefix_caching: bool,
    /// Directory where weights are kept as the kernels read them, packed at the first start and mapped by the next;
    /// off packs into memory at every start [default: ~/.cache/ironrank]
    #[arg(long, value_name = "DIR|off", help_heading = "Speed")]
    pub weight_cache: Option<String>,
    /// Compute threads [default: one per physical core this process may use]
    #[arg(long, value_name = "N", value_parser = values::human_count, allow_hyphen_values = true, help_heading = "Speed")]
    pub threads: Option<usize>,
    /// Leave it to the system which core a compute thread runs on
    #[arg(long, help_heading = "Speed")]
    pub no_pin: bool,
    /// auto spreads weights over the memory nodes of the machine, off leaves placement to the system [default: auto]
    #[arg(long, value_name = "auto|off", value_parser = values::numa, help_heading = "Speed")]
    pub numa: Option<bool>,
    /// Instruction set, an error if this CPU lacks it [default: the best] [env: IRONRANK_ISA]
    #[arg(long, value_name = "NAME", help_heading = "Speed")]
    pub isa: Option<String>,
}

/// What is served, to whom.
#[derive(Debug, Default, Args)]
pub struct ServerArgs {
    /// Names that requests may use; answers carry the first [default: MODEL as given]
    #[arg(long, value_name = "NAME", num_args = 1.., action = ArgAction::Set, help_heading = "Server")]
    pub served_model_name: Vec<String>,
    /// Address to listen on [default: 0.0.0.0]
    #[arg(long, help_heading = "Server")]
    pub host: Option<String>,
    /// TCP port [default: 8000]
    #[arg(long, value_parser = values::port, allow_hyphen_values = true, help_heading = "Server")]
    pub port: Option<u16>,
    /// Keys that open the API; the last flag counts, and it may list several [env: VLLM_API_KEY]
    #[arg(long, value_name = "KEY", num_args = 1.., action = ArgAction::Set, help_heading = "Server")]
    pub api_key: Vec<String>,
    /// Seconds that running requests get when the server is told to stop; 0 aborts them [default: 30; vLLM's: 0]
    #[arg(long, value_name = "S", value_parser = values::seconds, allow_hyphen_values = true, help_heading = "Server")]
    pub shutdown_timeout: Option<Duration>,
}

/// vLLM's switches that mean nothing here; each also exists as `--no-...`.
const IGNORED_SWITCHES: [&str; 20] = [
    "async-scheduling",
    "disable-cascade-attn",
    "disable-fastapi-docs",
    "disable-frontend-multiprocessing",
    "disable-log-requests",
    "disable-log-stats",
    "disable-sliding-window",
    "disable-uvicorn-access-log",
    "enable-chunked-prefill",
    "enable-log-requests",
    "enable-offline-docs",
    "enable-prompt-tokens-details",
    "enable-request-id-headers",
    "enable-server-load-tracking",
    "enable-tokenizer-info-endpoint",
    "enforce-eager",
    "fail-on-environ-validation",
    "headless",
    "use-tqdm-on-load",
    "use-v2-block-manager",
];

/// vLLM's flags with one value that mean nothing here.
const IGNORED_VALUES: [&str; 39] = [
    "api-server-count",
    "attention-backend",
    "block-size",
    "chat-template-content-format",
    "code-revision",
    "compilation-config",
    "config-format",
    "cpu-offload-gb",
    "data-parallel-size",
    "device",
    "disable-access-log-for-endpoints",
    "distributed-executor-backend",
    "download-dir",
    "generation-config",
    "gpu-memory-utilization",
    "h11-max-header-count",
    "h11-max-incomplete-event-size",
    "kv-cache-dtype",
    "kv-cache-memory-bytes",
    "limit-mm-per-prompt",
    "max-log-len",
    "max-logprobs",
    "max-num-partial-prefills",
    "max-num-queued-reqs",
    "max-parallel-loading-workers",
    "max-seq-len-to-capture",
    "model-impl",
    "num-gpu-blocks-override",
    "optimization-level",
    "override-generation-config",
    "pipeline-parallel-size",
    "revision",
    "scheduling-policy",
    "seed",
    "swap-space",
    "tensor-parallel-size",
    "tokenizer-mode",
    "tokenizer-revision",
    "uvicorn-log-level",
];

/// The whole command line.
pub fn command() -> Command {
    let serve = ServeArgs::augment_args(Command::new("serve"))
        .about("Serve a reranker over HTTP, as `vllm serve` does")
        .args(ignored_args())
        .args_override_self(true)
        .infer_long_args(true)
        .after_help("vLLM's other flags are accepted and ignored with a line in the log; unknown flags are errors.");
    let bench = BenchArgs::augment_args(Command::new("bench"))
        .about("Measure how fast this machine scores, and how near that is to its limits")
        .args_override_self(true)
        .infer_long_args(true);
    Command::new("ironrank")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Serves Qwen3 rerankers on ordinary CPUs, behind vLLM's score and rerank API")
        .after_help("`ironrank MODEL --flags` is `ironrank serve MODEL --flags`.")
        .arg_required_else_help(true)
        .subcommand_required(true)
        .subcommand(serve)
        .subcommand(bench)
}

fn ignored_args() -> Vec<Arg> {
    let mut args = Vec::new();
    for name in IGNORED_SWITCHES {
        args.push(Arg::new(name).long(name).hide(true).action(ArgAction::SetTrue));
        let negative = format!("no-{name}");
        args.push(Arg::new(negative.clone()).long(negative).hide(true).action(ArgAction::SetTrue));
    }
    args.push(Arg::new("no-trust-remote-code").long("no-trust-remote-code").hide(true).action(ArgAction::SetTrue));
    for name in IGNORED_VALUES {
        args.push(Arg::new(name).long(name).hide(true).num_args(1).allow_hyphen_values(true));
    }
    args
}

/// The ignored flags that were given, as `--name`.
pub fn ignored_in(serve: &ArgMatches) -> Vec<String> {
    let given = |id: &str| serve.value_source(id) == Some(ValueSource::CommandLine);
    ignored_args().iter().map(|arg| arg.get_id().as_str()).filter(|id| given(id)).map(|id| format!("--{id}")).collect()
}
