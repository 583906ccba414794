//! What attention runs over: the heads of a layer, and consecutive tokens of a sequence.

use std::ops::Range;

/// Heads of one attention layer. `heads` is a multiple of `kv_heads`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionShape {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Channels of a head.
    pub head_dim: usize,
}

impl AttentionShape {
    /// Query heads that share a key head.
    pub(super) fn group(&self) -> usize {
        self.heads / self.kv_heads
    }
}

/// Consecutive tokens of one sequence: rows of the projections, and where their sequence's keys are.
#[derive(Debug, Clone)]
pub struct Run<'a> {
    /// Rows of the projections.
    pub rows: Range<usize>,
    /// Position of the first row in its sequence.
    pub start: usize,
    /// Block table: block `b` of the sequence (positions from `b` times [`crate::KV_BLOCK`] on) is block `blocks[b]` of
    /// [`crate::KvBlocks`].
    pub blocks: &'a [u32],
}
