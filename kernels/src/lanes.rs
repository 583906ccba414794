//! Element-wise passes and reductions over slices: whole vectors, then one partial vector for the tail.
//!
//! Reductions add in a fixed order that depends on the length alone. Called by the other kernels, inside
//! [`crate::dispatch::Isa::dispatch`].

use crate::cpu::Cpu;
use crate::dispatch::{Arch, Kernel};
use crate::isa::Simd;

impl Cpu {
    /// `sum_i a[i] * b[i]`; the lengths are equal.
    pub fn dot(&self, a: &[f32], b: &[f32]) -> f32 {
        struct Dot<'a>(&'a [f32], &'a [f32]);
        impl Kernel for Dot<'_> {
            type Output = f32;
            #[inline(always)]
            fn run<S: Arch>(self, s: S) -> f32 {
                dot(s, self.0, self.1)
            }
        }
        self.isa().dispatch(Dot(a, b))
    }
}

/// `out[i] += x[i]`; the lengths are equal.
#[inline(always)]
pub(crate) fn add_assign<S: Simd>(s: S, out: &mut [f32], x: &[f32]) {
    assert_eq!(out.len(), x.len());
    let mut out = out.chunks_exact_mut(S::LANES);
    let mut x = x.chunks_exact(S::LANES);
    for (out, x) in (&mut out).zip(&mut x) {
        s.store(s.add(s.load(out), s.load(x)), out);
    }
    for (out, x) in out.into_remainder().iter_mut().zip(x.remainder()) {
        *out += x;
    }
}

/// `sum_i a[i] * b[i]`; the lengths are equal. Four chains of vectors, added pairwise, then lane by lane.
#[inline(always)]
pub(crate) fn dot<S: Simd>(s: S, a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let mut sums = [s.splat(0.0); 4];
    let (mut a, mut b) = (a.chunks_exact(4 * S::LANES), b.chunks_exact(4 * S::LANES));
    for (a, b) in (&mut a).zip(&mut b) {
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = s.mul_add(s.load(&a[i * S::LANES..]), s.load(&b[i * S::LANES..]), *sum);
        }
    }
    let [first, second, third, fourth] = sums;
    let mut sum = s.add(s.add(first, second), s.add(third, fourth));
    for (a, b) in a.remainder().chunks(S::LANES).zip(b.remainder().chunks(S::LANES)) {
        let (a, b) = match a.len() == S::LANES {
            true => (s.load(a), s.load(b)),
            false => (s.load_partial(a), s.load_partial(b)),
        };
        sum = s.mul_add(a, b, sum);
    }
    s.reduce_add(sum)
}

/// `out[i] = x[i] * factor * weight[i]`; the lengths are equal.
#[inline(always)]
pub(crate) fn scale_mul<S: Simd>(s: S, x: &[f32], factor: f32, weight: &[f32], out: &mut [f32]) {
    assert!(x.len() == weight.len() && x.len() == out.len());
    let v = s.splat(factor);
    let (mut out, mut x, mut weight) =
        (out.chunks_exact_mut(S::LANES), x.chunks_exact(S::LANES), weight.chunks_exact(S::LANES));
    for ((out, x), w) in (&mut out).zip(&mut x).zip(&mut weight) {
        s.store(s.mul(s.mul(s.load(x), v), s.load(w)), out);
    }
    for ((out, x), w) in out.into_remainder().iter_mut().zip(x.remainder()).zip(weight.remainder()) {
        *out = x * factor * w;
    }
}
