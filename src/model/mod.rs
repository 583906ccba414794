//! The registry of architectures: a checkpoint becomes a [`Model`].
//!
//! Every architecture takes a [`Batch`] through its layers step by step and answers a row of numbers a sequence. Called by
//! [`crate::engine`] (forward) and by the start-up code (load). A new architecture is a file here and an arm in [`load`].

mod cost;
mod head;
mod qwen3;
mod workspace;

pub use cost::{CHUNK, Cost, cost};
pub use head::LinearHead;
pub use qwen3::Qwen3;

use crate::batch::{Batch, Keep};
use crate::checkpoint::packed::Packed;
use crate::checkpoint::{Checkpoint, Config};
use crate::error::Result;
use crate::prefix_cache::KvRows;
use ironrank_kernels::Cpu;
use std::path::Path;
use workspace::{Widths, expected_bytes};

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

/// A row of `width` numbers for each of some sequences, one after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    /// Numbers in a row.
    pub width: usize,
    /// (sequences, width)
    pub values: Vec<f32>,
}

impl Rows {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.values.len() / self.width
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The rows in order.
    pub fn iter(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.width)
    }
}

/// What comes out of a batch.
pub struct Outcome {
    /// What the head makes of every sequence, in order: of a reranker one number, as a rule `logit(yes) - logit(no)`.
    pub rows: Rows,
    /// What was worth keeping.
    pub kept: Vec<(Keep, KvRows)>,
    /// Floating-point operations done, without what pads tiles.
    pub flop: u64,
}

/// A loaded model.
///
/// A sequence's row does not depend on its neighbours, their order, what they share, what was cached, steps of the
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
    fn run(&mut self, batch: Batch) -> Rows {
        self.begin(Slot::Bulk, batch);
        loop {
            if let Progress::Done(outcome) = self.advance(Slot::Bulk) {
                return outcome.rows;
            }
        }
    }

    /// An error if what the model reads of files has changed under it since it was loaded: rows that were computed
    /// since the last check can't be trusted then. Cheap enough to be asked once a batch.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Bytes of packed weights, tables and buffers in memory; what is mapped from the checkpoint does not count.
    fn bytes(&self) -> usize {
        0
    }

    /// Bytes of one token's keys and values in all layers.
    fn kv_bytes(&self) -> usize {
        0
    }
}

/// A tensor of one row.
fn vector(checkpoint: &Checkpoint, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
    let mut out = vec![0.0; shape.iter().product()];
    checkpoint.tensor(name, shape)?.read_row(0, &mut out);
    Ok(out)
}

/// Bytes of memory that a model of this shape takes besides its weights while it runs batches of up to `tokens` tokens:
/// buffers, and the table of positions. A little too much rather than too little.
pub fn buffer_bytes(config: &Config, tokens: usize, max_model_len: usize) -> usize {
    expected_bytes(Widths::of(config), CHUNK, tokens) + max_model_len * config.head_dim * size_of::<f32>()
}

/// The packed weights of `checkpoint` that an earlier start has left in the directory `cache`, all of them checked. It
/// takes as long as parsing a tokenizer does, and needs nothing of it.
pub fn find(cpu: &Cpu, checkpoint: &Checkpoint, cache: &Path) -> Option<Packed> {
    cpu.spread(|| qwen3::find(cpu, checkpoint, cache))
}

/// The packed weights of `checkpoint`, packed now if [`find`] has none; they are kept in the directory `cache`, if there is
/// one. Errors are of kind [`ErrorKind::Checkpoint`](crate::error::ErrorKind::Checkpoint).
pub fn pack(cpu: &Cpu, checkpoint: &Checkpoint, cache: Option<&Path>) -> Result<Packed> {
    cpu.spread(|| qwen3::pack(cpu, checkpoint, cache))
}

/// The model of `checkpoint`, whose `packed` weights are those of [`find`] or [`pack`]. Positions from `max_model_len` on
/// are never asked for. Errors are of kind [`ErrorKind::Checkpoint`](crate::error::ErrorKind::Checkpoint).
pub fn load(
    cpu: Cpu,
    checkpoint: &Checkpoint,
    packed: Packed,
    head: LinearHead,
    max_model_len: usize,
) -> Result<Box<dyn Model>> {
    // The checkpoint refuses every architecture but Qwen3 when it is opened.
    Ok(Box::new(qwen3::Qwen3::load(cpu, checkpoint, packed, head, max_model_len)?))
}
