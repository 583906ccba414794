//! The register tile: up to `MR` rows times one panel of [`NR`] columns, accumulated over the depth in registers.
//!
//! Invariant: every output element is one chain of `mul_add` over the depth, in order, starting from zero. The chain
//! does not depend on how many rows the tile has, so a row's result is the same bits in a full and in a tail tile.
//! Called by [`crate::matmul`] (weights as panels) and [`crate::attention`] (keys, queries, probabilities, values).

use super::pack::size;
use crate::isa::Simd;
use std::ops::Range;

/// Columns of a panel: 2 registers of AVX-512, 4 of AVX, 8 of SSE2 or NEON. One weight layout serves every ISA.
pub const NR: usize = 32;

/// Floats of a cache line.
const LINE: usize = 16;

/// Turns of four steps before a tile's end at which its output is fetched into L1.
const OUTPUT_AHEAD: usize = 12;

/// What a tile does with what stood in the output.
#[derive(Clone, Copy)]
pub enum Write<'a> {
    /// `c = acc`.
    Set,
    /// `c = c + acc`: the next block of the depth.
    Add,
    /// `c = c * scale[column] + acc`: online softmax.
    ScaleAdd(&'a [f32; NR]),
}

/// `c[i][q * NR + j] (write)= sum_p a[p * MR + i] * b[q * b_stride + p * NR + j]` for `i < rows`, `q < panels`,
/// `j < NR`, `p < depth`.
pub struct TileArgs<'a> {
    /// Rows, 1 to `MR`.
    pub rows: usize,
    /// Depth.
    pub depth: usize,
    /// Left operand: `MR` values a depth step, of which the first `rows` are read.
    pub a: &'a [f32],
    /// Right operand: panels, each `depth` rows of [`NR`].
    pub b: &'a [f32],
    /// How many panels.
    pub panels: usize,
    /// Distance between panels in `b`.
    pub b_stride: usize,
    /// Output.
    pub c: &'a mut [f32],
    /// Distance between rows in `c`, at least `panels * NR`.
    pub c_stride: usize,
    /// How the output is written.
    pub write: Write<'a>,
    /// What is read after this tile, to be fetched from memory meanwhile; may be empty.
    pub ahead: &'a [f32],
}

/// Computes one tile after checking that the slices cover what the sizes say.
#[inline(always)]
pub fn tile<S: Simd>(s: S, mut args: TileArgs) {
    let TileArgs { rows, depth, panels, b_stride, c_stride, .. } = args;
    let columns = size(&[panels, NR]);
    assert!((1..=S::MR).contains(&rows) && panels >= 1 && c_stride >= columns);
    if depth > 0 {
        assert!(args.a.len() >= size(&[depth - 1, S::MR]).saturating_add(rows));
        assert!(args.b.len() >= size(&[panels - 1, b_stride]).saturating_add(size(&[depth, NR])));
    }
    assert!(args.c.len() >= size(&[rows - 1, c_stride]).saturating_add(columns));
    // SAFETY: the asserts above are the promise that `Simd::tile` asks for.
    unsafe { s.tile(&mut args) }
}

/// The tile of exactly `args.rows` rows, `NV` registers of columns at a time.
///
/// # Safety
/// As [`Simd::tile`].
#[inline(always)]
pub(crate) unsafe fn tile_rows<S: Simd, const NV: usize>(s: S, args: &mut TileArgs) {
    let columns = args.panels * NR;
    // A constant bound per ISA: the arms beyond its MR are not compiled. One or two rows alone are too few chains of
    // additions to hide an addition's latency: they take eight registers of columns at a time, across panels.
    macro_rules! rows {
        ($($r:literal by $wide:expr),*) => {
            match args.rows {
                $($r if $r <= S::MR => {
                    let wide = columns - columns % ($wide * S::LANES);
                    // SAFETY: the caller's promise.
                    unsafe {
                        fixed::<S, $r, { $wide }>(s, args, 0..wide);
                        fixed::<S, $r, NV>(s, args, wide..columns);
                    }
                })*
                rows => unreachable!("a tile of {rows} rows"),
            }
        };
    }
    rows!(1 by 8, 2 by 4, 3 by NV, 4 by NV, 5 by NV, 6 by NV, 7 by NV, 8 by NV, 9 by NV, 10 by NV, 11 by NV, 12 by NV)
}

