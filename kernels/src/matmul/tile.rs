//! The register tile: up to `MR` rows times one panel of [`NR`] columns, accumulated over the depth in registers.
//!
//! Invariant: every output element is one chain of `mul_add` over the depth, in order, starting from zero. The chain
//! does not depend on how many rows the tile has, so a row's result is the same bits in a full and in a tail tile.
//! Called by [`crate::matmul`] (weights as panels) and [`crate::attention`] (keys, queries, probabilities, values).

use crate::buffer::size;
use crate::isa::Simd;
use std::ops::Range;

/// Columns of a panel: 2 registers of AVX-512, 4 of AVX, 8 of SSE2 or NEON. One weight layout serves every ISA.
pub const NR: usize = 32;

/// Steps of the depth to a turn of the loop, whose own instructions are a tenth of a small tile's.
pub const TURN: usize = 4;

/// Floats of a cache line.
pub const LINE: usize = 16;

/// Turns before a tile's end at which its output is fetched into L1.
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

/// How far a tile has come in its operands: what [`Simd::turns`] reads, and moves on.
pub struct Cursor {
    /// Left operand: `MR` values a step.
    pub a: *const f32,
    /// Right operand: [`NR`] values a step.
    pub b: *const f32,
    /// Distance between its panels.
    pub b_stride: usize,
    /// What is to be fetched into L2. Asking for a line is harmless wherever it lies, so the last turns need not stop at
    /// its end.
    pub ahead: *const f32,
    /// How many lines of that a turn.
    pub lines: usize,
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
    let turns = args.depth / TURN;
    let all_turns = (turns * (columns.len() / (NV * S::LANES))).max(1);
    let mut at = Cursor {
        a: args.a.as_ptr(),
        b: args.b.as_ptr(),
        b_stride: args.b_stride,
        ahead: args.ahead.as_ptr(),
        lines: args.ahead.len().div_ceil(LINE * all_turns),
    };
    for strip in columns.step_by(NV * S::LANES) {
        let mut acc = [[s.splat(0.0); NV]; R];
        at.a = args.a.as_ptr();
        at.b = args.b.as_ptr().wrapping_add(strip / NR * args.b_stride + strip % NR);
        // The output is asked for a few turns before it is needed: at the start, the operands streaming through L1
        // would push it out again.
        let last = turns.min(OUTPUT_AHEAD);
        for (turns, fetch_output) in [(turns - last, true), (last, false)] {
            // SAFETY: `turns * TURN` steps lie within `depth`: the caller's promise covers what they read.
            unsafe { s.turns(&mut at, turns, &mut acc) };
            for i in 0..if fetch_output { R } else { 0 } {
                for j in (0..NV * S::LANES).step_by(LINE) {
                    s.prefetch(args.c.as_ptr().wrapping_add(i * args.c_stride + strip + j));
                }
            }
        }
        for _ in 0..args.depth % TURN {
            // SAFETY: as above.
            unsafe { step(s, &mut at, &mut acc) };
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

/// [`Simd::turns`] as the compiler makes it.
///
/// # Safety
/// As [`Simd::turns`].
#[inline(always)]
pub(crate) unsafe fn turns<S: Simd, const R: usize, const NV: usize>(
    s: S,
    at: &mut Cursor,
    turns: usize,
    acc: &mut [[S::V; NV]; R],
) {
    for _ in 0..turns {
        for _ in 0..at.lines {
            s.prefetch_l2(at.ahead);
            at.ahead = at.ahead.wrapping_add(LINE);
        }
        for _ in 0..TURN {
            // SAFETY: the caller's promise.
            unsafe { step(s, at, acc) };
        }
    }
}

/// One step of the depth: `acc[i][j] += a[i] * b[j]`. A function and not a closure: closures do not inherit the
/// target features and stay calls.
///
/// # Safety
/// `a` is readable for `R` values and `b` for `NV * LANES`, past `NR` of them those of the next panel.
#[inline(always)]
unsafe fn step<S: Simd, const R: usize, const NV: usize>(s: S, at: &mut Cursor, acc: &mut [[S::V; NV]; R]) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut columns = [s.splat(0.0); NV];
        for (j, column) in columns.iter_mut().enumerate() {
            *column = s.load_ptr(at.b.add(j * S::LANES / NR * at.b_stride + j * S::LANES % NR));
        }
        s.outer_product(at.a, columns, acc);
    }
    at.a = at.a.wrapping_add(S::MR);
    at.b = at.b.wrapping_add(NR);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Buffer;
    use crate::isa::{Isa, Kernel};

    /// Every row of a full tile against tiles of fewer rows, whose loops are others.
    struct Rows {
        depth: usize,
        /// Floats by which the right operand misses a cache line.
        shift: usize,
    }

    impl Kernel for Rows {
        type Output = ();

        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            let Self { depth, shift } = self;
            let value = |i: usize| ((i * 7919) % 2001) as f32 / 1000.0 - 1.0;
            let a: Vec<f32> = (0..depth * S::MR).map(value).collect();
            let mut b = Buffer::zeroed(shift + depth * NR);
            b.iter_mut().enumerate().for_each(|(i, b)| *b = value(i + 1));
            let b = &b[shift..];
            let run = |rows: usize, a: &[f32], ahead: &[f32]| {
                let mut c = vec![0.5; rows * NR];
                let (panels, b_stride, c_stride, write) = (1, 0, NR, Write::Add);
                tile(s, TileArgs { rows, depth, a, b, panels, b_stride, c: &mut c, c_stride, write, ahead });
                c
            };
            let full = run(S::MR, &a, &[]);
            assert_eq!(full, run(S::MR, &a, b), "what is fetched ahead changes nothing");
            for rows in 1..S::MR {
                assert_eq!(full[..rows * NR], run(rows, &a, &[]), "{rows} rows, depth {depth}, shift {shift}");
            }
            for (i, row) in full.chunks(NR).enumerate() {
                assert_eq!(row, run(1, &a[i..], &[]), "row {i}, depth {depth}, shift {shift}");
                for (j, &sum) in row.iter().enumerate() {
                    let products = (0..depth).map(|p| f64::from(a[p * S::MR + i]) * f64::from(b[p * NR + j]));
                    let want = 0.5 + products.sum::<f64>();
                    assert!((f64::from(sum) - want).abs() < 1e-5 * (1.0 + depth as f64), "row {i}: {sum} for {want}");
                }
            }
        }
    }

    #[test]
    fn a_row_has_the_same_bits_in_a_full_tile_and_in_smaller_ones_wherever_the_panel_lies() {
        for isa in Isa::available() {
            for depth in [1, 3, 4, 5, 47, 48, 52, 259] {
                for shift in [0, 1, 4] {
                    println!("{isa:?}, depth {depth}, shift {shift}");
                    isa.dispatch(Rows { depth, shift });
                }
            }
        }
    }
}
