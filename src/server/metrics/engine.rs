//! What the engine counts, under vLLM's names and our own; read anew for every answer.
//!
//! Invariant: every name and label of vLLM 0.32 is there; what cannot happen here (preemption, generation, sleep, other
//! tiers of cache) is a true 0. What describes a cache describes the prefix cache, whose blocks are single tokens. Called by `metrics`.

use super::family::{Sample, family};
use crate::engine::Engine;
use prometheus::proto::MetricFamily;

/// vLLM's upper bounds of a batch's tokens: 2 to the power of these, by which the engine counts.
const BATCH_SIZES: [usize; 13] = [0, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14];

/// The engine's metrics now.
pub(super) fn families(engine: &Engine, dtype: &str) -> Vec<MetricFamily> {
    let work = engine.work();
    let shared = work.tokens.saturating_sub(work.computed_tokens);
    let (held, capacity) = (engine.prefix_cache_tokens(), engine.prefix_cache_capacity());
    let (answers, answers_limit) = (engine.answer_cache_bytes(), engine.answer_cache_limit_bytes());
    let mut all = Families(Vec::new());

    all.gauge("num_requests_running", "Number of pairs in batches that run.", "", &[("", engine.running() as f64)]);
    let waiting = engine.waiting() as f64;
    all.gauge("num_requests_waiting", "Number of pairs that wait for a batch.", "", &[("", waiting)]);
    let reasons = [("capacity", waiting), ("deferred", 0.0)];
    all.gauge("num_requests_waiting_by_reason", "Number of pairs that wait, by reason.", "reason", &reasons);
    let states = [("awake", f64::from(engine.is_alive())), ("weights_offloaded", 0.0), ("discard_all", 0.0)];
    all.gauge("engine_sleep_state", "Whether the engine computes; it never sleeps.", "sleep_state", &states);
    let help = "How much of the memory for keys and values running pairs use; 1 is all of it.";
    all.gauge("kv_cache_usage_perc", help, "", &[("", engine.kv_usage())]);

    for (name, help, value) in [
        ("prompt_tokens", "Tokens of all pairs that were run.", work.tokens),
        ("prompt_tokens_cached", "Tokens that were not computed, because pairs or requests share them.", shared),
        ("prefix_cache_queries", "Tokens of all pairs that were run.", work.tokens),
        ("prefix_cache_hits", "Tokens that were not computed, because pairs or requests share them.", shared),
        ("external_prefix_cache_queries", "Tokens asked of other caches; there are none.", 0),
        ("external_prefix_cache_hits", "Tokens that other caches gave; there are none.", 0),
        ("mm_cache_queries", "Items asked of the multi-modal cache; there is none.", 0),
        ("mm_cache_hits", "Items that the multi-modal cache gave; there is none.", 0),
        ("generation_tokens", "Tokens generated; a reranker generates none.", 0),
        ("num_preemptions", "Preempted pairs; none ever is.", 0),
        ("estimated_flops_per_gpu", "Floating-point operations done, without what pads tiles.", work.flop),
        ("estimated_read_bytes_per_gpu", "Not estimated.", 0),
        ("estimated_write_bytes_per_gpu", "Not estimated.", 0),
    ] {
        all.counter(name, help, "", &[("", value)]);
    }
    let sources = [("local_compute", work.computed_tokens), ("local_cache_hit", shared), ("external_kv_transfer", 0)];
    all.counter("prompt_tokens_by_source", "Tokens of pairs that were run, by source.", "source", &sources);
    let tiers = [("device", shared), ("host", 0), ("p2p", 0), ("disk", 0), ("external_unspecified", 0)];
    let help = "Tokens that were not computed, by the memory that had them.";
    all.counter("prompt_tokens_cached_by_source", help, "source", &tiers);

    let refused =
        [("max_num_queued_reqs", work.refused_by_sequences), ("max_num_queued_tokens", work.refused_by_tokens)];
    all.counter("admission_rejections", "Requests that a limit of the queue refused.", "reason", &refused);

    let cumulative = BATCH_SIZES.map(|log| (f64::from(1 << log), work.batches[..=log].iter().sum())).into();
    let (count, sum) = (work.batches.iter().sum(), work.tokens as f64);
    let sample = Sample::Histogram { cumulative, count, sum };
    all.push("iteration_tokens_total", "Tokens of the pairs in a batch, shared or not.", vec![(vec![], sample)]);
    let description = [(cache_config(engine, dtype), Sample::Gauge(1.0))];
    all.push("cache_config_info", "The prefix cache.", description.into());
    let mut families = all.0;

    let counter = |name, help, value| family(name, help, [(vec![], Sample::Counter(value))]);
    let gauge = |name, help, value| family(name, help, [(vec![], Sample::Gauge(value))]);
    families.extend([
        counter("ironrank_computed_tokens_total", "Tokens that were computed.", work.computed_tokens as f64),
        counter(
            "ironrank_saved_tokens_total",
            "Tokens that were not computed, because they are shared.",
            shared as f64,
        ),
        counter(
            "ironrank_prefix_cache_tokens_saved_total",
            "Tokens that the prefix cache gave, counted once where pairs of a batch share them.",
            work.cached_tokens as f64,
        ),
        counter(
            "ironrank_answer_cache_hits_total",
            "Pairs that were not run, because the answer cache had their answer.",
            work.answer_hits as f64,
        ),
        counter(
            "ironrank_answer_cache_misses_total",
            "Pairs whose answer the answer cache had not.",
            work.answer_misses as f64,
        ),
        counter("ironrank_model_seconds_total", "Seconds that the kernels ran.", work.model_time.as_secs_f64()),
        counter("ironrank_flop_total", "Floating-point operations, without what pads tiles.", work.flop as f64),
        gauge("ironrank_queue_age_seconds", "Age of the oldest request that waits.", engine.queue_age().as_secs_f64()),
        gauge(
            "ironrank_prefix_cache_usage_ratio",
            "How full the prefix cache is; 1 is full.",
            if capacity == 0 { 0.0 } else { held as f64 / capacity as f64 },
        ),
        gauge("ironrank_prefix_cache_bytes", "Bytes that the prefix cache holds.", engine.prefix_cache_bytes() as f64),
        gauge(
            "ironrank_answer_cache_usage_ratio",
            "How full the answer cache is; 1 is full.",
            if answers_limit == 0 { 0.0 } else { answers as f64 / answers_limit as f64 },
        ),
        gauge("ironrank_answer_cache_bytes", "Bytes that the answer cache holds.", answers as f64),
    ]);
    let help =
        "Floating-point operations a second that the threads could do at most of what multiplies the model's matrices.";
    families.extend(engine.peak().map(|peak| gauge("ironrank_peak_flop_per_second", help, peak)));
    families
}

