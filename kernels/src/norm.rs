//! RMSNorm: `y[i] = x[i] / sqrt(mean(x^2) + eps) * weight[i]`.
//!
//! Cost: 4 FLOP a value. Error: a few ulp (the sum of squares is positive, so its relative error is its rounding).
//! Source: Zhang and Sennrich, "Root Mean Square Layer Normalization".

use crate::cpu::Cpu;
use crate::dispatch::{Arch, Kernel};
use crate::isa::Simd;
use crate::lanes;
use crate::matmul::lhs::{Lhs, LhsBlocks};
use crate::pool::Job;

/// Weight and epsilon of one RMSNorm.
#[derive(Clone, Copy)]
pub struct RmsNorm<'a> {
    /// One weight a channel.
    pub weight: &'a [f32],
    /// Added to the mean square.
    pub eps: f32,
}

impl RmsNorm<'_> {
    /// One vector, the result times `scale`.
    #[inline(always)]
    pub(crate) fn apply<S: Simd>(&self, s: S, x: &[f32], scale: f32, out: &mut [f32]) {
        let mean = lanes::dot(s, x, x) / x.len() as f32;
        lanes::scale_mul(s, x, scale / (mean + self.eps).sqrt(), self.weight, out);
    }
}

impl Cpu {
    /// Normalises every row of `x` (m, k) and lays the result out as a left operand.
    ///
    /// Shapes: `x` row-major with `k = norm.weight.len()`; `out` becomes (m, k).
    pub fn rms_norm(&self, x: &[f32], norm: RmsNorm, out: &mut Lhs) {
        let k = norm.weight.len();
        assert!(k > 0, "a vector without channels has no mean");
        assert!(x.len().is_multiple_of(k), "the activations are no whole rows of {k}");
        let rows = x.len() / k;
        let tile = out.mr();
        out.check_isa(self.isa());
        let out = out.blocks(rows, k, tile, k);
        self.run(rows.div_ceil(tile), tile * k, &NormTiles { x, norm, out });
    }

    /// Normalises one vector.
    pub fn rms_norm_vector(&self, x: &[f32], norm: RmsNorm, out: &mut [f32]) {
        struct Vector<'a>(&'a [f32], RmsNorm<'a>, &'a mut [f32]);
        impl Kernel for Vector<'_> {
            type Output = ();
            #[inline(always)]
            fn run<S: Arch>(self, s: S) {
                self.1.apply(s, self.0, 1.0, self.2);
            }
        }
        self.isa().dispatch(Vector(x, norm, out));
    }
}

/// Task t normalises the rows of tile t.
struct NormTiles<'a> {
    x: &'a [f32],
    norm: RmsNorm<'a>,
    out: LhsBlocks<'a>,
}

impl Job for NormTiles<'_> {
    #[inline(always)]
    fn run<S: Arch>(&self, s: S, t: usize, scratch: &mut [f32]) {
        let (mr, k) = (self.out.mr(), self.norm.weight.len());
        let x = &self.x[t * mr * k..];
        let x = &x[..x.len().min(mr * k)];
        for (x, y) in x.chunks_exact(k).zip(scratch.chunks_exact_mut(k)) {
            self.norm.apply(s, x, 1.0, y);
        }
        self.out.take(t, 0).pack(s, &scratch[..x.len()], k, k);
    }
}
