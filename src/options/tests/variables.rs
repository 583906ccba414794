//! The environment, where no flag says otherwise.

use super::*;
use serde_json::json;
use std::time::Duration;

#[test]
fn variables_say_what_flags_do_not() {
    let good: &[(Env, &str, &[&str], Change)] = &[
        (&[("VLLM_API_KEY", "k3\n")], "m", &[], |o| keys(o, "VLLM_API_KEY", &["k3"])),
        (&[("VLLM_API_KEY", "k3")], "m --api-key k1", &[], |o| keys(o, "--api-key", &["k1"])),
        (&[("IRONRANK_INSTRUCTION", " Find laws.\n")], "m", &[], |o| {
            o.models[0].instruction = Some("Find laws.".to_owned());
        }),
        (&[("IRONRANK_INSTRUCTION", "\u{feff}Find laws.\r\n")], "m", &[], |o| {
            o.models[0].instruction = Some("Find laws.".to_owned());
        }),
        (&[], "m --served-model-name=\u{feff}a", &[], |o| o.models[0].names = texts(&["a"])),
        (&[("IRONRANK_INSTRUCTION", "Find laws.")], "m --instruction Find!", &[], |o| {
            o.models[0].instruction = Some("Find!".to_owned());
        }),
        (&[("IRONRANK_INSTRUCTION", " ")], "m --instruction=", &[], |_| {}),
        (&[("IRONRANK_QUERY_PROMPT", "Find:"), ("IRONRANK_DOCUMENT_PROMPT", "text: ")], "m", &[], |o| {
            o.models[0].named_prompts =
                NamedPrompts { query: Some("Find:".to_owned()), document: Some("text: ".to_owned()) };
        }),
        (&[("IRONRANK_QUERY_PROMPT", "Find:")], "m --query-prompt=", &[], |o| {
            o.models[0].named_prompts.query = Some(String::new());
        }),
        (&[("VLLM_HF_OVERRIDES", OVERRIDES)], "m", &[], |o| {
            overrides(
                o,
                json!({
                    "architectures": ["Qwen3ForSequenceClassification"],
                    "classifier_from_token": ["no", "yes"],
                    "is_original_qwen3_reranker": true
                }),
            );
        }),
        (&[("VLLM_HF_OVERRIDES", OVERRIDES)], "m --hf-overrides.a 1", &[], |o| overrides(o, json!({"a": 1}))),
        (&[("VLLM_SERVER_DEV_MODE", "1"), ("VLLM_API_KEY", "k3"), ("IRONRANK_ISA", "avx2")], "m", &[], |o| {
            keys(o, "VLLM_API_KEY", &["k3"]);
            o.machine.isa = Some("avx2".to_owned());
            o.server.server_info = json!({"IRONRANK_ISA": "avx2", "VLLM_SERVER_DEV_MODE": "1"}).as_object().cloned();
        }),
        (&[("VLLM_SERVER_DEV_MODE", "0")], "m", &[], |_| {}),
        (&[("IRONRANK_ISA", "avx2")], "m", &[], |o| o.machine.isa = Some("avx2".to_owned())),
        (&[("IRONRANK_ISA", "avx2")], "m --isa sse2", &[], |o| o.machine.isa = Some("sse2".to_owned())),
        (&[("IRONRANK_ANSWER_CACHE_MIB", "0")], "m", &[], |o| o.machine.answer_cache_bytes = Some(0)),
        (&[("IRONRANK_ANSWER_CACHE_MIB", "2")], "m --answer-cache-mib 1", &[], |o| {
            o.machine.answer_cache_bytes = Some(1 << 20);
        }),
        (&[("VLLM_CPU_OMP_THREADS_BIND", "auto")], "m", &[], |_| {}),
        (&[("VLLM_CPU_OMP_THREADS_BIND", "nobind")], "m", &[], |o| o.machine.pin = false),
        (&[("VLLM_CPU_OMP_THREADS_BIND", "0-2,8")], "m", &[], |o| o.machine.cores = Some(vec![0, 1, 2, 8])),
        (&[("VLLM_CPU_OMP_THREADS_BIND", "0-1|2-3")], "m", &["the cores of the first list"], |o| {
            o.machine.cores = Some(vec![0, 1]);
        }),
        (&[("VLLM_CPU_OMP_THREADS_BIND", "4-7")], "m --threads 2 --no-pin", &[], |o| {
            (o.machine.cores, o.machine.threads, o.machine.pin) = (Some(vec![4, 5, 6, 7]), Some(2), false);
        }),
        (
            &[("VLLM_CPU_KVCACHE_SPACE", "40"), ("VLLM_USE_V1", "1")],
            "m",
            &["--prefix-cache-mib", "VLLM_USE_V1"],
            |_| {},
        ),
        (&[("VLLM_LOGGING_LEVEL", "WARNING")], "m", &[], |o| o.log.filter = "warn,actix_http=off".to_owned()),
        (&[("VLLM_LOGGING_LEVEL", "debug")], "m --uvicorn-log-level error", &[], |o| {
            o.log.filter = "debug,actix_server=error,actix_http=error,ironrank::server=error".to_owned();
        }),
        (&[("VLLM_LOGGING_LEVEL", "loud")], "m", &[], |_| {}),
        (&[("RUST_LOG", "ironrank=trace"), ("VLLM_LOGGING_LEVEL", "ERROR")], "m", &[], |o| {
            o.log.filter = "ironrank=trace".to_owned();
        }),
        (&[("VLLM_SKIP_MODEL_NAME_VALIDATION", "1")], "m", &[], |o| o.server.skip_model_name_validation = true),
        (&[("VLLM_SKIP_MODEL_NAME_VALIDATION", "0")], "m", &[], |_| {}),
        (&[("VLLM_HTTP_TIMEOUT_KEEP_ALIVE", "75")], "m", &[], |o| o.server.keep_alive = Duration::from_secs(75)),
        (&[("HF_HUB_OFFLINE", "1"), ("TRANSFORMERS_OFFLINE", "1"), ("HF_HOME", "/h")], "m", &[], |_| {}),
        (&[("HOME", "/home/a")], "m", &[], |o| o.machine.weight_cache = Some("/home/a/.cache/ironrank".into())),
        (&[("HOME", "/home/a")], "m --weight-cache off", &[], |o| o.machine.weight_cache = None),
        (&[("HOME", "")], "m --weight-cache off", &[], |o| o.machine.weight_cache = None),
        (&[("HOME", "")], "m", &["Neither XDG_CACHE_HOME nor HOME names a directory"], |o| {
            o.machine.weight_cache = None;
        }),
        (&[("HOME", "relative")], "m", &["packed into memory at every start"], |o| o.machine.weight_cache = None),
        (&[("HOME", "")], "m --weight-cache /w", &[], |o| o.machine.weight_cache = Some("/w".into())),
        (&[("HOME", "/home/a"), ("XDG_CACHE_HOME", "/c")], "m", &[], |o| {
            o.machine.weight_cache = Some("/c/ironrank".into());
        }),
        (&[("HOME", "/home/a"), ("XDG_CACHE_HOME", "c")], "m", &[], |o| {
            o.machine.weight_cache = Some("/home/a/.cache/ironrank".into());
        }),
    ];
    for (env, line, notices, change) in good {
        check(line, env, notices, *change);
    }
    let bad: &[(Env, &str, &str)] = &[
        (&[("VLLM_API_KEY", "")], "m", "A key of VLLM_API_KEY is empty"),
        (&[("VLLM_API_KEY", " \n")], "m", "A key of VLLM_API_KEY is empty"),
        (&[("IRONRANK_ANSWER_CACHE_MIB", "64M")], "m", "IRONRANK_ANSWER_CACHE_MIB: '64M' is not a number of MiB"),
        (&[("VLLM_HF_OVERRIDES", "nonsense")], "m", "VLLM_HF_OVERRIDES is not valid JSON"),
        (&[("VLLM_HTTP_TIMEOUT_KEEP_ALIVE", "long")], "m", "VLLM_HTTP_TIMEOUT_KEEP_ALIVE: 'long'"),
        (&[("VLLM_CPU_OMP_THREADS_BIND", "3-1")], "m", "VLLM_CPU_OMP_THREADS_BIND=3-1 is not understood"),
        (&[("VLLM_CPU_OMP_THREADS_BIND", "0-9999999999")], "m", "is not understood"),
        (&[("VLLM_CPU_OMP_THREADS_BIND", "0-1")], "m --threads 3", "--threads 3 is more than the 2 cores"),
    ];
    for (env, line, named) in bad {
        refused(line, env, named);
    }
}
