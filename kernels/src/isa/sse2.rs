//! SSE2, the baseline of x86-64: 4 lanes, 16 registers, no FMA, a 2x16 tile. A broadcast from memory takes a copy and a
//! shuffle here: two rows share one load (a 4x8 tile, four rows a load, reaches 72 % of the peak where this has 77 %).

use super::Simd;
use crate::matmul::tile::{TileArgs, tile_rows};
use std::arch::x86_64::*;

/// SSE2 is part of x86-64: no detection is needed.
#[derive(Clone, Copy)]
pub struct Sse2(());

impl Sse2 {
    pub(super) const BASELINE: Self = Self(());
}

// SAFETY of every intrinsic below: SSE2 belongs to every x86-64 CPU; `load` and `store`
// check their slices; for the `unsafe fn`s the caller promises what the trait asks.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd for Sse2 {
    type V = __m128;
    const LANES: usize = 4;
    const MR: usize = 2;
    const KC: usize = 256;

    #[inline(always)]
    fn splat(self, x: f32) -> __m128 {
        unsafe { _mm_set1_ps(x) }
    }
    #[inline(always)]
    fn load(self, x: &[f32]) -> __m128 {
        assert!(x.len() >= Self::LANES);
        unsafe { _mm_loadu_ps(x.as_ptr()) }
    }
    #[inline(always)]
    fn store(self, v: __m128, out: &mut [f32]) {
        assert!(out.len() >= Self::LANES);
        unsafe { _mm_storeu_ps(out.as_mut_ptr(), v) }
    }
    #[inline(always)]
    fn add(self, a: __m128, b: __m128) -> __m128 {
        unsafe { _mm_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m128, b: __m128) -> __m128 {
        unsafe { _mm_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m128, b: __m128) -> __m128 {
        unsafe { _mm_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m128, b: __m128) -> __m128 {
        unsafe { _mm_div_ps(a, b) }
    }
    #[inline(always)]
    fn mul_add(self, a: __m128, b: __m128, c: __m128) -> __m128 {
        self.add(self.mul(a, b), c)
    }
    #[inline(always)]
    fn max(self, a: __m128, b: __m128) -> __m128 {
        unsafe { _mm_max_ps(a, b) }
    }
    #[inline(always)]
    fn select_lt(self, a: __m128, b: __m128, x: __m128, y: __m128) -> __m128 {
        unsafe {
            let lt = _mm_cmplt_ps(a, b);
            _mm_or_ps(_mm_and_ps(lt, x), _mm_andnot_ps(lt, y))
        }
    }
    #[inline(always)]
    fn mul_pow2(self, p: __m128, t: __m128) -> __m128 {
        unsafe {
            let n = _mm_slli_epi32::<23>(_mm_castps_si128(t));
            _mm_castsi128_ps(_mm_add_epi32(_mm_castps_si128(p), n))
        }
    }
    #[inline(always)]
    unsafe fn splat_row<const R: usize>(self, p: *const f32, i: usize) -> __m128 {
        unsafe {
            if i / 2 * 2 + 2 > R {
                return self.splat(*p.add(i));
            }
            let rows = _mm_castpd_ps(_mm_load_sd(p.add(i / 2 * 2).cast()));
            match i % 2 {
                0 => pshufd::<0x00>(rows),
                _ => pshufd::<0x55>(rows),
            }
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
    unsafe fn load_ptr(self, p: *const f32) -> __m128 {
        unsafe { _mm_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, v: __m128, p: *mut f32) {
        unsafe { _mm_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn tile(self, args: &mut TileArgs) {
        unsafe { tile_rows::<Self, 4>(self, args) }
    }
}

/// The lanes of `x` that `ORDER` names, in one instruction that leaves `x` as it is.
#[inline(always)]
fn pshufd<const ORDER: i32>(x: __m128) -> __m128 {
    let out;
    // SAFETY: PSHUFD belongs to SSE2 and touches registers alone.
    unsafe {
        std::arch::asm!("pshufd {}, {}, {}", lateout(xmm_reg) out, in(xmm_reg) x, const ORDER, options(pure, nomem, nostack, preserves_flags));
    }
    out
}
