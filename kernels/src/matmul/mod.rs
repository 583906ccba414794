//! `C = A * W^T` in f32: blocking, the split of the work, and what happens to a block of `C` before it leaves cache.
//!
//! A task is a block of rows times a group of panels. Within it the depth goes in blocks of `KC`; for each, every
//! panel of the group meets every row tile while that stretch of the panel is in cache. The block of `C` stands in
//! the worker's scratch memory until the depth is done, then the [`Epilogue`] takes it to its place. Weights that stand in
//! fewer bytes than the tile multiplies are widened: a stretch of a panel at a time, for all row tiles of the task, or, for
//! few rows ([`crate::tile::bf16::Bf16Tile`]), in the tile's loads.
//!
//! Numerics: an element is a sum of per-`KC`-block chains (see [`crate::tile`]), added in order. Blocks of the depth depend
//! on the ISA and `k` alone, so an element does not depend on other rows, on the row's place, or on threads.
//! Error: at most `(KC + k / KC) * eps * sum |a * w|`, eps = 2^-24; typically the square root of that factor.
//! Source: Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication"; Van Zee, "BLIS".

mod integer;
pub mod lhs;
mod quantize;
pub mod storage;
pub mod transpose;
pub mod weights;

use crate::buffer::values;
use crate::cpu::Cpu;
use crate::dispatch::Arch;
use crate::pool::{Blocks, Job};
use crate::tile::bf16::{Bf16, widen};
use crate::tile::float32::F32;
use crate::tile::{FEW_ROWS, LINE, NR, Tile, TileArgs, Write, tile};
use crate::{activation, lanes};
use integer::MultiplyIntegers;
use lhs::{Lhs, LhsBlocks};
use std::ops::Range;
use storage::Storage;
use weights::Weights;

/// Rows of a task: a multiple of every ISA's MR, and at AVX-512's KC of 384 a block of A of 288 KiB, which fits an L2 of
/// 512 KiB. At AVX2's 1024 it is 768 KiB and does not; 96 and 384 rows were no faster there.
const MC: usize = 192;

/// Panels of a task at most: each reads the block of A again, from L2. 4, 8, 16 panels: 83 %, 87 %, 91 % of the peak
/// with AVX2 at 2048 rows.
const GROUP: usize = 16;

/// Values between two rows of a block of `C`, a line: rows of 16 panels alone are 2 KiB, so that those of a tile share a few
/// sets of the first-level cache. The 8-bit product of 256 rows is 1 % faster with it on Zen 4.
const GAP: usize = 16;

impl Cpu {
    /// `out[i][j] = sum_p lhs[i][p] * weights[j][p]`.
    ///
    /// Shapes: `lhs` (m, k), `weights` (n, k), `out` (m, n) row-major, not aliased. Cost: `2 m n k` FLOP.
    pub fn matmul(&self, lhs: &Lhs, weights: &Weights, out: &mut [f32]) {
        self.matmul_columns(lhs, weights, 0..weights.n(), out);
    }

    /// Some columns of [`Cpu::matmul`], to the same bits: `out` is (m, columns). The first is a multiple of [`NR`], the
    /// last one's successor too, unless it is `n`.
    pub fn matmul_columns(&self, lhs: &Lhs, weights: &Weights, columns: Range<usize>, out: &mut [f32]) {
        assert!(columns.end <= weights.n() && columns.start.is_multiple_of(NR), "columns {columns:?} split a panel");
        assert!(columns.end == weights.n() || columns.end.is_multiple_of(NR), "columns {columns:?} split a panel");
        let plan = self.plan(lhs, weights, columns.start / NR..columns.end.div_ceil(NR), 1);
        let out = plan.row_major(out, lhs.rows(), columns.len());
        self.multiply(plan, lhs, weights, Epilogue::Store(out));
    }

