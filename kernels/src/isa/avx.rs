//! AVX (Sandy Bridge, Ivy Bridge) and AVX2 with FMA (Haswell and later): 8 lanes, 16 registers, a 6x16 tile.
//!
//! One type serves both: `FMA` decides between a fused and a separate multiply and add, and between 256-bit and
//! 128-bit integer instructions.
//!
//! The full tile's loop is in assembly. Without FMA a row's broadcast becomes its second product, so that 12 sums, 2
//! columns, the broadcast and a product are all 16 registers; the compiler takes one more and spills. Against its own
//! loops, on Zen 3: AVX 1.2 times as fast, AVX2 1.00 to 1.08 times.

use super::{Kernel, Simd};
use crate::matmul::tile::{self, Cursor, TileArgs, tile_rows};
use std::arch::x86_64::*;

/// Proof that the CPU has AVX, and with `FMA` also AVX2 and FMA.
#[derive(Clone, Copy)]
pub struct Ymm<const FMA: bool>(());

/// AVX without FMA.
pub type Avx = Ymm<false>;
/// AVX2 with FMA.
pub type Avx2 = Ymm<true>;

impl Avx {
    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx").then_some(Ymm(()))
    }

    #[inline]
    pub(super) fn dispatch<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx")]
        fn run<K: Kernel>(s: Avx, kernel: K) -> K::Output {
            kernel.run(s)
        }
        // SAFETY: `self` exists only where `detect` found AVX.
        unsafe { run(self, kernel) }
    }
}

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Ymm(()))
    }

    #[inline]
    pub(super) fn dispatch<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx2,fma")]
        fn run<K: Kernel>(s: Avx2, kernel: K) -> K::Output {
            kernel.run(s)
        }
        // SAFETY: `self` exists only where `detect` found AVX2 and FMA.
        unsafe { run(self, kernel) }
    }
}

impl<const FMA: bool> Simd for Ymm<FMA> {
    const MR: usize = 6;
    const KC: usize = 1024;

    register!(__m256: splat = _mm256_set1_ps, load = _mm256_loadu_ps, store = _mm256_storeu_ps,
        add = _mm256_add_ps, sub = _mm256_sub_ps, mul = _mm256_mul_ps, div = _mm256_div_ps, max = _mm256_max_ps);
    prefetch!();

    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        if FMA {
            // SAFETY: `self` proves FMA.
            unsafe { _mm256_fmadd_ps(a, b, c) }
        } else {
            self.add(self.mul(a, b), c)
        }
    }
    #[inline(always)]
    fn select_lt(self, a: __m256, b: __m256, x: __m256, y: __m256) -> __m256 {
        // SAFETY: `self` proves AVX.
        unsafe { _mm256_blendv_ps(y, x, _mm256_cmp_ps::<_CMP_LT_OQ>(a, b)) }
    }
    #[inline(always)]
    fn mul_pow2(self, p: __m256, t: __m256) -> __m256 {
        if FMA {
            // SAFETY: `self` proves AVX2.
            return unsafe {
                let n = _mm256_slli_epi32::<23>(_mm256_castps_si256(t));
                _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), n))
            };
        }
        // AVX has no 256-bit integer arithmetic: the two halves, each with SSE2's.
        // SAFETY: `self` proves AVX; SSE2 is part of x86-64.
        unsafe {
            let half = |p: __m128, t: __m128| {
                let n = _mm_slli_epi32::<23>(_mm_castps_si128(t));
                _mm_castsi128_ps(_mm_add_epi32(_mm_castps_si128(p), n))
            };
            let low = half(_mm256_castps256_ps128(p), _mm256_castps256_ps128(t));
            let high = half(_mm256_extractf128_ps::<1>(p), _mm256_extractf128_ps::<1>(t));
            _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(low), high)
        }
    }
    #[inline(always)]
    unsafe fn turns<const R: usize, const NV: usize>(self, at: &mut Cursor, turns: usize, acc: &mut [[__m256; NV]; R]) {
        // SAFETY: the caller's promise; `self` proves AVX, or AVX2 and FMA; `acc` is seen as what it is.
        unsafe {
            match (R, NV) {
                (6, 2) if FMA => full_tile_fma(at, turns, &mut *acc.as_mut_ptr().cast()),
                (6, 2) => full_tile(at, turns, &mut *acc.as_mut_ptr().cast()),
                _ => tile::turns(self, at, turns, acc),
            }
        }
    }
    #[inline(always)]
    unsafe fn tile(self, args: &mut TileArgs) {
        // SAFETY: the caller's promise.
        unsafe { tile_rows::<Self, 2>(self, args) }
    }
}

/// Row `i` by two columns, whose sums are `c` and `d`.
#[rustfmt::skip] // a line an instruction
macro_rules! row_fma {
    ($i:literal, $c:literal, $d:literal) => { concat!(
        "vbroadcastss {x}, dword ptr [{a} + {a_step}*\\p + 4*", $i, "]\n",
        "vfmadd231ps {", $c, "}, {x}, {b0}\n",
        "vfmadd231ps {", $d, "}, {x}, {b1}",
    ) };
}

/// The same without FMA.
#[rustfmt::skip]
macro_rules! row {
    ($i:literal, $c:literal, $d:literal) => { concat!(
        "vbroadcastss {x}, dword ptr [{a} + {a_step}*\\p + 4*", $i, "]\n",
        "vmulps {t}, {x}, {b0}\n",
        "vaddps {", $c, "}, {", $c, "}, {t}\n",
        "vmulps {x}, {x}, {b1}\n",
        "vaddps {", $d, "}, {", $d, "}, {x}",
    ) };
}

tile_loop! {
    /// [`Simd::turns`] of a full tile with FMA.
    ///
    /// # Safety
    /// As [`Simd::turns`].
    #[target_feature(enable = "avx2,fma")]
    fn full_tile_fma: 6 x 2 of __m256 in ymm_reg,
    sums [[c0, d0], [c1, d1], [c2, d2], [c3, d3], [c4, d4], [c5, d5]], temporaries [x, b0, b1]
    {
        "vmovups {b0}, ymmword ptr [{b} + {b_step}*\\p]",
        "vmovups {b1}, ymmword ptr [{b} + {b_step}*\\p + 32]",
        row_fma!("0", "c0", "d0"),
        row_fma!("1", "c1", "d1"),
        row_fma!("2", "c2", "d2"),
        row_fma!("3", "c3", "d3"),
        row_fma!("4", "c4", "d4"),
        row_fma!("5", "c5", "d5"),
    }
}

tile_loop! {
    /// [`Simd::turns`] of a full tile without FMA.
    ///
    /// # Safety
    /// As [`Simd::turns`].
    #[target_feature(enable = "avx")]
    fn full_tile: 6 x 2 of __m256 in ymm_reg,
    sums [[c0, d0], [c1, d1], [c2, d2], [c3, d3], [c4, d4], [c5, d5]], temporaries [x, t, b0, b1]
    {
        "vmovups {b0}, ymmword ptr [{b} + {b_step}*\\p]",
        "vmovups {b1}, ymmword ptr [{b} + {b_step}*\\p + 32]",
        row!("0", "c0", "d0"),
        row!("1", "c1", "d1"),
        row!("2", "c2", "d2"),
        row!("3", "c3", "d3"),
        row!("4", "c4", "d4"),
        row!("5", "c5", "d5"),
    }
}
