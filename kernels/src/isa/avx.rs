//! AVX (Sandy Bridge, Ivy Bridge) and AVX2 with FMA (Haswell and later): 8 lanes, 16 registers.
//!
//! One type serves both: `FMA` decides between a fused and a separate multiply and add, and between 256-bit and
//! 128-bit integer instructions.

use super::{ByteProduct, Routine, Simd};
use std::arch::asm;
use std::arch::x86_64::*;

/// Proof that the CPU has AVX, and with `FMA` also AVX2 and FMA.
#[derive(Clone, Copy)]
pub struct Ymm<const FMA: bool> {
    /// What it has of VNNI too, which only CPUs with AVX2 have.
    vnni: Vnni,
}

/// The 256-bit instructions of VNNI: the same ones in the encoding of AVX and in that of AVX-512.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vnni {
    None,
    /// AVX-VNNI.
    Vex,
    /// AVX512_VNNI with AVX-512 VL.
    Evex,
}

/// AVX without FMA.
pub type Avx = Ymm<false>;
/// AVX2 with FMA.
pub type Avx2 = Ymm<true>;

impl Avx {
    pub(crate) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx").then_some(Ymm { vnni: Vnni::None })
    }
}

impl Avx2 {
    pub(crate) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        has.then(|| Ymm { vnni: if is_x86_feature_detected!("avxvnni") { Vnni::Vex } else { Vnni::None } })
    }

    /// The same with VNNI of AVX-512, which this CPU must have: it runs on CPUs of today what others run with AVX-VNNI.
    pub(crate) fn with_evex(self) -> Option<Self> {
        let has = is_x86_feature_detected!("avx512vnni") && is_x86_feature_detected!("avx512vl");
        has.then_some(Ymm { vnni: Vnni::Evex })
    }

    /// The same without VNNI.
    pub(crate) fn plain(self) -> Self {
        Ymm { vnni: Vnni::None }
    }
}

impl<const FMA: bool> Ymm<FMA> {
    /// Which VNNI is there, and used.
    pub(crate) fn vnni(self) -> Vnni {
        self.vnni
    }
}

/// An integer operation on both halves of its operands, each with SSE2's: AVX has no 256-bit integer arithmetic.
macro_rules! halves {
    ($operation:expr; $($x:expr),+) => {{
        let low = $operation($(_mm256_castsi256_si128($x)),+);
        let high = $operation($(_mm256_extractf128_si256::<1>($x)),+);
        _mm256_insertf128_si256::<1>(_mm256_castsi128_si256(low), high)
    }};
}

impl<const FMA: bool> Simd for Ymm<FMA> {
    register!(__m256: splat = _mm256_set1_ps, load = _mm256_loadu_ps, store = _mm256_storeu_ps,
        add = _mm256_add_ps, sub = _mm256_sub_ps, mul = _mm256_mul_ps, div = _mm256_div_ps, max = _mm256_max_ps);
    words!(__m256i, of __m256: splat = _mm256_set1_epi32, words = _mm256_castps_si256, floats = _mm256_castsi256_ps);
    sse!();

    #[inline(always)]
    fn vectorize<R: Routine<Self>>(self, routine: R) -> R::Output {
        // SAFETY: `FMA` proves AVX2 and FMA; else `self` proves AVX.
        unsafe { if FMA { with_features!("avx2,fma", self, routine) } else { with_features!("avx", self, routine) } }
    }

    #[inline(always)]
    fn dot_i16(self, a: __m256i, b: __m256i, c: __m256i) -> __m256i {
        // SAFETY: `self.vnni` proves VNNI in its encoding; `FMA` AVX2; else `self` AVX.
        unsafe {
            match self.vnni {
                Vnni::Vex if FMA => vpdpwssd(a, b, c),
                Vnni::Evex if FMA => vpdpwssd_evex(a, b, c),
                _ if FMA => _mm256_add_epi32(c, _mm256_madd_epi16(a, b)),
                _ => halves!(|a, b, c| _mm_add_epi32(c, _mm_madd_epi16(a, b)); a, b, c),
            }
        }
    }
    #[inline(always)]
    fn bytes(self) -> Option<ByteProduct> {
        (self.vnni != Vnni::None).then_some(ByteProduct::Offset)
    }
    #[inline(always)]
    fn dot_i8(self, a: __m256i, b: __m256i, c: __m256i) -> __m256i {
        // SAFETY: `self.vnni` proves VNNI in its encoding, `FMA` AVX2.
        unsafe {
            match self.vnni {
                Vnni::Vex if FMA => vpdpbusd(a, b, c),
                Vnni::Evex if FMA => vpdpbusd_evex(a, b, c),
                _ => panic!("bytes are multiplied with VNNI"),
            }
        }
    }
    #[inline(always)]
    fn widen_i8(self, x: __m256i) -> [__m256i; 2] {
        // SAFETY: `FMA` proves AVX2; else `self` proves AVX.
        unsafe {
            if FMA {
                [_mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(x)), _mm256_srai_epi16::<8>(x)]
            } else {
                [halves!(|x| _mm_srai_epi16::<8>(_mm_slli_epi16::<8>(x)); x), halves!(|x| _mm_srai_epi16::<8>(x); x)]
            }
        }
    }
    #[inline(always)]
    fn to_f32(self, x: __m256i) -> __m256 {
        // SAFETY: `self` proves AVX.
        unsafe { _mm256_cvtepi32_ps(x) }
    }

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
    fn in_order(self, [even, odd]: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: `self` proves AVX.
        unsafe {
            let (low, high) = (_mm256_unpacklo_ps(even, odd), _mm256_unpackhi_ps(even, odd));
            [_mm256_permute2f128_ps::<0x20>(low, high), _mm256_permute2f128_ps::<0x31>(low, high)]
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, p: *const u16) -> [__m256; 2] {
        // SAFETY: `FMA` proves AVX2; else `self` proves AVX; the caller promises sixteen values to read.
        unsafe {
            let words = _mm256_loadu_si256(p.cast());
            let even = if FMA { _mm256_slli_epi32::<16>(words) } else { halves!(|x| _mm_slli_epi32::<16>(x); words) };
            let odd = _mm256_and_ps(_mm256_castsi256_ps(words), _mm256_castsi256_ps(_mm256_set1_epi32(!0xFFFF)));
            [_mm256_castsi256_ps(even), odd]
        }
    }
}

/// An instruction of VNNI, as such: kernels are compiled for all CPUs with AVX2, and its intrinsic would be a call there.
macro_rules! vnni {
    ($name:ident: $instruction:literal) => {
        #[inline]
        #[target_feature(enable = "avx2")]
        unsafe fn $name(a: __m256i, b: __m256i, mut c: __m256i) -> __m256i {
            // SAFETY: the caller promises VNNI in this encoding; it touches registers alone.
            unsafe {
                asm!(
                    concat!($instruction, " {}, {}, {}"),
                    inout(ymm_reg) c, in(ymm_reg) a, in(ymm_reg) b,
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
            c
        }
    };
}
vnni!(vpdpwssd: "{{vex}} vpdpwssd");
vnni!(vpdpbusd: "{{vex}} vpdpbusd");
vnni!(vpdpwssd_evex: "{{evex}} vpdpwssd");
vnni!(vpdpbusd_evex: "{{evex}} vpdpbusd");
