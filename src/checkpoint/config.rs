//! `config.json`, with the overrides of the command line merged over it, to a [`Config`].
//!
//! Invariant: every key that changes what Qwen3 computes is honoured or refused with one sentence that names file, key,
//! value found and what is supported; keys that don't are ignored. Called by `Checkpoint::open` and `dummy`.

use super::{Dtype, Head, shown};
use crate::error::{Error, ErrorKind, Result};
use serde_json::Value;

/// What a command line or the environment puts in place of keys of `config.json` (`--hf-overrides`).
pub type Overrides = serde_json::Map<String, Value>;

/// The shape of a Qwen3 model and the constants of its forward pass.
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
    /// The tokens `[no, yes]` whose rows of the output matrix make the head; `None` for a converted checkpoint.
    pub classifier_from_token: Option<[String; 2]>,
    /// The type that the checkpoint says its tensors have; each tensor carries its own.
    pub torch_dtype: Dtype,
    /// What the one class is called.
    pub label: String,
}

/// The largest value of any size but `vocab_size` and positions; products of three stay far below 2^63.
const MAX_SIZE: u64 = 1 << 20;
const MAX_VOCAB: u64 = 1 << 24;

/// The merged keys, and where each came from.
struct Keys<'a> {
    file: &'a str,
    merged: Overrides,
    overrides: &'a Overrides,
}

/// Merges `overrides` over the JSON text of the file called `file`, checks every key and picks the head.
/// `has_score` says whether there is a tensor `score.weight`.
pub(super) fn parse(json: &[u8], file: &str, overrides: &Overrides, has_score: bool) -> Result<(Config, Head)> {
    let merged = match serde_json::from_slice(json) {
        Ok(Value::Object(map)) => map,
        Ok(other) => {
            return Err(Error::new(
                ErrorKind::Checkpoint,
                format!("{file} holds {}, expected a JSON object.", kind(&other)),
            ));
        }
        Err(e) => return Err(Error::new(ErrorKind::Checkpoint, format!("{file} is not valid JSON: {e}."))),
    };
    let mut keys = Keys { file, merged, overrides };
    keys.merged.extend(overrides.clone());
    let head = keys.head(has_score)?;
    keys.refuse_unsupported()?;
    Ok((keys.config(head)?, head))
}

