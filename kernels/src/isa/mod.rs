//! Instruction sets: what one vector can do ([`Simd`]), which sets this CPU has ([`Isa`]), and the one place where a
//! kernel crosses from "chosen at run time" to "compiled for it" ([`Isa::dispatch`]).
//!
//! Invariant: a value of a vector type (`Avx512`, ...) exists only where detection has proven the instructions, so
//! holding one is the licence to run them. An `Isa` is a plain value passed down inside [`crate::Cpu`].
//! A new ISA is one file here and its lines in [`Isa`].

#[macro_use]
mod register;
#[cfg(target_arch = "x86_64")]
#[macro_use]
mod tile_loop;

#[cfg(target_arch = "x86_64")]
mod avx;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(target_arch = "x86_64")]
mod sse2;

use crate::matmul::tile::{self, Cursor, TileArgs};
use std::fmt;

/// The most lanes any ISA here has: the size of stack buffers for partial vectors.
const MAX_LANES: usize = 16;

/// One vector register of f32 lanes, and the register tile that suits the ISA.
///
/// Methods are `inline(always)` so that they compile inside [`Isa::dispatch`]'s target-feature function.
/// `mul_add` may round once (FMA) or twice (mul, add): results agree bit for bit within an ISA, not between them.
pub trait Simd: Copy + Send + Sync {
    /// The register.
    type V: Copy;
    /// f32 lanes in a register.
    const LANES: usize;
    /// Rows of the register tile (`matmul`).
    const MR: usize;
    /// Depth of a block of the product: this many rows of a panel (128 bytes each) stay in cache between row tiles.
    const KC: usize;

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

    /// Asks for the cache line at `p`, which may be any address.
    #[inline(always)]
    fn prefetch(self, _p: *const f32) {}

    /// As [`Simd::prefetch`], into the second-level cache: what is read after the current tile.
    #[inline(always)]
    fn prefetch_l2(self, _p: *const f32) {}

    /// `out[q * width + i] = rows[i * stride + q]` for `i` and `q` below 4. Panics where they do not lie within.
    #[inline(always)]
    fn transpose_4x4(self, rows: &[f32], stride: usize, out: &mut [f32], width: usize) {
        assert!(rows.len() >= 3 * stride + 4 && out.len() >= 3 * width + 4, "four rows and columns do not lie within");
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_TRANSPOSE4_PS, _mm_loadu_ps, _mm_storeu_ps};
            let (rows, out) = (rows.as_ptr(), out.as_mut_ptr());
            // SAFETY: four values from each of four rows, in and out, lie within the slices, as asserted; SSE is part of
            // x86-64.
            unsafe {
                let (mut a, mut b) = (_mm_loadu_ps(rows), _mm_loadu_ps(rows.add(stride)));
                let (mut c, mut d) = (_mm_loadu_ps(rows.add(2 * stride)), _mm_loadu_ps(rows.add(3 * stride)));
                _MM_TRANSPOSE4_PS(&mut a, &mut b, &mut c, &mut d);
                _mm_storeu_ps(out, a);
                _mm_storeu_ps(out.add(width), b);
                _mm_storeu_ps(out.add(2 * width), c);
                _mm_storeu_ps(out.add(3 * width), d);
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
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

    /// `acc[i][j] += a[i] * columns[j]`: a step of the register tile.
    ///
    /// # Safety
    /// `a` is readable for `R` values.
    #[inline(always)]
    unsafe fn outer_product<const R: usize, const NV: usize>(
        self,
        a: *const f32,
        columns: [Self::V; NV],
        acc: &mut [[Self::V; NV]; R],
    ) {
        for (i, row) in acc.iter_mut().enumerate() {
            // SAFETY: `i < R`.
            let x = self.splat(unsafe { *a.add(i) });
            for (sum, column) in row.iter_mut().zip(columns) {
                *sum = self.mul_add(x, column, *sum);
            }
        }
    }

    /// `turns` turns of the register tile's loop, [`TURN`] steps each: `acc[i][j] += a[i] * b[j]` at every step.
    /// An ISA writes its full tile out itself where the compiler's order of instructions costs.
    ///
    /// # Safety
    /// `at` can be read for so many steps: `R` values each of `a`, `NV * LANES` of `b`, past [`NR`] those of the next
    /// panel.
    ///
    /// [`TURN`]: crate::matmul::tile::TURN
    /// [`NR`]: crate::matmul::tile::NR
    #[inline(always)]
    unsafe fn turns<const R: usize, const NV: usize>(
        self,
        at: &mut Cursor,
        turns: usize,
        acc: &mut [[Self::V; NV]; R],
    ) {
        // SAFETY: the caller's promise.
        unsafe { tile::turns(self, at, turns, acc) }
    }

    /// `LANES` values at `p`.
    ///
    /// # Safety
    /// `p` is readable for `LANES` values; it need not be aligned.
    unsafe fn load_ptr(self, p: *const f32) -> Self::V;

    /// Writes `LANES` values at `p`.
    ///
    /// # Safety
    /// `p` is writable for `LANES` values; it need not be aligned.
    unsafe fn store_ptr(self, v: Self::V, p: *mut f32);

    /// The register tile: `args.rows <= MR` rows by one panel of columns, as `matmul::tile` says.
    ///
    /// # Safety
    /// The pointers of `args` cover what its sizes say.
    unsafe fn tile(self, args: &mut TileArgs);
}

/// A computation written once for every ISA.
pub trait Kernel {
    /// What it returns.
    type Output;
    /// Runs it; implementations are `inline(always)`.
    fn run<S: Simd>(self, s: S) -> Self::Output;
}

/// An instruction set that this CPU has: a variant exists only by detection.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Isa {
    /// AVX-512 F, BW, DQ and VL.
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Avx512),
    /// AVX2 with FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2(avx::Avx2),
    /// AVX without FMA: Sandy Bridge, Ivy Bridge.
    #[cfg(target_arch = "x86_64")]
    Avx(avx::Avx),
    /// The baseline of x86-64.
    #[cfg(target_arch = "x86_64")]
    Sse2(sse2::Sse2),
    /// The baseline of aarch64.
    #[cfg(target_arch = "aarch64")]
    Neon(neon::Neon),
    /// Plain Rust, for every other target.
    Portable(portable::Portable),
}

