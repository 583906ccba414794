//! From options to a model that is ready to score: what `serve`, `score`, `bench` and `compare` have in common, and `check`
//! asks for in part.

use crate::checkpoint::{Activation, Checkpoint, Config};
use crate::engine::{BatchLimits, Engine, QueueLimits};
use crate::error::{Error, ErrorKind, Result};
use crate::head::Resolved;
use crate::memory;
use crate::model;
use crate::options::{EngineOptions, LoadFormat};
use crate::precision::Precision;
use crate::prompt::{self, PromptEncoder, Template};
use crate::survey::{Extent, Found, Survey};
use crate::threads;
use ironrank_kernels::{Cpu, Isa, Machine, Pool, PoolError, explain_bus_errors};
use std::fmt;
use std::panic::resume_unwind;
use std::thread;
use std::time::Instant;

/// A model that is ready to score.
pub struct Loaded {
    /// Runs the model.
    pub engine: Engine,
    /// Makes its prompts.
    pub encoder: PromptEncoder,
    /// Its shape.
    pub config: Config,
    /// The function that makes a score of a logit.
    pub activation: Activation,
    /// What it runs on.
    pub runs_on: RunsOn,
    /// Name of what the checkpoint holds.
    pub digest: String,
    /// Longest prompt in tokens: the option, or what the model's configuration says.
    pub max_model_len: usize,
}

/// What runs a model: compute threads, the instruction set that they use, and how exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunsOn {
    /// Name of the instruction set.
    pub isa: &'static str,
    /// Name of all instruction sets that give the same bits.
    pub same_bits: &'static str,
    /// Compute threads.
    pub threads: usize,
    /// What matrices are multiplied as.
    pub precision: Precision,
}

impl RunsOn {
    /// What `cpu` is, for a model in the precision that was asked for.
    pub fn of(cpu: &Cpu, options: &EngineOptions) -> Self {
        let isa = cpu.isa();
        let (same_bits, precision) = (isa.same_bits().name(), options.precision.on(isa));
        Self { isa: isa.name(), same_bits, threads: cpu.threads(), precision }
    }
}

impl fmt::Display for RunsOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let threads = if self.threads == 1 { "thread" } else { "threads" };
        write!(f, "{} {threads} of {}, in {}", self.threads, self.isa, self.precision.described())
    }
}

/// How pairs become prompts, as far as the operator says it.
#[derive(Default)]
pub struct Prompts {
    /// In place of the model card's prompt.
    pub template: Option<Template>,
    /// In place of the model card's instruction.
    pub instruction: Option<String>,
}

impl Prompts {
    /// What there is to say of them with a model that was trained on another instruction.
    pub fn notice(&self, checkpoint: &Checkpoint) -> Option<String> {
        let own = checkpoint.instruction().filter(|_| self.instruction.is_none() && self.template.is_none());
        let own = own.filter(|own| own.trim() != prompt::INSTRUCTION)?;
        Some(format!(
            "The model's own instruction, {own:?} in config_sentence_transformers.json, has no effect, as in vLLM: give it \
             with --instruction, or in requests."
        ))
    }

    /// The tokenizer that was asked for, which makes prompts so; and what there is to say of them.
    pub fn encoder(self, options: &EngineOptions, max_model_len: usize) -> Result<(PromptEncoder, Vec<String>)> {
        let mut encoder = match options.tokenizer_dir() {
            Some(dir) => PromptEncoder::open(dir, max_model_len)?,
            None => PromptEncoder::builtin(max_model_len)?,
        };
        if let Some(template) = self.template {
            encoder = encoder.with_template(template)?;
        }
        if let Some(instruction) = self.instruction {
            encoder = encoder.with_instruction(instruction);
        }
        let notices = encoder.examine()?;
        Ok((encoder, notices))
    }
}

