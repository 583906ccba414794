//! Numbers to integers: how the operands of an integer product are made, block after block of the depth.
//!
//! A value `x` of a block becomes `round(x * (1 / scale))`, to the nearest, ties to even, where `scale` is the block's largest
//! magnitude divided by the largest integer: a scale depends on the values of one row, or column, and block, and on nothing
//! else. A block of zeros, or of magnitudes below 3e-35, has scale 0 and zeros; one with NaN or infinity has a scale that is
//! none either, so that its products are not finite.
//!
//! Eight bits are few: values are mixed before (`mix`), which halves the error of a product of activations as transformers
//! have them, a few of whose channels are much larger than the rest. On a model made to be like that, margins err by 6 % of
//! their standard deviation, and by 12 % without.
//!
//! A block is filled up with zeros, a mixed one to its whole depth, and word `j` of its `n` words holds the values `j`, `j + n`
//! and so on: sums of integers have no order, and no value has to cross lanes on its way. Words of the rows of a tile stand side
//! by side, step after step, or row after row.

use super::transpose::transpose;
use crate::isa::Simd;
use crate::tile::integer::ROW_TILE;
use crate::tile::{LINE, NR};

/// The most words of a block.
const MAX_WORDS: usize = 128;
/// The most values of a block: two to a word.
const MAX_VALUES: usize = 2 * MAX_WORDS;

/// Words of a whole block of each scheme.
const I8_WORDS: usize = Scheme::I8.block / Scheme::I8.values;
const I8_WIDENED_WORDS: usize = Scheme::I8_WIDENED.block / Scheme::I8_WIDENED.values;
const I16_WORDS: usize = Scheme::I16.block / Scheme::I16.values;

/// `1.5 * 2^23`: a number added to it is rounded to an integer, which stands in its low bits.
const MAGIC: f32 = 12_582_912.0;

/// How one side of a product stands: `width` rows side by side.
#[derive(Clone, Copy)]
pub(crate) struct Side {
    width: usize,
    /// Whether these are weights.
    weights: bool,
    /// Whether the scales are followed by 128 times the sum of each row's integers, negated.
    sums: bool,
}

impl Side {
    /// The left side: tiles of `mr` rows.
    pub const fn left(mr: usize) -> Self {
        Self { width: mr, weights: false, sums: false }
    }

    /// The right side: panels of columns, whose words are of four i8 with `bytes`.
    pub const fn right(bytes: bool) -> Self {
        Self { width: NR, weights: true, sums: bytes }
    }

    /// 32-bit values in front of a block's words.
    #[inline(always)]
    const fn header(self) -> usize {
        if self.sums { 2 * self.width } else { self.width }
    }
}

/// How numbers become integers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Scheme {
    /// The largest integer.
    limit: u16,
    /// Depth of a block.
    pub block: usize,
    /// Integers of a word: two i16 or four i8.
    pub values: usize,
    /// What is added to every integer.
    offset: u8,
    /// Whether a block's values are mixed before they are rounded.
    mixed: bool,
    /// Whether the words of the left side stand row after row.
    pub by_rows: bool,
}

impl Scheme {
    /// 12 bits: a block's products add up to less than 2^31.
    pub const I16: Self = Self { limit: 2047, block: 256, values: 2, offset: 0, mixed: false, by_rows: false };
    /// 8 bits.
    pub const I8: Self = Self { limit: 127, block: 128, values: 4, offset: 0, mixed: true, by_rows: false };
    /// The integers of [`Self::I8`], for an instruction that takes them as u8.
    pub const I8_OFFSET: Self = Self { offset: 128, ..Self::I8 };
    /// The integers of [`Self::I8`], for tile registers.
    #[cfg(target_arch = "x86_64")]
    pub const I8_ROWS: Self = Self { by_rows: true, ..Self::I8 };
    /// The integers of [`Self::I8`], for instructions that multiply i16.
    pub const I8_WIDENED: Self = Self { values: 2, ..Self::I8 };

    /// Rows of a tile of the left side, `mr` being those of a tile of floats.
    pub fn rows(self, mr: usize) -> usize {
        if self.by_rows { ROW_TILE } else { mr }
    }

    /// Words of a block of `depth` values.
    #[inline(always)]
    pub fn words(self, depth: usize) -> usize {
        let step = if self.mixed { self.block } else { 16 };
        depth.next_multiple_of(step) / self.values
    }

