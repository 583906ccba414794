//! The options of the model: which one, and what is made of its files.
//!
//! Invariant: what vLLM can be asked for and cannot be had here (another task, other quantised weights) is an error where it
//! would change scores, and a notice where it would not. Called by the options of the engine.

use super::environment::Environment;
use super::json;
use super::values::{self, OrNone};
use crate::precision::{Asked, Dtype};
use crate::task::Task;
use clap::Args;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// The name of the built-in model when no other is given; clients look for `rerank` in it.
pub const BUILTIN_MODEL_NAME: &str = "qwen3-reranker-0.6b-dummy";

/// Where the weights come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadFormat {
    /// The safetensors files of the model directory.
    Safetensors,
    /// Weights made by a function, no file needed: scores carry no meaning.
    Dummy,
}

/// A model, and what is made of its files.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelOptions {
    /// Its directory; `None` is the built-in 0.6B shape with dummy weights.
    pub dir: Option<PathBuf>,
    /// Directory of `tokenizer.json`, when it is not the model's.
    pub tokenizer: Option<PathBuf>,
    /// Where the weights come from.
    pub load_format: LoadFormat,
    /// What the model is for; `None` is what its files say.
    pub task: Option<Task>,
    /// Replacements for keys of the model's `config.json`.
    pub hf_overrides: Map<String, Value>,
    /// How exactly the model is computed.
    pub precision: Asked,
    /// Longest prompt in tokens; `None` is what the model's configuration says.
    pub max_model_len: Option<usize>,
}

impl ModelOptions {
    /// Directory of the tokenizer; `None` is the built-in one.
    pub fn tokenizer_dir(&self) -> Option<&Path> {
        self.tokenizer.as_deref().or(self.dir.as_deref())
    }

    /// The model as it was given.
    pub fn name(&self) -> String {
        self.dir.as_ref().map_or_else(|| BUILTIN_MODEL_NAME.to_owned(), |dir| dir.to_string_lossy().into_owned())
    }
}

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
    #[arg(long, value_name = "DIR", value_parser = values::path)]
    pub tokenizer: Option<OrNone<PathBuf>>,
    /// Longest prompt in tokens; 8k is 8000, 8K is 8192, auto is the model's [default: auto]
    #[arg(long, value_name = "N", value_parser = model_len, allow_hyphen_values = true)]
    pub max_model_len: Option<OrNone<usize>>,
    /// float32 or auto: with all digits; bfloat16, half or float16: in integers of 16 bits where this CPU is faster with
    /// them, which `ironrank check` says [default: float32]
    #[arg(long, value_parser = dtype)]
    pub dtype: Option<OrNone<Dtype>>,
    /// int8: in integers of 8 bits, a quarter of the memory; `ironrank compare` tells what becomes of scores
    #[arg(long, value_parser = quantization)]
    pub quantization: Option<OrNone<Int8>>,
    /// auto, safetensors, or dummy (weights made up, scores without meaning) [default: auto]
    #[arg(long, value_name = "FORMAT", value_parser = load_format)]
    pub load_format: Option<OrNone<LoadFormat>>,
    /// Replacements for keys of config.json: JSON, or dotted as in --hf-overrides.num_labels 1
    /// [env: VLLM_HF_OVERRIDES, which vLLM ignores]
    #[arg(long, value_name = "JSON", value_parser = values::text)]
    pub hf_overrides: Option<OrNone<String>>,
    /// score, classify or rerank: the model is a reranker; embed or embedding: it is an embedding model; auto is what its
    /// files say. vLLM removed this flag, here it still works [default: auto]
    #[arg(long, value_parser = task)]
    pub task: Option<OrNone<Task>>,
    /// auto or pooling
    #[arg(long, value_parser = runner)]
    pub runner: Option<Pooling>,
    /// classify: the model is a reranker; embed: it is an embedding model; auto and none are what its files say
    /// [default: auto]
    #[arg(long, value_parser = convert)]
    pub convert: Option<OrNone<Task>>,
    /// Accepted; no code of a model is ever run
    #[arg(long)]
    pub trust_remote_code: bool,
    #[arg(long, hide = true, value_parser = values::text)]
    pub rope_scaling: Option<OrNone<String>>,
    #[arg(long, hide = true)]
    pub rope_theta: Option<f64>,
    #[arg(long, hide = true, value_parser = values::text)]
    pub hf_config_path: Option<OrNone<String>>,
}

