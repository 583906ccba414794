//! Keys and values, stored as the left operands of attention's two products.

use super::heads::{Heads, QkNormRope};
use super::shape::{AttentionShape, Run};
use crate::buffer::{Buffer, size};
use crate::cpu::Cpu;
use crate::dispatch::{Arch, Isa};
use crate::matmul::transpose::transpose;
use crate::pool::{Blocks, Job};
use crate::tile::Tile;
use crate::tile::float32::F32;
use std::ops::Range;

/// Positions of a block of keys and values: whole tiles of every ISA, 48 KiB of keys at 128 channels. Interpreted, a second
/// block must come soon.
pub const KV_BLOCK: usize = if cfg!(miri) { 8 } else { 96 };

impl Run<'_> {
    /// What is stored of this run where it has its blocks for itself.
    pub fn pieces(&self) -> impl Iterator<Item = KvPiece> + '_ {
        let end = self.start + self.rows.len();
        (self.start / KV_BLOCK..end.div_ceil(KV_BLOCK)).map(move |b| {
            let (from, to) = (self.start.max(b * KV_BLOCK), end.min((b + 1) * KV_BLOCK));
            let first = self.rows.start + from - self.start;
            KvPiece { rows: first..first + to - from, position: from, block: self.blocks[b] }
        })
    }
}

/// Consecutive tokens whose keys and values go to one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvPiece {
    /// Rows of the projections.
    pub rows: Range<usize>,
    /// Position of the first row in its sequence; the last has the same quotient by [`KV_BLOCK`].
    pub position: usize,
    /// Block of [`KvBlocks`].
    pub block: u32,
}

/// Keys and values of one layer in blocks of [`KV_BLOCK`] positions, per key head. Each is the left operand of its
/// product, laid out as an [`Lhs`](crate::Lhs): keys in tiles of `MR` positions by `d` steps, values in tiles of `MR` channels by
/// [`KV_BLOCK`] steps, so that a register tile reads one stretch of memory.
pub struct KvBlocks {
    keys: Buffer,
    values: Buffer,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    mr: usize,
}

impl KvBlocks {
    /// Room for `blocks` blocks, laid out for the register tile of `isa`.
    pub fn new(isa: Isa, shape: AttentionShape, blocks: usize) -> Self {
        let (AttentionShape { kv_heads, head_dim, .. }, mr) = (shape, isa.mr());
        Self {
            keys: Buffer::zeroed(size(&[blocks, kv_heads, head_dim, KV_BLOCK])),
            values: Buffer::zeroed(size(&[blocks, kv_heads, head_dim.next_multiple_of(mr), KV_BLOCK])),
            kv_heads,
            head_dim,
            mr,
        }
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        (self.keys.len() + self.values.len()) * size_of::<f32>()
    }

    /// The stored key and value of one position, all heads: `out` (2 * kv_heads * d) becomes the keys' channels, then
    /// the values'. As [`Heads`] of such rows they can be stored again without preparation, to the same bits.
    pub fn read(&self, block: u32, slot: usize, out: &mut [f32]) {
        let (d, mr) = (self.head_dim, self.mr);
        let (keys, values) = out.split_at_mut(self.kv_heads * d);
        for (head, (key, value)) in keys.chunks_exact_mut(d).zip(values.chunks_exact_mut(d)).enumerate() {
            let tile = &self.keys(block, head)[slot / mr * mr * d..];
            key.iter_mut().enumerate().for_each(|(c, x)| *x = tile[c * mr + slot % mr]);
            let tiles = self.values(block, head).chunks_exact(mr * KV_BLOCK);
            value.chunks_mut(mr).zip(tiles).for_each(|(x, tile)| x.copy_from_slice(&tile[slot * mr..][..x.len()]));
        }
    }

    fn key_len(&self) -> usize {
        self.head_dim * KV_BLOCK
    }

    fn value_len(&self) -> usize {
        self.head_dim.next_multiple_of(self.mr) * KV_BLOCK
    }

