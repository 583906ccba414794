//! vLLM's and TEI's flags that mean nothing here, and those that can't be ignored without doing harm.
//!
//! Invariant: each is declared with the number of values that it has there, so that it never swallows or leaves behind
//! a neighbour. Flags of vLLM 0.9 to 0.32, whichever of them had it. Called by the options of `serve`.

use super::environment::Environment;
use super::names::twin;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches};

/// Switches; each also exists as `--no-...`.
const SWITCHES: &[&str] = &[
    "aggregate-engine-logging",
    "allow-deprecated-quantization",
    "async-scheduling",
    "calculate-kv-scales",
    "cohere-is-reasoning-model",
    "cudagraph-metrics",
    "data-parallel-external-lb",
    "data-parallel-hybrid-lb",
    "data-parallel-multi-port-external-lb",
    "disable-async-output-proc",
    "disable-cascade-attn",
    "disable-chunked-mm-input",
    "disable-custom-all-reduce",
    "disable-frontend-multiprocessing",
    "disable-hybrid-kv-cache-manager",
    "disable-log-stats",
    "disable-mm-preprocessor-cache",
    "disable-nccl-for-dp-synchronization",
    "disable-sliding-window",
    "disable-uvicorn-access-log",
    "enable-auto-tool-choice",
    "enable-chunked-prefill",
    "enable-dbo",
    "enable-elastic-ep",
    "enable-ep-weight-filter",
    "enable-eplb",
    "enable-expert-parallel",
    "enable-flash-late-interaction",
    "enable-flashinfer-autotune",
    "enable-force-include-usage",
    "enable-layerwise-nvtx-tracing",
    "enable-log-deltas",
    "enable-log-outputs",
    "enable-logging-iteration-details",
    "enable-lora",
    "enable-lora-bias",
    "enable-mamba-cache-stochastic-rounding",
    "enable-mfu-metrics",
    "enable-mm-embeds",
    "enable-mm-processor-stats",
    "enable-multimodal-encoder-data-parallel",
    "enable-offline-docs",
    "enable-per-request-metrics",
    "enable-prompt-adapter",
    "enable-prompt-embeds",
    "enable-prompt-tokens-details",
    "enable-reasoning",
    "enable-return-routed-experts",
    "enable-server-load-tracking",
    "enable-sleep-mode",
    "enable-tower-connector-lora",
    "enforce-eager",
    "eplb-log-balancedness",
    "exclude-tools-when-tool-choice-none",
    "expand-tools-even-if-tool-choice-none",
    "fail-on-environ-validation",
    "fully-sharded-loras",
    "guided-decoding-disable-additional-properties",
    "guided-decoding-disable-any-whitespace",
    "guided-decoding-disable-fallback",
    "interleave-mm-strings",
    "kv-cache-metrics",
    "kv-sharing-fast-prefill",
    "language-model-only",
    "log-error-stack",
    "mm-encoder-only",
    "multi-step-stream-outputs",
    "numa-bind",
    "ray-workers-use-nsight",
    "return-tokens-as-token-ids",
    "scheduler-reserve-full-isl",
    "skip-mm-profiling",
    "skip-tokenizer-init",
    "specialize-active-lora",
    "trust-request-chat-template",
    "trust-request-mm-kwargs",
    "use-tqdm-on-load",
    "use-v2-block-manager",
];

