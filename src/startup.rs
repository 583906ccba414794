//! From options to a model that is ready to compute: what `serve`, `score`, `bench` and `compare` have in common, and `check`
//! asks for in part.

use crate::checkpoint::{Activation, Checkpoint, Config, Embedding, Head};
use crate::engine::{BatchLimits, Engine, QueueLimits, Turns};
use crate::error::{Error, ErrorKind, Result};
use crate::head::Resolved;
use crate::memory;
use crate::model::{self, Model};
use crate::options::{EngineOptions, LoadFormat, MachineOptions, ModelOptions, NamedPrompts};
use crate::precision::Precision;
use crate::prompt::{self, PromptEncoder, Template, TextEncoder};
use crate::serves::{Embedder, Reranker, Serves};
use crate::survey::{Extent, Found, Survey};
use crate::task::Task;
use crate::threads;
use ironrank_kernels::{Cpu, Isa, Machine, Pool, PoolError, explain_bus_errors};
use std::fmt;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

/// A model that is ready to compute.
pub struct Loaded {
    /// Runs the model.
    pub engine: Engine,
    /// What it is for, and what that takes.
    pub serves: Serves,
    /// Its shape.
    pub config: Config,
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
    pub fn of(cpu: &Cpu, options: &ModelOptions) -> Self {
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

/// How pairs and texts become prompts, as far as the operator says it.
#[derive(Default)]
pub struct Prompts {
    /// Of a reranker, in place of the model card's prompt.
    pub template: Option<Template>,
    /// Of a reranker, in place of the model card's instruction.
    pub instruction: Option<String>,
    /// Of an embedding model, in place of those of its files.
    pub named: NamedPrompts,
}

impl Prompts {
    /// What there is to say of them with a model that has no use for them or was trained on another instruction.
    pub fn notice(&self, checkpoint: &Checkpoint) -> Option<String> {
        let asked = [
            ("--chat-template", self.template.is_some(), Task::Rerank),
            ("--instruction", self.instruction.is_some(), Task::Rerank),
            ("--query-prompt", self.named.query.is_some(), Task::Embed),
            ("--document-prompt", self.named.document.is_some(), Task::Embed),
        ];
        let vain = asked.iter().find(|(_, asked, task)| *asked && *task != checkpoint.task());
        if let Some((flag, _, task)) = vain {
            return Some(format!("{flag} has no effect: it is for {task}, and the model is {}.", checkpoint.task()));
        }
        let own = checkpoint.instruction().filter(|_| self.instruction.is_none() && self.template.is_none());
        let own = own.filter(|own| own.trim() != prompt::INSTRUCTION)?;
        Some(format!(
            "The model's own instruction, {own:?} in config_sentence_transformers.json, has no effect, as in vLLM: give it \
             with --instruction, or in requests."
        ))
    }

    /// What a model takes, a reranker where none is known: the tokenizer that was asked for, which makes prompts so; and what
    /// there is to say of them.
    pub fn serve(
        self,
        options: &ModelOptions,
        checkpoint: Option<&Checkpoint>,
        max_model_len: usize,
    ) -> Result<(Serves, Vec<String>)> {
        match checkpoint.map(|checkpoint| (checkpoint.head(), checkpoint.config().hidden_size)) {
            Some((Head::Vector(embedding), width)) => self.embed(options, embedding, width, max_model_len),
            _ => self.rerank(options, checkpoint.map(Checkpoint::activation).unwrap_or_default(), max_model_len),
        }
    }

    fn embed(
        self,
        options: &ModelOptions,
        embedding: &Embedding,
        width: usize,
        max_model_len: usize,
    ) -> Result<(Serves, Vec<String>)> {
        let Embedding { normalize, dimensions, mut prompts } = embedding.clone();
        let own = [("query", self.named.query), ("document", self.named.document)];
        prompts.extend(own.into_iter().filter_map(|(name, prompt)| Some((name.to_owned(), prompt?))));
        let encoder = match options.tokenizer_dir() {
            Some(dir) => TextEncoder::open(dir, max_model_len, prompts)?,
            None => TextEncoder::builtin(max_model_len, prompts)?,
        };
        let notices = encoder.examine();
        Ok((Serves::Embed(Embedder { encoder: Arc::new(encoder), normalize, width, dimensions }), notices))
    }

    fn rerank(
        self,
        options: &ModelOptions,
        activation: Activation,
        max_model_len: usize,
    ) -> Result<(Serves, Vec<String>)> {
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
        Ok((Serves::Rerank(Reranker { encoder: Arc::new(encoder), activation }), notices))
    }
}

/// What a command needs of its models.
#[derive(Clone, Copy)]
pub enum Wanted<'a> {
    /// Nothing but to be served.
    Any,
    /// To be for this task.
    Task(Task),
    /// To be embedding models that this lets pass.
    Embedders(&'a dyn Fn(&Embedder) -> Result<()>),
}

impl Wanted<'_> {
    /// The task, if not any will do.
    fn task(self) -> Option<Task> {
        match self {
            Self::Any => None,
            Self::Task(task) => Some(task),
            Self::Embedders(_) => Some(Task::Embed),
        }
    }
}

/// Reads the model, packs or maps its weights and starts the engine, whose queue keeps within `queue`. A model that is not
/// what is `wanted` is refused before anything takes long.
pub fn load(options: &EngineOptions, prompts: Prompts, queue: QueueLimits, wanted: Wanted) -> Result<Loaded> {
    let mut loaded = load_all(&options.machine, vec![(&options.model, prompts)], queue, wanted)?;
    Ok(loaded.pop().unwrap_or_else(|| unreachable!("a model that is asked for is loaded or refused")))
}

/// The same of several models on one set of compute threads, of which each has a queue within `queue`. None takes memory
/// before all have been looked at, and what they need together is there.
pub fn load_all(
    options: &MachineOptions,
    models: Vec<(&ModelOptions, Prompts)>,
    queue: QueueLimits,
    wanted: Wanted,
) -> Result<Vec<Loaded>> {
    explain_bus_errors();
    let machine = Machine::here();
    tracing::info!("{}", memory::describe(&machine));
    let cpu = Arc::new(cpu(options)?);
    if cpu.memory_nodes() > 1 {
        tracing::info!(
            "weights are spread over {} memory nodes (--numa off leaves that to the system)",
            cpu.memory_nodes()
        );
    }
    let found = models.into_iter().map(|(model, prompts)| Asked::find(model, prompts, options, &cpu, wanted.task()));
    let found = found.collect::<Result<Vec<_>>>()?;
    let caches = options.caches(machine.memory);
    // Before anything takes memory: a tokenizer alone takes some 50 MB.
    memory::check(&machine, &found.iter().map(|asked| asked.extent.need.clone()).collect::<Vec<_>>(), caches)?;
    let own = caches.among(found.len());
    let batch = BatchLimits {
        tokens: options.max_num_batched_tokens,
        sequences: options.max_num_seqs.unwrap_or(usize::MAX),
        prefix_cache_bytes: own.prefixes,
        answer_cache_bytes: own.answers,
    };
    let (turns, cache) = (Turns::default(), options.weight_cache.as_deref());
    let several = found.len() > 1;
    let start = |asked: Asked| {
        let name = if several { format!("{}: ", asked.model.name()) } else { String::new() };
        asked.load(&cpu, &name, cache, wanted, |model| Engine::start(model, &turns, batch, queue))
    };
    found.into_iter().map(start).collect()
}

/// A model that was asked for and is there.
struct Asked<'a> {
    model: &'a ModelOptions,
    prompts: Prompts,
    checkpoint: Checkpoint,
    extent: Extent,
    runs_on: RunsOn,
}

