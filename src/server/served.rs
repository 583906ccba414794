//! What is served: what was learned of the model when it was loaded, as answers tell of it.
//!
//! Invariant: nothing in here is the operator's to decide, which is `ServerOptions`. Made by `serve`; a part of `state`.

use crate::checkpoint::Activation;
use serde_json::{Map, Value};

/// What is served.
#[derive(Debug, Clone)]
pub struct Served {
    /// Where the model came from, as the model cards say it.
    pub root: String,
    /// Whether the weights are made up, so that scores carry no meaning.
    pub dummy: bool,
    /// Longest prompt in tokens.
    pub max_model_len: usize,
    /// The function that makes a score of a logit, unless a request asks for the logit itself.
    pub activation: Activation,
    /// What the model calls its one class.
    pub label: String,
    /// What `/tokenizer_info` tells, where the options have it.
    pub tokenizer_info: Option<Map<String, Value>>,
    /// What `/server_info` tells of the options, where they have it; it must hold no secret.
    pub config: Map<String, Value>,
}

impl Served {
    /// What answers about the model say of its weights: nothing where they are a model's.
    pub fn load_format(&self) -> Option<&'static str> {
        self.dummy.then_some("dummy")
    }
}
