//! SSE2, the baseline of x86-64: 4 lanes, 16 registers, no FMA, a 3x16 tile.
//!
//! The full tile's loop is in assembly. A product overwrites one of its factors, so that most take a copy, and a
//! broadcast takes a load and a shuffle: this order has the fewest of them that still need less than one load for every
//! multiplication, which is all that CPUs without AVX can do. Against the compiler's loop of a 2x16 tile, on Zen 3: 1.1
//! times as fast.

use super::Simd;
use crate::matmul::tile::{self, Cursor, TileArgs, tile_rows};
use std::arch::x86_64::*;

/// SSE2 is part of x86-64: no detection is needed.
#[derive(Clone, Copy)]
pub struct Sse2(());

impl Sse2 {
    pub(super) const BASELINE: Self = Self(());
}

impl Simd for Sse2 {
    const MR: usize = 3;
    const KC: usize = 256;

    register!(__m128: splat = _mm_set1_ps, load = _mm_loadu_ps, store = _mm_storeu_ps,
        add = _mm_add_ps, sub = _mm_sub_ps, mul = _mm_mul_ps, div = _mm_div_ps, max = _mm_max_ps);
    prefetch!();

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
    unsafe fn turns<const R: usize, const NV: usize>(self, at: &mut Cursor, turns: usize, acc: &mut [[__m128; NV]; R]) {
        // A factor in memory must be aligned, as panels are; slices of them need not be.
        let aligned = at.b.addr().is_multiple_of(size_of::<__m128>());
        // SAFETY: the caller's promise; `acc` is seen as what it is.
        unsafe {
            match (R, NV) {
                (3, 4) if aligned => full_tile(at, turns, &mut *acc.as_mut_ptr().cast()),
                _ => tile::turns(self, at, turns, acc),
            }
        }
    }
    #[inline(always)]
    unsafe fn tile(self, args: &mut TileArgs) {
        // SAFETY: the caller's promise.
        unsafe { tile_rows::<Self, 4>(self, args) }
    }
}

/// Rows 0 and 1, broadcast in `x` and `y`, by the four columns at `offset`, whose sums are `c` and `d`.
#[rustfmt::skip] // a line an instruction
macro_rules! two_rows {
    ($offset:literal, $c:literal, $d:literal) => { concat!(
        "movaps {t}, xmmword ptr [{b} + {b_step}*\\p + ", $offset, "]\n",
        "movaps {u}, {t}\n",
        "mulps {u}, {x}\n",
        "addps {", $c, "}, {u}\n",
        "mulps {t}, {y}\n",
        "addps {", $d, "}, {t}",
    ) };
}

/// Row 2, broadcast in `x`, by the four columns at `offset`, whose sum is `c`: the product is made in a copy of `x`, or
/// in `x` itself the last time.
#[rustfmt::skip]
macro_rules! one_row {
    ($offset:literal, $c:literal, copy $t:literal) => { concat!(
        "movaps {", $t, "}, {x}\n",
        one_row!($offset, $c, $t),
    ) };
    ($offset:literal, $c:literal, $t:literal) => { concat!(
        "mulps {", $t, "}, xmmword ptr [{b} + {b_step}*\\p + ", $offset, "]\n",
        "addps {", $c, "}, {", $t, "}",
    ) };
}

tile_loop! {
    /// [`Simd::turns`] of a full tile.
    ///
    /// # Safety
    /// As [`Simd::turns`], and `at.b` is aligned to 16 bytes.
    fn full_tile: 3 x 4 of __m128 in xmm_reg,
    sums [[c0, c1, c2, c3], [d0, d1, d2, d3], [e0, e1, e2, e3]], temporaries [x, y, t, u]
    {
        "movsd {y}, qword ptr [{a} + {a_step}*\\p]",
        "pshufd {x}, {y}, 0x00",
        "pshufd {y}, {y}, 0x55",
        two_rows!("0", "c0", "d0"),
        two_rows!("16", "c1", "d1"),
        two_rows!("32", "c2", "d2"),
        two_rows!("48", "c3", "d3"),
        "movss {x}, dword ptr [{a} + {a_step}*\\p + 8]",
        "pshufd {x}, {x}, 0x00",
        one_row!("0", "e0", copy "t"),
        one_row!("16", "e1", copy "u"),
        one_row!("32", "e2", copy "t"),
        one_row!("48", "e3", "x"),
    }
}