    /// `out[i][j] += sum_p lhs[i][p] * weights[j][p]`: a projection onto the residual stream.
    ///
    /// Shapes, aliasing and cost as [`Cpu::matmul`].
    pub fn matmul_add(&self, lhs: &Lhs, weights: &Weights, out: &mut [f32]) {
        let plan = self.plan(lhs, weights, 0..weights.panels(), 1);
        let out = plan.row_major(out, lhs.rows(), weights.n());
        self.multiply(plan, lhs, weights, Epilogue::Accumulate(out));
    }

    /// `out[i][j] = silu(gate[i][j]) * up[i][j]`, where `gate` and `up` are the two products of `lhs` with `weights`
    /// packed by [`Weights::pack_gated`].
    ///
    /// Shapes: `lhs` (m, k), `weights` 2 x (f, k), `out` (m, f) as a left operand with `f` rounded up to whole
    /// panels, the surplus columns being zeros. Cost: `4 m f k` FLOP.
    pub fn matmul_silu_mul(&self, lhs: &Lhs, weights: &Weights, out: &mut Lhs) {
        assert!(weights.panels().is_multiple_of(2), "gate and up come in pairs of panels");
        // A task makes whole blocks of the output's integers, whose scales must not depend on how the work is cut.
        let multiple = out.scheme().map_or(2, |scheme| 2 * scheme.block / NR);
        let plan = self.plan(lhs, weights, 0..weights.panels(), multiple);
        let out = out.blocks(lhs.rows(), weights.n() / 2, plan.rows, plan.group / 2 * NR);
        self.multiply(plan, lhs, weights, Epilogue::SiluMul(out));
    }

    fn plan(&self, lhs: &Lhs, weights: &Weights, panels: Range<usize>, multiple: usize) -> Plan {
        lhs.check_layout(self.isa(), weights.storage());
        assert_eq!(lhs.k(), weights.k(), "the operands' depths differ");
        let group = group(lhs.rows(), panels.len(), multiple, self.threads());
        Plan { panels, rows: MC, group }
    }

    fn multiply(&self, plan: Plan, lhs: &Lhs, weights: &Weights, epilogue: Epilogue) {
        let row_blocks = lhs.rows().div_ceil(plan.rows);
        let tasks = row_blocks * plan.panels.len().div_ceil(plan.group);
        let block = plan.rows.min(lhs.rows()) * (plan.group * NR + GAP);
        let multiply = Multiply { lhs, weights, epilogue, plan, row_blocks };
        match (weights.storage(), lhs.scheme()) {
            (_, Some(scheme)) => {
                let widened = integer::widened(scheme, weights);
                self.run(tasks, block + widened, &MultiplyIntegers { multiply, scheme });
            }
            (Storage::Bf16, None) if lhs.rows() > self.isa().widening_rows() => {
                let widened = self.isa().kc().min(lhs.k()) * NR;
                self.run(tasks, block + widened, &multiply);
            }
            (_, None) => self.run(tasks, block, &multiply),
        }
    }
}

/// Panels of a task, a multiple of `multiple`. Few rows make few blocks of rows: narrower groups keep every thread
/// busy, four tasks each.
fn group(rows: usize, panels: usize, multiple: usize, threads: usize) -> usize {
    let wanted = (4 * threads).div_ceil(rows.div_ceil(MC).max(1));
    (panels / wanted).clamp(1, GROUP).next_multiple_of(multiple)
}

/// Which panels of the weights meet the left operand, in tasks of `rows` by `group` panels.
struct Plan {
    panels: Range<usize>,
    rows: usize,
    group: usize,
}

impl Plan {
    fn row_major<'a>(&self, out: &'a mut [f32], m: usize, n: usize) -> Blocks<'a> {
        assert_eq!(out.len(), m * n, "the output is not {m} x {n}");
        Blocks::new(out, m, n, self.rows, self.group * NR)
    }
}

