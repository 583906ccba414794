//! The register tile: up to `MR` rows times panels of [`NR`] columns, accumulated over the depth in registers.
//!
//! What is multiplied is a [`Product`], which says a step of the depth in vector operations that every instruction set
//! has; sums are of f32. How an instruction set does it is its [`Tile`] of that product: the size of the tile and of a
//! block of the depth and, where the compiler's order of instructions costs, loops of its own (`x86`, `neon`).
//!
//! Invariant: every output element is one chain of steps over the depth, in order, starting from zero. The chain
//! does not depend on how many rows the tile has, so a row's result is the same bits in a full and in a tail tile.
//! Called by [`crate::matmul`] (weights as panels) and [`crate::attention`] (keys, queries, probabilities, values).

#[cfg(target_arch = "x86_64")]
pub mod amx;
pub mod bf16;
pub mod float32;
pub mod integer;
pub mod multiplier;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;
#[cfg(target_arch = "x86_64")]
mod x86_integer;

use crate::buffer::size;
use crate::isa::{Routine, Simd};
use std::ops::Range;

/// Columns of a panel: 2 registers of AVX-512, 4 of AVX, 8 of SSE2 or NEON. One weight layout serves every ISA.
pub const NR: usize = 32;

/// Rows that a tile may have: as many as [`tile_rows`] has arms.
const MOST_ROWS: usize = 12;

/// One or two rows alone are too few chains of additions to hide an addition's latency: their tiles take eight registers
/// of columns at a time, across panels.
pub const FEW_ROWS: usize = 2;

/// Steps of the depth to a turn of the loop, whose own instructions are a tenth of a small tile's.
const TURN: usize = 4;

/// Bytes of a cache line.
pub const LINE: usize = 64;

/// Turns before a tile's end at which its output is fetched into L1.
const OUTPUT_AHEAD: usize = 12;

/// What a tile multiplies: two kinds of values, whose products add up in vector registers.
pub trait Product: Copy {
    /// A value of the left operand.
    type Left: Copy;
    /// A value of the right operand.
    type Right: Copy;

    /// One step of the depth, in operations that every ISA has: `acc[i][j] += a[i] * b[j]`, where `a` are the `R` values
    /// at `at.a`, and `b[j]` the register of columns at `at.b + at.column(j)`, or one whose place among the others
    /// [`Product::in_order`] undoes.
    ///
    /// # Safety
    /// `R` values are readable at `at.a`, and `LANES` at each of the `C` columns.
    unsafe fn step<S: Simd, const R: usize, const C: usize>(s: S, at: &Cursor<Self>, acc: &mut [[S::V; C]; R]);

    /// The sums of a row in the order of their columns, where a step takes columns in another.
    #[inline(always)]
    fn in_order<S: Simd, const C: usize>(_: S, sums: [S::V; C]) -> [S::V; C] {
        sums
    }
}

/// The register tile of a product on an instruction set.
///
/// Methods are `inline(always)`, as those of [`Simd`] are.
pub trait Tile<P: Product>: Simd {
    /// Rows, at most [`MOST_ROWS`]: the row interleaving of the left operand.
    const MR: usize;
    /// Registers of columns, 2 or 4: `MR * NV` sums, the columns and a broadcast or two fill the registers.
    const NV: usize;
    /// Depth of a block of the product: this many rows of a panel stay in cache between row tiles.
    const KC: usize;

    /// [`Product::step`], by instructions of this ISA where it has better ones.
    ///
    /// # Safety
    /// `R` values are readable at `at.a`, and `LANES` at each of the `C` columns.
    #[inline(always)]
    unsafe fn step<const R: usize, const C: usize>(self, at: &Cursor<P>, acc: &mut [[Self::V; C]; R]) {
        // SAFETY: the caller promises the values that a step reads.
        unsafe { P::step(self, at, acc) }
    }

    /// `turns` turns of the tile's loop, [`TURN`] steps each, moving `at` on. An ISA writes its full tile out itself
    /// where the compiler's order of instructions costs.
    ///
    /// # Safety
    /// What [`Tile::step`] reads is readable at each of the steps.
    #[inline(always)]
    unsafe fn turns<const R: usize, const C: usize>(
        self,
        at: &mut Cursor<P>,
        turns: usize,
        acc: &mut [[Self::V; C]; R],
    ) {
        // SAFETY: the caller promises the values of so many steps.
        unsafe { self::turns(self, at, turns, acc) }
    }
}

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
pub struct TileArgs<'a, P: Product> {
    /// Rows, 1 to [`Tile::MR`].
    pub rows: usize,
    /// Depth.
    pub depth: usize,
    /// Left operand: `MR` values a depth step, of which the first `rows` are read.
    pub a: &'a [P::Left],
    /// Right operand: panels, each `depth` rows of [`NR`].
    pub b: &'a [P::Right],
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
    pub ahead: &'a [u8],
}

