//! NEON, the baseline of aarch64: 4 lanes, 32 registers.

use super::{ByteProduct, Routine, Simd};
use std::arch::aarch64::*;
use std::arch::{asm, is_aarch64_feature_detected};

/// NEON itself is part of aarch64: no detection is needed.
#[derive(Clone, Copy)]
pub struct Neon {
    /// Whether it has SDOT too (FEAT_DotProd).
    dotprod: bool,
}

impl Neon {
    pub(crate) fn detect() -> Self {
        Self { dotprod: is_aarch64_feature_detected!("dotprod") }
    }

    /// Whether SDOT is there, and used.
    pub(crate) fn dotprod(self) -> bool {
        self.dotprod
    }

    /// The same without SDOT.
    pub(crate) fn plain(self) -> Self {
        Self { dotprod: false }
    }
}

impl Simd for Neon {
    register!(float32x4_t: splat = vdupq_n_f32, load = vld1q_f32, store = vst1q_f32,
        add = vaddq_f32, sub = vsubq_f32, mul = vmulq_f32, div = vdivq_f32);
    words!(int32x4_t, of float32x4_t: splat = vdupq_n_s32, words = vreinterpretq_s32_f32, floats = vreinterpretq_f32_s32);

    // Within its caller: in a function of its own the tile of i16, whose sums fill the registers, moves them to the stack.
    #[inline(always)]
    fn vectorize<R: Routine<Self>>(self, routine: R) -> R::Output {
        routine.run(self)
    }

    #[inline(always)]
    fn dot_i16(self, a: int32x4_t, b: int32x4_t, c: int32x4_t) -> int32x4_t {
        // SAFETY: NEON is part of aarch64.
        unsafe {
            let c = vmlal_s16(c, vmovn_s32(a), vmovn_s32(b));
            vmlal_s16(c, vshrn_n_s32::<16>(a), vshrn_n_s32::<16>(b))
        }
    }
    #[inline(always)]
    fn bytes(self) -> Option<ByteProduct> {
        self.dotprod.then_some(ByteProduct::Signed)
    }
    #[inline(always)]
    fn dot_i8(self, a: int32x4_t, b: int32x4_t, c: int32x4_t) -> int32x4_t {
        assert!(self.dotprod, "bytes are multiplied with SDOT");
        // SAFETY: `self.dotprod` proves SDOT.
        unsafe { sdot(a, b, c) }
    }
    #[inline(always)]
    fn widen_i8(self, x: int32x4_t) -> [int32x4_t; 2] {
        // SAFETY: NEON is part of aarch64.
        unsafe {
            let x = vreinterpretq_s16_s32(x);
            [vshrq_n_s16::<8>(vshlq_n_s16::<8>(x)), vshrq_n_s16::<8>(x)].map(|x| vreinterpretq_s32_s16(x))
        }
    }
    #[inline(always)]
    fn to_f32(self, x: int32x4_t) -> float32x4_t {
        // SAFETY: NEON is part of aarch64.
        unsafe { vcvtq_f32_s32(x) }
    }

    #[inline(always)]
    fn mul_add(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        // SAFETY: NEON is part of aarch64.
        unsafe { vfmaq_f32(c, a, b) }
    }
    #[inline(always)]
    fn max(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // A compare and a select rather than FMAX: `b` where the lanes compare unordered, as on x86.
        // SAFETY: NEON is part of aarch64.
        unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) }
    }
    #[inline(always)]
    fn select_lt(self, a: float32x4_t, b: float32x4_t, x: float32x4_t, y: float32x4_t) -> float32x4_t {
        // SAFETY: NEON is part of aarch64.
        unsafe { vbslq_f32(vcltq_f32(a, b), x, y) }
    }
    #[inline(always)]
    fn mul_pow2(self, p: float32x4_t, t: float32x4_t) -> float32x4_t {
        // SAFETY: NEON is part of aarch64.
        unsafe {
            let n = vshlq_n_s32::<23>(vreinterpretq_s32_f32(t));
            vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(p), n))
        }
    }
    #[inline(always)]
    fn prefetch(self, p: *const u8) {
        // The intrinsic is not stable.
        // SAFETY: part of aarch64; any address may be asked for.
        unsafe { asm!("prfm pldl1keep, [{}]", in(reg) p, options(readonly, nostack, preserves_flags)) }
    }
    #[inline(always)]
    fn prefetch_l2(self, p: *const u8) {
        // SAFETY: part of aarch64; any address may be asked for.
        unsafe { asm!("prfm pldl2keep, [{}]", in(reg) p, options(readonly, nostack, preserves_flags)) }
    }
    #[inline(always)]
    fn transpose_4x4(self, rows: &[f32], stride: usize, out: &mut [f32], width: usize) {
        assert!(rows.len() >= 3 * stride + 4 && out.len() >= 3 * width + 4, "four rows and columns do not lie within");
        let (rows, out) = (rows.as_ptr(), out.as_mut_ptr());
        // SAFETY: four values from each of four rows, in and out, lie within the slices, as asserted.
        unsafe {
            let row = |i: usize| vld1q_f32(rows.add(i * stride));
            let pairs = |x, y| (vreinterpretq_f64_f32(vtrn1q_f32(x, y)), vreinterpretq_f64_f32(vtrn2q_f32(x, y)));
            let ((ab_even, ab_odd), (cd_even, cd_odd)) = (pairs(row(0), row(1)), pairs(row(2), row(3)));
            let columns = [
                vtrn1q_f64(ab_even, cd_even),
                vtrn1q_f64(ab_odd, cd_odd),
                vtrn2q_f64(ab_even, cd_even),
                vtrn2q_f64(ab_odd, cd_odd),
            ];
            for (q, column) in columns.into_iter().enumerate() {
                vst1q_f32(out.add(q * width), vreinterpretq_f32_f64(column));
            }
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, p: *const u16) -> [float32x4_t; 2] {
        // SAFETY: NEON is part of aarch64; the caller promises eight values to read.
        unsafe {
            let halves = vld1q_u16(p);
            let widen = |x| vreinterpretq_f32_u32(vshlq_n_u32::<16>(vmovl_u16(x)));
            [widen(vget_low_u16(halves)), widen(vget_high_u16(halves))]
        }
    }
}

/// SDOT as such: its intrinsic is not stable.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn sdot(a: int32x4_t, b: int32x4_t, mut c: int32x4_t) -> int32x4_t {
    // SAFETY: the caller promises SDOT; it touches registers alone.
    unsafe {
        asm!(
            ".arch_extension dotprod",
            "sdot {:v}.4s, {:v}.16b, {:v}.16b",
            inout(vreg) c, in(vreg) a, in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    c
}
