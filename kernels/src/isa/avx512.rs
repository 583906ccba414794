//! AVX-512: 16 lanes, 32 registers.

use super::amx::Amx;
use super::{ByteProduct, Routine, Simd};
use std::arch::asm;
use std::arch::x86_64::*;

/// Proof that the CPU has AVX-512 F, BW, DQ and VL.
#[derive(Clone, Copy)]
pub struct Avx512 {
    /// Whether it has AVX512_VNNI too.
    vnni: bool,
    /// AMX, where there is VNNI as well.
    amx: Option<Amx>,
}

impl Avx512 {
    pub(crate) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma");
        has.then(|| {
            let vnni = is_x86_feature_detected!("avx512vnni");
            Self { vnni, amx: vnni.then(Amx::detect).flatten() }
        })
    }

    /// Whether VNNI is there, and used.
    pub(crate) fn vnni(self) -> bool {
        self.vnni
    }

    /// Whether AMX is there, and used.
    pub(crate) fn amx(self) -> bool {
        self.amx.is_some()
    }

    /// The same without AMX.
    pub(crate) fn without_amx(self) -> Self {
        Self { amx: None, ..self }
    }

    /// The same without VNNI and AMX.
    pub(crate) fn plain(self) -> Self {
        Self { vnni: false, amx: None }
    }
}

impl Simd for Avx512 {
    register!(__m512: splat = _mm512_set1_ps, load = _mm512_loadu_ps, store = _mm512_storeu_ps,
        add = _mm512_add_ps, sub = _mm512_sub_ps, mul = _mm512_mul_ps, div = _mm512_div_ps, max = _mm512_max_ps);
    words!(__m512i, of __m512: splat = _mm512_set1_epi32, words = _mm512_castps_si512, floats = _mm512_castsi512_ps);
    sse!();

    #[inline(always)]
    fn vectorize<R: Routine<Self>>(self, routine: R) -> R::Output {
        // SAFETY: `detect` found these features.
        unsafe { with_features!("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma", self, routine) }
    }

    #[inline(always)]
    fn dot_i16(self, a: __m512i, b: __m512i, c: __m512i) -> __m512i {
        if self.vnni {
            // SAFETY: `self.vnni` proves VNNI.
            return unsafe { vpdpwssd(a, b, c) };
        }
        // SAFETY: `self` proves AVX-512 BW.
        unsafe { _mm512_add_epi32(c, _mm512_madd_epi16(a, b)) }
    }
    #[inline(always)]
    fn bytes(self) -> Option<ByteProduct> {
        self.amx.map(ByteProduct::Tiles).or(self.vnni.then_some(ByteProduct::Offset))
    }
    #[inline(always)]
    fn dot_i8(self, a: __m512i, b: __m512i, c: __m512i) -> __m512i {
        assert!(self.vnni, "bytes are multiplied with VNNI");
        // SAFETY: `self.vnni` proves VNNI.
        unsafe { vpdpbusd(a, b, c) }
    }
    #[inline(always)]
    fn widen_i8(self, x: __m512i) -> [__m512i; 2] {
        // SAFETY: `self` proves AVX-512 BW.
        unsafe { [_mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(x)), _mm512_srai_epi16::<8>(x)] }
    }
    #[inline(always)]
    fn to_f32(self, x: __m512i) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_cvtepi32_ps(x) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn select_lt(self, a: __m512, b: __m512, x: __m512, y: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), y, x) }
    }
    #[inline(always)]
    fn mul_pow2(self, p: __m512, t: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe {
            let n = _mm512_slli_epi32::<23>(_mm512_castps_si512(t));
            _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p), n))
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, p: *const u16) -> [__m512; 2] {
        // SAFETY: `self` proves AVX-512; the caller promises 32 values to read.
        unsafe {
            let widen = |x| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(x)));
            [widen(_mm256_loadu_si256(p.cast())), widen(_mm256_loadu_si256(p.add(16).cast()))]
        }
    }
}

/// An instruction of VNNI, as such: kernels are compiled for all CPUs with AVX-512, and its intrinsic would be a call there.
macro_rules! vnni {
    ($name:ident) => {
        #[inline]
        #[target_feature(enable = "avx512f")]
        unsafe fn $name(a: __m512i, b: __m512i, mut c: __m512i) -> __m512i {
            // SAFETY: the caller promises VNNI; it touches registers alone.
            unsafe {
                asm!(
                    concat!(stringify!($name), " {}, {}, {}"),
                    inout(zmm_reg) c, in(zmm_reg) a, in(zmm_reg) b,
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
            c
        }
    };
}
vnni!(vpdpwssd);
vnni!(vpdpbusd);