impl<'a> Asked<'a> {
    /// Looks at it, and tells what there is to say of it.
    fn find(
        model: &'a ModelOptions,
        prompts: Prompts,
        machine: &MachineOptions,
        cpu: &Cpu,
        wanted: Option<Task>,
    ) -> Result<Self> {
        let runs_on = RunsOn::of(cpu, model);
        if let Some(notice) = model.precision.notice(cpu.isa()) {
            tracing::warn!("{notice}");
        }
        let Found { checkpoint, extent } = Survey::of(model, machine, runs_on.precision).whole()?;
        if model.load_format == LoadFormat::Dummy {
            let numbers = checkpoint.task().numbers();
            tracing::warn!("the weights are made up (--load-format dummy): {numbers} carry no meaning");
        }
        if let Some(wanted) = wanted.filter(|wanted| *wanted != checkpoint.task()) {
            return Err(checkpoint.task().not(wanted, &model.name()));
        }
        for notice in checkpoint.notices().iter().cloned().chain(prompts.notice(&checkpoint)) {
            tracing::warn!("{notice}");
        }
        Ok(Self { model, prompts, checkpoint, extent: extent?, runs_on })
    }

    /// Loads it and starts its engine; what is told of that begins with `name`.
    fn load(
        self,
        cpu: &Arc<Cpu>,
        name: &str,
        cache: Option<&Path>,
        wanted: Wanted,
        start: impl FnOnce(Box<dyn Model>) -> Result<Engine>,
    ) -> Result<Loaded> {
        let began = Instant::now();
        let Self { model: options, prompts, checkpoint, extent: Extent { max_model_len, .. }, runs_on } = self;
        let config = checkpoint.config();
        tracing::info!(
            "{name}loading {}: {} layers of {} channels, {} heads ({} key heads), {:.2} GB, on {runs_on}",
            checkpoint.task(),
            config.num_hidden_layers,
            config.hidden_size,
            config.num_attention_heads,
            config.num_key_value_heads,
            checkpoint.bytes() as f64 / 1e9,
        );
        let serves = || {
            let (serves, notices) = prompts.serve(options, Some(&checkpoint), max_model_len)?;
            notices.iter().for_each(|notice| tracing::warn!("{notice}"));
            Ok(serves)
        };
        let find = || cache.and_then(|dir| model::find(cpu, &checkpoint, runs_on.precision, dir));
        let (serves, found) = beside("tokenizer", serves, find)?;
        // A wrong tokenizer, or a wish that the model cannot grant, is told of before minutes of packing.
        let serves: Serves = serves?;
        if let (Wanted::Embedders(pass), Serves::Embed(embedder)) = (wanted, &serves) {
            pass(embedder)?;
        }
        let head = Resolved::of(&checkpoint, serves.vocabulary())?;
        head.tell();
        let packed = found.map_or_else(|| model::pack(cpu, &checkpoint, runs_on.precision, cache), Ok)?;
        let model = model::load(cpu.clone(), &checkpoint, packed, head.head, max_model_len)?;
        tracing::info!(
            "{name}loaded in {:.1} s: {:.2} GB in memory, prompts up to {max_model_len} tokens",
            began.elapsed().as_secs_f64(),
            model.bytes() as f64 / 1e9,
        );
        let engine = start(model)?;
        let (config, digest) = (config.clone(), checkpoint.digest().to_owned());
        Ok(Loaded { engine, serves, config, runs_on, digest, max_model_len })
    }
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
pub fn cpu(options: &MachineOptions) -> Result<Cpu> {
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
