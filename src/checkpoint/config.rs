//! `config.json`, with the overrides of the command line merged over it, to a [`Config`].
//!
//! Invariant: a key that is not what it should be is refused with one sentence that names file, key, value found and what
//! is supported. Which keys an architecture cannot honour is known there. Called by `architecture` and, for its keys, by
//! `Checkpoint` and all that reads it for more.

use super::fault::shown;
use super::tensor::Dtype;
use crate::error::{Error, ErrorKind, Result};
use crate::task::Task;
use serde_json::Value;

/// What a command line or the environment puts in place of keys of `config.json` (`--hf-overrides`).
pub type Overrides = serde_json::Map<String, Value>;

/// What a command line says of a model, which its files are read by.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    /// In place of keys of `config.json`.
    pub overrides: &'a Overrides,
    /// What the model is for; `None` leaves that to its files.
    pub task: Option<Task>,
}

impl<'a> From<&'a Overrides> for Said<'a> {
    /// Nothing of the task.
    fn from(overrides: &'a Overrides) -> Self {
        Self { overrides, task: None }
    }
}

/// The shape of a model and the constants of its forward pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Number of transformer layers.
    pub num_hidden_layers: usize,
    /// Query heads per layer.
    pub num_attention_heads: usize,
    /// Key and value heads per layer; divides the query heads.
    pub num_key_value_heads: usize,
    /// Width of one head; even.
    pub head_dim: usize,
    /// Width of the gated MLP.
    pub intermediate_size: usize,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Positions that the model was made for.
    pub max_position_embeddings: usize,
    /// Added to the mean square in every RMSNorm.
    pub rms_norm_eps: f32,
    /// Base of the rotary embedding.
    pub rope_theta: f64,
    /// Whether the embedding is also the output matrix.
    pub tie_word_embeddings: bool,
    /// The type that the checkpoint says its tensors have; each tensor carries its own.
    pub torch_dtype: Dtype,
    /// What the one class is called.
    pub label: String,
}

/// The largest value of any size but `vocab_size` and positions; products of three stay far below 2^63.
const MAX_SIZE: u64 = 1 << 20;
const MAX_VOCAB: u64 = 1 << 24;

/// The merged keys, and where each came from.
pub(super) struct Keys<'a> {
    file: &'a str,
    merged: Overrides,
    overrides: &'a Overrides,
}

impl<'a> Keys<'a> {
    /// Merges `overrides` over the JSON text of the file called `file`.
    pub fn merge(json: &[u8], file: &'a str, overrides: &'a Overrides) -> Result<Self> {
        let mut merged = match serde_json::from_slice(json) {
            Ok(Value::Object(map)) => map,
            Ok(other) => {
                return Err(Error::new(
                    ErrorKind::Checkpoint,
                    format!("{file} holds {}, expected a JSON object.", kind(&other)),
                ));
            }
            Err(e) => return Err(Error::new(ErrorKind::Checkpoint, format!("{file} is not valid JSON: {e}."))),
        };
        merged.extend(overrides.clone());
        Ok(Self { file, merged, overrides })
    }
}

