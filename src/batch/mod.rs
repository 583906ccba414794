//! A batch: the token sequences of one forward pass as a tree of runs, packed without padding, with the block table of
//! each run's keys and values.
//!
//! A prefix that sequences share is one run, computed once; what the prefix cache holds is a run that is loaded.
//! Every run's keys and values stand in blocks of absolute position: where a run begins within a block, the tokens
//! before it in that block are stored there again. Attention therefore adds in the same order whatever the tree's
//! shape, and a sequence's result is the same bits as alone.
//!
//! Invariant: a run's parent comes before it; the last token of every sequence is computed, never loaded. Made by
//! [`crate::engine`], read by [`crate::model`].

mod builder;
mod layout;
#[cfg(test)]
mod tests;
mod tree;

pub use builder::{BatchBuilder, Cost};
pub use layout::{Batch, Chunk, Keep, LastTokens};
