//! AVX (Sandy Bridge, Ivy Bridge) and AVX2 with FMA (Haswell and later): 8 lanes, 16 registers, a 4x16
//! and a 6x16 tile.
//!
//! One type serves both: `FMA` decides between a fused and a separate multiply and add, and between 256-bit and
//! 128-bit integer instructions.

use super::{Kernel, Simd};
use crate::matmul::tile::{TileArgs, tile_rows};
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

// SAFETY of every intrinsic below: `self` proves AVX, and where `FMA` holds AVX2 and FMA; `load` and `store`
// check their slices; for the `unsafe fn`s the caller promises what the trait asks.
#[allow(clippy::undocumented_unsafe_blocks)]
impl<const FMA: bool> Simd for Ymm<FMA> {
    type V = __m256;
    const LANES: usize = 8;
    // Without FMA a product needs a register of its own: 12 accumulators would spill two, 8 fit and hide an add's latency.
    const MR: usize = if FMA { 6 } else { 4 };
    const KC: usize = 1024;

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        unsafe { _mm256_set1_ps(x) }
    }
    #[inline(always)]
    fn load(self, x: &[f32]) -> __m256 {
        assert!(x.len() >= Self::LANES);
        unsafe { _mm256_loadu_ps(x.as_ptr()) }
    }
    #[inline(always)]
    fn store(self, v: __m256, out: &mut [f32]) {
        assert!(out.len() >= Self::LANES);
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), v) }
    }
    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_div_ps(a, b) }
    }
    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        if FMA { unsafe { _mm256_fmadd_ps(a, b, c) } } else { self.add(self.mul(a, b), c) }
    }
    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_max_ps(a, b) }
    }
    #[inline(always)]
    fn select_lt(self, a: __m256, b: __m256, x: __m256, y: __m256) -> __m256 {
        unsafe { _mm256_blendv_ps(y, x, _mm256_cmp_ps::<_CMP_LT_OQ>(a, b)) }
    }
    #[inline(always)]
    fn mul_pow2(self, p: __m256, t: __m256) -> __m256 {
        if FMA {
            return unsafe {
                let n = _mm256_slli_epi32::<23>(_mm256_castps_si256(t));
                _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), n))
            };
        }
        // AVX has no 256-bit integer arithmetic: the two halves, each with SSE2's.
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
    fn prefetch(self, p: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }
    #[inline(always)]
    fn prefetch_l2(self, p: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
    }
    #[inline(always)]
    unsafe fn load_ptr(self, p: *const f32) -> __m256 {
        unsafe { _mm256_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, v: __m256, p: *mut f32) {
        unsafe { _mm256_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn tile(self, args: &mut TileArgs) {
        unsafe { tile_rows::<Self, 2>(self, args) }
    }
}
