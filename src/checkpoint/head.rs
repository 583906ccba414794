//! What a model directory says of its task: how the last hidden state becomes a margin, and a margin a score.
//!
//! Invariant: each fact that the files hold about it, sentence-transformers' included, is honoured or refused by name;
//! where none says that the model is a reranker, a notice does. What stands over what: `classifier_from_token`, of the
//! overrides or of `config.json`, over `1_LogitScore`, over `no` and `yes`, as in vLLM; and a `score.weight` over all of
//! them. Called by `Checkpoint`.

use super::architecture::Architecture;
use super::config::Keys;
use super::fault::{fail, shown};
use super::modules::{Find, Modules};
use super::names::{SCORE, SCORE_BIAS};
use crate::error::Result;
use serde_json::Value;
use std::fmt;
use std::path::Path;

/// How the last hidden state becomes a margin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Head {
    /// An original reranker, such as a `Qwen3ForCausalLM`: rows of the output matrix.
    Tokens(Answers),
    /// A converted one, such as a `Qwen3ForSequenceClassification`: `score.weight`, and `score.bias` if `bias`.
    Score {
        /// Whether there is a `score.bias`.
        bias: bool,
    },
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

/// What a model is, and what it is for.
pub(super) struct Task {
    pub architecture: Architecture,
    pub head: Head,
    pub activation: Activation,
    /// Why the activation is not the usual one, or what is not heard about it, as the end of a sentence.
    pub activation_note: Option<String>,
    /// The instruction that sentence-transformers takes by default, if the files have one.
    pub prompt: Option<String>,
    /// Sentences for the operator.
    pub notices: Vec<String>,
}

/// Where a model comes from.
pub(super) struct Origin<'a> {
    /// Where its files are, if it has any.
    pub find: Option<Find<'a>>,
    /// The directory that it is called by.
    pub dir: &'a Path,
    /// Whether its files have a tensor of this name; `None` if its weights are made up.
    pub has: Option<&'a dyn Fn(&str) -> bool>,
}

impl Task {
    pub fn of(keys: &Keys, origin: &Origin) -> Result<Self> {
        let modules = origin.find.map(Modules::read).transpose()?.unwrap_or_default();
        let has = |name: &str| origin.has.is_some_and(|has| has(name));
        let (architecture, converted) = Architecture::of(keys)?;
        // A score.weight that is there decides: overrides meant for the original are also given to converted models.
        let named = keys.flag("is_original_qwen3_reranker")? || keys.get("classifier_from_token").is_some();
        let original = named || modules.logit_score.is_some();
        let mut notices = Vec::new();
        let head = if converted && (!original || has(SCORE)) {
            one_label(keys)?;
            if let Some(passed_over) = &modules.logit_score {
                notices.push(format!("{} is passed over: score.weight is the model's head.", passed_over.file));
            }
            Head::Score { bias: has(SCORE_BIAS) }
        } else {
            Head::Tokens(answers(keys, &modules)?)
        };
        if origin.has.is_some() && !(named || original || modules.is_cross_encoder || has(SCORE)) {
            notices.extend(doubt(keys, origin.dir)?);
        }
        let (activation, activation_note) = activation(keys, &modules)?;
        Ok(Self { architecture, head, activation, activation_note, prompt: modules.prompt, notices })
    }
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

/// What is said of a causal model whose files do not tell that it is a reranker: an error where its name tells that it is
/// something else.
fn doubt(keys: &Keys, dir: &Path) -> Result<Option<String>> {
    let real = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let trained_as = keys.get("_name_or_path").and_then(Value::as_str).unwrap_or("");
    let names = format!("{}\n{}\n{trained_as}", dir.display(), real.display()).to_lowercase();
    if names.contains("rerank") {
        return Ok(None);
    }
    // The directory's own name, and that of a repository in the hub's cache, where it is called by a commit.
    let called = |path: &Path| {
        let names = path.components().map(|part| part.as_os_str().to_string_lossy().to_lowercase());
        let names: Vec<String> = names.collect();
        let repository = names.iter().filter(|name| name.starts_with("models--"));
        names.last().into_iter().chain(repository).any(|name| name.contains("embedding"))
    };
    if called(dir) || called(&real) || trained_as.to_lowercase().contains("embedding") {
        let what = "is called an embedding model, expected a reranker: this server makes no embeddings; if it is one all \
                    the same, say so with --hf-overrides.is_original_qwen3_reranker true";
        return Err(fail(dir, what));
    }
    Ok(Some(format!(
        "Nothing in {} says that it is a reranker: if it is a chat or an embedding model, its scores mean nothing. \
         --hf-overrides.is_original_qwen3_reranker true says that it is one.",
        dir.display()
    )))
}

/// As vLLM resolves it: `problem_type`, then `sentence_transformers.activation_fn`, then the older key.
fn activation(keys: &Keys, modules: &Modules) -> Result<(Activation, Option<String>)> {
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
