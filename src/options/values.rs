//! Values of flags and variables: human sizes, seconds, JSON, names of choices. Errors are sentences.
//!
//! Every function is pure; called by `options` and, as clap's value parsers, by `options::flags`.

use super::DEFAULT_LOG_LEVEL;
use serde_json::{Map, Value};
use std::time::Duration;

/// A count with vLLM's suffixes: `8k` is 8000, `8K` is 8192, `8.5k` is 8500; a fraction of a binary unit is refused.
pub fn human_count(text: &str) -> Result<usize, String> {
    let text = text.trim();
    let wrong = || format!("'{text}' is not a count; write it as 8192, 8k (8000) or 8K (8192).");
    let (digits, unit) = match text.char_indices().last() {
        Some((at, suffix)) if suffix.is_ascii_alphabetic() => {
            let unit: u64 = match suffix {
                'k' => 1000,
                'm' => 1_000_000,
                'g' => 1_000_000_000,
                'K' => 1 << 10,
                'M' => 1 << 20,
                'G' => 1 << 30,
                _ => return Err(wrong()),
            };
            (&text[..at], (unit, suffix.is_ascii_lowercase()))
        }
        _ => (text, (1, false)),
    };
    let (unit, fraction_allowed) = unit;
    let count = match digits.parse::<u64>() {
        Ok(whole) => whole.checked_mul(unit).ok_or_else(wrong)?,
        Err(_) if fraction_allowed && digits.bytes().all(|b| b.is_ascii_digit() || b == b'.') => {
            let value = digits.parse::<f64>().map_err(|_| wrong())? * unit as f64;
            // Both bounds are exact in f64, so the cast neither wraps nor saturates.
            if !(0.0..=1e15).contains(&value) {
                return Err(wrong());
            }
            value.round() as u64
        }
        Err(_) => return Err(wrong()),
    };
    match usize::try_from(count) {
        Ok(0) => Err("0 is too small; the least is 1.".to_owned()),
        Ok(count) => Ok(count),
        Err(_) => Err(wrong()),
    }
}

/// A model length; `auto` and `-1` are what the model's configuration says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelLen(pub Option<usize>);

/// Reads a [`ModelLen`].
pub fn model_len(text: &str) -> Result<ModelLen, String> {
    match text.trim() {
        "auto" | "-1" => Ok(ModelLen(None)),
        other => human_count(other).map(|tokens| ModelLen(Some(tokens))),
    }
}

/// A whole number of MiB as bytes, zero included.
pub fn mebibytes(text: &str) -> Result<usize, String> {
    let bytes = text.trim().parse().ok().and_then(|mib: usize| mib.checked_mul(1 << 20));
    bytes.ok_or_else(|| format!("'{text}' is not a number of MiB; write a whole number such as 256."))
}

/// Whole seconds, zero included.
pub fn seconds(text: &str) -> Result<Duration, String> {
    text.trim()
        .parse()
        .map(|whole: u32| Duration::from_secs(u64::from(whole)))
        .map_err(|_| format!("'{text}' is not a number of seconds; write a whole number such as 30."))
}

/// A TCP port; 0 asks the system for a free one.
pub fn port(text: &str) -> Result<u16, String> {
    text.trim().parse().map_err(|_| format!("'{text}' is not a TCP port; ports go from 0 (any free one) to 65535."))
}

/// A JSON object out of a flag or a variable called `name`; it may span several lines.
pub fn json_object(name: &str, text: &str) -> Result<Map<String, Value>, String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(format!("{name} must be a JSON object such as {{\"num_labels\": 1}}.")),
        Err(err) => Err(format!("{name} is not valid JSON: {err}.")),
    }
}

/// `--task`: what reranks is accepted, anything else would be a misunderstanding.
pub fn task(text: &str) -> Result<String, String> {
    one_of(text, &["auto", "score", "classify", "rerank"], "this server only reranks")
}

/// `--runner`.
pub fn runner(text: &str) -> Result<String, String> {
    one_of(text, &["auto", "pooling"], "this server only reranks")
}

/// `--convert`.
pub fn convert(text: &str) -> Result<String, String> {
    one_of(text, &["auto", "none", "classify"], "this server only reranks")
}

/// `--dtype`, with vLLM's names.
pub fn dtype(text: &str) -> Result<String, String> {
    one_of(text, &["auto", "float", "float32", "bfloat16", "half", "float16"], "the model is computed in float32")
}

/// `--load-format`.
pub fn load_format(text: &str) -> Result<String, String> {
    one_of(text, &["auto", "safetensors", "dummy"], "weights are read from safetensors files")
}

/// `--numa`: whether memory nodes are looked at.
pub fn numa(text: &str) -> Result<bool, String> {
    one_of(text, &["auto", "off"], "memory nodes are used or not").map(|choice| choice == "auto")
}

fn one_of(text: &str, choices: &[&str], why: &str) -> Result<String, String> {
    if choices.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(format!("'{text}' is not possible, because {why}; use one of {}.", choices.join(", ")))
}

/// `1`, `true`, `yes` and `on` in any case.
pub fn truthy(text: &str) -> bool {
    ["1", "true", "yes", "on"].contains(&text.trim().to_ascii_lowercase().as_str())
}

/// vLLM's (Python's) level names as a log filter; what it does not know is the default.
pub fn log_level(name: Option<&str>) -> String {
    let level = match name.map(|name| name.trim().to_ascii_uppercase()).as_deref() {
        Some("DEBUG") => "debug",
        Some("TRACE") => "trace",
        Some("WARNING" | "WARN") => "warn",
        Some("ERROR" | "CRITICAL" | "FATAL") => "error",
        _ => DEFAULT_LOG_LEVEL,
    };
    // The HTTP library tells of its threads at these levels, which is no news to an operator.
    match level {
        "info" | "debug" => format!("{level},actix_server=warn"),
        _ => level.to_owned(),
    }
}
