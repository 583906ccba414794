//! What a model directory says of the vectors of an embedding model.
//!
//! Invariant: a vector is the state of the last token behind the final norm; what would make anything else of it has been
//! refused by name. Called by `purpose`.

use super::config::Keys;
use super::fault::{fail, shown};
use super::modules::Modules;
use crate::error::Result;
use serde_json::Value;
use std::collections::BTreeMap;

/// What stands before the queries of Qwen's models: their card's, for web search. Its end has no space.
const QUERY_PROMPT: &str =
    "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:";

/// What becomes of the state of the last token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Embedding {
    /// Whether a vector has length 1 where nobody asks for anything else.
    pub normalize: bool,
    /// How many of its numbers may be asked for.
    pub dimensions: Dimensions,
    /// What may stand before a text, by name; `query` and `document` always are among the names.
    pub prompts: BTreeMap<String, String>,
}

/// How many numbers of a vector may be asked for: the first ones are a vector too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dimensions {
    /// From 1 to so many.
    Any(usize),
    /// One of these.
    List(Vec<usize>),
    /// All of them only.
    Fixed,
}

impl Dimensions {
    /// Whether so many may be asked for.
    pub fn allow(&self, size: usize) -> bool {
        match self {
            Self::Any(most) => (1..=*most).contains(&size),
            Self::List(sizes) => sizes.contains(&size),
            Self::Fixed => false,
        }
    }
}

impl Embedding {
    pub(super) fn of(keys: &Keys, modules: Modules, notices: &mut Vec<String>) -> Result<Self> {
        let hidden = keys.get("hidden_size").and_then(Value::as_u64);
        if let Some(pooling) = &modules.pooling
            && let (Some(width), Some(hidden)) = (pooling.width, hidden)
            && width != hidden
        {
            let what =
                format!("says that a state has {width} numbers, expected {hidden}, the hidden_size of config.json");
            return Err(fail(&pooling.file, what));
        }
        if let Some(name) = &modules.default_prompt {
            notices.push(format!(
                "default_prompt_name {} of config_sentence_transformers.json has no effect, as in vLLM: requests choose \
                 a prompt by its name.",
                shown(name)
            ));
        }
        let mut prompts = modules.prompts;
        for (name, usual) in [("query", QUERY_PROMPT), ("document", "")] {
            prompts.entry(name.to_owned()).or_insert_with(|| usual.to_owned());
        }
        Ok(Self { normalize: modules.normalize.unwrap_or(true), dimensions: dimensions(keys, hidden)?, prompts })
    }
}

/// Qwen's files say nothing of it, but their cards that any number will do.
fn dimensions(keys: &Keys, hidden: Option<u64>) -> Result<Dimensions> {
    const LIST: &str = "matryoshka_dimensions";
    const FLAG: &str = "is_matryoshka";
    let most = hidden.unwrap_or(u64::MAX);
    if let Some(list) = keys.get(LIST) {
        let size = |size: &Value| size.as_u64().filter(|size| (1..=most).contains(size)).map(|size| size as usize);
        let sizes = list.as_array().and_then(|list| list.iter().map(size).collect::<Option<Vec<_>>>());
        return match sizes.filter(|sizes| !sizes.is_empty()) {
            Some(sizes) => Ok(Dimensions::List(sizes)),
            None => Err(keys.refuse(LIST, &format!("a list of numbers from 1 to {most}, the hidden_size"))),
        };
    }
    match keys.get(FLAG).is_none() || keys.flag(FLAG)? {
        true => Ok(Dimensions::Any(most as usize)),
        false => Ok(Dimensions::Fixed),
    }
}