/// A tile of `R` rows in strips of `NV` registers. A strip lies within a panel or covers whole ones.
///
/// # Safety
/// As [`Simd::tile`], with `args.rows == R`, and `columns` within its columns.
#[inline(always)]
unsafe fn fixed<S: Simd, const R: usize, const NV: usize>(s: S, args: &mut TileArgs, columns: Range<usize>) {
    // Asking for a line of `ahead` is harmless wherever it lies, so the last turns need not stop at its end.
    let turns = (args.depth / 4 * (columns.len() / (NV * S::LANES))).max(1);
    let mut ahead = args.ahead.as_ptr();
    let lines_a_turn = args.ahead.len().div_ceil(LINE * turns);
    for strip in columns.step_by(NV * S::LANES) {
        let mut acc = [[s.splat(0.0); NV]; R];
        let mut a = args.a.as_ptr();
        let mut b = args.b.as_ptr().wrapping_add(strip / NR * args.b_stride + strip % NR);
        // Four steps a turn: the loop's own instructions are a tenth of a small tile's. The output is asked for a few
        // turns before it is needed: at the start, the operands streaming through L1 would push it out again.
        let turns = args.depth / 4;
        let last = turns.min(OUTPUT_AHEAD);
        for (turns, fetch_output) in [(turns - last, true), (last, false)] {
            for _ in 0..turns {
                for _ in 0..lines_a_turn {
                    s.prefetch_l2(ahead);
                    ahead = ahead.wrapping_add(LINE);
                }
                for p in 0..4 {
                    // SAFETY: this step lies within `depth`: the caller's promise covers what it reads.
                    unsafe { step(s, a.wrapping_add(p * S::MR), b.wrapping_add(p * NR), args.b_stride, &mut acc) };
                }
                a = a.wrapping_add(4 * S::MR);
                b = b.wrapping_add(4 * NR);
            }
            for i in 0..if fetch_output { R } else { 0 } {
                for j in (0..NV * S::LANES).step_by(LINE) {
                    s.prefetch(args.c.as_ptr().wrapping_add(i * args.c_stride + strip + j));
                }
            }
        }
        for _ in 0..args.depth % 4 {
            // SAFETY: as above.
            unsafe { step(s, a, b, args.b_stride, &mut acc) };
            a = a.wrapping_add(S::MR);
            b = b.wrapping_add(NR);
        }
        let c = args.c.as_mut_ptr().wrapping_add(strip);
        for (i, row) in acc.into_iter().enumerate() {
            for (j, sum) in row.into_iter().enumerate() {
                // SAFETY: row `i < R`, columns below NR: the caller's promise covers them; `scale` has NR values.
                unsafe {
                    let out = c.add(i * args.c_stride + j * S::LANES);
                    let value = match args.write {
                        Write::Set => sum,
                        Write::Add => s.add(s.load_ptr(out), sum),
                        Write::ScaleAdd(scale) => {
                            let scale = s.load_ptr(scale.as_ptr().add((strip + j * S::LANES) % NR));
                            s.mul_add(s.load_ptr(out), scale, sum)
                        }
                    };
                    s.store_ptr(value, out);
                }
            }
        }
    }
}

/// One step of the depth: `acc[i][j] += a[i] * b[j]`. A function and not a closure: closures do not inherit the
/// target features and stay calls.
///
/// # Safety
/// `a` is readable for `R` values and `b` for `NV * LANES`, past `NR` of them those of the next panel.
#[inline(always)]
unsafe fn step<S: Simd, const R: usize, const NV: usize>(
    s: S,
    a: *const f32,
    b: *const f32,
    b_stride: usize,
    acc: &mut [[S::V; NV]; R],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut columns = [s.splat(0.0); NV];
        for (j, column) in columns.iter_mut().enumerate() {
            *column = s.load_ptr(b.add(j * S::LANES / NR * b_stride + j * S::LANES % NR));
        }
        s.outer_product(a, columns, acc);
    }
}
