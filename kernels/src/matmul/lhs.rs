//! The left operand of a product: [`Lhs`] in tiles of `MR` rows, written block by block by the kernel that makes the
//! activations (norms, the gated product, attention) or from rows that stand elsewhere ([`Cpu::pack_lhs`]).

use super::quantize::{Scheme, Side};
use super::storage::Storage;
use super::transpose::transpose;
use crate::buffer::{Buffer, size};
use crate::cpu::Cpu;
use crate::dispatch::{Arch, Isa};
use crate::isa::{Routine, Simd};
use crate::pool::{Block, Blocks, Job};

/// The left operand of a product: `rows` by `k` activations in tiles of `MR` rows, each `k` steps of `MR` values or, for
/// weights of integers, blocks of them. Rows past the last are never read.
pub struct Lhs {
    data: Buffer,
    layout: Layout,
    rows: usize,
    k: usize,
    /// Rows whose integers are not made yet.
    floats: Buffer,
}

/// How a tile stands in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Layout {
    mr: usize,
    /// `None` for floats.
    scheme: Option<Scheme>,
}

impl Layout {
    fn of(isa: Isa, storage: Storage) -> Self {
        Self::with(isa, storage.scheme(isa))
    }

    fn with(isa: Isa, scheme: Option<Scheme>) -> Self {
        Self { mr: scheme.map_or(isa.mr(), |scheme| scheme.rows(isa.mr())), scheme }
    }

    /// 32-bit values of a tile's first `k` steps.
    #[inline(always)]
    fn len(self, k: usize) -> usize {
        match self.scheme {
            None => size(&[k, self.mr]),
            Some(scheme) => scheme.len(k, Side::left(self.mr)),
        }
    }
}

impl Lhs {
    /// Room for `rows` by `k`, laid out for the register tile of `isa` and weights in `storage`.
    pub fn new(isa: Isa, storage: Storage, rows: usize, k: usize) -> Self {
        let layout = Layout::of(isa, storage);
        let data = Buffer::zeroed(size(&[rows.div_ceil(layout.mr), layout.len(k)]));
        Self { data, layout, rows: 0, k: 0, floats: Buffer::zeroed(0) }
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
        (self.data.len() + self.floats.len()) * size_of::<f32>()
    }

    /// The value at (`row`, `p`), for tests; of integers of 8 bits, one of the mixed values (see `quantize`).
    pub fn get(&self, row: usize, p: usize) -> f32 {
        assert!(row < self.rows && p < self.k);
        let Layout { mr, scheme } = self.layout;
        let (tile, i) = (self.tile(row / mr), row % mr);
        scheme.map_or_else(|| tile[p * mr + i], |scheme| scheme.value(tile, i, p, self.k, Side::left(mr)))
    }

    /// How its numbers became integers, if they did.
    #[inline(always)]
    pub(crate) fn scheme(&self) -> Option<Scheme> {
        self.layout.scheme
    }

