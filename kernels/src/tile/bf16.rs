//! f32 by bfloat16, which is the upper half of an f32: widened to the same bits, either in the load, for few rows, or
//! beforehand, for many, which then share it ([`widen`]).
//!
//! Beforehand it is a load and a store of every value, through L2, which a tile that loads bfloat16 does not wait for: in
//! one tile of rows that was 1.15 times as fast on Zen 4 (AVX-512, 12 rows), and on Zen 3 1.5 times with AVX2 (6 rows), 1.1
//! with AVX (6) and with SSE2 (3). Not measured on Intel, where the widening takes the units of the multiply-adds, nor with
//! NEON. Several tiles that each widen pay with AVX2 alone, up to [`Tile::WIDENING_ROWS`].

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
        for (j, column) in columns.iter_mut().enumerate() {
            // SAFETY: the caller promises column `j < C`.
            *column = unsafe { s.load_bf16(at.b.add(at.column(j, S::LANES))) };
        }
        // SAFETY: the caller promises the values of the rows.
        unsafe { multiply_add(s, at.a, columns, acc) }
    }
}

impl<S: Tile<F32>> Tile<Bf16> for S {
    const MR: usize = <S as Tile<F32>>::MR;
    const NV: usize = <S as Tile<F32>>::NV;
    const KC: usize = <S as Tile<F32>>::KC;
}

/// `out[i] = x[i]`; the lengths are equal multiples of the lane count.
#[inline(always)]
pub fn widen<S: Simd>(s: S, x: &[u16], out: &mut [f32]) {
    assert!(x.len() == out.len() && x.len().is_multiple_of(S::LANES));
    for (x, out) in x.chunks_exact(S::LANES).zip(out.chunks_exact_mut(S::LANES)) {
        // SAFETY: `x` has `LANES` values.
        s.store(unsafe { s.load_bf16(x.as_ptr()) }, out);
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
