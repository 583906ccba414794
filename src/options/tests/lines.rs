//! Lines of `serve`, good and bad.

use super::*;
use crate::options::listen::{DEFAULT_HOST, DEFAULT_PORT};
use crate::precision::{Asked, Dtype};
use crate::task::Task;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

const GOOD: &[(&str, &[&str], Change)] = &[
    // Which model.
    ("serve m", &[], |_| {}),
    ("m", &[], |_| {}),
    ("--model m", &[], |_| {}),
    ("serve --model=m", &[], |_| {}),
    ("serve m --model m", &[], |_| {}),
    ("serve m --model n", &["--model n is overruled by the positional m"], |_| {}),
    ("serve", &[], |o| {
        o.models[0].model.dir = None;
        o.models[0].model.load_format = LoadFormat::Dummy;
        o.models[0].names = texts(&[BUILTIN_MODEL_NAME]);
    }),
    ("serve m --load-format dummy", &[], |o| o.models[0].model.load_format = LoadFormat::Dummy),
    ("serve m --load-format safetensors", &[], |_| {}),
    ("serve m --tokenizer t", &[], |o| o.models[0].model.tokenizer = Some("t".into())),
    ("serve m --tokenizer None", &[], |_| {}),
    ("serve m --trust-remote-code", &["no code of a model is ever run"], |_| {}),
    ("serve m --trust-remote-code --no-trust-remote-code", &[], |_| {}),
    ("serve m --runner pooling --convert none --task auto", &[], |_| {}),
    ("serve m --runner pooling --convert classify --task classify", &[], |o| {
        o.models[0].model.task = Some(Task::Rerank)
    }),
    ("serve m --task score", &[], |o| o.models[0].model.task = Some(Task::Rerank)),
    ("serve m --task embedding", &[], |o| o.models[0].model.task = Some(Task::Embed)),
    ("serve m --convert embed", &[], |o| o.models[0].model.task = Some(Task::Embed)),
    ("serve m --query-prompt=Find:\\n --document-prompt=", &[], |o| {
        o.models[0].named_prompts = NamedPrompts { query: Some("Find:\n".to_owned()), document: Some(String::new()) };
    }),
    ("serve m --dtype float32", &[], |_| {}),
    ("serve m --dtype auto", &[], |_| {}),
    ("serve m --dtype bfloat16", &[], |o| o.models[0].model.precision.dtype = Dtype::Bfloat16),
    ("serve m --dtype half", &[], |o| o.models[0].model.precision.dtype = Dtype::Float16),
    ("serve m --dtype float16 -q int8", &[], |o| {
        o.models[0].model.precision = Asked { dtype: Dtype::Float16, int8: true }
    }),
    ("serve m --quantization int8", &[], |o| o.models[0].model.precision.int8 = true),
    ("serve m --quantization None --hf-config-path m", &[], |_| {}),
    // Sizes.
    ("serve m --max-model-len 8192", &[], |o| o.models[0].model.max_model_len = Some(8192)),
    ("serve m --max_model_len 8K", &[], |o| o.models[0].model.max_model_len = Some(8192)),
    ("serve m --max-model-len=8k", &[], |o| o.models[0].model.max_model_len = Some(8000)),
    ("m --max-model 8.5k", &[], |o| o.models[0].model.max_model_len = Some(8500)),
    ("serve m --max-model-len auto", &[], |_| {}),
    ("m --max-model-len -1", &[], |_| {}),
    ("serve m --max_num_batched_tokens=4K", &[], |o| o.machine.max_num_batched_tokens = 4096),
    ("serve m --max-num-seqs 16", &[], |o| o.machine.max_num_seqs = Some(16)),
    ("serve m --max-num-queued-reqs 200", &[], |o| o.server.max_queued_pairs = Some(200)),
    ("serve m --max-num-queued-t 1m", &[], |o| o.server.max_queued_tokens = Some(1_000_000)),
    ("serve m --prefix-cache-mib 3", &[], |o| o.machine.prefix_cache_bytes = Some(3 << 20)),
    ("serve m --prefix-cache-mib 0", &[], |o| o.machine.prefix_cache_bytes = Some(0)),
    ("serve m --answer-cache-mib 3", &[], |o| o.machine.answer_cache_bytes = Some(3 << 20)),
    ("serve m --answer_cache_mib=0", &[], |o| o.machine.answer_cache_bytes = Some(0)),
    ("serve m --no-enable-prefix-caching", &[], |o| o.machine.prefix_cache_bytes = Some(0)),
    ("serve m --no-enable-prefix-caching --enable-prefix-caching", &[], |_| {}),
    ("serve m --threads 3 --no-pin", &[], |o| (o.machine.threads, o.machine.pin) = (Some(3), false)),
    ("serve m --numa off", &[], |o| o.machine.numa = false),
    ("serve m --isa sse2", &[], |o| o.machine.isa = Some("sse2".to_owned())),
    ("serve m --weight-cache /w", &[], |o| o.machine.weight_cache = Some("/w".into())),
    // Overrides of the configuration.
    ("serve m --hf-overrides {\"num_labels\":1}", &[], |o| overrides(o, json!({"num_labels": 1}))),
    ("serve m --hf_overrides.num_labels 1", &[], |o| overrides(o, json!({"num_labels": 1}))),
    ("serve m --hf-overrides.architectures+ X", &[], |o| overrides(o, json!({"architectures": ["X"]}))),
    ("serve m --hf-overrides.classifier_from_token+ no,yes --hf-overrides.is_original_qwen3_reranker true", &[], |o| {
        overrides(o, json!({"classifier_from_token": ["no", "yes"], "is_original_qwen3_reranker": true}));
    }),
    ("serve m --hf-overrides.a+=x --hf-overrides.a+ y,z", &[], |o| overrides(o, json!({"a": ["x", "y", "z"]}))),
    ("serve m --hf-over.text_config.max_position_embeddings=8k", &[], |o| {
        overrides(o, json!({"text_config": {"max_position_embeddings": 8000}}));
    }),
    ("serve m --hf-overrides.b.c 2 --hf-overrides {\"a\":1,\"b\":{\"c\":0,\"d\":3}}", &[], |o| {
        overrides(o, json!({"a": 1, "b": {"c": 2, "d": 3}}));
    }),
    ("serve m --hf-overrides {\"a\":1} --hf-overrides {\"b\":2}", &[], |o| overrides(o, json!({"b": 2}))),
    ("serve m --rope-theta 1e6 --rope-scaling {\"factor\":2}", &[], |o| {
        overrides(o, json!({"rope_scaling": {"factor": 2}, "rope_theta": 1e6}));
    }),
    // Where and to whom.
    ("serve m --port 9", &[], |o| o.server.listen = Listen::Tcp { host: DEFAULT_HOST.to_owned(), port: 9 }),
    ("serve m --port 8 --port=9", &[], |o| o.server.listen = Listen::Tcp { host: DEFAULT_HOST.to_owned(), port: 9 }),
    ("serve m --host ::1", &[], |o| o.server.listen = Listen::Tcp { host: "::1".to_owned(), port: DEFAULT_PORT }),
    ("serve m --uds /run/i.sock --port 9", &[], |o| o.server.listen = Listen::Unix("/run/i.sock".into())),
    ("serve m --served-model-name a b --port 8000", &[], |o| o.models[0].names = texts(&["a", "b"])),
    ("serve m --served-model-name=", &[], |_| {}),
    ("serve --served-model-name a b --model m", &[], |o| o.models[0].names = texts(&["a", "b"])),
    ("serve m --api-key k1 k2", &[], |o| keys(o, "--api-key", &["k1", "k2"])),
    ("serve m --api-key k1 --api-key k2", &[], |o| keys(o, "--api-key", &["k2"])),
    ("serve m --root-path /reranker/", &[], |o| o.server.root_path = "/reranker".to_owned()),
    ("serve m --allowed-origins [\"*\"]", &[], |o| o.server.cors.allowed_origins = texts(&["*"])),
    ("serve m --allowed-methods [\"GET\",\"POST\"] --allowed-headers []", &[], |o| {
        o.server.cors.allowed_methods = texts(&["GET", "POST"]);
        o.server.cors.allowed_headers.clear();
    }),
    ("serve m --allow-credentials", &[], |o| o.server.cors.allow_credentials = true),
    ("serve m --drain-delay 5", &[], |o| o.server.drain_delay = Duration::from_secs(5)),
    ("serve m --max-body-mib 64", &[], |o| o.server.max_body_bytes = 64 << 20),
    ("serve m --receive-timeout 5", &[], |o| o.server.receive_timeout = Duration::from_secs(5)),
    ("serve m --max-connections 1k", &[], |o| o.server.max_connections = 1000),
    ("serve m --shutdown-timeout 0", &[], |o| o.server.shutdown_timeout = Duration::ZERO),
    ("serve m --ssl-certfile c.pem", &[], |o| {
        o.server.tls = Some(Tls {
            certificate: "c.pem".into(),
            key: "c.pem".into(),
            client_authorities: None,
            client_certificates: ClientCertificates::Ignored,
            refresh: false,
        });
    }),
    ("serve m --enable-ssl-refresh --ssl-certfile c.pem", &[], |o| {
        o.server.tls = Some(Tls {
            certificate: "c.pem".into(),
            key: "c.pem".into(),
            client_authorities: None,
            client_certificates: ClientCertificates::Ignored,
            refresh: true,
        });
    }),
    ("serve m --enable_ssl_refresh", &["--enable-ssl-refresh has no effect without --ssl-certfile"], |_| {}),
    ("serve m --enable-tokenizer-info-endpoint", &[], |o| o.server.tokenizer_info = true),
    ("serve m --enable-tokenizer-info-endpoint --no-enable-tokenizer-info-endpoint", &[], |_| {}),
    ("serve m --ssl-keyfile k.pem --ssl-certfile c.pem --ssl-ca-certs ca.pem --ssl-cert-reqs 2", &[], |o| {
        o.server.tls = Some(Tls {
            certificate: "c.pem".into(),
            key: "k.pem".into(),
            client_authorities: Some("ca.pem".into()),
            client_certificates: ClientCertificates::Required,
            refresh: false,
        });
    }),
    // Scores.
    ("serve m --overflow truncate", &[], |o| o.server.overflow = Overflow::Truncate),
    ("serve m --chat-template {{messages}}", &[], |o| o.models[0].chat_template = Some("{{messages}}".to_owned())),
    ("serve m --pooler-config {\"use_activation\":false}", &[], |o| {
        (o.server.pooling.use_activation, o.server.pooling.normalize) = (false, Some(false));
    }),
    ("serve m --pooler-config {\"use_activation\":false,\"normalize\":true}", &[], |o| {
        (o.server.pooling.use_activation, o.server.pooling.normalize) = (false, Some(true));
    }),
    ("serve m --override-pooler-config {\"softmax\":false,\"pooling_type\":\"LAST\"}", &[], |o| {
        o.server.pooling.use_activation = false;
    }),
    ("serve m --pooler-config.logit_mean -1.5 --pooler-config.logit_sigma 2", &[], |o| {
        (o.server.pooling.logit_mean, o.server.pooling.logit_sigma) = (-1.5, 2.0);
    }),
    ("serve m --pooler-config.normalize false", &[], |o| o.server.pooling.normalize = Some(false)),
    ("serve m --pooler-config.dimensions 8", &["dimensions is accepted"], |_| {}),
    // The log.
    ("serve m --enable-request-id-headers", &[], |o| o.server.request_id_headers = true),
    ("serve m --disable-fastapi-docs", &[], |o| o.server.docs = false),
    ("serve m --disable-fastapi-docs --no-disable-fastapi-docs", &[], |_| {}),
    ("serve m --enable-log-requests", &[], |o| o.server.log_requests = true),
    ("serve m --enable-log-requests --disable-log-requests", &[], |_| {}),
    ("serve m --disable-log-requests --enable-log-requests", &[], |o| o.server.log_requests = true),
    ("serve m --enable-log-requests --no-enable-log-requests", &[], |_| {}),
    ("serve m --uvicorn-log-level warning", &[], |o| {
        o.log.filter = "info,actix_server=warn,actix_http=warn,ironrank::server=warn".to_owned();
    }),
    // What means nothing here, each with the number of values that it has in vLLM.
    ("serve --enforce-eager m", &["--enforce-eager"], |_| {}),
    (
        "serve m --no-enable-chunked-prefill --disable-log-stats",
        &["--disable-log-stats", "--no-enable-chunked"],
        |_| {},
    ),
    ("serve -tp 2 --gpu_memory_utilization 0.9 m", &["--gpu-memory", "--tensor-parallel-size"], |_| {}),
    ("serve m -dp=2 -O3 -q None", &["--data-parallel-size", "--optimization-level"], |_| {}),
    ("serve --swap-space 4 m --device cpu --seed -1", &["--device", "--seed", "--swap-space"], |_| {}),
    ("serve m --compilation-config.level 3 -cc.cache_dir d", &["--compilation-config"], |_| {}),
    ("serve m --cudagraph-capture-sizes 1 2 4 --hf-token", &["--cudagraph-capture-sizes", "--hf-token"], |_| {}),
    ("serve m --guided-decoding-backend auto --num-scheduler-steps 8", &["--guided", "--num-scheduler"], |_| {}),
];