impl Keys<'_> {
    /// The value of `key`; JSON's null counts as absent, as in Python's configurations.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.merged.get(key).filter(|v| !v.is_null())
    }

    /// Whether `key` is there and null.
    pub fn is_null(&self, key: &str) -> bool {
        self.merged.get(key).is_some_and(Value::is_null)
    }

    /// Where the value of `key` comes from.
    pub fn place(&self, key: &str) -> &str {
        if self.overrides.contains_key(key) { "the configuration overrides" } else { self.file }
    }

    pub fn refuse(&self, key: &str, expected: &str) -> Error {
        let place = if self.overrides.contains_key(key) { "The configuration overrides" } else { self.file };
        let found = self.get(key).map_or("missing".into(), |v| shown(&v.to_string()));
        Error::new(ErrorKind::Checkpoint, format!("{place}: {key} is {found}, expected {expected}."))
    }

    pub fn flag(&self, key: &str) -> Result<bool> {
        match self.get(key) {
            None => Ok(false),
            Some(Value::Bool(b)) => Ok(*b),
            Some(_) => Err(self.refuse(key, "true or false")),
        }
    }

    fn size(&self, key: &str, max: u64) -> Result<usize> {
        let found = self.get(key).and_then(Value::as_u64).filter(|n| (1..=max).contains(n));
        let found = found.ok_or_else(|| self.refuse(key, &format!("a whole number from 1 to {max}")))?;
        usize::try_from(found).map_err(|_| self.refuse(key, "a number that this machine can address"))
    }

    fn number(&self, key: &str, least: f64, below: f64) -> Result<f64> {
        let found = self.get(key).and_then(Value::as_f64).filter(|x| (least..below).contains(x));
        found.ok_or_else(|| self.refuse(key, &format!("a number from {least} to below {below}")))
    }

    /// Refuses rotary embeddings of another form than the default, which an object without a `rope_type` has too, unless
    /// it holds what only another form can mean.
    pub fn refuse_scaling(&self, key: &str) -> Result<()> {
        let Some(rope) = self.get(key) else { return Ok(()) };
        let plain = rope.as_object().is_some_and(|rope| {
            let there = || rope.iter().filter(|(_, value)| !value.is_null());
            let kinds: Vec<_> = there().filter(|(key, _)| matches!(key.as_str(), "rope_type" | "type")).collect();
            let whole = there().all(|(key, value)| key != "partial_rotary_factor" || value.as_f64() == Some(1.0));
            let known = |key: &str| matches!(key, "rope_type" | "type" | "rope_theta" | "partial_rotary_factor");
            let said = !kinds.is_empty() || there().all(|(key, _)| known(key));
            said && whole && kinds.iter().all(|(_, kind)| *kind == "default")
        });
        match plain {
            true => Ok(()),
            false => Err(self.refuse(key, "rope_type \"default\": scaled rotary embeddings are unsupported")),
        }
    }

    /// The sizes and constants of a decoder whose heads, where no key says so, are `head_dim` wide.
    pub fn config(&self, head_dim: usize) -> Result<Config> {
        let hidden_size = self.size("hidden_size", MAX_SIZE)?;
        let num_attention_heads = self.size("num_attention_heads", 4096)?;
        let num_key_value_heads = match self.get("num_key_value_heads") {
            Some(_) => self.size("num_key_value_heads", 4096)?,
            None => num_attention_heads,
        };
        if !num_attention_heads.is_multiple_of(num_key_value_heads) {
            let expected = format!("a divisor of num_attention_heads, {num_attention_heads}");
            return Err(self.refuse("num_key_value_heads", &expected));
        }
        let head_dim = match self.get("head_dim") {
            Some(_) => self.size("head_dim", 4096)?,
            None => head_dim,
        };
        if !head_dim.is_multiple_of(2) {
            return Err(
                self.refuse("head_dim", &format!("an even number and not {head_dim}: rotary embedding turns pairs"))
            );
        }
        let num_hidden_layers = self.size("num_hidden_layers", 1024)?;
        let listed = self.get("layer_types").and_then(Value::as_array).map_or(num_hidden_layers, Vec::len);
        if listed != num_hidden_layers {
            let expected = format!("one entry for each of num_hidden_layers, {num_hidden_layers}, and not {listed}");
            return Err(self.refuse("layer_types", &expected));
        }
        Ok(Config {
            hidden_size,
            num_hidden_layers,
            num_attention_heads,
            num_key_value_heads,
            head_dim,
            intermediate_size: self.size("intermediate_size", MAX_SIZE)?,
            vocab_size: self.size("vocab_size", MAX_VOCAB)?,
            max_position_embeddings: self.size("max_position_embeddings", MAX_VOCAB)?,
            rms_norm_eps: match self.get("rms_norm_eps") {
                Some(_) => self.number("rms_norm_eps", 0.0, 1.0)? as f32,
                None => 1e-6,
            },
            rope_theta: self.rope_theta()?,
            tie_word_embeddings: self.flag("tie_word_embeddings")?,
            torch_dtype: self.dtype()?,
            label: self.label(),
        })
    }

    /// The name in `id2label` if that has one; names of more classes than there are count for nothing, as in Hugging Face's
    /// library.
    fn label(&self) -> String {
        let names = self.get("id2label").and_then(Value::as_object).filter(|names| names.len() == 1);
        let name = names.and_then(|names| names.values().next()?.as_str());
        name.unwrap_or("LABEL_0").to_owned()
    }

    /// Older files have `rope_theta`, newer ones `rope_parameters.rope_theta`, or the same in `rope_scaling`; an override
    /// of any wins.
    fn rope_theta(&self) -> Result<f64> {
        let mut found: Option<(f64, &str)> = None;
        for overridden in [true, false] {
            for key in ["rope_theta", "rope_parameters", "rope_scaling"] {
                let value = self.get(key).filter(|_| self.overrides.contains_key(key) == overridden);
                let nested = |value: &Value| value.get("rope_theta").is_some_and(|theta| !theta.is_null());
                if value.is_none_or(|value| key != "rope_theta" && !nested(value)) {
                    continue;
                }
                let theta = match key {
                    "rope_theta" => self.number(key, 1.0, 1e12)?,
                    _ => {
                        let theta = value.and_then(|value| value["rope_theta"].as_f64());
                        let theta = theta.filter(|theta| (1.0..1e12).contains(theta));
                        theta.ok_or_else(|| self.refuse(key, "a rope_theta from 1 to below 1e12"))?
                    }
                };
                match found {
                    Some((other, place)) if other != theta => {
                        return Err(self.refuse(place, &format!("the rope_theta {theta} that {key} has")));
                    }
                    _ => found = Some((theta, key)),
                }
            }
            if let Some((theta, _)) = found {
                return Ok(theta);
            }
        }
        self.number("rope_theta", 1.0, 1e12)
    }

    /// `torch_dtype`, or `dtype` as newer files call it; without either f32, as in Hugging Face's library.
    fn dtype(&self) -> Result<Dtype> {
        let key = if self.get("dtype").is_some() { "dtype" } else { "torch_dtype" };
        match self.get(key) {
            None => Ok(Dtype::F32),
            Some(Value::String(name)) => match name.strip_prefix("torch.").unwrap_or(name) {
                "bfloat16" => Ok(Dtype::Bf16),
                "float16" => Ok(Dtype::F16),
                "float32" => Ok(Dtype::F32),
                _ => Err(self.refuse(key, "bfloat16, float16 or float32")),
            },
            Some(_) => Err(self.refuse(key, "bfloat16, float16 or float32")),
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
