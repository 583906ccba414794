//! The options of `serve`: those of the models, of the machine, of the server and of its log, and vLLM's that mean nothing
//! here.
//!
//! Called by `options::parse`.

use super::engine::{self, AnswerCacheArgs, EngineArgs, MachineOptions};
use super::environment::Environment;
use super::log::{self, LogArgs, LogOptions};
use super::served::{self, AlsoArgs, ServedArgs, ServedModel};
use super::server::{self, ServerArgs, ServerOptions};
use super::tei::{self, TeiArgs};
use super::tls::TlsArgs;
use super::{ignored, keys};
use clap::{Args, Command};

/// A server, and what it serves.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Which models, at least one.
    pub models: Vec<ServedModel>,
    /// How the machine is used for them.
    pub machine: MachineOptions,
    /// Where and to whom they are served.
    pub server: ServerOptions,
    /// What is logged.
    pub log: LogOptions,
}

/// The arguments of `serve`, still without defaults.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// YAML file whose keys are these flags; the command line wins over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<String>,
    #[command(flatten)]
    pub first: ServedArgs,
    #[command(flatten)]
    pub also: AlsoArgs,
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(flatten)]
    pub tls: TlsArgs,
    #[command(flatten)]
    pub log: LogArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub answers: AnswerCacheArgs,
    #[command(flatten)]
    pub tei: TeiArgs,
}

const SPELLINGS: &str = "\
Flags take vLLM's spellings: --max_model_len, unique prefixes, --no-x for a switch, dotted JSON \
(--hf-overrides.classifier_from_token+ no,yes). vLLM's other flags, old ones included, are accepted with a line in the \
log; unknown flags are errors. Not in vLLM: --also, --models, --instruction, --query-prompt, --document-prompt, --overflow, \
--drain-delay, --max-body-mib, --receive-timeout, --max-connections, --prefix-cache-mib, --answer-cache-mib, \
--weight-cache, --threads, --no-pin, --numa, --isa, --log-format.\n\n\
Environment: VLLM_API_KEY (or the systemd credential ironrank.api-key), VLLM_HF_OVERRIDES, VLLM_CPU_OMP_THREADS_BIND, VLLM_LOGGING_LEVEL, VLLM_HTTP_TIMEOUT_KEEP_ALIVE, \
VLLM_SKIP_MODEL_NAME_VALIDATION, VLLM_SERVER_DEV_MODE, RUST_LOG, NO_COLOR.\n\n\
The command line of text-embeddings-inference is taken too: --model-id DIR (MODEL_ID), --auto-truncate, --port (PORT) and its \
others.\n\n\
Example:\n  ironrank serve /models/qwen3-reranker-0.6b --max-model-len 8192 --port 8000";

/// The command.
pub fn command() -> Command {
    ServeArgs::augment_args(Command::new("serve"))
        .about("Serve a model over HTTP, as `vllm serve` does")
        .args(ignored::args())
        .args_override_self(true)
        .infer_long_args(true)
        .after_help(SPELLINGS)
}

/// The options of `serve`; `notices` tell of the flags that were given in vain.
pub fn options(args: ServeArgs, mut notices: Vec<String>, env: Environment) -> Result<Options, String> {
    let ServeArgs { config, mut first, also, mut server, tls, mut log, engine, answers, tei } = args;
    let is_tei = tei::translate(tei, &mut first, &mut server, &mut log, env)?;
    let api_keys = keys::api_keys(std::mem::take(&mut server.api_key), config.as_deref(), env)?;
    notices.extend(ignored::variables(env));
    notices.extend(keys::doubts(&api_keys));
    let server = server::options(server, &first.scoring, tls, env, &mut notices)?;
    let models = served::options(first, also, env, &mut notices)?;
    let machine = engine::machine(engine, answers.bytes(env)?, env, &mut notices)?;
    let skip_model_name_validation = server.skip_model_name_validation || is_tei;
    let log_requests = log.enable_log_requests;
    let server = ServerOptions { api_keys, log_requests, skip_model_name_validation, ..server };
    Ok(Options { models, machine, server, log: log::server_options(log, env, notices) })
}
