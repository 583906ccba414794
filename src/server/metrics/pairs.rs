//! How the pairs of a model began and ended, and what they took.
//!
//! Invariant: a pair is counted once when it begins and once when it ends, however it ends; as in vLLM the unit is
//! the pair, not the HTTP request. Nothing is decoded here, so that a pair's first token is its answer and all of its
//! time in the engine is prefill. Whose pairs they are is said when they are told of. Called by `scoring`.

use crate::engine::Answer;
use prometheus::proto::MetricFamily;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry};
use std::cell::Cell;
use std::time::Duration;

/// vLLM's latency buckets, in seconds.
const LATENCY: [f64; 21] = [
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
];
const FIRST_TOKEN: [f64; 22] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
    160.0, 640.0, 2560.0,
];
const NEXT_TOKEN: [f64; 19] =
    [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0];
const PREEMPTIONS: [f64; 7] = [1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0];

/// A sequence that was run.
#[derive(Debug, Clone, Copy)]
pub struct Sequence<'a> {
    /// Tokens of its prompt.
    pub tokens: usize,
    /// From the arrival of its request until the engine had it.
    pub before: Duration,
    /// What the engine said.
    pub answer: &'a Answer,
}

/// What vLLM's histogram of a name observes of a sequence; `None` if nothing.
type Observation = fn(&Sequence) -> Option<f64>;

/// The pairs of one model.
pub struct Pairs {
    registry: Registry,
    histograms: Vec<(Histogram, Observation)>,
    finished: IntCounterVec,
    truncated: IntCounter,
    of_requests: Histogram,
}

impl Pairs {
    /// No pairs yet of a model whose prompts have at most so many tokens.
    pub fn new(max_model_len: usize) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let mut histograms = Vec::new();
        for (name, help, buckets, observation) in histograms_of_pairs(max_model_len) {
            let histogram = Histogram::with_opts(HistogramOpts::new(format!("vllm:{name}"), help).buckets(buckets))?;
            registry.register(Box::new(histogram.clone()))?;
            histograms.push((histogram, observation));
        }
        let of_requests = HistogramOpts::new("ironrank_request_pairs", "Query-document pairs in one HTTP request.");
        let pairs = Self {
            histograms,
            finished: IntCounterVec::new(
                Opts::new("vllm:request_success_total", "Number of pairs by how they ended."),
                &["finished_reason"],
            )?,
            truncated: IntCounter::new(
                "ironrank_truncated_prompts_total",
                "Pairs that were shortened to fit a limit of the whole prompt.",
            )?,
            of_requests: Histogram::with_opts(of_requests.buckets(one_two_five(10_000)))?,
            registry,
        };
        pairs.registry.register(Box::new(pairs.finished.clone()))?;
        pairs.registry.register(Box::new(pairs.truncated.clone()))?;
        pairs.registry.register(Box::new(pairs.of_requests.clone()))?;
        // Dashboards want every reason from the start, not from its first occurrence.
        for reason in ["stop", "length", "abort", "error", "repetition"] {
            pairs.finished.with_label_values(&[reason]);
        }
        Ok(pairs)
    }

    /// Counts how `sequences` end: finished, failed, or aborted because the client left and the guard was dropped.
    pub fn sequences_begin(&self, sequences: usize) -> SequencesGuard<'_> {
        self.of_requests.observe(sequences as f64);
        SequencesGuard { pairs: self, sequences, reason: Cell::new("abort") }
    }

    /// Counts documents that were shortened to fit.
    pub fn shortened(&self, documents: usize) {
        self.truncated.inc_by(documents as u64);
    }

    /// What was counted.
    pub(super) fn families(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }
}

/// Name, help, buckets and what is observed.
fn histograms_of_pairs(max_model_len: usize) -> Vec<(&'static str, &'static str, Vec<f64>, Observation)> {
    let (tokens, latency, next) = (one_two_five(max_model_len), LATENCY.to_vec(), NEXT_TOKEN.to_vec());
    let end_to_end: Observation = |p| Some((p.before + p.answer.queued + p.answer.computed).as_secs_f64());
    let computed: Observation = |p| Some(p.answer.computed.as_secs_f64());
    let none: Observation = |_| Some(0.0);
    let never: Observation = |_| None;
    let generated = "Generated tokens of a pair; there are none.";
    let decoding = "Seconds of decoding of a pair; nothing is decoded.";
    vec![
        ("request_prompt_tokens", "Tokens of a pair.", tokens.clone(), |p| Some(p.tokens as f64)),
        ("request_prefill_kv_computed_tokens", "Tokens of a pair that were computed.", tokens.clone(), |p| {
            Some(p.answer.computed_tokens as f64)
        }),
        ("request_generation_tokens", generated, tokens.clone(), none),
        ("request_max_num_generation_tokens", generated, tokens.clone(), none),
        ("request_params_max_tokens", generated, tokens, never),
        ("request_params_n", "Answers to a pair.", vec![1.0, 2.0, 5.0, 10.0, 20.0], |_| Some(1.0)),
        ("request_num_preemptions", "How often a pair was preempted; never.", PREEMPTIONS.to_vec(), none),
        ("time_to_first_token_seconds", "Seconds to the answer to a pair.", FIRST_TOKEN.to_vec(), end_to_end),
        ("e2e_request_latency_seconds", "Seconds to the answer to a pair.", latency.clone(), end_to_end),
        ("request_queue_time_seconds", "Seconds that a pair waited for a batch.", latency.clone(), |p| {
            Some(p.answer.queued.as_secs_f64())
        }),
        ("request_inference_time_seconds", "Seconds that a pair's batch took.", latency.clone(), computed),
        ("request_prefill_time_seconds", "Seconds that a pair's batch took.", latency.clone(), computed),
        ("request_decode_time_seconds", decoding, latency, none),
        ("inter_token_latency_seconds", decoding, next.clone(), never),
        ("request_time_per_output_token_seconds", decoding, next, none),
    ]
}

/// The sequences of one request while they are computed; `abort` unless told otherwise.
pub struct SequencesGuard<'a> {
    pairs: &'a Pairs,
    sequences: usize,
    reason: Cell<&'static str>,
}

impl SequencesGuard<'_> {
    /// The engine has answered.
    pub fn finished<'b>(&self, sequences: impl IntoIterator<Item = Sequence<'b>>) {
        self.reason.set("stop");
        for sequence in sequences {
            for (histogram, observation) in &self.pairs.histograms {
                if let Some(value) = observation(&sequence) {
                    histogram.observe(value);
                }
            }
        }
    }

    /// The engine gave an error.
    pub fn failed(&self) {
        self.reason.set("error");
    }
}

impl Drop for SequencesGuard<'_> {
    fn drop(&mut self) {
        self.pairs.finished.with_label_values(&[self.reason.get()]).inc_by(self.sequences as u64);
    }
}

/// 1, 2, 5, 10, 20, 50 ... up to `max`.
fn one_two_five(max: usize) -> Vec<f64> {
    let steps = std::iter::successors(Some(1u64), |decade| decade.checked_mul(10))
        .flat_map(|decade| [1, 2, 5].map(|step| decade.saturating_mul(step)));
    steps.take_while(|bucket| *bucket <= max as u64).map(|bucket| bucket as f64).collect()
}
