//! The files that sentence-transformers leaves beside a model: `modules.json` and what it names.
//!
//! Invariant: a chain of modules that makes anything but the score of a causal or converted model, or the vector of a last
//! token, is refused with the module's name; its two wordings (`sentence_transformers.models.X` and, from 5.4 on, paths of
//! Python modules) are one. Called by `purpose`.

use super::fault::{fail, shown};
use super::shards;
use crate::error::Result;
use crate::task::Task;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const MODULES: &str = "modules.json";
/// Where sentence-transformers puts the module of that name.
const LOGIT_SCORE: &str = "1_LogitScore";
const POOLING: &str = "1_Pooling";
/// Says what kind of model the chain makes, its prompts and the function of its scores.
const MODEL: &str = "config_sentence_transformers.json";

/// Where the files lie that could be read here, whatever a repository has.
pub(crate) const KNOWN: [&str; 4] = [MODULES, MODEL, "1_LogitScore/config.json", "1_Pooling/config.json"];

/// Whether a file of a repository is one of those that are read here, wherever its `modules.json` has them.
pub(crate) fn is_known(name: &str) -> bool {
    let of_module = |dir: &str| dir.ends_with("_LogitScore") || dir.ends_with("_Pooling");
    KNOWN.contains(&name) || name.strip_suffix("/config.json").is_some_and(|dir| of_module(dir) && !dir.contains('/'))
}

/// Where a file of the model is, by its name in the directory.
pub(super) type Find<'a> = &'a dyn Fn(&str) -> PathBuf;

/// What the files say.
#[derive(Debug, Default)]
pub(super) struct Modules {
    /// The tokens whose logits make a score.
    pub logit_score: Option<LogitScore>,
    /// How a vector is made of the states.
    pub pooling: Option<Pooling>,
    /// Whether a vector has length 1; not known without a list of modules.
    pub normalize: Option<bool>,
    /// What kind of model the files say it is, and which words of them do.
    pub kind: Option<(Task, String)>,
    /// The function that sentence-transformers applies to a score.
    pub activation_fn: Option<String>,
    /// What may stand before a text, by name.
    pub prompts: BTreeMap<String, String>,
    /// Which of them sentence-transformers takes where it is told of none.
    pub default_prompt: Option<String>,
}

/// `1_LogitScore/config.json`.
#[derive(Debug)]
pub(super) struct LogitScore {
    /// The file, as sentences name it.
    pub file: String,
    pub true_token_id: u32,
    /// Without it, the score is the logit of the other.
    pub false_token_id: Option<u32>,
}

/// `1_Pooling/config.json`: the state of the last token.
#[derive(Debug)]
pub(super) struct Pooling {
    pub file: PathBuf,
    /// What it is told by, as sentences say it.
    pub told_by: String,
    /// Numbers of a state, if the file says it.
    pub width: Option<u64>,
}

impl Modules {
    /// Reads them; a directory need not have any.
    pub fn read(find: Find) -> Result<Self> {
        let mut all = Self::default();
        let path = find(MODEL);
        if exists(&path) {
            all.add_model(&path)?;
        }
        let path = find(MODULES);
        let alone = [LOGIT_SCORE, POOLING].map(|dir| (find(dir), find(&format!("{dir}/config.json"))));
        let [score, pooling] = &alone;
        if exists(&path) {
            let modules = match value(&path)? {
                Value::Array(modules) => modules,
                other => return Err(fail(&path, format!("holds {}, expected a list", shown(&other.to_string())))),
            };
            all.normalize = Some(false);
            for module in modules {
                all.add(find, &path, &module)?;
            }
        } else if exists(&score.1) {
            all.logit_score = Some(LogitScore::read(&score.1)?);
        } else if exists(&pooling.0) || exists(&pooling.1) {
            all.pooling = Some(Pooling::read(&pooling.1, pooling.1.display().to_string())?);
        }
        Ok(all)
    }

    /// The prompt that sentence-transformers takes where it is told of none.
    pub fn prompt(&self) -> Option<&str> {
        self.prompts.get(self.default_prompt.as_ref()?).map(String::as_str)
    }

    /// Reads what the file says of the model as a whole.
    fn add_model(&mut self, path: &Path) -> Result<()> {
        let model = object(path)?;
        let given = |key: &str| model.get(key).filter(|value| !value.is_null());
        let text = |key: &str| given(key).and_then(Value::as_str).map(str::to_owned);
        self.activation_fn = text("activation_fn");
        self.default_prompt = text("default_prompt_name");
        for (name, prompt) in given("prompts").and_then(Value::as_object).into_iter().flatten() {
            let Some(prompt) = prompt.as_str() else {
                let (name, found) = (shown(name), shown(&prompt.to_string()));
                return Err(fail(path, format!("has {found} for the prompt {name}, expected a text")));
            };
            self.prompts.insert(name.clone(), prompt.to_owned());
        }
        let by = |key: &str, value: &Value| format!("{key} {} of {}", shown(&value.to_string()), path.display());
        self.kind = match (given("model_type"), given("similarity_fn_name")) {
            (Some(kind), _) if kind == "CrossEncoder" => Some((Task::Rerank, by("model_type", kind))),
            (Some(kind), _) if kind == "SentenceTransformer" => Some((Task::Embed, by("model_type", kind))),
            (Some(kind), _) => {
                let kind = shown(&kind.to_string());
                return Err(fail(path, format!("has model_type {kind}, {EXPECTED}")));
            }
            // Only embeddings are compared by one.
            (None, Some(name)) => Some((Task::Embed, by("similarity_fn_name", name))),
            (None, None) => None,
        };
        Ok(())
    }

