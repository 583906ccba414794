//! The registry of architectures: a checkpoint becomes a [`Model`].
//!
//! Every architecture takes a [`Batch`] and answers one number a sequence. Called by [`crate::engine`] (forward) and
//! by the start-up code (load). A new architecture is a file here and an arm in [`load`].

mod qwen3;
mod workspace;

use crate::batch::Batch;
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use ironrank_kernels::Cpu;

/// Ids of the two tokens whose logits an original reranker compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerTokens {
    /// The token of a relevant document, `yes`.
    pub yes: u32,
    /// The token of an irrelevant one, `no`.
    pub no: u32,
}

/// A loaded model.
pub trait Model: Send {
    /// `logit(yes) - logit(no)` of every sequence of `batch`, in order. A sequence's value does not depend on its
    /// neighbours, their order or the number of threads, bit for bit.
    fn margins(&mut self, batch: &Batch) -> Vec<f32>;

    /// The last token's hidden state after the embedding, after every layer but the last, and, in the end, after the
    /// last layer and the final norm: what tests compare. One vector of states a sequence.
    fn last_hidden_states(&mut self, batch: &Batch) -> Vec<Vec<Vec<f32>>>;

    /// Bytes of weights and buffers in memory.
    fn bytes(&self) -> usize;
}

/// Reads and packs the weights of `checkpoint` for `cpu`. `answers` are the yes and no tokens; positions from
/// `max_model_len` on are never asked for.
pub fn load(cpu: Cpu, checkpoint: &Checkpoint, answers: AnswerTokens, max_model_len: usize) -> Result<Box<dyn Model>> {
    // The checkpoint refuses every architecture but Qwen3 when it is opened.
    Ok(Box::new(qwen3::Qwen3::load(cpu, checkpoint, answers, max_model_len)?))
}
