//! Instruction sets: what one vector can do ([`Simd`]), and the proof that this CPU has the instructions.
//!
//! Invariant: a value of a vector type (`Avx512`, ...) exists only where detection has proven the instructions, so
//! holding one is the licence to run them. Capabilities that a CPU of the set may lack are private fields of its proof,
//! set by its `detect`. An instruction set is one file here and one in [`crate::tile`], and its lines in
//! [`crate::dispatch`], which chooses. Called by every kernel.

#[macro_use]
mod register;

#[cfg(target_arch = "x86_64")]
pub mod amx;
#[cfg(target_arch = "x86_64")]
pub mod avx;
#[cfg(target_arch = "x86_64")]
pub mod avx512;
#[cfg(target_arch = "x86_64")]
pub mod family;
#[cfg(target_arch = "aarch64")]
pub mod neon;
pub mod portable;
#[cfg(target_arch = "x86_64")]
pub mod sse2;

/// The most lanes any ISA here has: the size of stack buffers for partial vectors.
const MAX_LANES: usize = 16;

/// One vector register of f32 lanes.
///
/// Methods are `inline(always)` so that they compile inside the target-feature functions of [`Simd::vectorize`].
/// `mul_add` may round once (FMA) or twice (mul, add): results agree bit for bit within an ISA, not between them.
pub trait Simd: Copy + Send + Sync {
    /// The register.
    type V: Copy;
    /// The register seen as 32-bit words: an i32, two i16 or four i8 each.
    type I: Copy;
    /// f32 lanes in a register.
    const LANES: usize;

    /// Runs `routine` compiled for these instructions, in a function of its own unless an instruction set says why not: once
    /// for all who call it, and small enough for the compiler to be quick. What every CPU of the target has needs no more than
    /// this; other sets name their features.
    #[inline(never)]
    fn vectorize<R: Routine<Self>>(self, routine: R) -> R::Output {
        routine.run(self)
    }

    /// All lanes `x`.
    fn splat(self, x: f32) -> Self::V;
    /// The first `LANES` values of `x`. Panics if there are fewer.
    fn load(self, x: &[f32]) -> Self::V;
    /// Writes all lanes to the start of `out`. Panics if it is shorter.
    fn store(self, v: Self::V, out: &mut [f32]);
    /// `a + b`.
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`.
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`.
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`.
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The greater of each lane; `b` where they compare unordered.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// `if a < b { x } else { y }`, lane by lane.
    fn select_lt(self, a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V;
    /// `p * 2^n`, where `t = n + 1.5 * 2^23` as a float carries the integer `n` in its low bits. `p` and the result
    /// must be normal: the exponent field is added to, nothing else.
    fn mul_pow2(self, p: Self::V, t: Self::V) -> Self::V;

    /// The bits of a register of floats.
    fn words(self, x: Self::V) -> Self::I;
    /// The floats of these bits.
    fn floats(self, x: Self::I) -> Self::V;
    /// All words `x`.
    fn splat_word(self, x: i32) -> Self::I;
    /// `c + a.low * b.low + a.high * b.high` in every word, of i16 into i32. No sum of two such products overflows but that
    /// of four times -32768.
    fn dot_i16(self, a: Self::I, b: Self::I, c: Self::I) -> Self::I;
    /// What can multiply bytes, if this CPU can: as [`Simd::dot_i8`] takes them.
    #[inline(always)]
    fn bytes(self) -> Option<ByteProduct> {
        None
    }
    /// `c + sum of a.byte * b.byte` over the four bytes of every word; those of `b` are i8, those of `a` as [`Simd::bytes`]
    /// says. Panics where it says nothing.
    #[inline(always)]
    fn dot_i8(self, _a: Self::I, _b: Self::I, _c: Self::I) -> Self::I {
        unreachable!("this CPU multiplies no bytes")
    }
    /// ByteProduct 0 and 2 of every word as two i16, and bytes 1 and 3.
    fn widen_i8(self, x: Self::I) -> [Self::I; 2];
    /// Every word, an i32, rounded to f32.
    fn to_f32(self, x: Self::I) -> Self::V;

    /// The lanes of two registers in the order of memory, which [`Simd::load_bf16`] left.
    #[inline(always)]
    fn in_order(self, pair: [Self::V; 2]) -> [Self::V; 2] {
        pair
    }

    /// Asks for the cache line at `p`, which may be any address.
    #[inline(always)]
    fn prefetch(self, _p: *const u8) {}

    /// Asks for the cache line at `p`, which may be any address, into the second-level cache.
    #[inline(always)]
    fn prefetch_l2(self, _p: *const u8) {}

    /// `out[q * width + i] = rows[i * stride + q]` for `i` and `q` below 4. Panics where they do not lie within.
    #[inline(always)]
    fn transpose_4x4(self, rows: &[f32], stride: usize, out: &mut [f32], width: usize) {
        assert!(rows.len() >= 3 * stride + 4 && out.len() >= 3 * width + 4, "four rows and columns do not lie within");
        for i in 0..4 {
            for q in 0..4 {
                out[q * width + i] = rows[i * stride + q];
            }
        }
    }

    /// The first `x.len() < LANES` values, then zeros.
    #[inline(always)]
    fn load_partial(self, x: &[f32]) -> Self::V {
        let mut lanes = [0.0; MAX_LANES];
        lanes[..x.len()].copy_from_slice(x);
        self.load(&lanes)
    }

    /// The sum of all lanes, in lane order.
    #[inline(always)]
    fn reduce_add(self, v: Self::V) -> f32 {
        let mut lanes = [0.0; MAX_LANES];
        self.store(v, &mut lanes);
        lanes[..Self::LANES].iter().sum()
    }

    /// `LANES` values at `p`.
    ///
    /// # Safety
    /// `p` is readable for `LANES` values; it need not be aligned.
    unsafe fn load_ptr(self, p: *const f32) -> Self::V;

    /// The `2 * LANES` bfloat16 at `p`, each the upper half of its f32, in an order that [`Simd::in_order`] undoes: in some
    /// ISAs it takes fewest operations to have those at even places in one register and those at odd ones in the other.
    ///
    /// # Safety
    /// `p` is readable for so many values; it need not be aligned to more than one.
    unsafe fn load_bf16(self, p: *const u16) -> [Self::V; 2];

    /// Writes `LANES` values at `p`.
    ///
    /// # Safety
    /// `p` is writable for `LANES` values; it need not be aligned.
    unsafe fn store_ptr(self, v: Self::V, p: *mut f32);
}

/// A computation on instruction set `S`, for [`Simd::vectorize`].
pub trait Routine<S> {
    /// What it returns.
    type Output;
    /// Runs it; implementations are `inline(always)`.
    fn run(self, s: S) -> Self::Output;
}

/// How an instruction that multiplies bytes takes those of its left operand; the right one's are i8.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ByteProduct {
    /// As u8: 128 is added to each, and 128 times the sum of the right operand's is too much (VPDPBUSD).
    Offset,
    /// As i8, like the right operand's (SDOT).
    #[cfg(target_arch = "aarch64")]
    Signed,
    /// As i8, many rows of them at a time, which stand row after row (TDPBSSD); [`Simd::dot_i8`] takes them as u8.
    #[cfg(target_arch = "x86_64")]
    Tiles(amx::Amx),
}