/// Reads the model, packs or maps its weights and starts the engine, whose queue keeps within `queue`.
pub fn load(options: &EngineOptions, prompts: Prompts, queue: QueueLimits) -> Result<Loaded> {
    let start = Instant::now();
    explain_bus_errors();
    let machine = Machine::here();
    tracing::info!("{}", memory::describe(&machine));
    let cpu = cpu(options)?;
    let runs_on = RunsOn::of(&cpu, options);
    if let Some(notice) = options.precision.notice(cpu.isa()) {
        tracing::warn!("{notice}");
    }
    if cpu.memory_nodes() > 1 {
        tracing::info!(
            "weights are spread over {} memory nodes (--numa off leaves that to the system)",
            cpu.memory_nodes()
        );
    }
    if options.load_format == LoadFormat::Dummy {
        tracing::warn!("the weights are made up (--load-format dummy): scores carry no meaning");
    }
    let Found { checkpoint, extent } = Survey::of(options, runs_on.precision, &machine).whole()?;
    for notice in checkpoint.notices().iter().cloned().chain(prompts.notice(&checkpoint)) {
        tracing::warn!("{notice}");
    }
    let Extent { max_model_len, need } = extent?;
    // Before anything takes memory: the tokenizer alone takes some 50 MB.
    memory::check(&machine, &need)?;
    let config = checkpoint.config();
    tracing::info!(
        "loading {} layers of {} channels, {} heads ({} key heads), {:.2} GB, on {runs_on}",
        config.num_hidden_layers,
        config.hidden_size,
        config.num_attention_heads,
        config.num_key_value_heads,
        checkpoint.bytes() as f64 / 1e9,
    );
    let encoder = || {
        let (encoder, notices) = prompts.encoder(options, max_model_len)?;
        notices.iter().for_each(|notice| tracing::warn!("{notice}"));
        Ok(encoder)
    };
    let cache = options.weight_cache.as_deref();
    let find = || cache.and_then(|dir| model::find(&cpu, &checkpoint, runs_on.precision, dir));
    let (encoder, found) = beside("tokenizer", encoder, find)?;
    // A wrong tokenizer is told of before minutes of packing.
    let encoder = encoder?;
    let head = Resolved::of(&checkpoint, &encoder)?;
    head.tell();
    let packed = found.map_or_else(|| model::pack(&cpu, &checkpoint, runs_on.precision, cache), Ok)?;
    let model = model::load(cpu, &checkpoint, packed, head.head, max_model_len)?;
    tracing::info!(
        "loaded in {:.1} s: {:.2} GB in memory, prompts up to {max_model_len} tokens",
        start.elapsed().as_secs_f64(),
        model.bytes() as f64 / 1e9,
    );
    let batch = BatchLimits {
        tokens: options.max_num_batched_tokens,
        sequences: options.max_num_seqs.unwrap_or(usize::MAX),
        prefix_cache_bytes: options.prefix_cache_bytes(machine.memory),
        answer_cache_bytes: options.answer_cache_bytes(machine.memory),
    };
    let engine = Engine::start(model, batch, queue)?;
    let (config, digest) = (config.clone(), checkpoint.digest().to_owned());
    Ok(Loaded { engine, encoder, config, activation: checkpoint.activation(), runs_on, digest, max_model_len })
}

/// What `one` makes on a thread of this `name`, and what `other` makes meanwhile on this one.
fn beside<A: Send, B>(name: &str, one: impl FnOnce() -> A + Send, other: impl FnOnce() -> B) -> Result<(A, B)> {
    thread::scope(|scope| {
        let one = thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, one);
        let one = one.map_err(|err| threads::refused(name, &err))?;
        let other = other();
        Ok((one.join().unwrap_or_else(|panic| resume_unwind(panic)), other))
    })
}

/// The instruction set and the threads that were asked for.
pub fn cpu(options: &EngineOptions) -> Result<Cpu> {
    let isa = match &options.isa {
        Some(name) => Isa::named(name).map_err(|err| Error::new(ErrorKind::Options, err.to_string()))?,
        None => Isa::best(),
    };
    let pool = match &options.cores {
        Some(cores) => Pool::on(cores, options.threads, options.pin),
        None => Pool::new(options.threads, options.pin),
    }
    .map_err(|err| match err {
        PoolError::NotAllowed { .. } => Error::new(ErrorKind::Options, format!("VLLM_CPU_OMP_THREADS_BIND: {err}.")),
        PoolError::Refused { .. } => threads::refused("kernels", &err),
    })?;
    Ok(Cpu::new(isa, if options.numa { pool } else { pool.without_numa() }))
}