/// All that `--runner` may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pooling;

/// All that `--quantization` may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Int8;

impl ModelArgs {
    /// Whether a directory is given.
    pub fn is_named(&self) -> bool {
        self.model_tag.is_some() || self.model.is_some()
    }

    /// An error where `command` would go on with made-up weights that nobody has asked for.
    pub fn needed_by(&self, command: &str) -> Result<(), String> {
        match self.is_named() || self.load_format == Some(OrNone(Some(LoadFormat::Dummy))) {
            true => Ok(()),
            false => Err(format!(
                "`ironrank {command}` needs a MODEL directory; --load-format dummy takes made-up weights, without meaning."
            )),
        }
    }

    /// The model that is asked for.
    pub fn options(self, env: Environment, notices: &mut Vec<String>) -> Result<ModelOptions, String> {
        let (dir, load_format) = self.source(notices)?;
        Ok(ModelOptions {
            dir,
            load_format,
            task: self.task()?,
            hf_overrides: self.overrides(env)?,
            precision: self.precision(),
            tokenizer: self.tokenizer.and_then(|dir| dir.0),
            max_model_len: self.max_model_len.and_then(|len| len.0),
        })
    }

    /// The directory that is named, if any, and where the weights come from; what has no effect is noted.
    fn source(&self, notices: &mut Vec<String>) -> Result<(Option<PathBuf>, LoadFormat), String> {
        if self.trust_remote_code {
            notices.push("--trust-remote-code has no effect: no code of a model is ever run.".to_owned());
        }
        for (place, text) in [("MODEL", &self.model_tag), ("--model", &self.model)] {
            if let Some(text) = text.as_deref().filter(|text| text.trim().is_empty() || *text == "None") {
                return Err(format!(
                    "{place} is '{text}', which names no model: perhaps a variable is not set. Give a model directory; \
                     without any MODEL, `serve` and `bench` take a built-in dummy."
                ));
            }
        }
        let dir = match (self.model_tag.as_deref(), self.model.as_deref()) {
            (Some(positional), Some(flag)) if positional != flag => {
                notices.push(format!("--model {flag} is overruled by the positional {positional}."));
                Some(positional)
            }
            (positional, flag) => positional.or(flag),
        };
        if let Some(config) = OrNone::text(&self.hf_config_path).filter(|path| Some(*path) != dir) {
            return Err(format!(
                "--hf-config-path {config} is not possible: config.json is read from the model directory."
            ));
        }
        let load_format = match (self.load_format.and_then(|asked| asked.0), dir) {
            (Some(LoadFormat::Dummy), _) | (None, None) => LoadFormat::Dummy,
            (_, Some(_)) => LoadFormat::Safetensors,
            (Some(LoadFormat::Safetensors), None) => {
                return Err("--load-format safetensors needs a MODEL directory to read from.".to_owned());
            }
        };
        Ok((dir.map(PathBuf::from), load_format))
    }

    /// What it is for, if that is said.
    fn task(&self) -> Result<Option<Task>, String> {
        let [task, convert] = [self.task, self.convert].map(|asked| asked.and_then(|asked| asked.0));
        match (task, convert) {
            (Some(task), Some(convert)) if task != convert => {
                Err(format!("--task asks for {task}, but --convert for {convert}: leave one of them out."))
            }
            (task, convert) => Ok(task.or(convert)),
        }
    }

