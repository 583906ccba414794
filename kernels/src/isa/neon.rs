//! NEON, the baseline of aarch64: 4 lanes, 32 registers, FMA, a 6x16 tile (24 accumulators).

use super::Simd;
use crate::matmul::tile::{TileArgs, tile_rows};
use std::arch::aarch64::*;

/// NEON is part of aarch64: no detection is needed.
#[derive(Clone, Copy)]
pub struct Neon(());

impl Neon {
    pub(super) const BASELINE: Self = Self(());
}

// SAFETY of every intrinsic below: NEON belongs to every aarch64 CPU; `load` and `store`
// check their slices; for the `unsafe fn`s the caller promises what the trait asks.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd for Neon {
    type V = float32x4_t;
    const LANES: usize = 4;
    const MR: usize = 6;
    const KC: usize = 256;

    #[inline(always)]
    fn splat(self, x: f32) -> float32x4_t {
        unsafe { vdupq_n_f32(x) }
    }
    #[inline(always)]
    fn load(self, x: &[f32]) -> float32x4_t {
        assert!(x.len() >= Self::LANES);
        unsafe { vld1q_f32(x.as_ptr()) }
    }
    #[inline(always)]
    fn store(self, v: float32x4_t, out: &mut [f32]) {
        assert!(out.len() >= Self::LANES);
        unsafe { vst1q_f32(out.as_mut_ptr(), v) }
    }
    #[inline(always)]
    fn add(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vaddq_f32(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vsubq_f32(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vmulq_f32(a, b) }
    }
    #[inline(always)]
    fn div(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vdivq_f32(a, b) }
    }
    #[inline(always)]
    fn mul_add(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        unsafe { vfmaq_f32(c, a, b) }
    }
    #[inline(always)]
    fn max(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // A compare and a select rather than FMAX: `b` where the lanes compare unordered, as on x86.
        unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) }
    }
    #[inline(always)]
    fn select_lt(self, a: float32x4_t, b: float32x4_t, x: float32x4_t, y: float32x4_t) -> float32x4_t {
        unsafe { vbslq_f32(vcltq_f32(a, b), x, y) }
    }
    #[inline(always)]
    fn mul_pow2(self, p: float32x4_t, t: float32x4_t) -> float32x4_t {
        unsafe {
            let n = vshlq_n_s32::<23>(vreinterpretq_s32_f32(t));
            vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(p), n))
        }
    }
    #[inline(always)]
    unsafe fn load_ptr(self, p: *const f32) -> float32x4_t {
        unsafe { vld1q_f32(p) }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, v: float32x4_t, p: *mut f32) {
        unsafe { vst1q_f32(p, v) }
    }
    #[inline(always)]
    unsafe fn tile(self, args: &mut TileArgs) {
        unsafe { tile_rows::<Self, 4>(self, args) }
    }
}