    /// 32-bit values that a depth of `k` takes.
    #[inline(always)]
    pub fn len(self, k: usize, side: Side) -> usize {
        let block = |depth: usize| side.header() + self.words(depth) * side.width;
        let rest = if k.is_multiple_of(self.block) { 0 } else { block(k % self.block) };
        k / self.block * block(self.block) + rest
    }

    /// Makes one block: its words, as the bits of floats, and its scale. `mixed` is memory for its values when they are mixed.
    #[inline(always)]
    fn quantize<S: Simd>(self, s: S, x: &[f32], mixed: &mut [f32; MAX_VALUES], words: &mut [f32]) -> f32 {
        // The compiler is told the lengths of whole blocks, so that nothing but vectors is left.
        match (self.values, words.len()) {
            (4, I8_WORDS) => self.integers(s, x, mixed, 4, &mut words[..I8_WORDS]),
            (2, I8_WIDENED_WORDS) => self.integers(s, x, mixed, 2, &mut words[..I8_WIDENED_WORDS]),
            (2, I16_WORDS) => self.integers(s, x, mixed, 2, &mut words[..I16_WORDS]),
            _ => self.integers(s, x, mixed, self.values, words),
        }
    }

    /// [`Self::quantize`]; `values` is [`Self::values`] and, like the number of words, may be known where this is called.
    #[inline(always)]
    fn integers<S: Simd>(
        self,
        s: S,
        x: &[f32],
        mixed: &mut [f32; MAX_VALUES],
        values: usize,
        words: &mut [f32],
    ) -> f32 {
        let len = words.len() * values;
        let filled;
        let x = if x.len() == len {
            &x[..len]
        } else {
            filled = fill(x);
            &filled[..len]
        };
        let x = if self.mixed { mix(s, x, &mut mixed[..len]) } else { x };
        let largest = x.iter().fold(0, |largest, x| largest.max(x.to_bits() & 0x7fff_ffff));
        let scale = f32::from_bits(largest) / f32::from(self.limit);
        // Less than a normal number is too coarse, and its inverse too large.
        let (scale, inverse) = if scale < f32::MIN_POSITIVE { (0.0, 0.0) } else { (scale, 1.0 / scale) };
        let magic = MAGIC + f32::from(self.offset);
        match values {
            2 => join_i16(x, inverse, magic, words),
            _ => join_i8(x, inverse, magic, words),
        }
        scale
    }

    /// Lays `rows`, of whose `stride` columns the first `k` count, out side by side in `out`: per block their scales, their
    /// sums if the side has them, and a word of each a step.
    #[inline(always)]
    pub fn pack<S: Simd>(self, s: S, rows: &[f32], stride: usize, k: usize, out: &mut [f32], side: Side) {
        let (width, header) = (side.width, side.header());
        let (mut words, mut mixed) = (Aligned([0.0; NR * MAX_WORDS]), Aligned([0.0; MAX_VALUES]));
        let mut at = 0;
        for p in (0..k).step_by(self.block) {
            let depth = self.block.min(k - p);
            let n = self.words(depth);
            let out = &mut out[at..][..header + n * width];
            at += out.len();
            let (head, out) = out.split_at_mut(header);
            // Row after row they are where they belong at once.
            let by_rows = self.by_rows && !side.weights;
            let rows_of_words = if by_rows { &mut *out } else { &mut words.0[..] };
            let mut count = 0;
            for (i, (row, words)) in rows.chunks(stride).zip(rows_of_words.chunks_exact_mut(n)).enumerate() {
                // The lines of the row's next block: from row to row no CPU sees where they go on.
                for line in (p + depth..k.min(p + 2 * depth)).step_by(LINE / size_of::<f32>()) {
                    s.prefetch(row.as_ptr().wrapping_add(line).cast());
                }
                head[i] = self.quantize(s, &row[p..p + depth], &mut mixed.0, words);
                if self.mixed && side.weights {
                    head[i] /= MIXED as f32;
                }
                if side.sums {
                    head[width + i] = f32::from_bits((-128 * sum_of_bytes(words)) as u32);
                }
                count += 1;
            }
            if !by_rows {
                let words = &words.0[..count * n];
                // As in `quantize`, where it was measured: bytes in the tiles of AVX-512.
                match (n, width) {
                    (I8_WORDS, 12) => transpose(s, words, I8_WORDS, I8_WORDS, count, out, 12),
                    _ => transpose(s, words, n, n, count, out, width),
                }
            }
        }
    }