    /// How exactly it is computed.
    fn precision(&self) -> Asked {
        let dtype = self.dtype.and_then(|asked| asked.0).unwrap_or(Asked::EXACT.dtype);
        Asked { dtype, int8: self.quantization == Some(OrNone(Some(Int8))) }
    }

    /// Replacements for keys of `config.json`.
    fn overrides(&self, env: Environment) -> Result<Map<String, Value>, String> {
        let mut overrides = match (OrNone::text(&self.hf_overrides), env.get("VLLM_HF_OVERRIDES")) {
            (Some(json), _) => json::object("--hf-overrides", json)?,
            (None, Some(json)) => json::object("VLLM_HF_OVERRIDES", &json)?,
            (None, None) => Map::new(),
        };
        if let Some(json) = OrNone::text(&self.rope_scaling) {
            overrides.insert("rope_scaling".to_owned(), json::object("--rope-scaling", json)?.into());
        }
        if let Some(theta) = self.rope_theta {
            overrides.insert("rope_theta".to_owned(), theta.into());
        }
        Ok(overrides)
    }
}

/// `--max-model-len`: a number of tokens; `auto` and `-1` are what the model's configuration says.
fn model_len(text: &str) -> Result<OrNone<usize>, String> {
    match text.trim() {
        other if other == "-1" || other.eq_ignore_ascii_case("auto") => Ok(OrNone(None)),
        other => values::human_count(other).map(|tokens| OrNone(Some(tokens))),
    }
}

/// `--dtype`, with vLLM's names; `auto`, which is the checkpoint's type there, is the exact one.
pub fn dtype(text: &str) -> Result<OrNone<Dtype>, String> {
    let choices = [
        ("auto", OrNone(None)),
        ("float", OrNone(Some(Dtype::Float32))),
        ("float32", OrNone(Some(Dtype::Float32))),
        ("bfloat16", OrNone(Some(Dtype::Bfloat16))),
        ("half", OrNone(Some(Dtype::Float16))),
        ("float16", OrNone(Some(Dtype::Float16))),
    ];
    values::one_of(text, &choices, "vLLM has no such type")
}

/// `--load-format`; `auto` is what the model directory asks for.
fn load_format(text: &str) -> Result<OrNone<LoadFormat>, String> {
    let choices = [
        ("auto", OrNone(None)),
        ("safetensors", OrNone(Some(LoadFormat::Safetensors))),
        ("dummy", OrNone(Some(LoadFormat::Dummy))),
    ];
    values::one_of(text, &choices, "weights are read from safetensors files")
}

/// `--quantization`: the one that is made here of any checkpoint.
fn quantization(text: &str) -> Result<OrNone<Int8>, String> {
    match text {
        "" | "none" | "None" => Ok(OrNone(None)),
        "int8" => Ok(OrNone(Some(Int8))),
        _ => Err(format!(
            "'{text}' is not possible, because checkpoints are not quantised; use int8, or leave the flag out."
        )),
    }
}

const TASKS: &str = "this server reranks and embeds";

/// `--task`, with the names that vLLM has had.
fn task(text: &str) -> Result<OrNone<Task>, String> {
    let choices = [
        ("auto", OrNone(None)),
        ("score", OrNone(Some(Task::Rerank))),
        ("classify", OrNone(Some(Task::Rerank))),
        ("rerank", OrNone(Some(Task::Rerank))),
        ("embed", OrNone(Some(Task::Embed))),
        ("embedding", OrNone(Some(Task::Embed))),
    ];
    values::one_of(text, &choices, TASKS)
}

/// `--runner`.
fn runner(text: &str) -> Result<Pooling, String> {
    values::one_of(text, &[("auto", Pooling), ("pooling", Pooling)], TASKS)
}

/// `--convert`.
fn convert(text: &str) -> Result<OrNone<Task>, String> {
    let choices = [
        ("auto", OrNone(None)),
        ("none", OrNone(None)),
        ("classify", OrNone(Some(Task::Rerank))),
        ("embed", OrNone(Some(Task::Embed))),
    ];
    values::one_of(text, &choices, TASKS)
}
