//! How long a model will take here, from what the matrix product reaches now and what the forward pass makes of it.

use super::Speed;
use crate::bench::{PASSAGE_TOKENS, PASSAGES};
use crate::checkpoint::Config;
use crate::model::{self, CHUNK};
use crate::prompt::Around;
use ironrank_kernels::{Buffer, Cpu, Lhs, NR, Storage, Weights};
use std::time::{Duration, Instant};

/// Sides of the matrix at most: 64 MiB, more than the caches of most machines and less than a layer of a large model.
const SIDE: usize = 4096;
/// The product is repeated for so long, the best run counting, since the clock of most machines drifts.
const TIME: Duration = Duration::from_millis(400);
/// What the forward pass reaches of that, with its norms, attention and synchronisation: the shares by work of `rag` over
/// those of the product in benches/results are 0.87 (AVX-512), 0.93 (AVX2), 0.88 (AVX) and 0.91 (SSE2).
const FORWARD: f64 = 0.9;

/// A query of usual length.
pub(super) const QUERY: &str = "how long does a reranker take for all the passages of one question";

/// Measures the matrix product at the model's widths, with weights that stand as its own do; `around` the document of a
/// prompt are so many tokens.
pub(super) fn measure(cpu: &Cpu, config: &Config, storage: Storage, around: Around) -> Speed {
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
    let flop = 2.0 * (CHUNK * k * n) as f64;
    let rate = flop / best.as_secs_f64();
    let work = model::cost(config).together(around.before, PASSAGE_TOKENS + around.behind, PASSAGES);
    let seconds = work as f64 / (FORWARD * rate);
    Speed {
        matmul_gflops: rate / 1e9,
        passages: PASSAGES,
        passage_tokens: PASSAGE_TOKENS,
        seconds,
        tokens_per_s: (PASSAGES * PASSAGE_TOKENS) as f64 / seconds,
    }
}
