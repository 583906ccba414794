//! The vector exponential and what is made of it.

use crate::isa::Simd;
use std::f32::consts::LOG2_E;

/// Below this `exp` answers 0: 2^-100, so that products with values of ordinary size stay normal numbers, and far
/// below half an ulp of a sum that has a term 1.
const EXP_CUTOFF: f32 = -69.3;

/// Above this `exp` answers exp(88), the last power of two that fits.
const EXP_LIMIT: f32 = 88.0;

/// `exp(x)`, lane by lane.
///
/// `x = n ln 2 + r` with `|r| <= ln(2) / 2` (Cody and Waite's two-part ln 2), `exp(r)` by the degree-7 polynomial of
/// Cephes' `expf`, then `2^n` into the exponent field. `exp(0)` is exactly 1 and `exp(-inf)` exactly 0; NaN stays NaN:
/// both clamps answer their second operand where the comparison is unordered. Error: at most 2 ulp on [-69.3, 88].
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
    let clamped = s.max(s.splat(EXP_CUTOFF), s.select_lt(s.splat(EXP_LIMIT), x, s.splat(EXP_LIMIT), x));
    let t = s.mul_add(clamped, s.splat(LOG2_E), s.splat(ROUND));
    let n = s.sub(t, s.splat(ROUND));
    let r = s.mul_add(n, s.splat(-0.693_359_4), clamped);
    let r = s.mul_add(n, s.splat(2.121_944_4e-4), r);
    let mut p = s.splat(1.987_569_1e-4);
    for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = s.mul_add(p, r, s.splat(c));
    }
    let p = s.add(s.mul_add(s.mul(r, r), p, r), s.splat(1.0));
    s.select_lt(x, s.splat(EXP_CUTOFF), s.splat(0.0), s.mul_pow2(p, t))
}

/// `out[i] = gate[i] / (1 + exp(-gate[i])) * up[i]`: the gated unit of the MLP. The lengths are equal multiples of
/// the lane count.
#[inline(always)]
pub(crate) fn silu_mul<S: Simd>(s: S, gate: &[f32], up: &[f32], out: &mut [f32]) {
    assert!(gate.len() == up.len() && gate.len() == out.len() && gate.len().is_multiple_of(S::LANES));
    let gates = gate.chunks_exact(S::LANES).zip(up.chunks_exact(S::LANES));
    for ((gate, up), out) in gates.zip(out.chunks_exact_mut(S::LANES)) {
        let g = s.load(gate);
        let sigmoid = s.add(s.splat(1.0), exp(s, s.sub(s.splat(0.0), g)));
        s.store(s.mul(s.div(g, sigmoid), s.load(up)), out);
    }
}
