//! The architectures: the classes of each in `config.json`, which of its keys are refused, and what a layer consists of.
//!
//! Invariant: the names and shapes of a layer's tensors, and the matrices that they are packed into, stand in one table an
//! architecture. What a checkpoint must hold, what is packed, what it will take and what a model finds in a layer are
//! folds over it. Called by `Checkpoint`, `packed` and the model. A new architecture is a file here, a variant and its
//! arms.

mod part;
mod qwen3;

pub(super) use part::Class;
pub use part::{Matrix, Order, Part, layer_tensor};

use super::config::{Config, Keys};
use crate::error::Result;
use part::{Classes, ShapeOf};
use serde_json::Value;

/// What a model computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// Qwen3, dense.
    Qwen3,
}

const ALL: [Architecture; 1] = [Architecture::Qwen3];

impl Architecture {
    /// What `config.json` says.
    pub(super) fn of(keys: &Keys) -> Result<(Self, Class)> {
        let name = match keys.get("architectures").and_then(Value::as_array).map(Vec::as_slice) {
            Some([Value::String(name)]) => Some(name),
            _ => None,
        };
        let found = ALL.into_iter().find_map(|it| Some((it, it.classes().find(name?)?)));
        let Some((found, class)) = found else { return Err(keys.refuse("architectures", &supported())) };
        let Classes { model_type, .. } = found.classes();
        match keys.get("model_type").is_some_and(|it| it != model_type) {
            true => Err(keys.refuse("model_type", &format!("{model_type:?}"))),
            false => Ok((found, class)),
        }
    }

    pub(super) fn classes(self) -> Classes {
        match self {
            Self::Qwen3 => qwen3::CLASSES,
        }
    }

    /// Checks every key that concerns the forward pass.
    pub(super) fn config(self, keys: &Keys, shape_of: ShapeOf) -> Result<Config> {
        match self {
            Self::Qwen3 => qwen3::config(keys, shape_of),
        }
    }

    /// What each layer of a model of this shape consists of.
    pub(super) fn layer(self, config: &Config) -> Vec<Part> {
        match self {
            Self::Qwen3 => qwen3::layer(config),
        }
    }
}

/// The classes that there are, as errors say them.
fn supported() -> String {
    let all = |Classes { causal, classification, body, .. }: Classes| {
        format!("[{causal:?}] (the original reranker), [{classification:?}] or [{body:?}] (an embedding model)")
    };
    ALL.map(|it| all(it.classes())).join(" or ")
}
