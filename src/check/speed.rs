//! How long a model will take here, from what the matrix product reaches now and what the forward pass makes of it.

use super::Speed;
use crate::bench::{PASSAGE_TOKENS, PASSAGES};
use crate::checkpoint::{Checkpoint, Config, packed};
use crate::model::{self, CHUNK};
use crate::precision::Precision;
use crate::prompt::Around;
use ironrank_kernels::{Buffer, Cpu, Lhs, NR, Storage, Weights};
use std::time::{Duration, Instant};

/// Sides of the matrix at most: 64 MiB, more than the caches of most machines and less than a layer of a large model.
const SIDE: usize = 4096;
/// The product is repeated for so long, the best run counting, since the clock of most machines drifts.
const TIME: Duration = Duration::from_millis(300);
/// What the forward pass reaches of that, with its norms, attention and synchronisation: the shares by work of `rag` over
/// those of the product in benches/results are 0.87 (AVX-512), 0.93 (AVX2), 0.88 (AVX) and 0.91 (SSE2).
const FORWARD: f64 = 0.9;
/// Part of the time of `rag` in float32 that its matrix products take; what else there is takes as long in any precision.
const PRODUCTS: f64 = 0.88;

/// A query of usual length.
pub(super) const QUERY: &str = "how long does a reranker take for all the passages of one question";

/// How fast matrix products are here, at the widths of a model.
pub(super) struct Products {
    /// Operations a second in float32.
    exact: f64,
    /// The same in other precisions, where they are computed as such on this CPU.
    int16: Option<f64>,
    int8: f64,
}

impl Products {
    /// Measures them; the weights of `checkpoint` are not read.
    pub fn measure(cpu: &Cpu, checkpoint: &Checkpoint) -> Self {
        let rate = |precision| rate(cpu, checkpoint.config(), packed::storage(checkpoint, precision));
        Self {
            exact: rate(Precision::Exact),
            int16: cpu.isa().gains_by_int16().then(|| rate(Precision::Int16)),
            int8: rate(Precision::Int8),
        }
    }

    /// How many times as fast as in float32 they are in a precision that a CPU may gain by; `None` if float32 takes its place.
    pub fn speedup(&self, precision: Precision) -> Option<f64> {
        let rate = match precision {
            Precision::Exact => Some(self.exact),
            Precision::Int16 => self.int16,
            Precision::Int8 => Some(self.int8),
        };
        rate.map(|rate| rate / self.exact)
    }

    /// What to expect of a model in a precision; `around` the document of a prompt are so many tokens.
    pub fn speed(&self, config: &Config, precision: Precision, around: Around) -> Speed {
        let speedup = self.speedup(precision).unwrap_or(1.0);
        let work = model::cost(config).together(around.before, PASSAGE_TOKENS + around.behind, PASSAGES);
        let seconds = work as f64 / (FORWARD * self.exact) * (PRODUCTS / speedup + 1.0 - PRODUCTS);
        Speed {
            matmul_gflops: self.exact * speedup / 1e9,
            passages: PASSAGES,
            passage_tokens: PASSAGE_TOKENS,
            seconds,
            tokens_per_s: (PASSAGES * PASSAGE_TOKENS) as f64 / seconds,
        }
    }
}

/// Operations a second of the matrix product at the model's widths, with weights that stand so.
fn rate(cpu: &Cpu, config: &Config, storage: Storage) -> f64 {
    let (k, n) = (config.hidden_size.min(SIDE), config.intermediate_size.min(SIDE).next_multiple_of(NR));
    let weights = Weights::pack(cpu, storage, k, n, |_, row| row.fill(0.5));
    let (mut x, mut lhs, mut out) =
        (Buffer::zeroed(CHUNK * k), Lhs::new(cpu.isa(), storage, CHUNK, k), Buffer::zeroed(CHUNK * n));
    x.fill(0.25);
    let best = cpu.install(|| {
        cpu.pack_lhs(&x, k, &mut lhs);
        let mut run = || {
            let start = Instant::now();
            cpu.matmul(&lhs, &weights, &mut out);
            start.elapsed()
        };
        // The first run fetches the pages.
        run();
        let (start, mut best) = (Instant::now(), run());
        while start.elapsed() < TIME {
            best = best.min(run());
        }
        best
    });
    2.0 * (CHUNK * k * n) as f64 / best.as_secs_f64()
}
