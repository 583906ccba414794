//! The registry of architectures: a checkpoint becomes a [`Model`].
//!
//! Every architecture takes a [`Batch`] through its layers step by step and answers one number a sequence. Called by
//! [`crate::engine`] (forward) and by the start-up code (load). A new architecture is a file here and an arm in [`load`].

mod head;
mod qwen3;
mod workspace;

pub use head::LinearHead;

use crate::batch::{Batch, Keep};
use crate::checkpoint::{Checkpoint, Config};
use crate::error::{Error, ErrorKind, Result};
use crate::prefix_cache::KvRows;
use crate::prompt::PromptEncoder;
use crate::threads;
use ironrank_kernels::Cpu;
use std::panic::resume_unwind;
use std::path::Path;
use std::thread;

/// A model runs one batch in each of its two slots, a step at a time, so that a small batch can overtake a large one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// For whatever is next.
    Bulk,
    /// For small batches while the other slot holds a large one.
    Express,
}

/// How far a step has brought a batch.
pub enum Progress {
    /// Somewhere within a layer.
    Chunk,
    /// To the end of a layer that is not the last: sequences may be dropped now.
    Layer,
    /// To the end; the slot is free.
    Done(Outcome),
}

/// What comes out of a batch.
pub struct Outcome {
    /// What the head makes of every sequence, in order: `logit(yes) - logit(no)`, as a rule.
    pub margins: Vec<f32>,
    /// What was worth keeping.
    pub kept: Vec<(Keep, KvRows)>,
    /// Floating-point operations done, without what pads tiles.
    pub flop: u64,
}

/// A loaded model.
///
/// A sequence's margin does not depend on its neighbours, their order, what they share, what was cached, steps of the
/// other slot or the number of threads, bit for bit.
pub trait Model: Send {
    /// Puts a batch of at least one sequence into a free slot.
    fn begin(&mut self, slot: Slot, batch: Batch);

    /// Takes the batch in `slot` one step further: some rows through one layer.
    fn advance(&mut self, slot: Slot) -> Progress;

    /// Drops the sequences that are not `wanted` (one flag a sequence), after a [`Progress::Layer`]; with the last one
    /// the slot becomes free.
    fn retain(&mut self, slot: Slot, wanted: &[bool]);

    /// Tokens still to go through all layers, those that went through some counting in part; 0 for a free slot.
    fn remaining(&self, slot: Slot) -> usize;

    /// Runs a batch from start to end.
    fn margins(&mut self, batch: Batch) -> Vec<f32> {
        self.begin(Slot::Bulk, batch);
        loop {
            if let Progress::Done(outcome) = self.advance(Slot::Bulk) {
                return outcome.margins;
            }
        }
    }

    /// An error if what the model reads of files has changed under it since it was loaded: margins that were computed
    /// since the last check can't be trusted then. Cheap enough to be asked once a batch.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// The last token's hidden state after the embedding, after every layer but the last, and, in the end, after the
    /// last layer and the final norm: what tests compare. One vector of states a sequence.
    fn last_hidden_states(&mut self, batch: Batch) -> Vec<Vec<Vec<f32>>>;

    /// Bytes of packed weights, tables and buffers in memory; what is mapped from the checkpoint does not count.
    fn bytes(&self) -> usize;

    /// Bytes of one token's keys and values in all layers.
    fn kv_bytes(&self) -> usize;
}

/// Bytes of memory that a model of this shape takes besides its weights while it runs batches of up to `tokens` tokens:
/// buffers, and the table of positions. A little too much rather than too little.
pub fn buffer_bytes(config: &Config, tokens: usize, max_model_len: usize) -> usize {
    qwen3::buffer_bytes(config, tokens) + max_model_len * config.head_dim * size_of::<f32>()
}

/// The head of `checkpoint`; an error of kind [`ErrorKind::Checkpoint`] if model and tokenizer do not belong together, or
/// if the head can't tell documents apart.
pub fn head(checkpoint: &Checkpoint, encoder: &PromptEncoder) -> Result<LinearHead> {
    let (tokens, rows) = (encoder.vocab_size(), checkpoint.config().vocab_size);
    if tokens > rows {
        return Err(Error::new(
            ErrorKind::Checkpoint,
            format!(
                "The tokenizer has {tokens} tokens, but the model's vocab_size is {rows}: they do not belong together."
            ),
        ));
    }
    LinearHead::read(checkpoint, encoder)
}

/// Reads the weights of `checkpoint` for `cpu`, or packs them, and makes its `encoder` on a thread beside that, since
/// parsing a tokenizer takes longer than checking packed weights. Positions from `max_model_len` on are never asked
/// for. Packed weights are kept in the directory `cache`, if there is one. Errors are of kind
/// [`ErrorKind::Checkpoint`]; those of the tokenizer come before anything is packed.
pub fn load(
    cpu: Cpu,
    checkpoint: &Checkpoint,
    encoder: impl FnOnce() -> Result<PromptEncoder> + Send,
    max_model_len: usize,
    cache: Option<&Path>,
) -> Result<(Box<dyn Model>, PromptEncoder)> {
    thread::scope(|scope| {
        let beside = thread::Builder::new().name("tokenizer".to_owned()).spawn_scoped(scope, encoder);
        let beside = beside.map_err(|err| threads::refused("tokenizer", &err))?;
        let mut encoder = None;
        let head = || {
            let made = encoder.insert(beside.join().unwrap_or_else(|panic| resume_unwind(panic))?);
            head(checkpoint, made).inspect(LinearHead::tell)
        };
        // The checkpoint refuses every architecture but Qwen3 when it is opened.
        let model = qwen3::Qwen3::load(cpu, checkpoint, head, max_model_len, cache)?;
        Ok((Box::new(model) as Box<dyn Model>, encoder.expect("loading asks for the head")))
    })
}
