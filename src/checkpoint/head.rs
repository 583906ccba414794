//! What becomes of the last hidden state: of a reranker's a margin, and a score of that.
//!
//! Invariant: what stands over what: `classifier_from_token`, of the overrides or of `config.json`, over `1_LogitScore`, over
//! `no` and `yes`, as in vLLM; and a `score.weight` over all of them. Called by `purpose`.

use super::architecture::Class;
use super::config::Keys;
use super::embedding::Embedding;
use super::fault::shown;
use super::modules::Modules;
use super::names::{SCORE, SCORE_BIAS};
use crate::error::Result;
use crate::task::Task;
use serde_json::Value;
use std::fmt;

/// What becomes of the last hidden state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Head {
    /// An original reranker, such as a `Qwen3ForCausalLM`: rows of the output matrix.
    Tokens(Answers),
    /// A converted one, such as a `Qwen3ForSequenceClassification`: `score.weight`, and `score.bias` if `bias`.
    Score {
        /// Whether there is a `score.bias`.
        bias: bool,
    },
    /// An embedding model: the state itself.
    Vector(Embedding),
}

impl Head {
    /// What a model with this head is for.
    pub fn task(&self) -> Task {
        match self {
            Self::Tokens(_) | Self::Score { .. } => Task::Rerank,
            Self::Vector(_) => Task::Embed,
        }
    }
}

/// The tokens whose logits make the margin of an original reranker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answers {
    /// The token of a relevant document, whose logit counts.
    pub yes: Token,
    /// The token of an irrelevant one, whose logit is subtracted; without it, nothing is.
    pub no: Option<Token>,
    /// Who names them, as sentences say it.
    pub named_by: String,
}

/// A token as files name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// By its text in the vocabulary.
    Text(String),
    /// By its number.
    Id(u32),
}

/// The function that makes a score of a logit. All of them rise with the logit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Activation {
    /// A probability.
    #[default]
    Sigmoid,
    /// The logit itself.
    Identity,
    /// From -1 to 1.
    Tanh,
}

impl Activation {
    /// The score of a logit, computed in f64 and rounded once.
    pub fn of(self, logit: f32) -> f32 {
        let logit64 = f64::from(logit);
        match self {
            Self::Sigmoid => (1.0 / (1.0 + (-logit64).exp())) as f32,
            Self::Identity => logit,
            Self::Tanh => logit64.tanh() as f32,
        }
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sigmoid => "sigmoid",
            Self::Identity => "identity (raw logits)",
            Self::Tanh => "tanh",
        })
    }
}

/// The head of a reranker of this class.
pub(super) fn of(
    keys: &Keys,
    class: Class,
    modules: &Modules,
    has: impl Fn(&str) -> bool,
    notices: &mut Vec<String>,
) -> Result<Head> {
    // A score.weight that is there decides: overrides meant for the original are also given to converted models.
    let named = keys.flag("is_original_qwen3_reranker")? || keys.get("classifier_from_token").is_some();
    let original = named || modules.logit_score.is_some();
    if class != Class::Classification || (original && !has(SCORE)) {
        return Ok(Head::Tokens(answers(keys, modules)?));
    }
    one_label(keys)?;
    if let Some(passed_over) = &modules.logit_score {
        notices.push(format!("{} is passed over: score.weight is the model's head.", passed_over.file));
    }
    Ok(Head::Score { bias: has(SCORE_BIAS) })
}

fn one_label(keys: &Keys) -> Result<()> {
    if keys.get("num_labels").is_some_and(|n| n.as_u64() != Some(1)) {
        return Err(keys.refuse("num_labels", "1: a reranker gives one score"));
    }
    let labels = keys.get("id2label").filter(|_| keys.get("num_labels").is_none());
    match labels.is_some_and(|l| l.as_object().is_none_or(|l| l.len() != 1)) {
        true => Err(keys.refuse("id2label", "an object with one label: a reranker gives one score")),
        false => Ok(()),
    }
}

