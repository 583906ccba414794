//! The left operand of a product: [`Lhs`] in tiles of `MR` rows, written block by block by the kernel that makes the
//! activations (norms, the gated product, attention) or from rows that stand elsewhere ([`Cpu::pack_lhs`]).

use super::storage::Storage;
use super::transpose::transpose;
use crate::buffer::{Buffer, size};
use crate::cpu::Cpu;
use crate::dispatch::{Arch, Isa};
use crate::pool::{Block, Blocks, Job};
use crate::tile::Tile;
use crate::tile::float32::F32;

/// The left operand of a product: `rows` by `k` activations in tiles of `MR` rows, each `k` steps of `MR` values.
/// Rows past the last are never read.
pub struct Lhs {
    data: Buffer,
    mr: usize,
    rows: usize,
    k: usize,
}

impl Lhs {
    /// Room for `rows` by `k`, laid out for the register tile of `isa` in products with weights of `storage`.
    pub fn new(isa: Isa, storage: Storage, rows: usize, k: usize) -> Self {
        let mr = match storage {
            Storage::F32 | Storage::Bf16 => isa.mr(),
        };
        Self { data: Buffer::zeroed(size(&[rows.div_ceil(mr), mr, k])), mr, rows: 0, k: 0 }
    }

    /// Rows it holds now.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Depth it holds now.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.data.len() * size_of::<f32>()
    }

    /// The value at (`row`, `p`), for tests.
    pub fn get(&self, row: usize, p: usize) -> f32 {
        assert!(row < self.rows && p < self.k);
        self.data[(row / self.mr * self.k + p) * self.mr + row % self.mr]
    }

    /// Hands out the blocks of a new content of `rows` by `k` for writing: `row_block` rows (a multiple of `MR`) by
    /// `k_block` depth steps each.
    pub(crate) fn blocks(&mut self, rows: usize, k: usize, row_block: usize, k_block: usize) -> LhsBlocks<'_> {
        let tiles = rows.div_ceil(self.mr);
        assert!(row_block.is_multiple_of(self.mr), "blocks of {row_block} rows split a tile of {}", self.mr);
        assert!(size(&[tiles, self.mr, k]) <= self.data.len(), "{rows} x {k} activations do not fit the buffer");
        (self.rows, self.k) = (rows, k);
        LhsBlocks(Blocks::new(&mut self.data, tiles, k * self.mr, row_block / self.mr, k_block * self.mr))
    }

    /// Panics unless it is laid out for the register tile of `isa`.
    pub(crate) fn check_layout(&self, isa: Isa) {
        assert_eq!(self.mr, isa.mr(), "a left operand is laid out for another instruction set");
    }

    #[inline(always)]
    pub(crate) fn tile(&self, t: usize) -> &[f32] {
        let len = self.k * self.mr;
        &self.data[t * len..][..len]
    }
}

/// A left operand that is being written, cut into blocks of whole tiles, each of which one task may take.
pub(crate) struct LhsBlocks<'a>(Blocks<'a>);

impl LhsBlocks<'_> {
    /// Block `i` of the rows, `j` of the depth. Panics when it was taken before or is not there.
    #[inline(always)]
    pub(crate) fn take(&self, i: usize, j: usize) -> LhsBlock<'_> {
        LhsBlock(self.0.take(i, j))
    }
}

/// One block: exclusive access to its depth steps of its tiles.
pub(crate) struct LhsBlock<'a>(Block<'a>);

impl LhsBlock<'_> {
    /// Tile `t` of this block: `[depth step][MR]`.
    #[inline(always)]
    pub(crate) fn tile_mut(&mut self, t: usize) -> &mut [f32] {
        self.0.row_mut(t)
    }

    /// Fills it with `rows`, of whose `stride` columns the first `k` count.
    #[inline(always)]
    pub(crate) fn pack<S: Tile<F32>>(&mut self, s: S, rows: &[f32], stride: usize, k: usize) {
        for (t, rows) in rows.chunks(S::MR * stride).enumerate() {
            transpose(s, rows, stride, k, rows.len() / stride, self.tile_mut(t), S::MR);
        }
    }
}

impl Cpu {
    /// Lays `x` (m, k), row-major, out as a left operand as it is.
    pub fn pack_lhs(&self, x: &[f32], k: usize, out: &mut Lhs) {
        assert!(k > 0 && x.len().is_multiple_of(k) || x.is_empty(), "the activations are no whole rows of {k}");
        let rows = x.len() / k.max(1);
        let tile = self.isa().mr();
        out.check_layout(self.isa());
        let out = out.blocks(rows, k, tile, k);
        self.run(rows.div_ceil(tile), 0, &PackTiles { x, k, out });
    }
}

/// Task t lays out the rows of tile t.
struct PackTiles<'a> {
    x: &'a [f32],
    k: usize,
    out: LhsBlocks<'a>,
}

impl Job for PackTiles<'_> {
    #[inline(always)]
    fn run<S: Arch>(&self, s: S, t: usize, _: &mut [f32]) {
        let mr = <S as Tile<F32>>::MR;
        let x = &self.x[t * mr * self.k..];
        self.out.take(t, 0).pack(s, &x[..x.len().min(mr * self.k)], self.k, self.k);
    }
}