    /// The value, mixed where values are, that integer `p` of row `i` stands for, laid out as [`Scheme::pack`] does.
    pub fn value(self, packed: &[f32], i: usize, p: usize, k: usize, side: Side) -> f32 {
        let first = p / self.block * self.block;
        let n = self.words(self.block.min(k - first));
        let block = &packed[self.len(first, side)..];
        let (j, which) = ((p - first) % n, (p - first) / n);
        let at = if self.by_rows && !side.weights { i * n + j } else { j * side.width + i };
        let word = block[side.header() + at].to_bits() >> (32 / self.values * which);
        let integer = match self.values {
            2 => i32::from(word as u16 as i16),
            _ if self.offset > 0 => i32::from(word as u8) - i32::from(self.offset),
            _ => i32::from(word as u8 as i8),
        };
        integer as f32 * block[i]
    }
}

/// Values that are mixed with each other. Of 2, 4, 8 and 16, eight erred least on both models that were tried.
const MIXED: usize = 8;

/// Mixes the values `j`, `j + n / 8` and so on of a whole block of `n` with each other: the Walsh-Hadamard transform of eight,
/// times the root of 8. Products of two blocks that are both mixed are 8 times what they were, which the scales of the weights
/// take back, and a value that is much larger than the others, which would take their digits, is a part of eight that are not.
/// Additions alone, in one order: the same bits on every instruction set.
#[inline(always)]
fn mix<'a, S: Simd>(s: S, x: &[f32], mixed: &'a mut [f32]) -> &'a [f32] {
    let n = x.len() / MIXED;
    debug_assert!(n.is_multiple_of(S::LANES), "an eighth of a block is whole registers");
    for at in (0..n).step_by(S::LANES) {
        let mut eight = [s.splat(0.0); MIXED];
        for (i, value) in eight.iter_mut().enumerate() {
            *value = s.load(&x[i * n + at..]);
        }
        for half in [1, 2, 4] {
            for i in (0..MIXED).filter(|i| i & half == 0) {
                let (a, b) = (eight[i], eight[i + half]);
                (eight[i], eight[i + half]) = (s.add(a, b), s.sub(a, b));
            }
        }
        for (i, value) in eight.into_iter().enumerate() {
            s.store(value, &mut mixed[i * n + at..]);
        }
    }
    mixed
}

/// A block's values, and zeros.
fn fill(x: &[f32]) -> [f32; MAX_VALUES] {
    let mut all = [0.0; MAX_VALUES];
    all[..x.len()].copy_from_slice(x);
    all
}

/// Words of two integers: word `j` of the values `j` and `j + words.len()`, times `inverse` and rounded.
#[inline(always)]
fn join_i16(values: &[f32], inverse: f32, magic: f32, words: &mut [f32]) {
    let (low, high) = values.split_at(words.len());
    let rounded = |x: &f32| (*x * inverse + magic).to_bits();
    for ((word, low), high) in words.iter_mut().zip(low).zip(high) {
        *word = f32::from_bits(rounded(low) & 0xffff | rounded(high) << 16);
    }
}

/// Words of four integers: word `j` of the values `j`, `j + words.len()` and so on, times `inverse` and rounded.
#[inline(always)]
fn join_i8(values: &[f32], inverse: f32, magic: f32, words: &mut [f32]) {
    let n = words.len();
    let (low, high) = values[..4 * n].split_at(2 * n);
    let ((a, b), (c, d)) = (low.split_at(n), high.split_at(n));
    let rounded = |x: &f32| (*x * inverse + magic).to_bits();
    let byte = |x: &f32| rounded(x) & 0xff;
    for ((((word, a), b), c), d) in words.iter_mut().zip(a).zip(b).zip(c).zip(d) {
        *word = f32::from_bits(byte(a) | byte(b) << 8 | byte(c) << 16 | rounded(d) << 24);
    }
}

/// Memory that begins at a cache line: vectors that cross one cost twice as much.
#[repr(align(64))]
struct Aligned<T>(T);

fn sum_of_bytes(words: &[f32]) -> i32 {
    words.iter().flat_map(|word| word.to_bits().to_le_bytes()).map(|byte| i32::from(byte as i8)).sum()
}