/// How far a tile has come in its operands: what [`Tile::turns`] reads, and moves on.
pub struct Cursor<P: Product> {
    /// Left operand: `MR` values a step.
    a: *const P::Left,
    /// Right operand: [`NR`] values a step.
    b: *const P::Right,
    /// Distance between its panels.
    b_stride: usize,
    /// What is to be fetched into L2. Asking for a line is harmless wherever it lies, so the last turns need not stop at
    /// its end.
    ahead: *const u8,
    /// Lines of that which fall to a turn. The compiler's loops ask for all of them, those in assembly for one at most.
    lines: usize,
}

impl<P: Product> Cursor<P> {
    /// Where register `j` of columns, of `lanes` values, stands from `b` on; past [`NR`] columns it is in the next panel.
    #[inline(always)]
    fn column(&self, j: usize, lanes: usize) -> usize {
        j * lanes / NR * self.b_stride + j * lanes % NR
    }
}

/// Computes one tile after checking that the slices cover what the sizes say.
#[inline(always)]
pub fn tile<P: Product, S: Tile<P>>(s: S, mut args: TileArgs<P>) {
    const { assert!(S::MR >= 1 && S::MR <= MOST_ROWS && (S::NV == 2 || S::NV == 4)) };
    let TileArgs { rows, depth, panels, b_stride, c_stride, .. } = args;
    let columns = size(&[panels, NR]);
    assert!((1..=S::MR).contains(&rows) && panels >= 1 && c_stride >= columns);
    if depth > 0 {
        assert!(args.a.len() >= size(&[depth - 1, S::MR]).saturating_add(rows));
        assert!(args.b.len() >= size(&[panels - 1, b_stride]).saturating_add(size(&[depth, NR])));
    }
    assert!(args.c.len() >= size(&[rows - 1, c_stride]).saturating_add(columns));
    // SAFETY: the asserts above are what `tile_rows` asks for.
    unsafe {
        match S::NV {
            2 => tile_rows::<P, S, 2>(s, &mut args),
            4 => tile_rows::<P, S, 4>(s, &mut args),
            _ => unreachable!("a tile of {} registers of columns", S::NV),
        }
    }
}

/// The tile of exactly `args.rows` rows, `NV` registers of columns at a time.
///
/// # Safety
/// `args.rows` is 1 to `MR`, and the slices of `args` cover what its sizes say: `a` so many rows and steps, `b` so many
/// panels and steps, `c` so many rows and columns.
#[inline(always)]
unsafe fn tile_rows<P: Product, S: Tile<P>, const NV: usize>(s: S, args: &mut TileArgs<P>) {
    let columns = args.panels * NR;
    // Constant bounds per ISA and product: the arms beyond them are not compiled.
    macro_rules! rows {
        ($($r:literal by $wide:expr),*) => {
            match args.rows {
                $($r if const { $r <= S::MR } => {
                    let wide = columns - columns % ($wide * S::LANES);
                    if wide > 0 {
                        // SAFETY: the caller promises what the slices cover; the range lies within the columns, and `r`
                        // is the number of rows.
                        s.vectorize(unsafe { Strips::<P, $r, { $wide }>::new(args, 0..wide) });
                    }
                    if wide < columns {
                        // SAFETY: as above.
                        s.vectorize(unsafe { Strips::<P, $r, NV>::new(args, wide..columns) });
                    }
                })*
                rows => unreachable!("a tile of {rows} rows"),
            }
        };
    }
    rows!(1 by 8, 2 by 4, 3 by NV, 4 by NV, 5 by NV, 6 by NV, 7 by NV, 8 by NV, 9 by NV, 10 by NV, 11 by NV, 12 by NV)
}

/// A tile of `R` rows in strips of `C` registers. A strip lies within a panel or covers whole ones.
///
/// Compiled apart ([`Simd::vectorize`]): with the tiles of all sizes within every kernel, this crate took four times as long
/// to build, and on x86 no kernel was faster for it.
///
/// Invariant: what [`Strips::new`] asks for.
struct Strips<'a, 'b, P: Product, const R: usize, const C: usize> {
    args: &'a mut TileArgs<'b, P>,
    columns: Range<usize>,
}

impl<'a, 'b, P: Product, const R: usize, const C: usize> Strips<'a, 'b, P, R, C> {
    /// # Safety
    /// What [`tile_rows`] asks for, with `args.rows == R`, and `columns` within its columns.
    #[inline(always)]
    unsafe fn new(args: &'a mut TileArgs<'b, P>, columns: Range<usize>) -> Self {
        Self { args, columns }
    }
}

impl<P: Product, S: Tile<P>, const R: usize, const C: usize> Routine<S> for Strips<'_, '_, P, R, C> {
    type Output = ();

