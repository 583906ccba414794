//! The yardsticks: what the multiply-add units, and memory, of the threads of a [`Cpu`] can do at most.

use crate::buffer::Buffer;
use crate::cpu::Cpu;
use crate::dispatch::{Arch, Kernel};
use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;

/// Independent chains: enough to hide a multiply's and an add's latency, few enough for 16 registers.
const CHAINS: usize = 14;

/// Measurements of which the best counts.
const ROUNDS: usize = 3;

/// Bytes that all threads together read from memory in a round: several times a last-level cache.
const MEMORY: usize = 256 << 20;

impl Cpu {
    /// GFLOP/s of all threads at once, a multiply and an add counting one each: independent chains of the ISA's own
    /// multiply-add, some 10 ms a round.
    pub fn fma_peak(&self) -> f64 {
        const STEPS: usize = 1_500_000;
        let isa = self.isa();
        self.best_rate(|| (), |()| (STEPS * CHAINS * 2 * isa.dispatch(Chains(STEPS))) as f64)
    }

    /// GB/s that all threads at once read from memory, each its own part in order, 256 MiB in all.
    pub fn read_bandwidth(&self) -> f64 {
        let (isa, len) = (self.isa(), MEMORY / size_of::<f32>() / self.threads());
        let written = || {
            // Memory that was never written is one page of zeros in the cache.
            let mut memory = Buffer::zeroed(len);
            memory.fill(1.0);
            memory
        };
        self.best_rate(written, |memory| {
            black_box(isa.dispatch(Sum(memory)));
            size_of_val(&memory[..]) as f64
        })
    }

    /// Billions a second of what `work` counts, all threads starting together on what each has prepared.
    fn best_rate<T>(&self, prepare: impl Fn() -> T + Sync, work: impl Fn(&T) -> f64 + Sync) -> f64 {
        let together = Barrier::new(self.threads());
        let threads: Vec<[(f64, f64); ROUNDS]> = self.on_each(|| {
            let prepared = prepare();
            [(); ROUNDS].map(|()| {
                together.wait();
                let start = Instant::now();
                (work(&prepared), start.elapsed().as_secs_f64())
            })
        });
        let rate = |round: usize| {
            let done: f64 = threads.iter().map(|rounds| rounds[round].0).sum();
            let slowest = threads.iter().map(|rounds| rounds[round].1).fold(0.0, f64::max);
            done / slowest / 1e9
        };
        (0..ROUNDS).map(rate).fold(0.0, f64::max)
    }
}

/// Runs this many steps of every chain and returns the lane count.
struct Chains(usize);

impl Kernel for Chains {
    type Output = usize;

    #[inline(always)]
    fn run<S: Arch>(self, s: S) -> usize {
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

/// The sum of whole groups of vectors.
struct Sum<'a>(&'a [f32]);

impl Kernel for Sum<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Arch>(self, s: S) -> f32 {
        let mut sums = [s.splat(0.0); 8];
        for group in self.0.chunks_exact(8 * S::LANES) {
            for (sum, x) in sums.iter_mut().zip(group.chunks_exact(S::LANES)) {
                *sum = s.add(*sum, s.load(x));
            }
        }
        let mut total = 0.0;
        for sum in sums {
            total += s.reduce_add(sum);
        }
        total
    }
}
