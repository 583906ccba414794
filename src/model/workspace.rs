//! Every activation buffer of a forward pass.
//!
//! Buffers of a chunk are sized once, for `rows` rows; those of a batch (residual stream, keys and values of one
//! layer) grow to the largest batch seen. Written and read by [`super::qwen3`] alone.

use ironrank_kernels::{AttentionShape, Buffer, Isa, KvBlocks, Lhs, NR};

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
    /// Columns of the query, key and value projections side by side.
    pub fn qkv(&self) -> usize {
        (self.attention.heads + 2 * self.attention.kv_heads) * self.attention.head_dim
    }
}

pub(super) struct Workspace {
    /// (tokens of the batch, hidden)
    pub residual: Buffer,
    /// Keys and values of one layer.
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
    widths: Widths,
    blocks: usize,
}

impl Workspace {
    pub fn new(isa: Isa, widths: Widths, rows: usize) -> Self {
        let heads = widths.attention.heads * widths.attention.head_dim;
        Self {
            residual: Buffer::zeroed(0),
            kv: KvBlocks::new(isa, widths.attention, 0),
            normed: Lhs::new(isa, rows, widths.hidden),
            qkv: Buffer::zeroed(rows * widths.qkv()),
            attended: Lhs::new(isa, rows, heads),
            gated: Lhs::new(isa, rows, widths.intermediate.next_multiple_of(NR)),
            rows,
            isa,
            widths,
            blocks: 0,
        }
    }

    /// Makes room for a batch of `tokens` tokens and `blocks` blocks of keys and values.
    pub fn reserve(&mut self, tokens: usize, blocks: usize) {
        if self.residual.len() < tokens * self.widths.hidden {
            self.residual = Buffer::zeroed(tokens * self.widths.hidden);
        }
        if self.blocks < blocks {
            self.kv = KvBlocks::new(self.isa, self.widths.attention, blocks);
            self.blocks = blocks;
        }
    }

    pub fn bytes(&self) -> usize {
        let buffers = (self.residual.len() + self.qkv.len()) * size_of::<f32>();
        buffers + self.kv.bytes() + self.normed.bytes() + self.attended.bytes() + self.gated.bytes()
    }
}