/// vLLM's families.
struct Families(Vec<MetricFamily>);

impl Families {
    fn gauge(&mut self, name: &str, help: &str, label: &'static str, values: &[(&str, f64)]) {
        let samples = values.iter().map(|&(of, value)| (labels(label, of), Sample::Gauge(value)));
        self.push(name, help, samples.collect());
    }

    fn counter(&mut self, name: &str, help: &str, label: &'static str, values: &[(&str, u64)]) {
        let samples = values.iter().map(|&(of, value)| (labels(label, of), Sample::Counter(value as f64)));
        self.push(&format!("{name}_total"), help, samples.collect());
    }

    fn push(&mut self, name: &str, help: &str, samples: Vec<(Vec<(&'static str, String)>, Sample)>) {
        self.0.push(family(&format!("vllm:{name}"), help, samples));
    }
}

fn labels(label: &'static str, value: &str) -> Vec<(&'static str, String)> {
    if label.is_empty() { Vec::new() } else { vec![(label, value.to_owned())] }
}

/// vLLM's description of its cache, which names no model, in as far as it says something about ours.
fn cache_config(engine: &Engine, dtype: &str) -> Vec<(&'static str, String)> {
    let capacity = engine.prefix_cache_capacity().to_string();
    let python = |truth: bool| if truth { "True" } else { "False" }.to_owned();
    let mut labels = vec![
        ("block_size", "1".to_owned()),
        ("effective_attention_block_size", "1".to_owned()),
        ("enable_prefix_caching", python(engine.prefix_cache_capacity() > 0)),
        ("cache_dtype", dtype.to_owned()),
        ("kv_cache_memory_bytes", engine.prefix_cache_limit_bytes().to_string()),
        ("kv_cache_size_tokens", capacity.clone()),
        ("num_gpu_blocks", capacity.clone()),
        ("num_cpu_blocks", capacity),
        ("_block_size_resolved", python(true)),
    ];
    let no =
        ["enable_mamba_shared_prefix_checkpoint", "is_attention_free", "kv_sharing_fast_prefill", "swa_bounded_replay"];
    let no_either = ["use_kda_recoverssm", "use_replayssm", "user_specified_block_size"];
    labels.extend(no.into_iter().chain(no_either).map(|name| (name, python(false))));
    let none = [
        "cache_hit_alignment_tokens",
        "gpu_memory_utilization",
        "hash_block_size",
        "kv_cache_dtype_skip_layers",
        "kv_cache_layout",
        "kv_cache_max_concurrency",
        "kv_offloading_backend",
        "kv_offloading_size",
        "mamba_block_size",
        "mamba_cache_dtype",
        "mamba_cache_mode",
        "mamba_page_size_padded",
        "mamba_ssm_cache_dtype",
        "num_gpu_blocks_override",
        "prefix_cache_retention_interval",
        "prefix_caching_hash_algo",
        "prefix_match_unit",
        "replayssm_buffer_len",
        "skip_page_size_padded",
        "sliding_window",
    ];
    labels.extend(none.map(|name| (name, "None".to_owned())));
    labels
}
