//! SSE2, the baseline of x86-64: 4 lanes, 16 registers, no FMA, a 3x16 tile.
//!
//! A product overwrites one of its factors, so most take a copy, and a broadcast takes a load and a shuffle. The full tile's loop
//! is written out for the fewest of these that 16 registers allow, with no more loads than one in a cycle of an old CPU's
//! multiplier: 1.1 times the compiler's loop of a 2x16 tile on Zen 3.

use super::Simd;
use crate::matmul::tile::{self, Cursor, NR, TURN, TileArgs, tile_rows};
use std::arch::asm;
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
    const MR: usize = 3;
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
    unsafe fn turns<const R: usize, const NV: usize>(self, at: &mut Cursor, turns: usize, acc: &mut [[__m128; NV]; R]) {
        // A factor in memory is aligned or a fault.
        let aligned = at.b.addr().is_multiple_of(size_of::<__m128>());
        unsafe {
            match acc.as_mut_ptr().cast::<[[__m128; 4]; 3]>() {
                acc if (R, NV) == (3, 4) && turns > 0 && aligned => full_tile(at, turns, &mut *acc),
                _ => tile::turns(self, at, turns, acc),
            }
        }
    }
    #[inline(always)]
    unsafe fn tile(self, args: &mut TileArgs) {
        unsafe { tile_rows::<Self, 4>(self, args) }
    }
}

/// Rows 0 and 1, broadcast in `x` and `y`, by four columns at `offset`: one load and one copy.
macro_rules! two_rows {
    ($offset:literal, $c:literal, $d:literal) => {
        concat!(
            "movaps {t}, xmmword ptr [{b} + 128*\\p + ",
            $offset,
            "]\n",
            "movaps {u}, {t}\n",
            "mulps {u}, {x}\n",
            "addps {",
            $c,
            "}, {u}\n",
            "mulps {t}, {y}\n",
            "addps {",
            $d,
            "}, {t}"
        )
    };
}

/// Row 2, broadcast in `x`, by four columns at `offset`; the last time `x` itself becomes the product.
macro_rules! one_row {
    ($offset:literal, $c:literal, $t:literal) => {
        concat!("movaps {", $t, "}, {x}\n", one_row!(last $offset, $c, $t))
    };
    (last $offset:literal, $c:literal, $t:literal) => {
        concat!(
            "mulps {", $t, "}, xmmword ptr [{b} + 128*\\p + ", $offset, "]\n",
            "addps {", $c, "}, {", $t, "}"
        )
    };
}

/// [`Simd::turns`] of three rows.
///
/// # Safety
/// As [`Simd::turns`], `turns` not 0 and `at.b` aligned to 16 bytes.
#[inline]
unsafe fn full_tile(at: &mut Cursor, turns: usize, acc: &mut [[__m128; 4]; 3]) {
    const { assert!(TURN == 4 && NR == 32, "the offsets below say so") };
    let (mut ahead, line) = at.ahead_a_turn();
    let [[c0, c1, c2, c3], [d0, d1, d2, d3], [e0, e1, e2, e3]] = acc;
    // SAFETY: reads what the caller promises, writes registers.
    unsafe {
        asm!(
            "2:",
            "prefetcht1 [{ahead}]",
            ".irp p, 0, 1, 2, 3",
            "movsd {y}, qword ptr [{a} + 12*\\p]",
            "pshufd {x}, {y}, 0x00",
            "pshufd {y}, {y}, 0x55",
            two_rows!("0", "c0", "d0"),
            two_rows!("16", "c1", "d1"),
            two_rows!("32", "c2", "d2"),
            two_rows!("48", "c3", "d3"),
            "movss {x}, dword ptr [{a} + 12*\\p + 8]",
            "pshufd {x}, {x}, 0x00",
            one_row!("0", "e0", "t"),
            one_row!("16", "e1", "u"),
            one_row!("32", "e2", "t"),
            one_row!(last "48", "e3", "x"),
            ".endr",
            "add {a}, 48",
            "add {b}, 512",
            "add {ahead}, {line}",
            "dec {turns}",
            "jnz 2b",
            a = inout(reg) at.a,
            b = inout(reg) at.b,
            ahead = inout(reg) ahead,
            line = in(reg) line,
            turns = inout(reg) turns => _,
            x = out(xmm_reg) _,
            y = out(xmm_reg) _,
            t = out(xmm_reg) _,
            u = out(xmm_reg) _,
            c0 = inout(xmm_reg) *c0, c1 = inout(xmm_reg) *c1, c2 = inout(xmm_reg) *c2, c3 = inout(xmm_reg) *c3,
            d0 = inout(xmm_reg) *d0, d1 = inout(xmm_reg) *d1, d2 = inout(xmm_reg) *d2, d3 = inout(xmm_reg) *d3,
            e0 = inout(xmm_reg) *e0, e1 = inout(xmm_reg) *e1, e2 = inout(xmm_reg) *e2, e3 = inout(xmm_reg) *e3,
            options(nostack, readonly),
        );
    }
    at.ahead = ahead;
}
