//! f32 by bfloat16, which is the upper half of an f32: widened to the same bits, by the tile as it loads them, or
//! beforehand, for all tiles of a task ([`widen`]).
//!
//! Beforehand it is a load and a store of every value, through L2, which a tile that loads bfloat16 does not wait for, and
//! reads half of. Up to which rows that pays is for an instruction set to say ([`Bf16Tile::WIDENING_ROWS`]). With AVX2 it is
//! all (see `x86`). Elsewhere it is one tile of rows, which was 1.15 times as fast on Zen 4 (AVX-512, 12 rows), and on Zen 3
//! 1.1 times with AVX (6) and with SSE2 (3). Not measured on Intel, nor with NEON.

use super::float32::{F32, multiply_add};
use super::{Cursor, Product, Tile};
use crate::isa::Simd;

/// f32 by bfloat16, summed in f32: the chains, and the bits, of [`F32`].
#[derive(Clone, Copy)]
pub struct Bf16;

impl Product for Bf16 {
    type Left = f32;
    type Right = u16;

    #[inline(always)]
    unsafe fn step<S: Simd, const R: usize, const C: usize>(s: S, at: &Cursor<Bf16>, acc: &mut [[S::V; C]; R]) {
        let mut columns = [s.splat(0.0); C];
        for (j, pair) in columns.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            // SAFETY: the caller promises columns `2 * j` and `2 * j + 1`, which are in one panel.
            *pair = unsafe { s.load_bf16(at.b.add(at.column(2 * j, S::LANES))) };
        }
        // SAFETY: the caller promises the values of the rows.
        unsafe { multiply_add(s, at.a, columns, acc) }
    }

    #[inline(always)]
    fn in_order<S: Simd, const C: usize>(s: S, mut sums: [S::V; C]) -> [S::V; C] {
        for pair in sums.as_chunks_mut::<2>().0 {
            *pair = s.in_order(*pair);
        }
        sums
    }
}

/// The tile of bfloat16 on an instruction set.
pub trait Bf16Tile: Tile<F32> + Tile<Bf16> {
    /// The most rows of a task whose tiles each widen what they load, at least [`super::FEW_ROWS`]. More rows share what is
    /// widened beforehand.
    const WIDENING_ROWS: usize = <Self as Tile<F32>>::MR;
}

/// The sizes that f32 has: the chains are the same.
macro_rules! like_f32 {
    () => {
        const MR: usize = <Self as Tile<F32>>::MR;
        const NV: usize = <Self as Tile<F32>>::NV;
        const KC: usize = <Self as Tile<F32>>::KC;
    };
}
pub(super) use like_f32;

/// `out[i] = x[i]`; the lengths are equal multiples of twice the lane count.
#[inline(always)]
pub fn widen<S: Simd>(s: S, x: &[u16], out: &mut [f32]) {
    assert!(x.len() == out.len() && x.len().is_multiple_of(2 * S::LANES));
    for (x, out) in x.chunks_exact(2 * S::LANES).zip(out.chunks_exact_mut(2 * S::LANES)) {
        // SAFETY: `x` has `2 * LANES` values.
        let pair = unsafe { s.load_bf16(x.as_ptr()) };
        for (wide, out) in s.in_order(pair).into_iter().zip(out.chunks_exact_mut(S::LANES)) {
            s.store(wide, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::{Arch, Isa, Kernel};

    struct Widen<'a>(&'a [u16], &'a mut [f32]);

    impl Kernel for Widen<'_> {
        type Output = ();

        #[inline(always)]
        fn run<S: Arch>(self, s: S) {
            widen(s, self.0, self.1);
        }
    }

    #[test]
    fn a_bfloat16_is_the_upper_half_of_its_f32_whatever_its_bits() {
        let halves: Vec<u16> = (0..=u16::MAX).collect();
        for isa in Isa::available() {
            let mut wide = vec![0.0; halves.len()];
            isa.dispatch(Widen(&halves, &mut wide));
            for (wide, half) in wide.iter().zip(&halves) {
                assert_eq!(wide.to_bits(), u32::from(*half) << 16, "{half:#06x} on {isa:?}");
            }
        }
    }
}