fn answers(keys: &Keys, modules: &Modules) -> Result<Answers> {
    const PAIR: &str = "two different tokens such as [\"no\", \"yes\"]";
    let text = |token: &String| Token::Text(token.clone());
    // vLLM's names of what is done with the tokens' logits; the flag of the original rerankers means the first.
    let single = match keys.get("method").filter(|_| keys.get("is_original_qwen3_reranker") != Some(&Value::Bool(true)))
    {
        None => false,
        Some(method) if method == "from_2_way_softmax" => false,
        Some(method) if method == "no_post_processing" => true,
        Some(_) => return Err(keys.refuse("method", "\"from_2_way_softmax\" or \"no_post_processing\"")),
    };
    if let Some(tokens) = keys.get("classifier_from_token") {
        let named_by = format!("classifier_from_token of {}", keys.place("classifier_from_token"));
        return match (tokens.as_array().map(Vec::as_slice), single) {
            (Some([Value::String(no), Value::String(yes)]), false) if no != yes => {
                Ok(Answers { yes: text(yes), no: Some(text(no)), named_by })
            }
            (Some([Value::String(yes)]), true) => Ok(Answers { yes: text(yes), no: None, named_by }),
            (_, false) => Err(keys.refuse("classifier_from_token", PAIR)),
            (_, true) => Err(keys.refuse("classifier_from_token", "one token, as method is \"no_post_processing\"")),
        };
    }
    Ok(match &modules.logit_score {
        Some(score) => Answers {
            yes: Token::Id(score.true_token_id),
            no: score.false_token_id.map(Token::Id),
            named_by: score.file.clone(),
        },
        None => Answers {
            yes: Token::Text("yes".to_owned()),
            no: Some(Token::Text("no".to_owned())),
            named_by: "the model card".to_owned(),
        },
    })
}

/// As vLLM resolves it: `problem_type`, then `sentence_transformers.activation_fn`, then the older key.
pub(super) fn activation(keys: &Keys, modules: &Modules) -> Result<(Activation, Option<String>)> {
    const OLDER: &str = "sbert_ce_default_activation_function";
    let note = |key: &str| Some(format!("as {key} of {} says", keys.place(key)));
    match keys.get("problem_type").map(|kind| kind.as_str().unwrap_or("")) {
        None => {}
        Some("regression") => return Ok((Activation::Identity, note("problem_type"))),
        Some("single_label_classification" | "multi_label_classification") => {
            return Ok((Activation::Sigmoid, note("problem_type")));
        }
        Some(_) => {
            let expected = "regression, single_label_classification or multi_label_classification";
            return Err(keys.refuse("problem_type", expected));
        }
    }
    let known = "torch.nn's Identity, Sigmoid, Softmax or Tanh";
    let function = |key: &str, name: &Value| match name.as_str().and_then(named) {
        Some(activation) => Ok((activation, note(key))),
        None => Err(keys.refuse(key, known)),
    };
    if let Some(model) = keys.get("sentence_transformers") {
        let model = model.as_object().ok_or_else(|| keys.refuse("sentence_transformers", "a JSON object"))?;
        match model.get("activation_fn") {
            None => {}
            Some(Value::Null) => return Ok((Activation::Sigmoid, None)),
            Some(name) => return function("sentence_transformers", name),
        }
    }
    if let Some(name) = keys.get(OLDER) {
        return function(OLDER, name);
    }
    let unheard = modules.activation_fn.as_deref().filter(|name| named(name) != Some(Activation::Sigmoid));
    let unheard = unheard.map(|name| {
        let name = shown(name);
        format!("activation_fn {name} of config_sentence_transformers.json has no effect, as in vLLM")
    });
    Ok((Activation::Sigmoid, unheard))
}

/// A class of PyTorch by its full name, or by the one that it is exported under.
fn named(class: &str) -> Option<Activation> {
    let name = class.strip_prefix("torch.nn.")?.rsplit('.').next()?;
    match name {
        "Identity" => Some(Activation::Identity),
        // Of one logit, vLLM takes the sigmoid for both.
        "Sigmoid" | "Softmax" => Some(Activation::Sigmoid),
        "Tanh" => Some(Activation::Tanh),
        _ => None,
    }
}
