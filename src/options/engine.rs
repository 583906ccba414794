//! The options of the engine, which every command that computes has: the model, and how the machine is used.
//!
//! Invariant: what the machine is used for is said once, however many models it computes. Called by the options of these
//! commands.

use super::binding::{self, Binding};
use super::environment::Environment;
use super::model::{ModelArgs, ModelOptions};
use super::values::{self, OrNone};
use clap::Args;
use std::path::PathBuf;

/// Tokens that go through the model together, as vLLM has it on a CPU.
pub const DEFAULT_MAX_NUM_BATCHED_TOKENS: usize = 2048;
/// Keys and values kept between batches: about 1,100 tokens of the 0.6B shape, which is some fifty queries.
pub const DEFAULT_PREFIX_CACHE_BYTES: usize = 256 << 20;
/// Answers kept for prompts that come again: 1,800,000 of a reranker, 16,000 of an embedding model with 1,024 numbers.
pub const DEFAULT_ANSWER_CACHE_BYTES: usize = 64 << 20;
/// Where one of these is more than this part of the memory that the process may use, the part is the default.
pub const DEFAULT_CACHE_PART: u64 = 16;

/// A model, and how the machine is used for it.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineOptions {
    /// Which model.
    pub model: ModelOptions,
    /// How the machine is used.
    pub machine: MachineOptions,
}

/// How the machine is used, whatever it computes.
#[derive(Debug, Clone, PartialEq)]
pub struct MachineOptions {
    /// Tokens that go through the model together.
    pub max_num_batched_tokens: usize,
    /// Pairs that go through the model together; `None` is no limit besides the tokens.
    pub max_num_seqs: Option<usize>,
    /// Bytes of keys and values kept between batches; 0 turns it off, `None` is the default for this machine's memory.
    pub prefix_cache_bytes: Option<usize>,
    /// Bytes of answers kept for pairs that come again; 0 turns it off, `None` is the default for this machine's memory.
    pub answer_cache_bytes: Option<usize>,
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

impl MachineOptions {
    /// What is kept where this many bytes of memory may be used.
    pub fn caches(&self, memory: Option<u64>) -> Caches {
        Caches {
            prefixes: self.prefix_cache_bytes.unwrap_or_else(|| cache_bytes(DEFAULT_PREFIX_CACHE_BYTES, memory)),
            answers: self.answer_cache_bytes.unwrap_or_else(|| cache_bytes(DEFAULT_ANSWER_CACHE_BYTES, memory)),
        }
    }
}

/// Bytes that are kept of what was computed, of all models together: what a flag says is what the process takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caches {
    /// Keys and values of prompts' beginnings.
    pub prefixes: usize,
    /// Answers.
    pub answers: usize,
}

impl Caches {
    /// The part of each of so many models.
    #[must_use]
    pub fn among(self, models: usize) -> Self {
        Self { prefixes: self.prefixes / models, answers: self.answers / models }
    }
}

/// `usual`, or less where there is little memory.
fn cache_bytes(usual: usize, memory: Option<u64>) -> usize {
    let part = memory.map_or(u64::MAX, |bytes| bytes / DEFAULT_CACHE_PART);
    usual.min(usize::try_from(part).unwrap_or(usize::MAX))
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
    #[arg(long, value_name = "DIR|off", value_parser = weight_cache)]
    pub weight_cache: Option<OrNone<PathBuf>>,
    /// Compute threads [default: one per physical core this process may use, or per core of
    /// VLLM_CPU_OMP_THREADS_BIND]
    #[arg(long, value_name = "N", value_parser = values::threads, allow_hyphen_values = true)]
    pub threads: Option<usize>,
    /// Leave it to the system which core a compute thread runs on
    #[arg(long)]
    pub no_pin: bool,
    /// auto spreads weights over the memory nodes of the machine, off leaves placement to the system [default: auto]
    #[arg(long, value_name = "auto|off", value_parser = numa)]
    pub numa: Option<bool>,
    /// Instruction set, an error if this CPU lacks it [default: the best] [env: IRONRANK_ISA]
    #[arg(long, value_name = "NAME")]
    pub isa: Option<String>,
}

/// What is kept of answers, where pairs may come again.
#[derive(Debug, Args)]
#[command(next_help_heading = "Speed")]
pub struct AnswerCacheArgs {
    /// Memory for the answers to pairs that come again, which are not computed again, in MiB; 0 turns it off
    /// [default: 64, or a sixteenth of the memory if that is less] [env: IRONRANK_ANSWER_CACHE_MIB]
    #[arg(long, value_name = "MIB", value_parser = values::mebibytes, allow_hyphen_values = true)]
    pub answer_cache_mib: Option<usize>,
}

impl AnswerCacheArgs {
    /// Bytes of answers that are kept, if that is said.
    pub fn bytes(&self, env: Environment) -> Result<Option<usize>, String> {
        const VARIABLE: &str = "IRONRANK_ANSWER_CACHE_MIB";
        match (self.answer_cache_mib, env.get(VARIABLE)) {
            (None, Some(text)) => values::mebibytes(&text).map(Some).map_err(|err| format!("{VARIABLE}: {err}")),
            (asked, _) => Ok(asked),
        }
    }
}

/// The options of the engine; how much it keeps of answers is for the command to say.
pub fn options(
    model: ModelArgs,
    engine: EngineArgs,
    answer_cache_bytes: Option<usize>,
    env: Environment,
    notices: &mut Vec<String>,
) -> Result<EngineOptions, String> {
    let model = model.options(env, notices)?;
    Ok(EngineOptions { model, machine: machine(engine, answer_cache_bytes, env, notices)? })
}

/// How the machine is used; how much is kept of answers is for the command to say.
pub fn machine(
    engine: EngineArgs,
    answer_cache_bytes: Option<usize>,
    env: Environment,
    notices: &mut Vec<String>,
) -> Result<MachineOptions, String> {
    let (cores, bound) = match env.get("VLLM_CPU_OMP_THREADS_BIND") {
        None => (None, true),
        Some(text) => match binding::read(&text)? {
            Binding::Auto => (None, true),
            Binding::Free => (None, false),
            Binding::Cores { first, more } => {
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
    Ok(MachineOptions {
        max_num_batched_tokens: engine.max_num_batched_tokens.unwrap_or(DEFAULT_MAX_NUM_BATCHED_TOKENS),
        max_num_seqs: engine.max_num_seqs,
        prefix_cache_bytes: match engine.prefix_cache_mib {
            None if engine.no_enable_prefix_caching => Some(0),
            asked => asked,
        },
        answer_cache_bytes,
        weight_cache: match engine.weight_cache {
            Some(asked) => asked.0,
            None => default_weight_cache(env).or_else(|| {
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
        isa: engine.isa.or_else(|| env.get("IRONRANK_ISA")),
    })
}

/// The directory of packed weights when none is named, as the XDG base directories have it: `None` without a home.
pub fn default_weight_cache(env: Environment) -> Option<PathBuf> {
    let absolute = |name: &str| env.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(caches.join("ironrank"))
}

/// `--weight-cache`.
fn weight_cache(text: &str) -> Result<OrNone<PathBuf>, String> {
    Ok(OrNone(Some(text).filter(|text| *text != "off").map(PathBuf::from)))
}

/// `--numa`: whether memory nodes are looked at.
fn numa(text: &str) -> Result<bool, String> {
    values::one_of(text, &[("auto", true), ("off", false)], "memory nodes are used or not")
}
