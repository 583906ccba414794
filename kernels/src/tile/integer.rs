//! The register tile of integer products: rows times one panel of [`NR`] columns, a block of the depth after the other.
//!
//! Operands stand in 32-bit words, each two i16 or four i8 of the depth, in slices of f32 whose bits they are. A block of
//! either operand begins with its scales, an f32 for each row or column; behind those of a panel of i8 stands, for each
//! column, 128 times the sum of its values, negated. How numbers become words is for `matmul::quantize` to say.
//!
//! Invariant: a block's sum is an exact integer, the same whatever adds it up; it is rounded to f32 and times the product
//! of its two scales it is added to the output, block after block in order. So an element does not depend on the other
//! rows of its tile, nor on the instructions, within an instruction set's way of adding.

use super::Tile;
use super::float32::F32;
use super::{LINE, NR};
use crate::buffer::size;
use crate::isa::{ByteProduct, Routine};

/// Rows of a row tile whose words stand row after row.
pub const ROW_TILE: usize = 16;

/// The tile of integers on an instruction set: of as many rows and registers of columns as that of f32.
pub trait IntegerTile: Tile<F32> {
    /// One block of `R` rows and `C` registers of columns, by loops of this ISA where it has better ones. `BYTES` are
    /// words of four i8.
    ///
    /// # Safety
    /// What [`Block`] says is readable and writable there, and [`crate::isa::Simd::bytes`] allows `BYTES`.
    #[inline(always)]
    unsafe fn block<const R: usize, const C: usize, const BYTES: bool>(self, at: &Block) {
        // SAFETY: as the caller promises.
        unsafe { block::<Self, R, C, BYTES>(self, at) }
    }

    /// One step of the depth of such a block: the products of the words at `a` and `b`, added to `sums`. A function and not
    /// a closure: closures do not inherit the target features and stay calls.
    ///
    /// # Safety
    /// `R` words are readable at `a`, and `LANES` at each of the `C` registers of columns at `b`; `bytes` allows `BYTES`.
    #[inline(always)]
    unsafe fn products<const R: usize, const C: usize, const BYTES: bool>(
        self,
        a: *const i32,
        b: *const f32,
        sums: &mut [[Self::I; C]; R],
    ) {
        let mut columns = [self.splat_word(0); C];
        for (j, column) in columns.iter_mut().enumerate() {
            // SAFETY: the caller promises the columns.
            *column = unsafe { self.words(self.load_ptr(b.add(j * Self::LANES))) };
        }
        for (i, row) in sums.iter_mut().enumerate() {
            // SAFETY: the caller promises `R` words.
            let x = self.splat_word(unsafe { *a.add(i) });
            for (sum, column) in row.iter_mut().zip(columns) {
                *sum = if BYTES { self.dot_i8(x, column, *sum) } else { self.dot_i16(x, column, *sum) };
            }
        }
    }
}

/// `c[i][j] (+)= sum_b scale_a[b][i] * scale_b[b][j] * (sum of a[b]'s row i times b[b]'s column j)` for `i < rows` and
/// `j < NR`, over `blocks` blocks `b` of `words` words.
pub struct IntegerArgs<'a> {
    /// Rows, 1 to [`super::multiplier::Multiplier::rows`].
    pub rows: usize,
    /// Blocks.
    pub blocks: usize,
    /// Words of a block, a multiple of 4.
    pub words: usize,
    /// Whether words are four i8.
    pub bytes: bool,
    /// Left operand: row tiles, of `MR` rows or [`ROW_TILE`], each per block a scale a row and then a word a row and step,
    /// step after step or row after row.
    pub a: &'a [f32],
    /// Distance between row tiles in `a`.
    pub a_stride: usize,
    /// Right operand: per block `NR` scales, with `bytes` `NR` integers, and `NR` words a step.
    pub b: &'a [f32],
    /// Output.
    pub c: &'a mut [f32],
    /// Distance between rows in `c`, at least `NR`.
    pub c_stride: usize,
    /// Whether the output is added to.
    pub add: bool,
    /// What is read after this tile, to be fetched from memory meanwhile; may be empty.
    pub ahead: &'a [f32],
}

