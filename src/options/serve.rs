//! The options of `serve`: those of the engine, of scores, of the server and of its log, and vLLM's that mean nothing
//! here.
//!
//! Called by `options::parse`.

use super::embedding::EmbeddingArgs;
use super::engine::{self, AnswerCacheArgs, EngineArgs, EngineOptions};
use super::environment::Environment;
use super::log::{self, LogArgs, LogOptions};
use super::model::ModelArgs;
use super::scoring::ScoringArgs;
use super::server::{self, ServerArgs, ServerOptions};
use super::tls::TlsArgs;
use super::{ignored, keys};
use clap::{Args, Command};

/// A server, and the model that it serves.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Which model, and how it runs.
    pub engine: EngineOptions,
    /// Where, to whom and how its scores are served.
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
    pub model: ModelArgs,
    #[command(flatten)]
    pub scoring: ScoringArgs,
    #[command(flatten)]
    pub embedding: EmbeddingArgs,
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
}

const SPELLINGS: &str = "\
Flags take vLLM's spellings: --max_model_len, unique prefixes, --no-x for a switch, dotted JSON
(--hf-overrides.classifier_from_token+ no,yes). vLLM's other flags, old ones included, are accepted with a line in the
log; unknown flags are errors. Not in vLLM: --instruction, --query-prompt, --document-prompt, --overflow, --drain-delay,
--max-body-mib, --receive-timeout, --max-connections, --prefix-cache-mib, --answer-cache-mib, --weight-cache, --threads, --no-pin, --numa, --isa,
--log-format. Environment:
VLLM_API_KEY, VLLM_HF_OVERRIDES, VLLM_CPU_OMP_THREADS_BIND, VLLM_LOGGING_LEVEL, VLLM_HTTP_TIMEOUT_KEEP_ALIVE,
VLLM_SKIP_MODEL_NAME_VALIDATION, VLLM_SERVER_DEV_MODE, RUST_LOG, NO_COLOR.";

/// The command.
pub fn command() -> Command {
    ServeArgs::augment_args(Command::new("serve"))
        .about("Serve a model over HTTP, as `vllm serve` does")
        .args(ignored::args())
        .args_override_self(true)
        .infer_long_args(true)
        .after_help(SPELLINGS)
}

/// The options of `serve`; `ignored` are the flags that were given in vain.
pub fn options(args: ServeArgs, ignored: &[String], env: Environment) -> Result<Options, String> {
    let ServeArgs { config, model, scoring, embedding, mut server, tls, log, engine, answers } = args;
    let api_keys = keys::api_keys(std::mem::take(&mut server.api_key), config.as_deref(), env)?;
    let mut notices: Vec<String> =
        ignored.iter().map(|flag| format!("{flag} is accepted for vLLM's sake and has no effect here.")).collect();
    notices.extend(ignored::variables(env));
    notices.extend(keys::doubts(&api_keys));
    let engine = engine::options(model, engine, answers.bytes(env)?, env, &mut notices)?;
    let server = server::options(server, scoring, embedding, tls, || engine.model.name(), env, &mut notices)?;
    let server = ServerOptions { api_keys, log_requests: log.enable_log_requests, ..server };
    Ok(Options { engine, server, log: log::server_options(log, env, notices) })
}
