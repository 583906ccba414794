//! `--pooler-config`: what vLLM's pooler takes, as far as a reranker of one logit and vectors of the last token have it.
//! Called by the options of scores.

use serde_json::{Map, Value};

/// How a logit becomes a score, `sigmoid((logit - mean) / sigma)` or without the sigmoid; and a state a vector.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pooling {
    /// Whether the sigmoid is applied when a request does not say.
    pub use_activation: bool,
    /// Whether vectors have length 1 when a request does not say; `None` is what the model's files say.
    pub normalize: Option<bool>,
    /// Subtracted from the logit.
    pub logit_mean: f32,
    /// Divides the difference; positive.
    pub logit_sigma: f32,
}

impl Pooling {
    /// The sigmoid of the logit, as vLLM has it, and what the model's files say of vectors.
    pub const DEFAULT: Self = Self { use_activation: true, normalize: None, logit_mean: 0.0, logit_sigma: 1.0 };
}

/// Keys of vLLM's pooler that have no effect on the score of a pair or the vector of a text.
const IGNORED: [&str; 7] = [
    "dimensions",
    "enable_chunked_processing",
    "max_embed_len",
    "returned_token_ids",
    "step_tag_id",
    "task",
    "tok_pooling_type",
];

/// Reads the keys of vLLM 0.9 (`softmax` and `activation` of scores, `normalize` of vectors) to 0.32, where `use_activation`
/// is for both; `null` is no value.
pub fn pooling(config: &Map<String, Value>, notices: &mut Vec<String>) -> Result<Pooling, String> {
    let mut pooling = Pooling::DEFAULT;
    for (key, value) in config.iter().filter(|(_, value)| !value.is_null()) {
        let wrong = |what: &str| format!("--pooler-config: {key} is {value}, but must be {what}.");
        match key.as_str() {
            "use_activation" | "activation" | "softmax" => {
                pooling.use_activation = value.as_bool().ok_or_else(|| wrong("true or false"))?;
                if key == "use_activation" {
                    // What is said of vectors alone counts before it, wherever it stands.
                    pooling.normalize.get_or_insert(pooling.use_activation);
                }
            }
            "normalize" => {
                pooling.normalize = Some(value.as_bool().ok_or_else(|| wrong("true or false"))?);
            }
            "logit_mean" | "logit_bias" => {
                pooling.logit_mean = number(value).ok_or_else(|| wrong("a number"))?;
            }
            "logit_sigma" => {
                let sigma = number(value).filter(|sigma| *sigma > 0.0);
                pooling.logit_sigma = sigma.ok_or_else(|| wrong("a number above 0"))?;
            }
            "pooling_type" | "seq_pooling_type" if value.as_str().is_some_and(|it| it.eq_ignore_ascii_case("last")) => {
            }
            "pooling_type" | "seq_pooling_type" => {
                return Err(wrong("LAST: scores and vectors are those of the last token"));
            }
            known if IGNORED.contains(&known) => {
                notices.push(format!("--pooler-config: {key} is accepted for vLLM's sake and has no effect here."));
            }
            _ => {
                return Err(format!(
                    "--pooler-config does not know {key}; it takes use_activation, normalize, logit_mean and logit_sigma."
                ));
            }
        }
    }
    Ok(pooling)
}

fn number(value: &Value) -> Option<f32> {
    value.as_f64().map(|number| number as f32).filter(|number| number.is_finite())
}
