//! What is asked of the engine and what it answers. Made by [`super`], kept by the queue until it is answered.

use super::admission::Admission;
use super::answer_cache::Key;
use crate::error::{Error, ErrorKind, Result};
use crate::prompt::Prompt;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// What became of a prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The numbers that the model gave; whose task it is knows what they mean.
    pub row: Box<[f32]>,
    /// How long it waited for a batch.
    pub queued: Duration,
    /// How long its batch took.
    pub computed: Duration,
    /// Tokens that had to be computed for it; the others were there already.
    pub computed_tokens: usize,
}

impl Answer {
    /// A row that has taken nothing.
    pub(super) fn of(row: Box<[f32]>) -> Self {
        Self { row, queued: Duration::ZERO, computed: Duration::ZERO, computed_tokens: 0 }
    }
}

/// A prompt to be computed.
pub(super) struct Asked {
    pub prompt: Prompt,
    /// What its row is kept under, if rows are kept.
    pub key: Option<Key>,
}

/// Prompts with their place in the queue.
pub(super) struct Request {
    pub prompts: Vec<Asked>,
    pub priority: i64,
    pub arrival: Instant,
    pub reply: oneshot::Sender<Result<Vec<Answer>>>,
    pub admission: Admission,
}

/// What who waited hears when a fault has ended the engine.
pub(super) fn failed() -> Error {
    Error::new(ErrorKind::Internal, "The engine failed while it computed this request.")
}