/// Flags with one value.
const VALUES: &[&str] = &[
    "additional-config",
    "all2all-backend",
    "allowed-local-media-path",
    "api-server-count",
    "attention-backend",
    "attention-config",
    "block-size",
    "chat-template-content-format",
    "code-revision",
    "cohere-format",
    "compilation-config",
    "config-format",
    "cp-kv-cache-interleave-size",
    "cpu-offload-gb",
    "data-parallel-address",
    "data-parallel-backend",
    "data-parallel-rank",
    "data-parallel-rpc-port",
    "data-parallel-size",
    "data-parallel-size-local",
    "data-parallel-start-rank",
    "data-parallel-supervisor-port",
    "dbo-decode-token-threshold",
    "dbo-prefill-token-threshold",
    "dcp-comm-backend",
    "dcp-kv-cache-interleave-size",
    "decode-context-parallel-size",
    "default-chat-template-kwargs",
    "default-mm-loras",
    "device",
    "disable-access-log-for-endpoints",
    "distributed-executor-backend",
    "distributed-timeout-seconds",
    "download-dir",
    "dp-supervisor-probe-failure-threshold",
    "dp-supervisor-probe-interval-s",
    "dp-supervisor-probe-timeout-s",
    "ec-transfer-config",
    "eplb-config",
    "eplb-step-interval",
    "eplb-window-size",
    "expert-placement-strategy",
    "fingerprint-mode",
    "fingerprint-value",
    "gdn-prefill-backend",
    "generation-config",
    "gpu-memory-utilization",
    "guided-decoding-backend",
    "h11-max-header-count",
    "h11-max-incomplete-event-size",
    "io-processor-plugin",
    "ir-op-priority",
    "kernel-config",
    "kv-cache-dtype",
    "kv-cache-memory-bytes",
    "kv-cache-metrics-sample",
    "kv-events-config",
    "kv-offloading-backend",
    "kv-offloading-size",
    "kv-transfer-config",
    "limit-mm-per-prompt",
    "log-config-file",
    "logits-processor-pattern",
    "logprobs-mode",
    "long-lora-scaling-factors",
    "long-prefill-token-threshold",
    "lora-dtype",
    "lora-extra-vocab-size",
    "mamba-backend",
    "mamba-block-size",
    "mamba-cache-dtype",
    "mamba-cache-mode",
    "mamba-cache-philox-rounds",
    "mamba-config",
    "mamba-ssm-cache-dtype",
    "master-addr",
    "master-port",
    "max-cpu-loras",
    "max-cudagraph-capture-size",
    "max-log-len",
    "max-logprobs",
    "max-long-partial-prefills",
    "max-lora-rank",
    "max-loras",
    "max-num-partial-prefills",
    "max-num-scheduled-tokens",
    "max-parallel-loading-workers",
    "max-prompt-adapter-token",
    "max-prompt-adapters",
    "max-seq-len-to-capture",
    "media-io-kwargs",
    "mm-encoder-attn-backend",
    "mm-encoder-attn-dtype",
    "mm-encoder-fp8-scale-path",
    "mm-encoder-fp8-scale-save-margin",
    "mm-encoder-fp8-scale-save-path",
    "mm-encoder-tp-mode",
    "mm-processor-cache-gb",
    "mm-processor-cache-type",
    "mm-processor-kwargs",
    "mm-shm-cache-max-object-size-mb",
    "mm-tensor-ipc",
    "model-impl",
    "model-loader-extra-config",
    "model-weights",
    "moe-backend",
    "nnodes",
    "node-rank",
    "num-gpu-blocks-override",
    "num-lookahead-slots",
    "num-redundant-experts",
    "num-scheduler-steps",
    "offload-backend",
    "offload-group-size",
    "offload-num-in-group",
    "offload-prefetch-step",
    "optimization-level",
    "otlp-traces-endpoint",
    "override-attention-dtype",
    "override-generation-config",
    "override-neuron-config",
    "performance-mode",
    "pipeline-parallel-size",
    "preemption-mode",
    "prefill-context-parallel-size",
    "prefix-cache-retention-interval",
    "prefix-caching-hash-algo",
    "profiler-config",
    "pt-load-map-location",
    "qlora-adapter-name-or-path",
    "quantization-config",
    "quantization-param-path",
    "reasoning-config",
    "reasoning-effort-budgets",
    "reasoning-parser",
    "reasoning-parser-plugin",
    "renderer-num-workers",
    "response-role",
    "revision",
    "safetensors-load-strategy",
    "safetensors-prefetch-block-size",
    "safetensors-prefetch-num-threads",
    "scheduler-cls",
    "scheduler-delay-factor",
    "scheduling-policy",
    "seed",
    "show-hidden-metrics-for-version",
    "speculative-config",
    "sse-keep-alive-interval",
    "ssl-ciphers",
    "stream-interval",
    "structured-outputs-config",
    "swap-space",
    "tensor-parallel-size",
    "tokenizer-mode",
    "tokenizer-pool-extra-config",
    "tokenizer-pool-size",
    "tokenizer-pool-type",
    "tokenizer-revision",
    "tool-call-parser",
    "tool-parser-plugin",
    "tool-server",
    "ubatch-size",
    "video-pruning-rate",
    "weight-transfer-config",
    "worker-cls",
    "worker-extension-cls",
];

/// Flags with one value or more.
const LISTS: &[&str] = &[
    "allowed-media-domains",
    "collect-detailed-traces",
    "cpu-offload-params",
    "cuda-graph-sizes",
    "cudagraph-capture-sizes",
    "ignore-patterns",
    "kv-cache-dtype-skip-layers",
    "logits-processors",
    "lora-target-modules",
    "numa-bind-cpus",
    "numa-bind-nodes",
    "offload-params",
];