/// What becomes of a finished block of `C`. One kind of task for all of them, which is compiled for every instruction set.
enum Epilogue<'a> {
    /// It is the output's.
    Store(Blocks<'a>),
    /// It is added to the output's.
    Accumulate(Blocks<'a>),
    /// Pairs of panels, gate then up, become `silu(gate) * up`.
    SiluMul(LhsBlocks<'a>),
}

impl Epilogue<'_> {
    /// Asks for a tile's part of block (`i`, `j`) of the output, some rows of the panel at `column`. A block is written at once
    /// when it is done; while it is computed the memory has little to do. A left operand is less, and made from values in cache.
    #[inline(always)]
    fn fetch<S: Arch>(&self, s: S, i: usize, j: usize, rows: Range<usize>, column: usize) {
        if let Self::Store(out) | Self::Accumulate(out) = self {
            for row in rows {
                for column in (column..column + NR).step_by(LINE / size_of::<f32>()) {
                    s.prefetch_l2(out.place(i, j, row, column).cast());
                }
            }
        }
    }

    /// Takes block (`i`, `j`) of the output to its place; rows of `c` are `stride` values apart, and [`GAP`] shorter.
    #[inline(always)]
    fn finish<S: Arch>(&self, s: S, i: usize, j: usize, c: &mut [f32], stride: usize) {
        match self {
            Self::Store(out) => {
                let mut block = out.take(i, j);
                for (r, c) in c.chunks_exact(stride).enumerate() {
                    let out = block.row_mut(r);
                    out.copy_from_slice(&c[..out.len()]);
                }
            }
            Self::Accumulate(out) => {
                let mut block = out.take(i, j);
                for (r, c) in c.chunks_exact(stride).enumerate() {
                    let out = block.row_mut(r);
                    lanes::add_assign(s, out, &c[..out.len()]);
                }
            }
            Self::SiluMul(out) => {
                let half = (stride - GAP) / 2;
                for c in c.chunks_exact_mut(stride) {
                    // Pair p's product moves to the front half, which pair p has left.
                    for pair in 0..half / NR {
                        let mut product = [0.0; NR];
                        let (gate, up) = c[2 * pair * NR..][..2 * NR].split_at(NR);
                        activation::silu_mul(s, gate, up, &mut product);
                        c[pair * NR..][..NR].copy_from_slice(&product);
                    }
                }
                out.take(i, j).pack(s, c, stride, half);
            }
        }
    }
}

struct Multiply<'a> {
    lhs: &'a Lhs,
    weights: &'a Weights,
    epilogue: Epilogue<'a>,
    plan: Plan,
    row_blocks: usize,
}

impl Multiply<'_> {
    /// Which block of the rows and which group of the panels a task has, and what they are.
    #[inline(always)]
    fn task(&self, task: usize) -> (usize, usize, Range<usize>, Range<usize>) {
        // Neighbouring tasks share panels and differ in rows, so that threads read a weight from memory once.
        let (i, j) = (task % self.row_blocks, task / self.row_blocks);
        let rows = i * self.plan.rows..self.lhs.rows().min((i + 1) * self.plan.rows);
        let first = self.plan.panels.start + j * self.plan.group;
        (i, j, rows, first..self.plan.panels.end.min(first + self.plan.group))
    }
}