    #[inline(always)]
    pub(super) fn keys(&self, block: u32, head: usize) -> &[f32] {
        &self.keys[(block as usize * self.kv_heads + head) * self.key_len()..][..self.key_len()]
    }

    #[inline(always)]
    pub(super) fn values(&self, block: u32, head: usize) -> &[f32] {
        &self.values[(block as usize * self.kv_heads + head) * self.value_len()..][..self.value_len()]
    }

    /// Panics unless it is laid out for the register tile of `isa`.
    pub(super) fn check_layout(&self, isa: Isa) {
        assert_eq!(self.mr, isa.mr(), "keys and values are laid out for another instruction set");
    }
}

impl Cpu {
    /// Stores keys and values, the keys normalised and rotated first, or as they are where `prepare` is `None`.
    ///
    /// Shapes: `keys`, `values` (m, kv_heads * d). A row may go to several blocks; pieces of one block stand side by
    /// side in `pieces`. Cost: `8 d` FLOP a stored key, and one transposition.
    pub fn store_kv(
        &self,
        keys: Heads,
        values: Heads,
        prepare: Option<QkNormRope>,
        pieces: &[KvPiece],
        kv: &mut KvBlocks,
    ) {
        kv.check_layout(self.isa());
        let (heads, d, key_len, value_len) = (kv.kv_heads, kv.head_dim, kv.key_len(), kv.value_len());
        keys.check(heads * d);
        values.check(heads * d);
        prepare.iter().for_each(|prepare| prepare.check(d));
        let blocks: Vec<&[KvPiece]> = pieces.chunk_by(|a, b| a.block == b.block).collect();
        let panels = kv.keys.len() / key_len.max(1);
        let key_panels = Blocks::new(&mut kv.keys, panels, key_len, 1, key_len);
        let value_panels = Blocks::new(&mut kv.values, panels, value_len, 1, value_len);
        self.run(
            blocks.len() * heads,
            key_len,
            &StoreKv { keys, values, prepare, blocks, heads, d, key_panels, value_panels },
        );
    }
}

/// A task is one block and one key head.
struct StoreKv<'a> {
    keys: Heads<'a>,
    values: Heads<'a>,
    prepare: Option<QkNormRope<'a>>,
    blocks: Vec<&'a [KvPiece]>,
    heads: usize,
    d: usize,
    key_panels: Blocks<'a>,
    value_panels: Blocks<'a>,
}

impl Job for StoreKv<'_> {
    #[inline(always)]
    fn run<S: Arch>(&self, s: S, task: usize, scratch: &mut [f32]) {
        let mr = <S as Tile<F32>>::MR;
        let (pieces, head, d) = (self.blocks[task / self.heads], task % self.heads, self.d);
        let panel = pieces[0].block as usize * self.heads + head;
        let (mut keys, mut values) = (self.key_panels.take(panel, 0), self.value_panels.take(panel, 0));
        let (keys, values) = (keys.row_mut(0), values.row_mut(0));
        for piece in pieces {
            let slot = piece.position % KV_BLOCK;
            for (i, row) in piece.rows.clone().enumerate() {
                let (key, out) = (self.keys.head(row, head, d), &mut scratch[i * d..][..d]);
                match &self.prepare {
                    Some(prepare) => prepare.apply(s, key, piece.position + i, 1.0, out),
                    None => out.copy_from_slice(key),
                }
                let value = self.values.head(row, head, d).chunks(mr);
                for (value, tile) in value.zip(values.chunks_exact_mut(mr * KV_BLOCK)) {
                    tile[(slot + i) * mr..][..value.len()].copy_from_slice(value);
                }
            }
            let end = slot + piece.rows.len();
            for tile in slot / mr..end.div_ceil(mr) {
                let (from, to) = (slot.max(tile * mr), end.min((tile + 1) * mr));
                let tile = &mut keys[tile * mr * d..][..mr * d];
                transpose(s, &scratch[(from - slot) * d..], d, d, to - from, &mut tile[from % mr..], mr);
            }
        }
    }
}
