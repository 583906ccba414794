//! What a model takes besides its engine: how its prompts are made, and what its numbers mean.
//!
//! Made by `startup`; used by the server and by commands.

use crate::checkpoint::{Activation, Dimensions};
use crate::error::Result;
use crate::options::Pooling;
use crate::prompt::{Around, PromptEncoder, TextEncoder, Vocabulary};
use crate::rerank;
use crate::task::Task;
use std::sync::Arc;

/// What a model is for: how its prompts are made, and what its numbers mean.
#[derive(Clone)]
pub enum Serves {
    /// Of pairs: a margin each.
    Rerank(Reranker),
    /// Of texts: a state each.
    Embed(Embedder),
}

/// What a reranker takes besides its engine.
#[derive(Clone)]
pub struct Reranker {
    /// Makes its prompts.
    pub encoder: Arc<PromptEncoder>,
    /// The function that makes a score of a logit.
    pub activation: Activation,
}

/// What an embedding model takes besides its engine.
#[derive(Clone)]
pub struct Embedder {
    /// Makes its prompts.
    pub encoder: Arc<TextEncoder>,
    /// Whether a vector has length 1 where nobody asks for anything else.
    pub normalize: bool,
    /// Numbers of a vector.
    pub width: usize,
    /// How many of its numbers may be asked for.
    pub dimensions: Dimensions,
}

impl Reranker {
    /// The score of a margin, as `pooling` says unless the request does: with its function, or the logit.
    pub fn score(&self, margin: f32, pooling: &Pooling, use_activation: Option<bool>) -> f32 {
        let activation = use_activation.unwrap_or(pooling.use_activation).then_some(self.activation);
        rerank::score(margin, pooling, activation)
    }
}

impl Serves {
    /// Which of them it is.
    pub fn task(&self) -> Task {
        match self {
            Self::Rerank(_) => Task::Rerank,
            Self::Embed(_) => Task::Embed,
        }
    }

    /// The tokenizer.
    pub fn vocabulary(&self) -> &Vocabulary {
        match self {
            Self::Rerank(reranker) => reranker.encoder.vocabulary(),
            Self::Embed(embedder) => embedder.encoder.vocabulary(),
        }
    }

    /// The reranker, which the model called `model` should be.
    pub fn reranker(self, model: &str) -> Result<Reranker> {
        let task = self.task();
        match self {
            Self::Rerank(reranker) => Ok(reranker),
            Self::Embed(_) => Err(task.not(Task::Rerank, model)),
        }
    }

    /// The embedding model, which the model called `model` should be.
    pub fn embedder(self, model: &str) -> Result<Embedder> {
        let task = self.task();
        match self {
            Self::Embed(embedder) => Ok(embedder),
            Self::Rerank(_) => Err(task.not(Task::Embed, model)),
        }
    }

    /// What a prompt has around a document of `query`, or around a text.
    pub fn around(&self, query: &str) -> Result<Around> {
        match self {
            Self::Rerank(reranker) => reranker.encoder.around(query),
            Self::Embed(embedder) => Ok(Around { before: 0, behind: embedder.encoder.end().len() }),
        }
    }
}
