//! Operand layouts: [`Weights`] in panels of [`NR`] columns, packed once; [`Lhs`] in tiles of `MR` rows, written by
//! the kernel that makes the activations.

use super::tile::NR;
use crate::buffer::{Buffer, Floats, MappedFile};
use crate::cpu::Cpu;
use crate::isa::{Isa, Simd};
use crate::pool::{Blocks, Job};
use std::sync::Arc;

/// A weight matrix of `n` outputs and depth `k`, packed: panel after panel, each `k` rows of [`NR`] columns.
/// Columns past `n` are zeros.
pub struct Weights {
    data: Floats,
    k: usize,
    n: usize,
}

impl Weights {
    /// Changes whenever [`Weights::as_bytes`] gives other bytes for the same weights: whoever keeps them in a file writes
    /// it beside them, and packs anew where it differs.
    pub const LAYOUT: u64 = 3;

    /// Packs `n` rows of `k` values; `read(row, out)` fills `out` (length `k`) with one row, in any order and from
    /// several threads.
    pub fn pack(cpu: &Cpu, k: usize, n: usize, read: impl Fn(usize, &mut [f32]) + Sync) -> Self {
        let panels = n.div_ceil(NR);
        let mut data = Buffer::zeroed(size(&[panels, k, NR]));
        if k > 0 {
            let out = Blocks::new(&mut data, panels, k * NR, 1, k * NR);
            cpu.run(panels, NR * k, &PackPanels { k, n, read, out });
        }
        Self { data: Floats::Owned(data), k, n }
    }

    /// What [`Weights::as_bytes`] gave, from byte `start` of `file` on.
    ///
    /// # Panics
    /// When they do not lie within the file at a multiple of 64 bytes.
    pub fn mapped(file: &Arc<MappedFile>, start: usize, k: usize, n: usize) -> Self {
        Self { data: Floats::mapped(file, start, size(&[n.div_ceil(NR), k, NR])), k, n }
    }

    /// Bytes of `n` outputs of depth `k`, packed.
    pub fn packed_bytes(k: usize, n: usize) -> usize {
        size(&[n.div_ceil(NR), k, NR, size_of::<f32>()])
    }

    /// The packed values, the same for every instruction set, in the machine's byte order.
    pub fn as_bytes(&self) -> &[u8] {
        self.data.as_bytes()
    }

    /// Packs two matrices of `n` rows side by side for [`Cpu::matmul_silu_mul`]: panel `2j` from `gate`, panel
    /// `2j + 1` from `up`. The result counts `2 * n` outputs, rounded up to whole panels on both sides.
    pub fn pack_gated(
        cpu: &Cpu,
        k: usize,
        n: usize,
        gate: impl Fn(usize, &mut [f32]) + Sync,
        up: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Self {
        Self::pack(cpu, k, 2 * n.next_multiple_of(NR), |column, out| {
            let (panel, row) = (column / NR, column / (2 * NR) * NR + column % NR);
            match (row < n, panel % 2) {
                (false, _) => out.fill(0.0),
                (true, 0) => gate(row, out),
                (true, _) => up(row, out),
            }
        })
    }

    /// Depth.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Outputs.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.data.len() * size_of::<f32>()
    }

    pub(super) fn panels(&self) -> usize {
        self.n.div_ceil(NR)
    }

    /// Depth steps `p` to `p + depth` of panel `panel`.
    #[inline(always)]
    pub(super) fn stretch(&self, panel: usize, p: usize, depth: usize) -> &[f32] {
        &self.data[(panel * self.k + p) * NR..][..depth * NR]
    }

    #[inline(always)]
    pub(super) fn panels_from(&self, p: usize) -> &[f32] {
        &self.data[p * self.k * NR..]
    }
}

/// Task p makes panel p: [`NR`] rows side by side, transposed.
struct PackPanels<'a, F> {
    k: usize,
    n: usize,
    read: F,
    out: Blocks<'a>,
}

impl<F: Fn(usize, &mut [f32]) + Sync> Job for PackPanels<'_, F> {
    #[inline(always)]
    fn run<S: Simd>(&self, s: S, p: usize, rows: &mut [f32]) {
        let columns = NR.min(self.n - p * NR);
        for (i, row) in rows.chunks_exact_mut(self.k).take(columns).enumerate() {
            (self.read)(p * NR + i, row);
        }
        let mut block = self.out.take(p, 0);
        transpose(s, rows, self.k, self.k, columns, block.row_mut(0), NR);
    }
}

/// `out[p * width + i] = rows[i * stride + p]` for `i < count`, `p < k`: rows side by side, depth step after step.
#[inline(always)]
pub(crate) fn transpose<S: Simd>(
    s: S,
    rows: &[f32],
    stride: usize,
    k: usize,
    count: usize,
    out: &mut [f32],
    width: usize,
) {
    // Sixteen depth steps at a time: a row's cache line is read while it is hot, and writes stay within a few lines.
    const STEPS: usize = 16;
    let whole = if count < 4 { 0 } else { k / 4 * 4 };
    for p in (0..whole).step_by(STEPS) {
        for i in (0..count).step_by(4) {
            // The last four rows, some of them for the second time, where four do not divide their number.
            let i = i.min(count - 4);
            for p in (p..whole.min(p + STEPS)).step_by(4) {
                s.transpose_4x4(&rows[i * stride + p..], stride, &mut out[p * width + i..], width);
            }
        }
    }
    for p in whole..k {
        for i in 0..count {
            out[p * width + i] = rows[i * stride + p];
        }
    }
}

/// The product of `factors`; panics where it overflows.
pub(crate) fn size(factors: &[usize]) -> usize {
    factors.iter().try_fold(1_usize, |size, &factor| size.checked_mul(factor)).expect("a size overflows usize")
}

/// The left operand of a product: `rows` by `k` activations in tiles of `MR` rows, each `k` steps of `MR` values.
/// Rows past the last are never read.
pub struct Lhs {
    data: Buffer,
    mr: usize,
    rows: usize,
    k: usize,
}

impl Lhs {
    /// Room for `rows` by `k`, laid out for the register tile of `isa`.
    pub fn new(isa: Isa, rows: usize, k: usize) -> Self {
        let mr = isa.mr();
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
    /// `k_block` depth steps each. A block's rows are the tiles, [`Block::row_mut`](crate::pool::Block::row_mut)
    /// being that tile's `[depth step][MR]`.
    pub(crate) fn blocks(&mut self, rows: usize, k: usize, row_block: usize, k_block: usize) -> Blocks<'_> {
        let tiles = rows.div_ceil(self.mr);
        assert!(row_block.is_multiple_of(self.mr), "blocks of {row_block} rows split a tile of {}", self.mr);
        assert!(size(&[tiles, self.mr, k]) <= self.data.len(), "{rows} x {k} activations do not fit the buffer");
        (self.rows, self.k) = (rows, k);
        Blocks::new(&mut self.data, tiles, k * self.mr, row_block / self.mr, k_block * self.mr)
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
