//! What the worker does and has done, for health and metrics, which read it without waiting for it.
//!
//! Invariant: counters never fall. Written by the worker and by admissions, read by [`super::Engine`].

use crate::error::Error;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Sizes that batches are counted by: powers of two.
const SIZES: usize = 32;

/// What has been done since the start.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// Tokens of all sequences that were run.
    pub tokens: u64,
    /// How many of them were computed; the others were shared.
    pub computed_tokens: u64,
    /// How many the prefix cache gave, counted once where sequences share them.
    pub cached_tokens: u64,
    /// Pairs whose row the answer cache gave, so that they were not run.
    pub answer_hits: u64,
    /// Pairs that it did not have, if it keeps any.
    pub answer_misses: u64,
    /// Floating-point operations of finished batches, without what pads tiles.
    pub flop: u64,
    /// How long the model ran.
    pub model_time: Duration,
    /// Batches by the tokens of their prompts, shared or not: of 1, of 2, of up to 4, of up to 8 and so on.
    pub batches: [u64; SIZES],
    /// Requests refused because too many sequences were there.
    pub refused_by_sequences: u64,
    /// Requests refused because too many tokens were there.
    pub refused_by_tokens: u64,
}

impl Work {
    /// What has been done since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            tokens: self.tokens - earlier.tokens,
            computed_tokens: self.computed_tokens - earlier.computed_tokens,
            cached_tokens: self.cached_tokens - earlier.cached_tokens,
            answer_hits: self.answer_hits - earlier.answer_hits,
            answer_misses: self.answer_misses - earlier.answer_misses,
            flop: self.flop - earlier.flop,
            model_time: self.model_time - earlier.model_time,
            batches: std::array::from_fn(|i| self.batches[i] - earlier.batches[i]),
            refused_by_sequences: self.refused_by_sequences - earlier.refused_by_sequences,
            refused_by_tokens: self.refused_by_tokens - earlier.refused_by_tokens,
        }
    }
}

/// Shared by the worker and all handles.
#[derive(Default)]
pub(super) struct Status {
    /// Why the worker has ended, if a fault ended it.
    pub failure: watch::Sender<Option<Error>>,
    /// Sequences accepted and not yet answered.
    pub pending: AtomicUsize,
    /// Tokens of those that are to be computed, as far as their prompts are made.
    pub pending_tokens: AtomicUsize,
    /// Sequences of the batches that run now.
    pub running: AtomicUsize,
    /// Tokens whose keys and values these batches use.
    pub running_tokens: AtomicUsize,
    pub tokens: AtomicU64,
    pub computed_tokens: AtomicU64,
    pub cached_tokens: AtomicU64,
    answer_hits: AtomicU64,
    answer_misses: AtomicU64,
    pub flop: AtomicU64,
    pub model_nanos: AtomicU64,
    batches: [AtomicU64; SIZES],
    pub refused_by_sequences: AtomicU64,
    pub refused_by_tokens: AtomicU64,
    pub prefix_cache_tokens: AtomicUsize,
    /// Arrival of the request that has waited for the longest time.
    pub oldest: Mutex<Option<Instant>>,
    /// Whether somebody has asked for the peak.
    pub peak_is_wanted: AtomicBool,
    /// The peak, once it was measured.
    pub peak: OnceLock<Option<f64>>,
}

impl Status {
    /// Counts a batch whose prompts have so many tokens.
    pub fn count_batch(&self, tokens: usize) {
        let size = tokens.next_power_of_two().ilog2() as usize;
        self.batches[size.min(SIZES - 1)].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the pairs of a request that the answer cache had, and had not.
    pub fn count_lookups(&self, hits: usize, misses: usize) {
        self.answer_hits.fetch_add(hits as u64, Ordering::Relaxed);
        self.answer_misses.fetch_add(misses as u64, Ordering::Relaxed);
    }

    /// What has been done by now.
    pub fn work(&self) -> Work {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Work {
            tokens: read(&self.tokens),
            computed_tokens: read(&self.computed_tokens),
            cached_tokens: read(&self.cached_tokens),
            answer_hits: read(&self.answer_hits),
            answer_misses: read(&self.answer_misses),
            flop: read(&self.flop),
            model_time: Duration::from_nanos(read(&self.model_nanos)),
            batches: self.batches.each_ref().map(read),
            refused_by_sequences: read(&self.refused_by_sequences),
            refused_by_tokens: read(&self.refused_by_tokens),
        }
    }
}