/// TEI's switches.
const TEI_SWITCHES: &[&str] = &["disable-spans"];

/// TEI's flags with one value.
const TEI_VALUES: &[&str] = &[
    "dense-path",
    "hf-api-token",
    "huggingface-hub-cache",
    "max-batch-requests",
    "max-batch-tokens",
    "max-client-batch-size",
    "otlp-endpoint",
    "otlp-service-name",
    "prometheus-port",
    "tokenization-workers",
    "uds-path",
];

/// Flags whose effect operators count on, so that going on without it would be worse than not starting.
const REFUSED: &[(&str, usize, &str)] = &[
    ("grpc", 0, "only HTTP is served"),
    ("headless", 0, "there is one process, which serves HTTP"),
    ("lora-modules", 1, "adapters are not loaded; merge them into the checkpoint"),
    ("middleware", 1, "no Python code is run; put a proxy before the server"),
    ("prompt-adapters", 1, "adapters are not loaded"),
    ("tokens-only", 0, "requests are texts"),
];

/// Variables of vLLM without effect, and what to do instead if there is something.
const VARIABLES: &[(&str, &str)] = &[
    ("VLLM_CPU_ATTN_SPLIT_KV", ""),
    ("VLLM_CPU_KVCACHE_SPACE", " --prefix-cache-mib sizes what is kept between requests."),
    ("VLLM_CPU_MOE_PREPACK", ""),
    ("VLLM_CPU_NUM_OF_RESERVED_CPU", " --threads says how many cores are used."),
    ("VLLM_CPU_SGL_KERNEL", ""),
    ("VLLM_LOGGING_CONFIG_PATH", " VLLM_LOGGING_LEVEL and RUST_LOG say what is logged."),
    ("VLLM_LOG_STATS_INTERVAL", " /metrics has the figures."),
    (
        "VLLM_USE_MODELSCOPE",
        " Nothing is downloaded: `modelscope download --model NAME --local_dir DIR` fetches a model, and MODEL is DIR.",
    ),
    ("VLLM_USE_RUST_FRONTEND", ""),
    ("VLLM_USE_V1", ""),
];

/// The declarations of all of them.
pub fn args() -> Vec<Arg> {
    let hidden = |name: &'static str| Arg::new(name).long(name).hide(true);
    let switch = |name| hidden(name).action(ArgAction::SetTrue);
    let value = |name| hidden(name).num_args(1).allow_hyphen_values(true);
    let mut args: Vec<Arg> = SWITCHES.iter().chain(TEI_SWITCHES).copied().map(switch).collect();
    args.extend(VALUES.iter().chain(TEI_VALUES).copied().map(value));
    args.extend(LISTS.iter().copied().map(|name| hidden(name).num_args(1..)));
    // A token with or without a value, as vLLM declares it.
    args.push(hidden("hf-token").num_args(0..=1));
    args.extend(REFUSED.iter().map(|&(name, values, _)| match values {
        0 => switch(name),
        _ => hidden(name).num_args(1..).action(ArgAction::Append),
    }));
    args
}

/// A notice for each ignored flag that was given; an error if one can't be ignored.
pub fn given(serve: &ArgMatches) -> Result<Vec<String>, String> {
    let given = |id: &str| serve.value_source(id) == Some(ValueSource::CommandLine);
    for &(name, _, why) in REFUSED {
        if given(name) {
            return Err(format!("--{name} is not possible, because {why}."));
        }
    }
    let mut names = Vec::new();
    for &name in SWITCHES {
        names.extend([name.to_owned(), twin(name)]);
    }
    names.extend(VALUES.iter().chain(LISTS).chain(&["hf-token"]).map(|&name| name.to_owned()));
    let said = |name: &str, whose| format!("--{name} is accepted for {whose} sake and has no effect here.");
    let tei = TEI_SWITCHES.iter().chain(TEI_VALUES).filter(|name| given(name)).map(|name| said(name, "TEI's"));
    let vllm = names.iter().filter(|name| given(name)).map(|name| said(name, "vLLM's"));
    Ok(vllm.chain(tei).collect())
}

/// A notice for each variable that is set in vain.
pub fn variables(env: Environment) -> Vec<String> {
    let set = VARIABLES.iter().filter(|(name, _)| env.get(name).is_some());
    set.map(|(name, instead)| format!("{name} is known from vLLM and has no effect here.{instead}")).collect()
}