/// What the tiles of a stretch of panels multiply by.
enum Right<'a> {
    /// f32, and the distance between panels.
    F32(&'a [f32], usize),
    /// bfloat16, and the distance between panels.
    Bf16(&'a [u16], usize),
}

impl Job for Multiply<'_> {
    #[inline(always)]
    fn run<S: Arch>(&self, s: S, task: usize, scratch: &mut [f32]) {
        let (mr, kc) = (<S as Tile<F32>>::MR, <S as Tile<F32>>::KC);
        let (i, j, rows, panels) = self.task(task);
        let stride = panels.len() * NR + GAP;
        let (c, widened) = scratch.split_at_mut(rows.len() * stride);
        let k = self.lhs.k();
        if k == 0 {
            c.fill(0.0);
        }
        for p in (0..k).step_by(kc) {
            let depth = kc.min(k - p);
            let write = if p == 0 { Write::Set } else { Write::Add };
            // Panel by panel, so that a panel stays in cache; few rows, which take several at a time, all at once.
            let few = rows.len() <= FEW_ROWS;
            let count = if few { panels.len() } else { 1 };
            for panel in panels.clone().step_by(count) {
                let b = match self.weights.storage() {
                    Storage::F32 => Right::F32(self.weights.values_from(panel, p), k * NR),
                    Storage::Bf16 if rows.len() <= S::WIDENING_ROWS => {
                        Right::Bf16(self.weights.values_from(panel, p), k * NR)
                    }
                    Storage::I16 | Storage::I8 => unreachable!("integers are multiplied by `MultiplyIntegers`"),
                    Storage::Bf16 => {
                        let widened = &mut widened[..depth * NR];
                        widen(s, values(self.weights.stretch(panel, p, depth)), widened);
                        Right::F32(widened, depth * NR)
                    }
                };
                // What comes after this panel is fetched meanwhile, a part of it during each row tile.
                let next = match panel + count {
                    next if next < panels.end => self.weights.stretch(next, p, depth),
                    _ if p + depth < k => self.weights.stretch(panels.start, p + depth, kc.min(k - p - depth)),
                    _ => &[],
                };
                let mut ahead = next.chunks(next.len().div_ceil(rows.len().div_ceil(mr)).max(1));
                for row in rows.clone().step_by(mr) {
                    let a = &self.lhs.tile(row / mr)[p * mr..][..depth * mr];
                    let c = &mut c[(row - rows.start) * stride + (panel - panels.start) * NR..];
                    let (start, rows, ahead) =
                        (row - rows.start, mr.min(rows.end - row), ahead.next().unwrap_or_default());
                    if p + depth == k && !few {
                        self.epilogue.fetch(s, i, j, start..start + rows, (panel - panels.start) * NR);
                    }
                    let (panels, c_stride) = (count, stride);
                    match b {
                        Right::F32(b, b_stride) => {
                            tile(s, TileArgs::<F32> { rows, depth, a, b, panels, b_stride, c, c_stride, write, ahead })
                        }
                        Right::Bf16(b, b_stride) => {
                            tile(s, TileArgs::<Bf16> { rows, depth, a, b, panels, b_stride, c, c_stride, write, ahead })
                        }
                    }
                }
            }
        }
        self.epilogue.finish(s, i, j, c, stride);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Share of the threads' time that is spent on tasks when each takes the next one as it finishes its last, tasks
    /// taking time by their rows and panels.
    fn balance(rows: usize, panels: usize, multiple: usize, threads: usize) -> f64 {
        let group = group(rows, panels, multiple, threads);
        let (mut busy, mut total) = (vec![0; threads], 0);
        for j in 0..panels.div_ceil(group) {
            for i in 0..rows.div_ceil(MC) {
                let task = MC.min(rows - i * MC) * group.min(panels - j * group);
                let next = (0..threads).min_by_key(|&thread| busy[thread]).expect("there are threads");
                busy[next] += task;
                total += task;
            }
        }
        total as f64 / (threads * busy.iter().max().expect("there are threads")) as f64
    }

    #[test]
    fn a_chunk_keeps_up_to_64_threads_busy() {
        // The products of the 0.6B shape on a chunk: q, k and v; output and down; gate and up.
        for (columns, multiple) in [(4096, 1), (1024, 1), (6144, 2)] {
            for threads in [1, 2, 4, 6, 8, 10, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64] {
                let busy = balance(768, columns / NR, multiple, threads);
                println!("{columns} columns, {threads} threads: {:.0} %", 100.0 * busy);
                assert!(busy > 0.75, "{columns} columns on {threads} threads: {:.0} % busy", 100.0 * busy);
            }
        }
    }

    #[test]
    fn one_row_reaches_every_thread_that_it_has_panels_for() {
        for threads in [1, 2, 4, 8, 16, 32, 64] {
            assert!(balance(1, 4096 / NR, 1, threads) > 0.99, "{threads} threads");
        }
    }
}
