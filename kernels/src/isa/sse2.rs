//! SSE2, the baseline of x86-64: 4 lanes, 16 registers, no FMA.

use super::Simd;
use std::arch::x86_64::*;

/// SSE2 is part of x86-64: no detection is needed.
#[derive(Clone, Copy)]
pub struct Sse2(());

impl Sse2 {
    pub(crate) const BASELINE: Self = Self(());
}

impl Simd for Sse2 {
    register!(__m128: splat = _mm_set1_ps, load = _mm_loadu_ps, store = _mm_storeu_ps,
        add = _mm_add_ps, sub = _mm_sub_ps, mul = _mm_mul_ps, div = _mm_div_ps, max = _mm_max_ps);
    words!(__m128i, of __m128: splat = _mm_set1_epi32, words = _mm_castps_si128, floats = _mm_castsi128_ps);
    sse!();

    #[inline(always)]
    fn dot_i16(self, a: __m128i, b: __m128i, c: __m128i) -> __m128i {
        // SAFETY: SSE2 is part of x86-64.
        unsafe { _mm_add_epi32(c, _mm_madd_epi16(a, b)) }
    }
    #[inline(always)]
    fn widen_i8(self, x: __m128i) -> [__m128i; 2] {
        // SAFETY: SSE2 is part of x86-64.
        unsafe { [_mm_srai_epi16::<8>(_mm_slli_epi16::<8>(x)), _mm_srai_epi16::<8>(x)] }
    }
    #[inline(always)]
    fn to_f32(self, x: __m128i) -> __m128 {
        // SAFETY: SSE2 is part of x86-64.
        unsafe { _mm_cvtepi32_ps(x) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m128, b: __m128, c: __m128) -> __m128 {
        self.add(self.mul(a, b), c)
    }
    #[inline(always)]
    fn select_lt(self, a: __m128, b: __m128, x: __m128, y: __m128) -> __m128 {
        // SAFETY: SSE2 is part of x86-64.
        unsafe {
            let lt = _mm_cmplt_ps(a, b);
            _mm_or_ps(_mm_and_ps(lt, x), _mm_andnot_ps(lt, y))
        }
    }
    #[inline(always)]
    fn mul_pow2(self, p: __m128, t: __m128) -> __m128 {
        // SAFETY: SSE2 is part of x86-64.
        unsafe {
            let n = _mm_slli_epi32::<23>(_mm_castps_si128(t));
            _mm_castsi128_ps(_mm_add_epi32(_mm_castps_si128(p), n))
        }
    }
    #[inline(always)]
    fn in_order(self, [even, odd]: [__m128; 2]) -> [__m128; 2] {
        // SAFETY: SSE2 is part of x86-64.
        unsafe { [_mm_unpacklo_ps(even, odd), _mm_unpackhi_ps(even, odd)] }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, p: *const u16) -> [__m128; 2] {
        // SAFETY: SSE2 is part of x86-64; the caller promises eight values to read.
        unsafe {
            let words = _mm_loadu_si128(p.cast());
            let odd = _mm_and_si128(words, _mm_set1_epi32(!0xFFFF));
            [_mm_castsi128_ps(_mm_slli_epi32::<16>(words)), _mm_castsi128_ps(odd)]
        }
    }
}
