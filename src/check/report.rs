//! What a check found, as a table for people and as JSON.

use crate::bench::Ragflow;
use crate::busy::Busy;
use crate::checkpoint::Config;
use crate::precision::Precision;
use crate::startup::RunsOn;
use crate::task::Task;
use serde_json::{Value, json};
use std::fmt;
use std::path::PathBuf;

/// What the configuration says of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Transformer layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Size of the tensors.
    pub bytes: u64,
}

impl Shape {
    pub(super) fn of(config: &Config, bytes: u64) -> Self {
        Self {
            layers: config.num_hidden_layers,
            hidden: config.hidden_size,
            heads: config.num_attention_heads,
            kv_heads: config.num_key_value_heads,
            bytes,
        }
    }
}

/// Where the packed weights are or will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whereabouts {
    /// In this file, which is mapped.
    Packed(PathBuf),
    /// In a file of this directory, which the first start makes.
    ToBePacked(PathBuf),
    /// In memory, at every start, because of this.
    InMemory(String),
}

/// Bytes that the model will take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// What the system cannot take back.
    pub private: u64,
    /// What this process may use, if that is known.
    pub available: Option<u64>,
    /// Of the packed weights.
    pub weights_bytes: u64,
    /// Where they are; in memory, they are a part of `private`.
    pub weights: Whereabouts,
}

/// What to expect of this machine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speed {
    /// GFLOP/s of the matrix product at the model's widths, as just measured.
    pub matmul_gflops: f64,
    /// Passages of a request.
    pub passages: usize,
    /// Tokens of each.
    pub passage_tokens: usize,
    /// How long it should take.
    pub seconds: f64,
    /// Its tokens a second.
    pub tokens_per_s: f64,
}

/// What a precision that is not exact brings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lower {
    /// Which one.
    pub precision: Precision,
    /// How many times as fast as in float32 matrix products are, as just measured; `None` if they are none on this CPU, where
    /// float32 takes its place.
    pub speedup: Option<f64>,
    /// Of the packed weights.
    pub weights_bytes: u64,
}

impl Lower {
    /// How it is asked for.
    fn flag(self) -> &'static str {
        match self.precision {
            Precision::Exact => "--dtype float32",
            Precision::Int16 => "--dtype bfloat16",
            Precision::Int8 => "--quantization int8",
        }
    }
}

/// What was found. [`fmt::Display`] is the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Of this program.
    pub version: &'static str,
    /// The model as it was given.
    pub model: String,
    /// A sentence for each thing that keeps the model from loading.
    pub problems: Vec<String>,
    /// A sentence for each thing that may not be as it was meant, although it will load.
    pub notices: Vec<String>,
    /// `None` without a configuration that can be read.
    pub shape: Option<Shape>,
    /// What the model is for.
    pub task: Option<Task>,
    /// What scores or vectors are made of.
    pub head: Option<String>,
    /// Longest prompt in tokens.
    pub max_model_len: Option<usize>,
    /// What this process may use.
    pub machine: String,
    /// Compute threads and instruction set.
    pub runs_on: Option<RunsOn>,
    /// What the model will take.
    pub memory: Option<Memory>,
    /// How fast it will be.
    pub speed: Option<Speed>,
    /// What else could be asked for.
    pub lower: Vec<Lower>,
    /// What others did while that was measured, if the system says.
    pub busy: Option<Busy>,
}

/// What was found of each model.
#[derive(Debug, Clone, PartialEq)]
pub struct Reports(pub Vec<Report>);

impl Reports {
    /// Whether a server will start with all of them.
    pub fn loads(&self) -> bool {
        self.0.iter().all(Report::loads)
    }

    /// The first as one JSON object, with the others in it.
    pub fn to_json(&self) -> Value {
        let mut all = self.0.iter().map(Report::to_json);
        let mut first = all.next().unwrap_or_default();
        if all.len() > 0 {
            first["also"] = all.collect();
        }
        first
    }
}

impl fmt::Display for Reports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separated = |(at, report)| if at == 0 { write!(f, "{report}") } else { write!(f, "\n{report}") };
        self.0.iter().enumerate().try_for_each(separated)
    }
}

impl Report {
    /// Whether a server will start with this model.
    pub fn loads(&self) -> bool {
        self.problems.is_empty()
    }

    /// What becomes of RAGFlow's questions, which are a reranker's.
    fn ragflow(&self) -> Option<Ragflow> {
        let speed = self.speed.as_ref().filter(|_| self.task != Some(Task::Embed))?;
        Some(Ragflow::of(speed.passages, speed.passage_tokens, speed.seconds))
    }

