//! The right operand of a product: [`Weights`] in panels of [`NR`] columns, packed once, in one layout for every
//! instruction set. Called by the model, which makes them or maps a file of them, and by [`super`], which reads them.

use super::quantize::{Scheme, Side};
use super::storage::Storage;
use super::transpose::transpose;
use crate::buffer::{Buffer, Bytes, MappedFile, size, values, values_mut};
use crate::cpu::Cpu;
use crate::dispatch::Arch;
use crate::isa::Simd;
use crate::pool::{Blocks, Job};
use crate::tile::NR;
use std::sync::Arc;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A weight matrix of `n` outputs and depth `k`, packed: panel after panel, each `k` rows of [`NR`] columns, whose values
/// stand as its [`Storage`] says. Columns past `n` are zeros.
pub struct Weights {
    storage: Storage,
    data: Bytes,
    k: usize,
    n: usize,
}

impl Weights {
    /// Changes whenever [`Weights::as_bytes`] gives other bytes for the same weights in the same [`Storage`]: whoever keeps
    /// them in a file writes both beside them, and packs anew where one differs.
    pub const LAYOUT: u64 = 6;

    /// Packs `n` rows of `k` values; `read(row, out)` fills `out` (length `k`) with one row, in any order and from
    /// several threads.
    ///
    /// # Panics
    /// When a value is no bfloat16 and `storage` is: nothing is rounded but to integers.
    pub fn pack(cpu: &Cpu, storage: Storage, k: usize, n: usize, read: impl Fn(usize, &mut [f32]) + Sync) -> Self {
        Self::pack_rows(cpu, storage, k, n, &read)
    }

    /// [`Weights::pack`], compiled once and not for every `read`.
    fn pack_rows(cpu: &Cpu, storage: Storage, k: usize, n: usize, read: ReadRow) -> Self {
        let panels = n.div_ceil(NR);
        let mut data = Buffer::zeroed(Self::packed_bytes(storage, k, n) / size_of::<f32>());
        if k > 0 {
            let panel = storage.panel_bytes(k);
            let out = Blocks::new(data.as_mut_bytes(), panels, panel, 1, panel);
            cpu.run(panels, NR * k, &PackPanels { storage, k, n, read, out });
        }
        Self { storage, data: Bytes::Owned(data), k, n }
    }

    /// What [`Weights::as_bytes`] gave, from byte `start` of `file` on.
    ///
    /// # Panics
    /// When they do not lie within the file at a multiple of 64 bytes.
    pub fn mapped(file: &Arc<MappedFile>, start: usize, storage: Storage, k: usize, n: usize) -> Self {
        Self { storage, data: Bytes::mapped(file, start, Self::packed_bytes(storage, k, n)), k, n }
    }

    /// Bytes of `n` outputs of depth `k`, packed.
    pub fn packed_bytes(storage: Storage, k: usize, n: usize) -> usize {
        size(&[n.div_ceil(NR), storage.panel_bytes(k)])
    }

    /// The packed values, the same for every instruction set, in the machine's byte order.
    pub fn as_bytes(&self) -> &[u8] {
        &self.data
    }

    /// Packs two matrices of `n` rows side by side for [`Cpu::matmul_silu_mul`]: panel `2j` from `gate`, panel
    /// `2j + 1` from `up`. The result counts `2 * n` outputs, rounded up to whole panels on both sides.
    ///
    /// # Panics
    /// As [`Weights::pack`].
    pub fn pack_gated(
        cpu: &Cpu,
        storage: Storage,
        k: usize,
        n: usize,
        gate: impl Fn(usize, &mut [f32]) + Sync,
        up: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Self {
        Self::pack(cpu, storage, k, 2 * n.next_multiple_of(NR), |column, out| {
            let (panel, row) = (column / NR, column / (2 * NR) * NR + column % NR);
            match (row < n, panel % 2) {
                (false, _) => out.fill(0.0),
                (true, 0) => gate(row, out),
                (true, _) => up(row, out),
            }
        })
    }

    /// How the values stand.
    pub fn storage(&self) -> Storage {
        self.storage
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
        self.data.len()
    }

    pub(super) fn panels(&self) -> usize {
        self.n.div_ceil(NR)
    }

    /// The bytes of depth steps `p` to `p + depth` of panel `panel`.
    #[inline(always)]
    pub(super) fn stretch(&self, panel: usize, p: usize, depth: usize) -> &[u8] {
        let start = panel * self.storage.panel_bytes(self.k) + self.storage.panel_bytes(p);
        &self.data[start..][..self.storage.panel_bytes(depth)]
    }

    /// The values, of the kind that the storage says, from depth step `p` of panel `panel` on.
    #[inline(always)]
    pub(super) fn values_from<T: FromBytes + Immutable>(&self, panel: usize, p: usize) -> &[T] {
        values(&self.data[panel * self.storage.panel_bytes(self.k) + self.storage.panel_bytes(p)..])
    }
}

/// Reads a row.
type ReadRow<'a> = &'a (dyn Fn(usize, &mut [f32]) + Sync);

/// Task p makes panel p: [`NR`] rows side by side, transposed.
struct PackPanels<'a> {
    storage: Storage,
    k: usize,
    n: usize,
    read: ReadRow<'a>,
    out: Blocks<'a, u8>,
}

impl Job for PackPanels<'_> {
    #[inline(always)]
    fn run<S: Arch>(&self, s: S, p: usize, rows: &mut [f32]) {
        let columns = NR.min(self.n - p * NR);
        for (i, row) in rows.chunks_exact_mut(self.k).take(columns).enumerate() {
            (self.read)(p * NR + i, row);
        }
        let mut block = self.out.take(p, 0);
        match self.storage {
            Storage::F32 => transpose(s, rows, self.k, self.k, columns, values_mut(block.row_mut(0)), NR),
            Storage::Bf16 => pack_bf16(s, &rows[..columns * self.k], self.k, p * NR, values_mut(block.row_mut(0))),
            Storage::I16 => pack_integers(s, Scheme::I16, &rows[..columns * self.k], self.k, false, block.row_mut(0)),
            Storage::I8 => pack_integers(s, Scheme::I8, &rows[..columns * self.k], self.k, true, block.row_mut(0)),
        }
    }
}

/// Lays rows of `k` values side by side as integers.
#[inline(always)]
fn pack_integers<S: Simd>(s: S, scheme: Scheme, rows: &[f32], k: usize, bytes: bool, out: &mut [u8]) {
    scheme.pack(s, rows, k, k, values_mut(out), Side::right(bytes));
}

/// Lays rows of `k` values, the first of which is the matrix's row `first`, side by side as bfloat16.
#[inline(always)]
fn pack_bf16<S: Simd>(s: S, rows: &[f32], k: usize, first: usize, out: &mut [u16]) {
    // Narrowed while it is in the first-level cache.
    const STEPS: usize = 64;
    let mut wide = [0.0_f32; STEPS * NR];
    for (turn, out) in out.chunks_mut(STEPS * NR).enumerate() {
        transpose(s, &rows[turn * STEPS..], k, out.len() / NR, rows.len() / k, &mut wide, NR);
        let mut lost = 0;
        for (half, x) in out.iter_mut().zip(&wide) {
            lost |= x.to_bits() & 0xFFFF;
            *half = (x.to_bits() >> 16) as u16;
        }
        if lost != 0 {
            let (at, x) = (wide.iter().enumerate()).find(|(_, x)| x.to_bits() & 0xFFFF != 0).expect("one lost digits");
            panic!("weight {x} of row {}, column {} is no bfloat16", first + at % NR, turn * STEPS + at / NR);
        }
    }
}
