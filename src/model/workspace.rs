//! Every activation buffer of a forward pass.
//!
//! Buffers of a chunk are sized once, for `rows` rows; those of a batch (residual stream, keys and values of one
//! layer) grow to the largest batch seen. Written and read by [`super::qwen3`] alone.

use crate::checkpoint::Config;
use ironrank_kernels::{AttentionShape, Buffer, Isa, KvBlocks, Lhs, NR, Storage};

/// Widths of the buffers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Widths {
    /// Residual stream.
    pub hidden: usize,
    /// Gated unit of the MLP.
    pub intermediate: usize,
    /// Heads.
    pub attention: AttentionShape,
}

impl Widths {
    /// The widths that a configuration gives.
    pub fn of(config: &Config) -> Self {
        let attention = AttentionShape {
            heads: config.num_attention_heads,
            kv_heads: config.num_key_value_heads,
            head_dim: config.head_dim,
        };
        Self { hidden: config.hidden_size, intermediate: config.intermediate_size, attention }
    }

    /// Columns of the queries' projection in whole panels, so that keys and values can be had without them.
    pub fn queries(&self) -> usize {
        (self.attention.heads * self.attention.head_dim).next_multiple_of(NR)
    }

    /// Columns of the keys' or the values' projection.
    pub fn keys(&self) -> usize {
        self.attention.kv_heads * self.attention.head_dim
    }

    /// Columns of the query, key and value projections side by side.
    pub fn qkv(&self) -> usize {
        self.queries() + 2 * self.keys()
    }
}

/// What two workspaces with `rows` rows take once batches of `tokens` tokens have gone through one of them, and small
/// ones through the other; a little too much rather than too little.
pub(super) fn expected_bytes(widths: Widths, rows: usize, tokens: usize) -> usize {
    let (hidden, keys) = (widths.hidden, widths.keys());
    let chunk = hidden + widths.qkv() + widths.attention.heads * widths.attention.head_dim + widths.intermediate;
    // Keys and values come in blocks, of which each run of tokens fills its last in part only.
    let batch = hidden + 2 * keys + keys;
    let values = 2 * rows * chunk + tokens * batch + rows * batch;
    size_of::<f32>() * (values + values / 4)
}

pub(super) struct Workspace {
    /// (tokens of the batch, hidden)
    pub residual: Buffer,
    /// (last tokens of the batch, hidden)
    pub last: Buffer,
    pub layer: LayerBuffers,
    hidden: usize,
}

/// What a layer writes and reads on its way through a chunk.
pub(super) struct LayerBuffers {
    /// Keys and values of one layer, of the whole batch.
    pub kv: KvBlocks,
    /// (rows, hidden), normalised
    pub normed: Lhs,
    /// (rows, qkv)
    pub qkv: Buffer,
    /// (rows, heads * head_dim)
    pub attended: Lhs,
    /// (rows, intermediate)
    pub gated: Lhs,
    /// Rows of a chunk at most.
    pub rows: usize,
    isa: Isa,
    attention: AttentionShape,
    blocks: usize,
}

impl Workspace {
    /// For products with weights of `storage`.
    pub fn new(isa: Isa, storage: Storage, widths: Widths, rows: usize) -> Self {
        let Widths { hidden, intermediate, attention } = widths;
        Self {
            residual: Buffer::zeroed(0),
            last: Buffer::zeroed(0),
            layer: LayerBuffers {
                kv: KvBlocks::new(isa, attention, 0),
                normed: Lhs::new(isa, storage, rows, hidden),
                qkv: Buffer::zeroed(rows * widths.qkv()),
                attended: Lhs::new(isa, storage, rows, attention.heads * attention.head_dim),
                gated: Lhs::new(isa, storage, rows, intermediate.next_multiple_of(NR)),
                rows,
                isa,
                attention,
                blocks: 0,
            },
            hidden,
        }
    }

    /// Makes room for a batch of `tokens` tokens, `last` of them last ones, and `blocks` blocks of keys and values.
    pub fn reserve(&mut self, tokens: usize, last: usize, blocks: usize) {
        for (buffer, rows) in [(&mut self.residual, tokens), (&mut self.last, last)] {
            if buffer.len() < rows * self.hidden {
                // The old one goes first: there may not be room for both.
                *buffer = Buffer::zeroed(0);
                *buffer = Buffer::zeroed(rows * self.hidden);
            }
        }
        self.layer.reserve(blocks);
    }

    pub fn bytes(&self) -> usize {
        (self.residual.len() + self.last.len()) * size_of::<f32>() + self.layer.bytes()
    }
}

impl LayerBuffers {
    fn reserve(&mut self, blocks: usize) {
        if self.blocks < blocks {
            self.kv = KvBlocks::new(self.isa, self.attention, 0);
            self.kv = KvBlocks::new(self.isa, self.attention, blocks);
            self.blocks = blocks;
        }
    }

    fn bytes(&self) -> usize {
        let activations = self.normed.bytes() + self.attended.bytes() + self.gated.bytes();
        self.kv.bytes() + activations + self.qkv.len() * size_of::<f32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_expected_is_enough_and_not_far_off() {
        let attention = AttentionShape { heads: 16, kv_heads: 8, head_dim: 128 };
        let widths = Widths { hidden: 1024, intermediate: 3072, attention };
        for tokens in [2048, 8192] {
            let mut slots = [0, 1].map(|_| Workspace::new(Isa::best(), Storage::F32, widths, 768));
            slots[0].reserve(tokens, 32, tokens.div_ceil(ironrank_kernels::KV_BLOCK) + 32);
            slots[1].reserve(256, 8, 256_usize.div_ceil(ironrank_kernels::KV_BLOCK) + 8);
            let taken: usize = slots.iter().map(Workspace::bytes).sum();
            let expected = expected_bytes(widths, 768, tokens);
            assert!(taken <= expected && expected < taken + taken / 2, "{tokens} tokens: {taken}, expected {expected}");
        }
    }
}