/// A block of a tile: what [`IntegerTile::block`] reads and writes.
pub struct Block {
    /// `MR` scales, then `MR` words a step.
    pub(super) a: *const f32,
    /// `NR` scales a block, of which this is the first that counts.
    pub(super) scales: *const f32,
    /// The first words that count, `NR` a step; with bytes, `NR` words before them, the integers to start from.
    pub(super) b: *const f32,
    /// Steps, a multiple of 4 and not 0.
    pub(super) words: usize,
    /// The output's first element.
    pub(super) c: *mut f32,
    /// Distance between its rows.
    pub(super) c_stride: usize,
    /// Whether the output is added to.
    pub(super) add: bool,
    /// The next line to be fetched into L2, wherever it lies, and bytes from one turn's line to the next.
    pub(super) ahead: *const f32,
    pub(super) ahead_step: usize,
}

/// Words in front of a panel's block of which `bytes` says what they are: scales, and what to start from.
pub const fn header(bytes: bool) -> usize {
    if bytes { 2 * NR } else { NR }
}

/// Computes one tile by vector registers after checking that the slices cover what the sizes say.
#[inline(always)]
pub(super) fn tile<S: IntegerTile>(s: S, args: IntegerArgs) {
    let IntegerArgs { rows, blocks, words, bytes, c_stride, .. } = args;
    assert!((1..=S::MR).contains(&rows) && c_stride >= NR && words > 0 && words.is_multiple_of(4));
    assert!((size(&[blocks, words + 1, S::MR])..=args.a_stride).contains(&args.a.len()), "one row tile at a time");
    assert!(args.b.len() >= size(&[blocks, header(bytes) + words * NR]));
    assert!(args.c.len() >= size(&[rows - 1, c_stride]).saturating_add(NR));
    assert!(!bytes || s.bytes().is_some(), "this CPU multiplies no bytes");
    // SAFETY: the asserts above are what `tile_rows` asks for.
    unsafe {
        match (S::NV, bytes) {
            (2, false) => tile_rows::<S, 2, false>(s, args),
            (2, true) => tile_rows::<S, 2, true>(s, args),
            (4, false) => tile_rows::<S, 4, false>(s, args),
            (4, true) => tile_rows::<S, 4, true>(s, args),
            _ => unreachable!("a tile of {} registers of columns", S::NV),
        }
    }
}

/// The tile of exactly `args.rows` rows.
///
/// # Safety
/// What [`tile`] has asserted of `args`.
#[inline(always)]
unsafe fn tile_rows<S: IntegerTile, const NV: usize, const BYTES: bool>(s: S, args: IntegerArgs) {
    // Constant bounds per ISA: the arms beyond them are not compiled.
    macro_rules! rows {
        ($($r:literal),*) => {
            match args.rows {
                // SAFETY: as the caller promises; `r` is the number of rows.
                $($r if const { $r <= S::MR } => s.vectorize(unsafe { Strips::<$r, NV, BYTES>::new(args) }),)*
                rows => unreachable!("a tile of {rows} rows"),
            }
        };
    }
    rows!(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)
}

/// A tile of `R` rows in strips of `C` registers, all blocks of a strip before the next: its part of the output stays in L1.
///
/// Compiled apart, as those of floats are.
///
/// Invariant: what [`Strips::new`] asks for.
struct Strips<'a, const R: usize, const C: usize, const BYTES: bool>(IntegerArgs<'a>);

impl<'a, const R: usize, const C: usize, const BYTES: bool> Strips<'a, R, C, BYTES> {
    /// # Safety
    /// What [`tile`] has asserted of `args`, with `args.rows == R`.
    #[inline(always)]
    unsafe fn new(args: IntegerArgs<'a>) -> Self {
        Self(args)
    }
}

