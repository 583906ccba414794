//! The yardsticks: what the units that multiply and add, and memory, of the threads of a [`Cpu`] can do at most.

use crate::buffer::Buffer;
use crate::cpu::Cpu;
use crate::dispatch::{Arch, Kernel};
#[cfg(target_arch = "x86_64")]
use crate::isa::ByteProduct;
use crate::matmul::storage::Storage;
#[cfg(target_arch = "x86_64")]
use crate::tile::amx::AmxTile;
use crate::tile::float32::F32;
use crate::tile::integer::{IntegerArgs, header};
use crate::tile::multiplier::Multiplier;
use crate::tile::{NR, Tile};
use rustix::time::{ClockId, clock_gettime};
use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;

/// Independent chains: enough to hide a multiply's and an add's latency, few enough for 16 registers with both operands and
/// a copy.
const CHAINS: usize = 13;

/// Measurements of which the best counts.
const ROUNDS: usize = 3;

/// Bytes that all threads together read from memory in a round: several times a last-level cache.
const MEMORY: usize = 256 << 20;

impl Cpu {
    /// Billions of operations a second of all threads at once, a multiply and an add counting one each: independent chains
    /// of the instruction that multiplies by weights in `storage` here, some 10 ms a round. Each thread's time is that of its
    /// CPU: what other processes take is no less of a peak.
    ///
    /// Where pairs of i16 are multiplied and added by several instructions, a chain of them is not the best that they can do:
    /// the full tile with its operands in L1 is run too, and the faster counts. Bytes are one instruction or none.
    pub fn peak(&self, storage: Storage) -> f64 {
        const STEPS: usize = 1_500_000;
        const TILES: usize = 10_000;
        let isa = self.isa();
        #[cfg(target_arch = "x86_64")]
        if let (Storage::I8, Some(ByteProduct::Tiles(amx))) = (storage, isa.bytes()) {
            return self.best_rate(cpu_seconds, || AmxTile::new(amx), |tile| (2 * tile.chains(STEPS / 4)) as f64);
        }
        let products = match storage {
            Storage::F32 | Storage::Bf16 => Products::Floats,
            Storage::I8 if isa.bytes().is_some() => Products::Bytes,
            Storage::I16 | Storage::I8 => Products::Pairs,
        };
        let rate = |work: &(dyn Fn() -> usize + Sync)| self.best_rate(cpu_seconds, || (), |()| (2 * work()) as f64);
        let chains = rate(&|| STEPS * CHAINS * isa.dispatch(Chains(STEPS, products)));
        match products {
            Products::Floats | Products::Bytes => chains,
            Products::Pairs => chains.max(rate(&|| isa.dispatch(Tiles(TILES)))),
        }
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
        let began = Instant::now();
        self.best_rate(
            move || began.elapsed().as_secs_f64(),
            written,
            |memory| {
                black_box(isa.dispatch(Sum(memory)));
                size_of_val(&memory[..]) as f64
            },
        )
    }

    /// Billions of what `work` counts in a second of `clock`, all threads starting together on what each has prepared.
    fn best_rate<T>(
        &self,
        clock: impl Fn() -> f64 + Sync,
        prepare: impl Fn() -> T + Sync,
        work: impl Fn(&T) -> f64 + Sync,
    ) -> f64 {
        let together = Barrier::new(self.threads());
        let threads: Vec<[(f64, f64); ROUNDS]> = self.on_each(|| {
            let prepared = prepare();
            [(); ROUNDS].map(|()| {
                together.wait();
                let start = clock();
                (work(&prepared), clock() - start)
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

/// Seconds that this thread has run.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// What an instruction multiplies.
#[derive(Clone, Copy)]
enum Products {
    Floats,
    /// Two i16 in each word.
    Pairs,
    /// Four i8 in each word.
    Bytes,
}

/// Runs this many steps of every chain and returns how many products one of them makes.
struct Chains(usize, Products);

impl Kernel for Chains {
    type Output = usize;

    #[inline(always)]
    fn run<S: Arch>(self, s: S) -> usize {
        let Self(steps, products) = self;
        /// Lets each sum become `$next`, step after step, and looks at the ends.
        macro_rules! chains {
            ($start:expr, $sum:ident => $next:expr, $end:expr) => {{
                let mut sums = [$start; CHAINS];
                for _ in 0..steps {
                    for sum in &mut sums {
                        let $sum = *sum;
                        *sum = $next;
                    }
                }
                for $sum in sums {
                    black_box(s.reduce_add($end));
                }
            }};
        }
        match products {
            Products::Floats => {
                let (a, b) = (s.splat(black_box(0.999)), s.splat(black_box(0.001)));
                chains!(s.splat(1.0), sum => s.mul_add(sum, a, b), sum);
                S::LANES
            }
            Products::Pairs => {
                let (a, b) = (s.splat_word(black_box(0x0003_0005)), s.splat_word(black_box(1)));
                chains!(a, sum => s.dot_i16(sum, a, b), s.to_f32(sum));
                2 * S::LANES
            }
            Products::Bytes => {
                let (a, b) = (s.splat_word(black_box(0x0103_0507)), s.splat_word(black_box(1)));
                chains!(a, sum => s.dot_i8(sum, a, b), s.to_f32(sum));
                4 * S::LANES
            }
        }
    }
}

/// Runs so many full tiles of pairs of i16, whose operands stay in L1, and returns how many products they make.
struct Tiles(usize);

impl Kernel for Tiles {
    type Output = usize;

    #[inline(always)]
    fn run<S: Arch>(self, s: S) -> usize {
        const WORDS: usize = 128;
        let (Self(count), bytes) = (self, false);
        let rows = <S as Tile<F32>>::MR;
        let mut vectors = Multiplier::new(s, false);
        let a = Buffer::zeroed((1 + WORDS) * rows);
        let b = Buffer::zeroed(header(bytes) + WORDS * NR);
        let mut c = Buffer::zeroed(rows * NR);
        for _ in 0..count {
            let (a, b, c) = (black_box(&a[..]), black_box(&b[..]), black_box(&mut c[..]));
            let (blocks, words, a_stride, c_stride, add, ahead) = (1, WORDS, a.len(), NR, false, &[][..]);
            vectors.tile(s, IntegerArgs { rows, blocks, words, bytes, a, a_stride, b, c, c_stride, add, ahead });
        }
        2 * count * rows * NR * WORDS
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
