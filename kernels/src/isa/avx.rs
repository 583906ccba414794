//! AVX (Sandy Bridge, Ivy Bridge) and AVX2 with FMA (Haswell and later): 8 lanes, 16 registers, a
//! 6x16 tile.
//!
//! One type serves both: `FMA` decides between a fused and a separate multiply and add, and between 256-bit and
//! 128-bit integer instructions.
//!
//! The full tile's loop is written out: with separate multiplies and adds every one of the 16 registers is needed, where
//! the compiler spills two, and the rate at which instructions come in is the limit. Against the compiler's loop on Zen 3: AVX 1.2
//! times, AVX2 1.02 to 1.08 times.

use super::{Kernel, Simd};
use crate::matmul::tile::{self, Cursor, NR, TURN, TileArgs, tile_rows};
use std::arch::asm;
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
    const MR: usize = 6;
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
    unsafe fn turns<const R: usize, const NV: usize>(self, at: &mut Cursor, turns: usize, acc: &mut [[__m256; NV]; R]) {
        unsafe {
            match acc.as_mut_ptr().cast::<[[__m256; 2]; 6]>() {
                acc if (R, NV) == (6, 2) && turns > 0 && FMA => full_tile_fma(at, turns, &mut *acc),
                acc if (R, NV) == (6, 2) && turns > 0 => full_tile(at, turns, &mut *acc),
                _ => tile::turns(self, at, turns, acc),
            }
        }
    }
    #[inline(always)]
    unsafe fn tile(self, args: &mut TileArgs) {
        unsafe { tile_rows::<Self, 2>(self, args) }
    }
}

/// The loop of a full tile, given the instructions of row `i` with sums `c` and `d`.
macro_rules! full_tile {
    ($(#[$attribute:meta])* $name:ident, $row:ident, $($temporary:ident)?) => {
        $(#[$attribute])*
        #[inline]
        unsafe fn $name(at: &mut Cursor, turns: usize, acc: &mut [[__m256; 2]; 6]) {
            const { assert!(TURN == 4 && NR == 32, "the offsets below say so") };
            let (mut ahead, line) = at.ahead_a_turn();
            let [[c0, d0], [c1, d1], [c2, d2], [c3, d3], [c4, d4], [c5, d5]] = acc;
            // SAFETY: reads what the caller promises, writes registers.
            unsafe {
                asm!(
                    "2:",
                    "prefetcht1 [{ahead}]",
                    ".irp p, 0, 1, 2, 3",
                    "vmovups {b0}, ymmword ptr [{b} + 128*\\p]",
                    "vmovups {b1}, ymmword ptr [{b} + 128*\\p + 32]",
                    $row!("0", "c0", "d0"),
                    $row!("1", "c1", "d1"),
                    $row!("2", "c2", "d2"),
                    $row!("3", "c3", "d3"),
                    $row!("4", "c4", "d4"),
                    $row!("5", "c5", "d5"),
                    ".endr",
                    "add {a}, 96",
                    "add {b}, 512",
                    "add {ahead}, {line}",
                    "dec {turns}",
                    "jnz 2b",
                    a = inout(reg) at.a,
                    b = inout(reg) at.b,
                    ahead = inout(reg) ahead,
                    line = in(reg) line,
                    turns = inout(reg) turns => _,
                    b0 = out(ymm_reg) _,
                    b1 = out(ymm_reg) _,
                    x = out(ymm_reg) _,
                    $($temporary = out(ymm_reg) _,)?
                    c0 = inout(ymm_reg) *c0, d0 = inout(ymm_reg) *d0,
                    c1 = inout(ymm_reg) *c1, d1 = inout(ymm_reg) *d1,
                    c2 = inout(ymm_reg) *c2, d2 = inout(ymm_reg) *d2,
                    c3 = inout(ymm_reg) *c3, d3 = inout(ymm_reg) *d3,
                    c4 = inout(ymm_reg) *c4, d4 = inout(ymm_reg) *d4,
                    c5 = inout(ymm_reg) *c5, d5 = inout(ymm_reg) *d5,
                    options(nostack, readonly),
                );
            }
            at.ahead = ahead;
        }
    };
}

macro_rules! row_fma {
    ($i:literal, $c:literal, $d:literal) => {
        concat!(
            "vbroadcastss {x}, dword ptr [{a} + 24*\\p + 4*",
            $i,
            "]\n",
            "vfmadd231ps {",
            $c,
            "}, {x}, {b0}\n",
            "vfmadd231ps {",
            $d,
            "}, {x}, {b1}"
        )
    };
}

macro_rules! row {
    ($i:literal, $c:literal, $d:literal) => {
        concat!(
            "vbroadcastss {x}, dword ptr [{a} + 24*\\p + 4*",
            $i,
            "]\n",
            "vmulps {t}, {x}, {b0}\n",
            "vaddps {",
            $c,
            "}, {",
            $c,
            "}, {t}\n",
            "vmulps {x}, {x}, {b1}\n",
            "vaddps {",
            $d,
            "}, {",
            $d,
            "}, {x}"
        )
    };
}

full_tile! {
    /// [`Simd::turns`] of six rows with FMA.
    ///
    /// # Safety
    /// As [`Simd::turns`], `turns` not 0.
    #[target_feature(enable = "avx2,fma")]
    full_tile_fma, row_fma,
}

full_tile! {
    /// [`Simd::turns`] of six rows without FMA.
    ///
    /// # Safety
    /// As [`Simd::turns`], `turns` not 0.
    #[target_feature(enable = "avx")]
    full_tile, row, t
}