impl<S: IntegerTile, const R: usize, const C: usize, const BYTES: bool> Routine<S> for Strips<'_, R, C, BYTES> {
    type Output = ();

    #[inline(always)]
    fn run(self, s: S) {
        let Self(args) = self;
        let IntegerArgs { blocks, words, c_stride, .. } = args;
        let strips = NR / (C * S::LANES);
        let turns = blocks * strips * words / 4;
        let (mut ahead, ahead_step) = match size_of_val(args.ahead) {
            0 => (args.b.as_ptr(), 0),
            bytes => (args.ahead.as_ptr(), bytes.div_ceil(turns * LINE) * LINE),
        };
        let c = args.c.as_mut_ptr();
        for i in 0..R {
            for j in (0..NR).step_by(LINE / size_of::<f32>()) {
                s.prefetch(c.wrapping_add(i * c_stride + j).cast());
            }
        }
        for column in (0..NR).step_by(C * S::LANES) {
            for block in 0..blocks {
                let b = args.b.as_ptr().wrapping_add(block * (header(BYTES) + words * NR));
                let at = Block {
                    a: args.a.as_ptr().wrapping_add(block * (words + 1) * S::MR),
                    scales: b.wrapping_add(column),
                    b: b.wrapping_add(header(BYTES) + column),
                    words,
                    c: c.wrapping_add(column),
                    c_stride,
                    add: args.add || block > 0,
                    ahead,
                    ahead_step,
                };
                // SAFETY: the block and the strip lie within the operands and the output.
                unsafe { s.block::<R, C, BYTES>(&at) };
                ahead = ahead.wrapping_byte_add(words / 4 * ahead_step);
            }
        }
    }
}

/// [`IntegerTile::block`] as the compiler makes it.
///
/// # Safety
/// What [`IntegerTile::block`] asks for.
#[inline(always)]
pub(super) unsafe fn block<S: IntegerTile, const R: usize, const C: usize, const BYTES: bool>(s: S, at: &Block) {
    let mut start = [s.splat_word(0); C];
    if BYTES && s.bytes() == Some(ByteProduct::Offset) {
        for (j, start) in start.iter_mut().enumerate() {
            // SAFETY: the caller promises NR integers before the words, of which these are some.
            *start = unsafe { s.words(s.load_ptr(at.b.sub(NR).add(j * S::LANES))) };
        }
    }
    let mut sums = [start; R];
    let (mut a, mut b, mut ahead) = (at.a.wrapping_add(S::MR).cast::<i32>(), at.b, at.ahead);
    for _ in 0..at.words / 4 {
        s.prefetch_l2(ahead.cast());
        ahead = ahead.wrapping_byte_add(at.ahead_step);
        // Written out, since the compiler need not unroll a loop.
        macro_rules! steps {
            ($($p:literal),*) => {
                // SAFETY: the caller promises the words of these steps.
                $(unsafe { s.products::<R, C, BYTES>(a.wrapping_add($p * S::MR), b.wrapping_add($p * NR), &mut sums) };)*
            };
        }
        steps!(0, 1, 2, 3);
        a = a.wrapping_add(4 * S::MR);
        b = b.wrapping_add(4 * NR);
    }
    for (i, row) in sums.into_iter().enumerate() {
        for (j, sum) in row.into_iter().enumerate() {
            // SAFETY: the caller promises `R` scales of rows, the strip's of columns, and its rows in the output.
            unsafe {
                let scale = s.mul(s.splat(*at.a.add(i)), s.load_ptr(at.scales.add(j * S::LANES)));
                let out = at.c.add(i * at.c_stride + j * S::LANES);
                let sum = s.to_f32(sum);
                s.store_ptr(if at.add { s.mul_add(sum, scale, s.load_ptr(out)) } else { s.mul(sum, scale) }, out);
            }
        }
    }
}
