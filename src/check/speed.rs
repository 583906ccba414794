//! How long a model will take here, from what the matrix product reaches now and what the forward pass makes of it.

use super::Speed;
use crate::bench::{PASSAGE_TOKENS, PASSAGES, naive_flop};
use crate::checkpoint::Config;
use ironrank_kernels::{Buffer, Cpu, Lhs, NR, Weights};
use std::time::{Duration, Instant};

/// Rows of a chunk of the forward pass.
const ROWS: usize = 768;
/// Sides of the matrix at most: 64 MiB, more than the caches of most machines and less than a layer of a large model.
const SIDE: usize = 4096;
/// The product is repeated for so long, the best run counting, since the clock of most machines drifts.
const TIME: Duration = Duration::from_millis(400);
/// What the forward pass reaches of that, with its norms, attention and synchronisation: the shares by work of `rag` over
/// those of the product in benches/results are 0.87 (AVX-512), 0.93 (AVX2), 0.88 (AVX) and 0.91 (SSE2).
const FORWARD: f64 = 0.9;
/// Tokens of a prompt that come before the document, with a query of a dozen words, and behind it.
const PREFIX: usize = 77;
const SUFFIX: usize = 10;

/// Measures the matrix product at the model's widths.
pub(super) fn measure(cpu: &Cpu, config: &Config) -> Speed {
    let (k, n) = (config.hidden_size.min(SIDE), config.intermediate_size.min(SIDE).next_multiple_of(NR));
    let weights = Weights::pack(cpu, k, n, |_, row| row.fill(0.5));
    let (mut x, mut lhs, mut out) = (Buffer::zeroed(ROWS * k), Lhs::new(cpu.isa(), ROWS, k), Buffer::zeroed(ROWS * n));
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
    let flop = 2.0 * (ROWS * k * n) as f64;
    let rate = flop / best.as_secs_f64();
    let seconds = passages_flop(config) as f64 / (FORWARD * rate);
    Speed {
        matmul_gflops: rate / 1e9,
        passages: PASSAGES,
        passage_tokens: PASSAGE_TOKENS,
        seconds,
        tokens_per_s: (PASSAGES * PASSAGE_TOKENS) as f64 / seconds,
    }
}

/// Operations of the passages in one request: what comes before the documents counts once, and of the last layer only
/// keys and values.
fn passages_flop(config: &Config) -> u64 {
    let own = naive_flop(config, PREFIX + PASSAGE_TOKENS + SUFFIX) - naive_flop(config, PREFIX);
    let all = naive_flop(config, PREFIX) + PASSAGES as u64 * own;
    let layers = config.num_hidden_layers as u64;
    let keys = 4 * (config.hidden_size * config.num_key_value_heads * config.head_dim) as u64;
    let rows = (PREFIX + PASSAGES * (PASSAGE_TOKENS + SUFFIX)) as u64;
    all * (layers - 1) / layers + rows * keys
}
