//! Prometheus metrics: vLLM's names and labels where dashboards look, our own under `ironrank_`.
//!
//! Invariant: a pair is counted once when it begins and once when it ends, however it ends; as in vLLM the unit is
//! the pair, not the HTTP request. Called by `server` and `scoring`.

use crate::engine::Engine;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};
use std::cell::Cell;
use std::time::Duration;

/// vLLM's latency buckets, in seconds.
const LATENCY: [f64; 21] = [
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
];

/// All metrics of one server.
pub struct Metrics {
    registry: Registry,
    running: IntGauge,
    waiting: IntGauge,
    shared: [IntCounter; 4],
    prefix_cache_bytes: IntGauge,
    finished: IntCounterVec,
    prompt_tokens: IntCounter,
    request_tokens: Histogram,
    latency: Histogram,
    truncated: IntCounter,
    http_requests: IntCounterVec,
    http_duration: HistogramVec,
    request_pairs: Histogram,
}

impl Metrics {
    /// Metrics labelled with the first served name; token buckets end at `max_model_len`.
    pub fn new(model_name: &str, max_model_len: usize) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let vllm = |name: &str, help: &str| {
            Opts::new(format!("vllm:{name}"), help).const_label("engine", "0").const_label("model_name", model_name)
        };
        let histogram = |name: &str, help: &str, buckets: Vec<f64>| {
            HistogramOpts { common_opts: vllm(name, help), buckets: vec![] }.buckets(buckets)
        };
        let metrics = Self {
            running: IntGauge::with_opts(vllm(
                "num_requests_running",
                "Number of requests in model execution batches.",
            ))?,
            waiting: IntGauge::with_opts(vllm("num_requests_waiting", "Number of requests waiting to be processed."))?,
            shared: [
                IntCounter::with_opts(vllm("prefix_cache_queries", "Tokens of all pairs that were run."))?,
                IntCounter::with_opts(vllm(
                    "prefix_cache_hits",
                    "Tokens that were not computed, because pairs or requests share them.",
                ))?,
                IntCounter::with_opts(Opts::new("ironrank_computed_tokens_total", "Tokens that were computed."))?,
                IntCounter::with_opts(Opts::new(
                    "ironrank_prefix_cache_tokens_saved_total",
                    "Tokens that the prefix cache gave, counted once where pairs of a batch share them.",
                ))?,
            ],
            prefix_cache_bytes: IntGauge::new("ironrank_prefix_cache_bytes", "Bytes that the prefix cache holds.")?,
            finished: IntCounterVec::new(
                vllm("request_success_total", "Count of successfully processed requests."),
                &["finished_reason"],
            )?,
            prompt_tokens: IntCounter::with_opts(vllm("prompt_tokens_total", "Number of prefill tokens processed."))?,
            request_tokens: Histogram::with_opts(histogram(
                "request_prompt_tokens",
                "Number of prefill tokens processed.",
                one_two_five(max_model_len),
            ))?,
            latency: Histogram::with_opts(histogram(
                "e2e_request_latency_seconds",
                "Histogram of e2e request latency in seconds.",
                LATENCY.to_vec(),
            ))?,
            truncated: IntCounter::new(
                "ironrank_truncated_prompts_total",
                "Pairs that were shortened to fit a limit of the whole prompt.",
            )?,
            http_requests: IntCounterVec::new(
                Opts::new("http_requests_total", "Total number of requests by method, status and handler."),
                &["handler", "method", "status"],
            )?,
            http_duration: HistogramVec::new(
                HistogramOpts::new("http_request_duration_seconds", "Duration of HTTP requests in seconds.")
                    .buckets(vec![0.1, 0.5, 1.0]),
                &["handler", "method"],
            )?,
            request_pairs: Histogram::with_opts(
                HistogramOpts::new("ironrank_request_pairs", "Query-document pairs in one HTTP request.")
                    .buckets(one_two_five(10_000)),
            )?,
            registry,
        };
        let Self { registry, .. } = &metrics;
        registry.register(Box::new(metrics.running.clone()))?;
        registry.register(Box::new(metrics.waiting.clone()))?;
        for counter in &metrics.shared {
            registry.register(Box::new(counter.clone()))?;
        }
        registry.register(Box::new(metrics.prefix_cache_bytes.clone()))?;
        registry.register(Box::new(metrics.finished.clone()))?;
        registry.register(Box::new(metrics.prompt_tokens.clone()))?;
        registry.register(Box::new(metrics.request_tokens.clone()))?;
        registry.register(Box::new(metrics.latency.clone()))?;
        registry.register(Box::new(metrics.truncated.clone()))?;
        registry.register(Box::new(metrics.http_requests.clone()))?;
        registry.register(Box::new(metrics.http_duration.clone()))?;
        registry.register(Box::new(metrics.request_pairs.clone()))?;
        // Dashboards want every reason from the start, not from its first occurrence.
        for reason in ["stop", "length", "abort", "error", "repetition"] {
            metrics.finished.with_label_values(&[reason]);
        }
        Ok(metrics)
    }

    /// Counts how `pairs` end: finished, failed, or aborted because the client left and the guard was dropped.
    pub fn pairs_begin(&self, pairs: usize) -> PairsGuard<'_> {
        self.request_pairs.observe(pairs as f64);
        PairsGuard { metrics: self, pairs, reason: Cell::new("abort") }
    }

    /// Counts documents that were shortened to fit.
    pub fn shortened(&self, documents: usize) {
        self.truncated.inc_by(documents as u64);
    }

    /// Counts an answered HTTP request.
    pub fn http(&self, handler: &str, method: &str, status: u16, elapsed: Duration) {
        let class = format!("{}xx", status / 100);
        self.http_requests.with_label_values(&[handler, method, &class]).inc();
        self.http_duration.with_label_values(&[handler, method]).observe(elapsed.as_secs_f64());
    }

    /// Everything, in Prometheus' text format; what the engine does now is asked of it.
    pub fn text(&self, engine: &Engine) -> prometheus::Result<Vec<u8>> {
        self.running.set(engine.running() as i64);
        self.waiting.set(engine.waiting() as i64);
        let work = engine.work();
        let values =
            [work.tokens, work.tokens.saturating_sub(work.computed_tokens), work.computed_tokens, work.cached_tokens];
        for (counter, value) in self.shared.iter().zip(values) {
            counter.inc_by(value.saturating_sub(counter.get()));
        }
        self.prefix_cache_bytes.set(engine.prefix_cache_bytes() as i64);
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// The pairs of one request while they are computed; `abort` unless told otherwise.
pub struct PairsGuard<'a> {
    metrics: &'a Metrics,
    pairs: usize,
    reason: Cell<&'static str>,
}

impl PairsGuard<'_> {
    /// The pairs were scored: their token counts and the time from the request's arrival.
    pub fn finished(&self, lengths: &[usize], elapsed: Duration) {
        self.reason.set("stop");
        for length in lengths {
            self.metrics.prompt_tokens.inc_by(*length as u64);
            self.metrics.request_tokens.observe(*length as f64);
            self.metrics.latency.observe(elapsed.as_secs_f64());
        }
    }

    /// The engine gave an error.
    pub fn failed(&self) {
        self.reason.set("error");
    }
}

impl Drop for PairsGuard<'_> {
    fn drop(&mut self) {
        self.metrics.finished.with_label_values(&[self.reason.get()]).inc_by(self.pairs as u64);
    }
}

/// 1, 2, 5, 10, 20, 50 ... up to `max`.
fn one_two_five(max: usize) -> Vec<f64> {
    let steps = std::iter::successors(Some(1u64), |decade| decade.checked_mul(10))
        .flat_map(|decade| [1, 2, 5].map(|step| decade.saturating_mul(step)));
    steps.take_while(|bucket| *bucket <= max as u64).map(|bucket| bucket as f64).collect()
}