impl Isa {
    /// All that this CPU has, best first.
    pub fn available() -> Vec<Isa> {
        let found = [
            #[cfg(target_arch = "x86_64")]
            avx512::Avx512::detect().map(Isa::Avx512),
            #[cfg(target_arch = "x86_64")]
            avx::Avx2::detect().map(Isa::Avx2),
            #[cfg(target_arch = "x86_64")]
            avx::Avx::detect().map(Isa::Avx),
            #[cfg(target_arch = "x86_64")]
            Some(Isa::Sse2(sse2::Sse2::BASELINE)),
            #[cfg(target_arch = "aarch64")]
            Some(Isa::Neon(neon::Neon::BASELINE)),
            Some(Isa::Portable(portable::Portable)),
        ];
        found.into_iter().flatten().collect()
    }

    /// The best this CPU has.
    pub fn best() -> Isa {
        Self::available()[0]
    }

    /// The ISA called `name`; the error lists the available ones.
    pub fn named(name: &str) -> Result<Isa, UnavailableIsa> {
        Self::available()
            .into_iter()
            .find(|isa| isa.name() == name)
            .ok_or_else(|| UnavailableIsa { asked: name.to_owned() })
    }

    /// The name that `--isa` takes.
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx(_) => "avx",
            #[cfg(target_arch = "x86_64")]
            Isa::Sse2(_) => "sse2",
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(_) => "neon",
            Isa::Portable(_) => "portable",
        }
    }

    /// Rows of this ISA's register tile: the row interleaving of [`crate::Lhs`].
    pub fn mr(self) -> usize {
        struct Mr;
        impl Kernel for Mr {
            type Output = usize;
            #[inline(always)]
            fn run<S: Simd>(self, _: S) -> usize {
                S::MR
            }
        }
        self.dispatch(Mr)
    }

    /// Runs `kernel` compiled for this ISA. Called once per kernel call and thread, never per vector.
    #[inline]
    pub(crate) fn dispatch<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(s) => s.dispatch(kernel),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(s) => s.dispatch(kernel),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx(s) => s.dispatch(kernel),
            #[cfg(target_arch = "x86_64")]
            Isa::Sse2(s) => kernel.run(s),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(s) => kernel.run(s),
            Isa::Portable(s) => kernel.run(s),
        }
    }
}

impl fmt::Debug for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The answer to a name that is unknown or not available on this CPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnavailableIsa {
    asked: String,
}

impl fmt::Display for UnavailableIsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Isa::available().into_iter().map(Isa::name).collect();
        write!(f, "The instruction set '{}' is not available on this CPU; available: {}.", self.asked, names.join(", "))
    }
}

impl std::error::Error for UnavailableIsa {}
