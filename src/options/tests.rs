//! The parser as a table: command lines, good and bad, and what becomes of them.

use super::{Command, DEFAULT_PREFIX_CACHE_BYTES, LoadFormat, Options, Workload, parse};
use std::path::PathBuf;
use std::time::Duration;

const OVERRIDES: &str = "{\n  \"architectures\": [\"Qwen3ForSequenceClassification\"],\n  \"classifier_from_token\": \
                         [\"no\", \"yes\"],\n  \"is_original_qwen3_reranker\": true\n}\n";

fn run(line: &str, env: &[(&str, &str)]) -> Command {
    let args = std::iter::once("ironrank").chain(line.split_whitespace());
    parse(args, |name| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
}

fn options_in(line: &str, env: &[(&str, &str)]) -> Options {
    match run(line, env) {
        Command::Serve(options) => *options,
        Command::Say { text, .. } => panic!("'{line}' was refused: {text}"),
        Command::Bench(_) => panic!("'{line}' is a benchmark"),
    }
}

fn options(line: &str) -> Options {
    options_in(line, &[])
}

#[test]
fn todays_deployment_is_understood_with_and_without_the_word_serve() {
    let line = "/models/qwen3-reranker-0.6b --task score --dtype float32 --port 8000 --trust-remote-code \
                --max-model-len 8192";
    let env = [("VLLM_HF_OVERRIDES", OVERRIDES)];
    let bare = options_in(line, &env);
    assert_eq!(bare, options_in(&format!("serve {line}"), &env));
    assert_eq!(bare.model, Some(PathBuf::from("/models/qwen3-reranker-0.6b")));
    assert_eq!(bare.served_model_names, ["/models/qwen3-reranker-0.6b"]);
    assert_eq!((bare.port, bare.max_model_len), (8000, Some(8192)));
    assert_eq!(bare.load_format, LoadFormat::Safetensors);
    assert_eq!(bare.hf_overrides["classifier_from_token"], serde_json::json!(["no", "yes"]));
    assert_eq!(bare.hf_overrides["is_original_qwen3_reranker"], true);
}

#[test]
fn serve_alone_is_the_builtin_dummy_on_port_8000() {
    let alone = options("serve");
    assert_eq!((alone.model.clone(), alone.load_format), (None, LoadFormat::Dummy));
    assert!(alone.served_model_names[0].contains("rerank"), "clients look for the word in the name");
    assert_eq!((alone.host.as_str(), alone.port), ("0.0.0.0", 8000));
    assert_eq!(alone.shutdown_timeout, Duration::from_secs(30));
    assert!(alone.notices.is_empty(), "{:?}", alone.notices);
}

#[test]
fn spellings_that_mean_the_same() {
    for (one, other) in [
        ("serve m --max-model-len 8192", "serve m --max_model_len 8192"),
        ("serve m --max-model-len 8192", "serve m --max-model-len=8K"),
        ("serve m --max-model-len 8000", "serve m --max_model_len=8k"),
        ("serve m --max-model-len 8500", "m --max-model 8.5k"),
        ("serve m", "serve m --max-model-len auto"),
        ("serve m", "m --max-model-len -1"),
        ("serve m", "serve --model m"),
        ("serve m", "--model m"),
        ("serve m --max-num-batched-tokens 4096", "serve m --max_num_batched_tokens 4K"),
        ("serve m --port 9", "serve m --port 8 --port 9"),
        ("serve m --served-model-name a b", "serve --served-model-name a b --model m"),
        ("serve m --dtype float32", "serve m --dtype auto"),
        ("serve m --load-format safetensors", "serve m --load-format auto"),
        ("serve", "serve --load-format dummy"),
        ("serve m", "serve m --runner pooling --convert classify --task classify"),
    ] {
        assert_eq!(options(one), options(other), "{one} | {other}");
    }
}

#[test]
fn several_names_and_keys_are_lists_and_the_last_flag_counts() {
    assert_eq!(options("serve m --served-model-name a b --port 1").served_model_names, ["a", "b"]);
    assert_eq!(options("serve m --api-key k1 k2").api_keys, ["k1", "k2"]);
    assert_eq!(options("serve m --api-key k1 --api-key k2").api_keys, ["k2"]);
    let env = [("VLLM_API_KEY", "k3")];
    assert_eq!(options_in("serve m", &env).api_keys, ["k3"]);
    assert_eq!(options_in("serve m --api-key k1", &env).api_keys, ["k1"]);
}

#[test]
fn a_flag_wins_over_the_environment() {
    let env = [("VLLM_HF_OVERRIDES", OVERRIDES), ("IRONRANK_ISA", "avx2"), ("VLLM_LOGGING_LEVEL", "WARNING")];
    let from_env = options_in("serve m", &env);
    assert_eq!((from_env.isa.as_deref(), from_env.log_filter.as_str()), (Some("avx2"), "warn"));
    let flags = ["ironrank", "serve", "m", "--isa", "sse2", "--hf-overrides", "{\"num_labels\": 1}"];
    let Command::Serve(both) = parse(flags, |name| env.iter().find(|(k, _)| *k == name).map(|(_, v)| v.to_string()))
    else {
        panic!("the flags were refused");
    };
    assert_eq!(both.isa.as_deref(), Some("sse2"));
    assert_eq!(serde_json::Value::Object(both.hf_overrides), serde_json::json!({"num_labels": 1}));
}

#[test]
fn what_means_nothing_here_is_accepted_with_one_notice_each() {
    for (line, notices) in [
        ("serve m --enforce-eager", 1),
        ("serve m --no-enable-chunked-prefill --disable-log-requests", 2),
        ("serve m -tp 2 --gpu-memory-utilization 0.9 --swap_space 4", 3),
        ("serve m --seed -1 --port 9", 1),
        ("serve m --dtype bfloat16", 1),
        ("serve m --dtype half --trust-remote-code", 2),
        ("serve m --dtype float32 --task score", 0),
    ] {
        let options = options(line);
        assert_eq!(options.notices.len(), notices, "{line}: {:?}", options.notices);
    }
}

#[test]
fn the_prefix_cache_is_sized_in_mib_and_off_in_vllms_words_too() {
    for (line, bytes) in [
        ("serve m", DEFAULT_PREFIX_CACHE_BYTES),
        ("serve m --enable-prefix-caching", DEFAULT_PREFIX_CACHE_BYTES),
        ("serve m --no-enable-prefix-caching", 0),
        ("serve m --no-enable-prefix-caching --enable-prefix-caching", DEFAULT_PREFIX_CACHE_BYTES),
        ("serve m --prefix-cache-mib 0", 0),
        ("serve m --prefix-cache-mib 3", 3 << 20),
    ] {
        assert_eq!(options(line).prefix_cache_bytes, bytes, "{line}");
    }
}

#[test]
fn bad_command_lines_end_with_code_2_and_name_the_value() {
    for (line, named) in [
        ("", "Usage"),
        ("serve m --prot 9", "--port"),
        ("serve m --frobnicate", "--frobnicate"),
        ("serve m extra", "extra"),
        ("serve m --port", "--port"),
        ("serve m --port 65536", "65536"),
        ("serve m --port -1", "-1"),
        ("serve m --port eight", "eight"),
        ("serve m --prefix-cache-mib -1", "-1"),
        ("serve m --max-model-len 0", "0 is too small"),
        ("serve m --max-model-len 8.5K", "8.5K"),
        ("serve m --max-model-len -2", "-2"),
        ("serve m --max-model-len 99999999999999999999k", "99999999999999999999k"),
        ("serve m --max-n 5", "--max-n"),
        ("serve m --dtype fp32", "float32"),
        ("serve m --task embed", "only reranks"),
        ("serve m --runner generate", "only reranks"),
        ("serve m --convert embed", "only reranks"),
        ("serve m --load-format gguf", "safetensors"),
        ("serve --load-format safetensors", "MODEL"),
        ("serve m --threads 0", "0 is too small"),
        ("serve m --shutdown-timeout -5", "-5"),
        ("serve m --shutdown-timeout soon", "soon"),
        ("serve m --hf-overrides [1]", "JSON object"),
        ("serve m --hf-overrides {x", "not valid JSON"),
        ("serve m --served-model-name", "--served-model-name"),
        ("serve m --quantization fp8", "--quantization"),
    ] {
        match run(line, &[]) {
            Command::Say { text, code: 2 } => assert!(text.contains(named), "'{line}' says: {text}"),
            other => panic!("'{line}' gave {other:?}"),
        }
    }
    match run("serve m", &[("VLLM_HF_OVERRIDES", "nonsense")]) {
        Command::Say { text, code: 2 } => assert!(text.contains("VLLM_HF_OVERRIDES is not valid JSON"), "{text}"),
        other => panic!("bad overrides gave {other:?}"),
    }
}

#[test]
fn help_and_version_end_with_code_0() {
    for line in ["--help", "serve --help", "--version"] {
        assert!(matches!(run(line, &[]), Command::Say { code: 0, .. }), "{line}");
    }
}

#[test]
fn the_flags_are_consistent() {
    super::flags::command().debug_assert();
}

#[test]
fn packed_weights_are_kept_in_the_users_cache_unless_told_otherwise() {
    let place = |line: &str, env: &[(&str, &str)]| options_in(line, env).weight_cache;
    let home = [("HOME", "/home/a")];
    assert_eq!(place("m", &home), Some(PathBuf::from("/home/a/.cache/ironrank")));
    assert_eq!(place("m", &[home[0], ("XDG_CACHE_HOME", "/c")]), Some(PathBuf::from("/c/ironrank")));
    assert_eq!(place("m", &[home[0], ("XDG_CACHE_HOME", "c")]), Some(PathBuf::from("/home/a/.cache/ironrank")));
    assert_eq!(place("m", &[]), None, "without a home");
    assert_eq!(place("m --weight-cache /w", &home), Some(PathBuf::from("/w")));
    assert_eq!(place("m --weight-cache off", &home), None);
}

#[test]
fn bench_takes_the_flags_of_the_engine_and_none_of_the_server() {
    let bench = |line: &str| match run(line, &[]) {
        Command::Bench(bench) => *bench,
        other => panic!("'{line}' gave {other:?}"),
    };
    let plain = bench("bench");
    assert_eq!((plain.workload, plain.requests, plain.json), (Workload::Rag, None, false));
    assert_eq!(plain.options, options("serve"));
    assert!(plain.options.numa && !bench("bench --numa off").options.numa);
    let full = bench("bench /m --workload short --requests 3 --json --isa sse2 --threads 2 --max_model_len 8k");
    assert_eq!((full.workload, full.requests, full.json), (Workload::Short, Some(3), true));
    assert_eq!(full.options, options("serve /m --isa sse2 --threads 2 --max-model-len 8k"));
    for line in ["bench --workload huge", "bench --port 8000", "bench --requests 0"] {
        assert!(matches!(run(line, &[]), Command::Say { code: 2, .. }), "'{line}' was accepted");
    }
}