    /// One JSON object; units stand in the names, and what is not known is null.
    pub fn to_json(&self) -> Value {
        let (shape, memory, speed) = (self.shape.as_ref(), self.memory.as_ref(), self.speed.as_ref());
        let weights = memory.map(|memory| match &memory.weights {
            Whereabouts::Packed(_) => "packed",
            Whereabouts::ToBePacked(_) => "to_be_packed",
            Whereabouts::InMemory(_) => "in_memory",
        });
        let lower = |precision| self.lower.iter().find(|lower| lower.precision == precision);
        json!({
            "version": self.version,
            "model": self.model,
            "loads": self.loads(),
            "problems": self.problems,
            "notices": self.notices,
            "task": self.task.map(Task::name),
            "head": self.head,
            "layers": shape.map(|shape| shape.layers),
            "hidden_size": shape.map(|shape| shape.hidden),
            "tensor_bytes": shape.map(|shape| shape.bytes),
            "max_model_len": self.max_model_len,
            "threads": self.runs_on.map(|it| it.threads),
            "isa": self.runs_on.map(|it| it.isa),
            "precision": self.runs_on.map(|it| it.precision.name()),
            "private_memory_bytes": memory.map(|memory| memory.private),
            "memory_bytes": memory.and_then(|memory| memory.available),
            "packed_weights_bytes": memory.map(|memory| memory.weights_bytes),
            "packed_weights": weights,
            "matmul_gflops": speed.map(|speed| speed.matmul_gflops),
            "int16_product_speedup": lower(Precision::Int16).and_then(|lower| lower.speedup),
            "int16_packed_weights_bytes": lower(Precision::Int16).map(|lower| lower.weights_bytes),
            "int8_product_speedup": lower(Precision::Int8).and_then(|lower| lower.speedup),
            "int8_packed_weights_bytes": lower(Precision::Int8).map(|lower| lower.weights_bytes),
            "passages": speed.map(|speed| speed.passages),
            "passage_tokens": speed.map(|speed| speed.passage_tokens),
            "passages_s": speed.map(|speed| speed.seconds),
            "tokens_per_s": speed.map(|speed| speed.tokens_per_s),
            "passages_in_30_s": self.ragflow().map(|ragflow| ragflow.passages),
            "other_cpu_share": self.busy.map(|busy| busy.others),
            "stolen_cpu_share": self.busy.map(|busy| busy.stolen),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gb = |bytes: u64| format!("{:.2} GB", bytes as f64 / 1e9);
        let mut line = |name: &str, value: String| writeln!(f, "{name:<16}{value}");
        line("model", self.model.clone())?;
        if let Some(task) = self.task {
            line("task", task.to_string())?;
        }
        if let Some(Shape { layers, hidden, heads, kv_heads, bytes }) = &self.shape {
            let heads = format!("{heads} heads ({kv_heads} key heads)");
            line("shape", format!("{layers} layers of {hidden} channels, {heads}, {} of tensors", gb(*bytes)))?;
        }
        if let Some(head) = &self.head {
            line(if self.task == Some(Task::Embed) { "vectors" } else { "scores" }, head.clone())?;
        }
        if let Some(tokens) = self.max_model_len {
            line("prompts", format!("up to {tokens} tokens"))?;
        }
        line("machine", self.machine.clone())?;
        if let Some(runs_on) = self.runs_on {
            line("runs on", runs_on.to_string())?;
        }
        if let Some(Memory { private, available, weights_bytes, weights }) = &self.memory {
            let of = available.map_or(String::new(), |bytes| format!(", of {}", gb(bytes)));
            line("memory", format!("{} of its own{of}", gb(*private)))?;
            let weights = match weights {
                Whereabouts::Packed(file) => format!("packed in {}, {}", file.display(), gb(*weights_bytes)),
                Whereabouts::ToBePacked(dir) => {
                    format!("the first start packs them into {}, {}", dir.display(), gb(*weights_bytes))
                }
                Whereabouts::InMemory(why) => format!("packed into memory at every start, because {why}"),
            };
            line("weights", weights)?;
        }
        if let Some(speed) = &self.speed {
            let Speed { matmul_gflops, passages, passage_tokens, seconds, tokens_per_s } = speed;
            line(
                "speed",
                format!(
                    "about {} s for {passages} passages of {passage_tokens} tokens, {tokens_per_s:.0} tokens a second \
                     (matrix product: {matmul_gflops:.0} GFLOP/s)",
                    if *seconds < 10.0 { format!("{seconds:.1}") } else { format!("{seconds:.0}") },
                ),
            )?;
        }
        for lower in &self.lower {
            let gain = match lower.speedup {
                Some(times) => format!(
                    "{}: matrix products {times:.1} times as fast as in float32, {} of weights",
                    lower.flag(),
                    gb(lower.weights_bytes)
                ),
                None => format!("{} is computed in float32, which is as fast on this CPU", lower.flag()),
            };
            line(lower.precision.name(), gain)?;
        }
        if let Some(ragflow) = self.ragflow() {
            writeln!(f, "\n{ragflow}")?;
        }
        if let Some(busy) = self.busy.filter(Busy::matters) {
            writeln!(f, "{busy}")?;
        }
        match self.problems.as_slice() {
            [] => writeln!(f, "\nIt will load."),
            problems => {
                writeln!(f, "\nIt will not load:")?;
                problems.iter().try_for_each(|problem| writeln!(f, "- {problem}"))
            }
        }?;
        if !self.notices.is_empty() {
            writeln!(f, "\nTo know:")?;
        }
        self.notices.iter().try_for_each(|notice| writeln!(f, "- {notice}"))
    }
}
