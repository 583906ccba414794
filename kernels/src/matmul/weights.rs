//! The right operand of a product: [`Weights`] in panels of [`NR`] columns, packed once, in one layout for every
//! instruction set. Called by the model, which makes them or maps a file of them, and by [`super`], which reads them.

use super::transpose::transpose;
use crate::buffer::{Buffer, Floats, MappedFile, size};
use crate::cpu::Cpu;
use crate::dispatch::Arch;
use crate::pool::{Blocks, Job};
use crate::tile::NR;
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
    fn run<S: Arch>(&self, s: S, p: usize, rows: &mut [f32]) {
        let columns = NR.min(self.n - p * NR);
        for (i, row) in rows.chunks_exact_mut(self.k).take(columns).enumerate() {
            (self.read)(p * NR + i, row);
        }
        let mut block = self.out.take(p, 0);
        transpose(s, rows, self.k, self.k, columns, block.row_mut(0), NR);
    }
}