    #[inline(always)]
    fn run(self, s: S) {
        let Self { args, columns } = self;
        let turns = args.depth / TURN;
        let all_turns = (turns * (columns.len() / (C * S::LANES))).max(1);
        let mut at = Cursor {
            a: args.a.as_ptr(),
            b: args.b.as_ptr(),
            b_stride: args.b_stride,
            ahead: args.ahead.as_ptr(),
            lines: args.ahead.len().div_ceil(LINE * all_turns),
        };
        for strip in columns.step_by(C * S::LANES) {
            let mut acc = [[s.splat(0.0); C]; R];
            at.a = args.a.as_ptr();
            at.b = args.b.as_ptr().wrapping_add(strip / NR * args.b_stride + strip % NR);
            // The output is asked for a few turns before it is needed: at the start, the operands streaming through L1
            // would push it out again.
            let last = turns.min(OUTPUT_AHEAD);
            for (turns, fetch_output) in [(turns - last, true), (last, false)] {
                // SAFETY: `turns * TURN` steps lie within `depth`, which the slices cover.
                unsafe { s.turns(&mut at, turns, &mut acc) };
                for i in 0..if fetch_output { R } else { 0 } {
                    for j in (0..C * S::LANES).step_by(LINE / size_of::<f32>()) {
                        s.prefetch(args.c.as_ptr().wrapping_add(i * args.c_stride + strip + j).cast());
                    }
                }
            }
            for _ in 0..args.depth % TURN {
                // SAFETY: these are the last steps of `depth`, which the slices cover.
                unsafe { step(s, &mut at, &mut acc) };
            }
            let c = args.c.as_mut_ptr().wrapping_add(strip);
            for (i, row) in acc.into_iter().enumerate() {
                for (j, sum) in P::in_order(s, row).into_iter().enumerate() {
                    // SAFETY: row `i < R` and the strip's columns lie in `c`; `scale` has NR values, and a register of
                    // columns lies within a panel.
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
}

/// [`Tile::turns`] as the compiler makes it.
///
/// # Safety
/// What [`Tile::step`] reads is readable at each of the steps.
#[inline(always)]
unsafe fn turns<P: Product, S: Tile<P>, const R: usize, const C: usize>(
    s: S,
    at: &mut Cursor<P>,
    turns: usize,
    acc: &mut [[S::V; C]; R],
) {
    for _ in 0..turns {
        for _ in 0..at.lines {
            s.prefetch_l2(at.ahead);
            at.ahead = at.ahead.wrapping_add(LINE);
        }
        for _ in 0..TURN {
            // SAFETY: the caller promises the values of so many steps.
            unsafe { step(s, at, acc) };
        }
    }
}

/// One step, moving `at` on. A function and not a closure: closures do not inherit the target features and stay calls.
///
/// # Safety
/// What [`Tile::step`] reads is readable.
#[inline(always)]
unsafe fn step<P: Product, S: Tile<P>, const R: usize, const C: usize>(
    s: S,
    at: &mut Cursor<P>,
    acc: &mut [[S::V; C]; R],
) {
    // SAFETY: the caller promises the values of this step.
    unsafe { s.step(at, acc) };
    at.a = at.a.wrapping_add(S::MR);
    at.b = at.b.wrapping_add(NR);
}

#[cfg(test)]
mod tests {
    use super::float32::F32;
    use super::*;
    use crate::buffer::Buffer;
    use crate::dispatch::{Arch, Isa, Kernel};
    use zerocopy::IntoBytes;

    /// Every row of a full tile against tiles of fewer rows, whose loops are others.
    struct Rows {
        depth: usize,
        /// Floats by which the right operand misses a cache line.
        shift: usize,
    }

    impl Kernel for Rows {
        type Output = ();

        #[inline(always)]
        fn run<S: Arch>(self, s: S) {
            let Self { depth, shift } = self;
            let mr = <S as Tile<F32>>::MR;
            let value = |i: usize| ((i * 7919) % 2001) as f32 / 1000.0 - 1.0;
            let a: Vec<f32> = (0..depth * mr).map(value).collect();
            let mut b = Buffer::zeroed(shift + depth * NR);
            b.iter_mut().enumerate().for_each(|(i, b)| *b = value(i + 1));
            let b = &b[shift..];
            let run = |rows: usize, a: &[f32], ahead: &[u8]| {
                let mut c = vec![0.5; rows * NR];
                let (panels, b_stride, c_stride, write) = (1, 0, NR, Write::Add);
                tile(s, TileArgs::<F32> { rows, depth, a, b, panels, b_stride, c: &mut c, c_stride, write, ahead });
                c
            };
            let full = run(mr, &a, &[]);
            assert_eq!(full, run(mr, &a, b.as_bytes()), "what is fetched ahead changes nothing");
            for rows in 1..mr {
                assert_eq!(full[..rows * NR], run(rows, &a, &[]), "{rows} rows, depth {depth}, shift {shift}");
            }
            for (i, row) in full.chunks(NR).enumerate() {
                assert_eq!(row, run(1, &a[i..], &[]), "row {i}, depth {depth}, shift {shift}");
                for (j, &sum) in row.iter().enumerate() {
                    let products = (0..depth).map(|p| f64::from(a[p * mr + i]) * f64::from(b[p * NR + j]));
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