impl Keys<'_> {
    /// The value of `key`; JSON's null counts as absent, as in Python's configurations.
    fn get(&self, key: &str) -> Option<&Value> {
        self.merged.get(key).filter(|v| !v.is_null())
    }

    fn refuse(&self, key: &str, expected: &str) -> Error {
        let place = if self.overrides.contains_key(key) { "The configuration overrides" } else { self.file };
        let found = self.get(key).map_or("missing".into(), |v| shown(&v.to_string()));
        Error::new(ErrorKind::Checkpoint, format!("{place}: {key} is {found}, expected {expected}."))
    }

    fn flag(&self, key: &str) -> Result<bool> {
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

    /// Which head the architecture asks for.
    fn head(&self, has_score: bool) -> Result<Head> {
        const SUPPORTED: &str =
            "[\"Qwen3ForCausalLM\"] (the original reranker) or [\"Qwen3ForSequenceClassification\"]";
        let names = self.get("architectures").and_then(Value::as_array).map(Vec::as_slice);
        let converted = match names {
            Some([Value::String(name)]) if name == "Qwen3ForCausalLM" => false,
            Some([Value::String(name)]) if name == "Qwen3ForSequenceClassification" => true,
            _ => return Err(self.refuse("architectures", SUPPORTED)),
        };
        if self.get("model_type").is_some_and(|t| t != "qwen3") {
            return Err(self.refuse("model_type", "\"qwen3\""));
        }
        // A score.weight that is there decides: overrides meant for the original are also given to converted models.
        let original = self.flag("is_original_qwen3_reranker")? || self.get("classifier_from_token").is_some();
        if !converted || (original && !has_score) {
            return Ok(Head::Tokens);
        }
        if self.get("num_labels").is_some_and(|n| n.as_u64() != Some(1)) {
            return Err(self.refuse("num_labels", "1: a reranker gives one score"));
        }
        let labels = self.get("id2label").filter(|_| self.get("num_labels").is_none());
        if labels.is_some_and(|l| l.as_object().is_none_or(|l| l.len() != 1)) {
            return Err(self.refuse("id2label", "an object with one label: a reranker gives one score"));
        }
        Ok(Head::Score { bias: false })
    }

    /// Refuses what would change the forward pass and is not built.
    fn refuse_unsupported(&self) -> Result<()> {
        for key in ["attention_bias", "mlp_bias", "use_bidirectional_attention"] {
            if self.flag(key)? {
                return Err(self.refuse(key, "false, the only value supported"));
            }
        }
        if self.get("is_causal").is_some_and(|v| v != true) {
            return Err(self.refuse("is_causal", "true, the only value supported"));
        }
        if self.flag("use_sliding_window")? && self.get("sliding_window").is_some() {
            return Err(
                self.refuse("sliding_window", "null or use_sliding_window false: sliding windows are unsupported")
            );
        }
        if self.get("hidden_act").is_some_and(|v| v != "silu") {
            return Err(self.refuse("hidden_act", "\"silu\", the only activation supported"));
        }
        if self.get("quantization_config").is_some() {
            return Err(self.refuse("quantization_config", "none: only bf16, f16 and f32 tensors are supported"));
        }
        if self.get("partial_rotary_factor").is_some_and(|v| v.as_f64() != Some(1.0)) {
            return Err(self.refuse("partial_rotary_factor", "1, the only value supported"));
        }
        if let Some(types) = self.get("layer_types") {
            let full = |types: &Vec<Value>| types.iter().all(|t| t == "full_attention");
            if !types.as_array().is_some_and(full) {
                return Err(self.refuse("layer_types", "\"full_attention\" for every layer, the only type supported"));
            }
        }
        for key in ["rope_scaling", "rope_parameters"] {
            if let Some(rope) = self.get(key) {
                let is_default = |t: &Value| t == "default";
                let kinds = rope.as_object().map(|r| ["rope_type", "type"].map(|k| r.get(k)));
                let plain = kinds.is_some_and(|kinds| {
                    kinds.iter().flatten().all(|t| is_default(t)) && kinds.iter().any(Option::is_some)
                });
                let factors = rope.get("partial_rotary_factor").is_none_or(|v| v.is_null() || v.as_f64() == Some(1.0));
                if !plain || !factors {
                    return Err(self.refuse(key, "rope_type \"default\": scaled rotary embeddings are unsupported"));
                }
            }
        }
        Ok(())
    }

    fn config(&self, head: Head) -> Result<Config> {
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
            None if hidden_size.is_multiple_of(num_attention_heads) => hidden_size / num_attention_heads,
            None => {
                let expected =
                    format!("a multiple of num_attention_heads, {num_attention_heads}, as there is no head_dim");
                return Err(self.refuse("hidden_size", &expected));
            }
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
            rms_norm_eps: self.number("rms_norm_eps", 0.0, 1.0)? as f32,
            rope_theta: self.rope_theta()?,
            tie_word_embeddings: self.flag("tie_word_embeddings")?,
            classifier_from_token: match head {
                Head::Tokens => Some(self.tokens()?),
                Head::Score { .. } => None,
            },
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

    /// Older files have `rope_theta`, newer ones `rope_parameters.rope_theta`; an override of either wins.
    fn rope_theta(&self) -> Result<f64> {
        let nested = self.get("rope_parameters").and_then(|r| r.get("rope_theta"));
        match nested {
            Some(theta) if !self.overrides.contains_key("rope_theta") => {
                let theta = theta.as_f64().filter(|t| (1.0..1e12).contains(t));
                let theta = theta.ok_or_else(|| self.refuse("rope_parameters", "a rope_theta from 1 to below 1e12"))?;
                let older = self.get("rope_theta").filter(|_| !self.overrides.contains_key("rope_parameters"));
                if older.is_some_and(|older| older.as_f64() != Some(theta)) {
                    return Err(self.refuse("rope_theta", &format!("the {theta} that rope_parameters has")));
                }
                Ok(theta)
            }
            _ => self.number("rope_theta", 1.0, 1e12),
        }
    }

    fn tokens(&self) -> Result<[String; 2]> {
        match self.get("classifier_from_token") {
            None => Ok(["no".into(), "yes".into()]),
            Some(Value::Array(tokens)) => match tokens.as_slice() {
                [Value::String(no), Value::String(yes)] if no != yes => Ok([no.clone(), yes.clone()]),
                _ => Err(self.refuse("classifier_from_token", "two different tokens such as [\"no\", \"yes\"]")),
            },
            Some(_) => Err(self.refuse("classifier_from_token", "two different tokens such as [\"no\", \"yes\"]")),
        }
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