    /// Hands out the blocks of a new content of `rows` by `k` for writing: `row_block` rows (a multiple of `MR`) by
    /// `k_block` depth steps each, of integers whole blocks.
    pub(crate) fn blocks(&mut self, rows: usize, k: usize, row_block: usize, k_block: usize) -> LhsBlocks<'_> {
        let Layout { mr, scheme } = self.layout;
        let (tiles, len) = (rows.div_ceil(mr), self.layout.len(k));
        assert!(row_block.is_multiple_of(mr), "blocks of {row_block} rows split a tile of {mr}");
        assert!(
            k_block >= k || scheme.is_none_or(|scheme| k_block.is_multiple_of(scheme.block)),
            "a depth of {k_block} splits a block of integers"
        );
        assert!(size(&[tiles, len]) <= self.data.len(), "{rows} x {k} activations do not fit the buffer");
        (self.rows, self.k) = (rows, k);
        let blocks = Blocks::new(&mut self.data, tiles, len, row_block / mr, self.layout.len(k_block.min(k)));
        LhsBlocks { blocks, layout: self.layout }
    }

    /// Memory for `len` values of rows that [`Cpu::pack_lhs`] is to lay out, to be given back.
    pub(crate) fn take_floats(&mut self, len: usize) -> Buffer {
        if self.floats.len() < len {
            self.floats = Buffer::zeroed(len);
        }
        std::mem::replace(&mut self.floats, Buffer::zeroed(0))
    }

    /// Takes that memory back.
    pub(crate) fn give_floats(&mut self, floats: Buffer) {
        self.floats = floats;
    }

    /// Panics unless it is laid out for the register tile of `isa` and weights in `storage`.
    pub(crate) fn check_layout(&self, isa: Isa, storage: Storage) {
        assert_eq!(
            self.layout,
            Layout::of(isa, storage),
            "a left operand is laid out for another instruction set or storage"
        );
    }

    /// Panics unless it is laid out for the register tile of `isa`.
    pub(crate) fn check_isa(&self, isa: Isa) {
        let layout = Layout::with(isa, self.layout.scheme);
        assert_eq!(self.layout, layout, "a left operand is laid out for another instruction set");
    }

    /// Rows of a tile.
    #[inline(always)]
    pub fn mr(&self) -> usize {
        self.layout.mr
    }

    /// 32-bit values of a tile.
    #[inline(always)]
    pub(crate) fn tile_len(&self) -> usize {
        self.layout.len(self.k)
    }

    /// Tile `t`.
    #[inline(always)]
    pub(crate) fn tile(&self, t: usize) -> &[f32] {
        &self.tiles(t)[..self.tile_len()]
    }

    /// Tile `t` and those after it.
    #[inline(always)]
    pub(crate) fn tiles(&self, t: usize) -> &[f32] {
        &self.data[t * self.tile_len()..]
    }
}

/// A left operand that is being written, cut into blocks of whole tiles, each of which one task may take.
pub(crate) struct LhsBlocks<'a> {
    blocks: Blocks<'a>,
    layout: Layout,
}

impl LhsBlocks<'_> {
    /// Block `i` of the rows, `j` of the depth. Panics when it was taken before or is not there.
    #[inline(always)]
    pub(crate) fn take(&self, i: usize, j: usize) -> LhsBlock<'_> {
        LhsBlock { block: self.blocks.take(i, j), layout: self.layout }
    }

    /// Rows of a tile.
    #[inline(always)]
    pub(crate) fn mr(&self) -> usize {
        self.layout.mr
    }
}

/// One block: exclusive access to its depth steps of its tiles.
pub(crate) struct LhsBlock<'a> {
    block: Block<'a>,
    layout: Layout,
}

impl LhsBlock<'_> {
    /// Tile `t` of this block, which is of floats: `[depth step][MR]`.
    #[inline(always)]
    pub(crate) fn tile_mut(&mut self, t: usize) -> &mut [f32] {
        debug_assert!(self.layout.scheme.is_none(), "integers are packed");
        self.block.row_mut(t)
    }

    /// Fills it with `rows`, of whose `stride` columns the first `k` count.
    #[inline(always)]
    pub(crate) fn pack<S: Simd>(&mut self, s: S, rows: &[f32], stride: usize, k: usize) {
        s.vectorize(PackBlock { to: self, rows, stride, k });
    }
}

/// [`LhsBlock::pack`], which all kernels share.
struct PackBlock<'a, 'b> {
    to: &'a mut LhsBlock<'b>,
    rows: &'a [f32],
    stride: usize,
    k: usize,
}

impl<S: Simd> Routine<S> for PackBlock<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run(self, s: S) {
        let Self { to, rows, stride, k } = self;
        let Layout { mr, scheme } = to.layout;
        for (t, rows) in rows.chunks(mr * stride).enumerate() {
            let tile = to.block.row_mut(t);
            match scheme {
                None => transpose(s, rows, stride, k, rows.len() / stride, tile, mr),
                Some(scheme) => scheme.pack(s, rows, stride, k, tile, Side::left(mr)),
            }
        }
    }
}

impl Cpu {
    /// Lays `x` (m, k), row-major, out as a left operand as it is.
    pub fn pack_lhs(&self, x: &[f32], k: usize, out: &mut Lhs) {
        assert!(k > 0 && x.len().is_multiple_of(k) || x.is_empty(), "the activations are no whole rows of {k}");
        let rows = x.len() / k.max(1);
        let tile = out.mr();
        out.check_isa(self.isa());
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
        let mr = self.out.mr();
        let x = &self.x[t * mr * self.k..];
        self.out.take(t, 0).pack(s, &x[..x.len().min(mr * self.k)], self.k, self.k);
    }
}