    fn add(&mut self, find: Find, file: &Path, module: &Value) -> Result<()> {
        let Some(kind) = module.get("type").and_then(Value::as_str) else {
            return Err(fail(file, format!("has a module {} without a type", shown(&module.to_string()))));
        };
        let name = shown(kind);
        let class = kind.rsplit('.').next().unwrap_or(kind);
        let place = module.get("path").and_then(Value::as_str).unwrap_or("");
        let config = || {
            let plain = !place.is_empty() && !place.contains(['/', '\\', '\0', ':']) && place != "..";
            match plain {
                true => Ok(find(&format!("{place}/config.json"))),
                false => {
                    let what = format!("has {name} in '{}', expected a directory beside it", shown(place));
                    Err(fail(file, what))
                }
            }
        };
        match class {
            _ if !kind.starts_with("sentence_transformers.") => {
                let what = "which is code of the model's own, expected one of sentence_transformers";
                Err(fail(file, format!("lists the module {name}, {what}")))
            }
            "Transformer" if place.is_empty() || place == "." => Ok(()),
            "Transformer" => Err(fail(
                file,
                format!("says that the model lies in {}, expected it in the directory itself", shown(place)),
            )),
            "LogitScore" if self.pooling.is_none() => {
                self.logit_score = Some(LogitScore::read(&config()?)?);
                Ok(())
            }
            "Pooling" if self.logit_score.is_none() && self.pooling.is_none() => {
                let told_by = format!("the module {name} of {}", file.display());
                self.pooling = Some(Pooling::read(&config()?, told_by)?);
                Ok(())
            }
            "Normalize" if self.pooling.is_some() => {
                self.normalize = Some(true);
                Ok(())
            }
            "LogitScore" | "Pooling" | "Normalize" => {
                Err(fail(file, format!("lists the module {name} at a place where it makes no sense, {EXPECTED}")))
            }
            _ => Err(fail(file, format!("lists the module {name}, which is not supported, {EXPECTED}"))),
        }
    }
}

const EXPECTED: &str = "expected a reranker (a Transformer alone or with a LogitScore) or an embedding model (a Transformer, \
                        a Pooling and perhaps a Normalize)";

impl LogitScore {
    fn read(path: &Path) -> Result<Self> {
        let config = object(path)?;
        let id = |key: &str| match config.get(key).filter(|id| !id.is_null()) {
            None => Ok(None),
            Some(id) => match id.as_u64().and_then(|id| u32::try_from(id).ok()) {
                Some(id) => Ok(Some(id)),
                None => Err(fail(path, format!("has {key} {}, expected a token's id", shown(&id.to_string())))),
            },
        };
        let Some(true_token_id) = id("true_token_id")? else {
            return Err(fail(path, "has no true_token_id, expected the id of the token of a relevant document"));
        };
        let false_token_id = id("false_token_id")?;
        if false_token_id == Some(true_token_id) {
            return Err(fail(path, format!("gives true_token_id and false_token_id the same token, {true_token_id}")));
        }
        match config.get("module_input_name").filter(|input| !input.is_null()) {
            Some(input) if input != "causal_logits" => {
                let input = shown(&input.to_string());
                Err(fail(
                    path,
                    format!("has module_input_name {input}, expected \"causal_logits\", the only one supported"),
                ))
            }
            _ => Ok(Self { file: path.display().to_string(), true_token_id, false_token_id }),
        }
    }
}

impl Pooling {
    /// In both wordings: a switch for each mode, or the mode's name.
    fn read(path: &Path, told_by: String) -> Result<Self> {
        const ONLY: &str = "the pooling of the last token, the only one supported";
        let config = object(path)?;
        let given = |key: &str| config.get(key).filter(|value| !value.is_null());
        let switches = config.iter().filter(|(key, value)| key.starts_with("pooling_mode_") && **value != false);
        let switches: Vec<(&str, &Value)> = switches.map(|(key, value)| (key.as_str(), value)).collect();
        let other = switches.iter().find(|(key, value)| *key != "pooling_mode_lasttoken" || **value != true);
        let mode = given("pooling_mode").filter(|mode| *mode != "lasttoken").map(|mode| ("pooling_mode", mode));
        if let Some((key, value)) = mode.or(other.copied()) {
            return Err(fail(path, format!("has {key} {}, expected {ONLY}", shown(&value.to_string()))));
        }
        if given("pooling_mode").is_none() && switches.is_empty() {
            return Err(fail(path, format!("names no pooling, expected {ONLY}")));
        }
        let width = ["word_embedding_dimension", "embedding_dimension"].into_iter().find_map(given);
        Ok(Self { file: path.to_owned(), told_by, width: width.and_then(Value::as_u64) })
    }
}

fn exists(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

fn value(path: &Path) -> Result<Value> {
    serde_json::from_slice(&shards::read(path)?).map_err(|e| fail(path, format!("is not valid JSON: {e}")))
}

fn object(path: &Path) -> Result<Map<String, Value>> {
    match value(path)? {
        Value::Object(map) => Ok(map),
        other => Err(fail(path, format!("holds {}, expected a JSON object", shown(&other.to_string())))),
    }
}