#[test]
fn good_lines_change_what_they_say_and_nothing_else() {
    for (line, notices, change) in GOOD {
        check(line, &[], notices, *change);
    }
}

const BAD: &[(&str, &str)] = &[
    ("", "Usage"),
    ("serve m --prot 9", "--port"),
    ("serve m --frobnicate", "--frobnicate"),
    ("serve m --max-modle-len 9", "--max-model-len"),
    ("serve m extra", "extra"),
    ("serve m --port", "--port"),
    ("serve m --port 65536", "65536"),
    ("serve m --port -1", "-1"),
    ("serve m --port eight", "eight"),
    ("serve m --port.x 8", "is not a TCP port"),
    ("serve m --prefix-cache-mib -1", "-1"),
    ("serve m --answer-cache-mib 64M", "'64M' is not a number of MiB"),
    ("serve m --max-model-len 0", "0 is too small; the least is 1"),
    ("serve m --max-model-len 8.5K", "8.5K"),
    ("serve m --max-model-len -2", "-2"),
    ("serve m --max-model-len 99999999999999999999k", "99999999999999999999k"),
    ("serve m --max-n 5", "--max-n"),
    ("serve m --max-num-batched-tokens 2M", "2097152 is too large; the most is 1048576"),
    ("serve m --max-num-queued-reqs 0", "0 is too small"),
    ("serve m --threads 0", "0 is too small"),
    ("serve m --threads 1m", "the most is 4096"),
    ("serve m --numa 2", "use one of auto, off"),
    ("serve m --dtype fp32", "float32"),
    ("serve m --task generate", "reranks and embeds"),
    ("serve m --runner generate", "reranks and embeds"),
    ("serve m --convert reward", "reranks and embeds"),
    ("serve m --task score --convert embed", "--task asks for a reranker, but --convert for an embedding model"),
    ("serve m --quantization fp8", "use int8, or leave the flag out"),
    ("serve m --hf-config-path other", "config.json is read from the model directory"),
    ("serve m --load-format gguf", "safetensors"),
    ("serve --load-format safetensors", "MODEL"),
    ("serve m --shutdown-timeout -5", "-5"),
    ("serve m --drain-delay 5s", "5s"),
    ("serve m --max-body-mib 0", "0 is too small; the least is 1"),
    ("serve m --max-body-mib 2000", "2000 is too large; the most is 1024"),
    ("serve m --receive-timeout 0", "0 is too small; the least is 1"),
    ("serve m --max-connections 0", "0 is too small; the least is 1"),
    ("health --port 8000 --uds s", "--uds"),
    ("health --url localhost", "localhost"),
    ("health --url ftp://h/health", "ftp://h/health"),
    ("health m", "'m'"),
    ("serve m --shutdown-timeout soon", "soon"),
    ("serve m --hf-overrides [1]", "JSON object"),
    ("serve m --hf-overrides {x", "not valid JSON"),
    ("serve m --hf-overrides.a", "--hf-overrides.a needs a value"),
    ("serve m --hf-overrides. 1", "a key is missing"),
    ("serve m --rope-scaling linear", "--rope-scaling is not valid JSON"),
    ("serve m --served-model-name", "--served-model-name"),
    ("serve m --api-key=", "A key of --api-key is empty"),
    ("serve m --allowed-origins *", "JSON list"),
    ("serve m --root-path reranker", "begins with a slash"),
    ("serve m --overflow cut", "error or truncate"),
    ("serve m --chat-template missing.jinja", "--chat-template missing.jinja does not exist"),
    ("serve m --pooler-config.pooling_type MEAN", "must be LAST"),
    ("serve m --pooler-config.use_activation 3", "must be true or false"),
    ("serve m --pooler-config.normalize 1", "must be true or false"),
    ("serve m --pooler-config.logit_sigma 0", "a number above 0"),
    ("serve m --pooler-config.temperature 2", "does not know temperature"),
    ("serve m --uvicorn-log-level loud", "critical, error, warning"),
    ("serve m --ssl-keyfile k", "--ssl-keyfile needs a --ssl-certfile"),
    ("serve m --ssl-ca-certs ca", "--ssl-ca-certs needs a --ssl-certfile"),
    ("serve m --ssl-certfile c --ssl-cert-reqs 2", "needs --ssl-ca-certs"),
    ("serve m --ssl-certfile c --ssl-cert-reqs 3", "2 (required)"),
    ("serve m --uds /run/i.sock --ssl-certfile c", "do not go together"),
    ("serve m --lora-modules a=b", "adapters are not loaded"),
    ("serve m --middleware my.auth", "no Python code is run"),
    ("serve m --headless", "one process"),
    ("serve m --config", "--config needs a value"),
    ("serve m --config c.json", "ends in .yaml or .yml"),
    ("serve m --config missing.yaml", "missing.yaml does not exist"),
];

