//! The forward pass of any architecture, as the engine sees it: a [`Model`] takes a [`Batch`] through its layers step by
//! step and answers a row of numbers a sequence.
//!
//! Called by [`crate::engine`]; the architectures beside this file implement it.

use crate::batch::{Batch, Keep};
use crate::error::Result;
use crate::prefix_cache::KvRows;

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
    /// What the head makes of every sequence, in order: of a reranker one number, as a rule `logit(yes) - logit(no)`; of an
    /// embedding model the state of the last token.
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

    /// Numbers in a row: the same for every batch.
    fn width(&self) -> usize;

    /// Floating-point operations a second that the threads could do at most of what multiplies its matrices: measured now, in some
    /// 50 ms of all of them. `None` where nothing knows.
    fn peak(&self) -> Option<f64> {
        None
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
