//! The files that sentence-transformers leaves beside a model: `modules.json` and what it names.
//!
//! Invariant: a chain of modules that makes anything but the score of a causal or converted model is refused with the
//! module's name; its two wordings (`sentence_transformers.models.X` and, from 5.4 on, paths of Python modules) are one.
//! Called by `head`.

use super::fault::{fail, shown};
use super::shards;
use crate::error::{Error, Result};
use serde_json::{Map, Value};
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
    /// Whether the model is said to be a cross-encoder, which is what rerankers are called there.
    pub is_cross_encoder: bool,
    /// The function that sentence-transformers applies to a score.
    pub activation_fn: Option<String>,
    /// The instruction that it takes where it is given none.
    pub prompt: Option<String>,
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

impl Modules {
    /// Reads them; a directory need not have any.
    pub fn read(find: Find) -> Result<Self> {
        let mut all = Self::default();
        let path = find(MODEL);
        let other_task = if exists(&path) { all.add_model(&path)? } else { None };
        let path = find(MODULES);
        if exists(&path) {
            let modules = match value(&path)? {
                Value::Array(modules) => modules,
                other => return Err(fail(&path, format!("holds {}, expected a list", shown(&other.to_string())))),
            };
            for module in modules {
                all.add(find, &path, &module)?;
            }
        } else if let path = find(&format!("{LOGIT_SCORE}/config.json"))
            && exists(&path)
        {
            all.logit_score = Some(LogitScore::read(&path)?);
        } else if let Some(path) =
            [find(POOLING), find(&format!("{POOLING}/config.json"))].into_iter().find(|it| exists(it))
        {
            return Err(fail(&path, format!("is there, as embedding models have it, {EXPECTED}")));
        }
        match other_task.filter(|_| all.logit_score.is_none()) {
            Some(refused) => Err(refused),
            None => Ok(all),
        }
    }

    /// Reads what the file says of the model as a whole; why it is none for this server, unless its modules say otherwise.
    fn add_model(&mut self, path: &Path) -> Result<Option<Error>> {
        let model = object(path)?;
        let given = |key: &str| model.get(key).filter(|value| !value.is_null());
        let text = |key: &str| given(key).and_then(Value::as_str).map(str::to_owned);
        self.activation_fn = text("activation_fn");
        let default = text("default_prompt_name");
        self.prompt = default.and_then(|name| Some(given("prompts")?.get(&name)?.as_str()?.to_owned()));
        self.is_cross_encoder = given("model_type").is_some_and(|kind| kind == "CrossEncoder");
        let kind = given("model_type").filter(|_| !self.is_cross_encoder).map(|kind| ("model_type", kind));
        // Only embeddings are compared by one.
        let told = kind.or(given("similarity_fn_name").map(|name| ("similarity_fn_name", name)));
        Ok(told.map(|(key, value)| {
            let value = shown(&value.to_string());
            fail(path, format!("has {key} {value}, as embedding models do, {EXPECTED}"))
        }))
    }

    fn add(&mut self, find: Find, file: &Path, module: &Value) -> Result<()> {
        let Some(kind) = module.get("type").and_then(Value::as_str) else {
            return Err(fail(file, format!("has a module {} without a type", shown(&module.to_string()))));
        };
        let name = shown(kind);
        let class = kind.rsplit('.').next().unwrap_or(kind);
        let place = module.get("path").and_then(Value::as_str).unwrap_or("");
        match class {
            _ if !kind.starts_with("sentence_transformers.") => Err(fail(
                file,
                format!(
                    "lists the module {name}, which is code of the model's own, expected one of sentence_transformers"
                ),
            )),
            "Transformer" if place.is_empty() || place == "." => Ok(()),
            "Transformer" => Err(fail(
                file,
                format!("says that the model lies in {}, expected it in the directory itself", shown(place)),
            )),
            "LogitScore" => {
                let plain = !place.is_empty() && !place.contains(['/', '\\', '\0', ':']) && place != "..";
                if !plain {
                    let what = format!("has {name} in '{}', expected a directory beside it", shown(place));
                    return Err(fail(file, what));
                }
                self.logit_score = Some(LogitScore::read(&find(&format!("{place}/config.json")))?);
                Ok(())
            }
            "Pooling" | "Normalize" => {
                Err(fail(file, format!("lists the module {name}, as embedding models do, {EXPECTED}")))
            }
            _ => Err(fail(file, format!("lists the module {name}, which is not supported, {EXPECTED}"))),
        }
    }
}

const EXPECTED: &str = "expected a reranker: a Transformer alone or with a LogitScore; this server makes no embeddings";

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