#[test]
fn bad_lines_end_with_code_2_and_a_sentence() {
    for (line, named) in BAD {
        refused(line, &[], named);
    }
}

#[test]
fn no_line_of_the_tables_stands_there_twice() {
    let lines: Vec<&str> = GOOD.iter().map(|row| row.0).chain(BAD.iter().map(|row| row.0)).collect();
    let distinct: std::collections::BTreeSet<&str> = lines.iter().copied().collect();
    assert_eq!(distinct.len(), lines.len());
}

#[test]
fn todays_deployment_is_understood_with_and_without_the_word_serve() {
    let line = "/models/qwen3-reranker-0.6b --task score --dtype float32 --port 8000 --trust-remote-code \
                --max-model-len 8192";
    let env: Env = &[("VLLM_HF_OVERRIDES", OVERRIDES)];
    let bare = options(line, env);
    assert_eq!(bare, options(&format!("serve {line}"), env));
    assert_eq!(bare.models[0].model.dir, Some(PathBuf::from("/models/qwen3-reranker-0.6b")));
    assert_eq!(bare.models[0].names, ["/models/qwen3-reranker-0.6b"]);
    assert_eq!(bare.models[0].model.max_model_len, Some(8192));
    assert_eq!(bare.models[0].model.hf_overrides["is_original_qwen3_reranker"], true);
}
