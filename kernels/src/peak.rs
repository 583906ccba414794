//! The yardstick: how many floating-point operations a second the multiply-add units of one core can do at most.

use crate::isa::{Isa, Kernel, Simd};
use std::hint::black_box;
use std::time::Instant;

/// Independent chains: enough to hide a multiply's and an add's latency, few enough for 16 registers.
const CHAINS: usize = 14;

/// GFLOP/s of `isa` on the calling thread, a multiply and an add counting one each: the best of three runs of
/// independent chains of the ISA's own multiply-add, some 10 ms each.
pub fn fma_peak(isa: Isa) -> f64 {
    const STEPS: usize = 1_500_000;
    let rate = |_| {
        let start = Instant::now();
        let lanes = isa.dispatch(Chains(STEPS));
        (STEPS * CHAINS * lanes * 2) as f64 / start.elapsed().as_secs_f64() / 1e9
    };
    (0..3).map(rate).fold(0.0, f64::max)
}

/// Runs this many steps of every chain and returns the lane count.
struct Chains(usize);

impl Kernel for Chains {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> usize {
        let (a, b) = (s.splat(black_box(0.999)), s.splat(black_box(0.001)));
        let mut sums = [s.splat(1.0); CHAINS];
        for _ in 0..self.0 {
            for sum in &mut sums {
                *sum = s.mul_add(*sum, a, b);
            }
        }
        for sum in sums {
            black_box(s.reduce_add(sum));
        }
        S::LANES
    }
}
