//! What a model is for: which texts it takes, and what its numbers mean.
//!
//! Nothing lies below this. Options ask for a task, a checkpoint says which it is, and what is built on a model goes by it.

use crate::error::{Error, ErrorKind};
use std::fmt;

/// What a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Says how well a document answers a query: one number a pair.
    Rerank,
    /// Makes a vector of a text.
    Embed,
}

impl Task {
    /// In one word, for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rerank => "rerank",
            Self::Embed => "embed",
        }
    }

    /// What it makes, as sentences say it.
    pub fn numbers(self) -> &'static str {
        match self {
            Self::Rerank => "scores",
            Self::Embed => "vectors",
        }
    }

    /// Why the model called `model`, which is for this task, cannot do what takes another: of kind [`ErrorKind::Checkpoint`].
    pub fn not(self, wanted: Self, model: &str) -> Error {
        Error::new(ErrorKind::Checkpoint, format!("{model} is {self}, but {wanted} is needed here."))
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rerank => "a reranker",
            Self::Embed => "an embedding model",
        })
    }
}
