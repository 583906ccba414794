//! The command line of text-embeddings-inference.

use super::*;

#[test]
fn teis_command_line_starts_this() {
    let of_ragflow = "--model-id /data/m --auto-truncate";
    for line in [
        of_ragflow,
        "serve /data/m --overflow truncate --port 80",
        "--model-id=/data/m --port 80",
        "text-embeddings-router --model-id /data/m",
        "--port 80 --model-id /data/m --auto-truncate true",
    ] {
        let got = options(line, &[]);
        assert_eq!(got.models, options("serve /data/m", &[]).models, "{line}");
        assert_eq!(got.server.listen, Listen::Tcp { host: "0.0.0.0".to_owned(), port: 80 }, "{line}");
        assert_eq!(got.server.overflow, Overflow::Truncate, "{line}");
        assert_eq!(got.server.skip_model_name_validation, line.contains("model-id"), "TEI answers to any name");
    }
    let line = "--model-id m --auto-truncate false --hostname :: --port 81 --payload-limit 2000000 --max-concurrent-requests 8 \
                --json-output --cors-allow-origin https://a.example --api-key k --dtype float16 --pooling last-token";
    let got = options(line, &[("PORT", "82"), ("AUTO_TRUNCATE", "true"), ("API_KEY", "other")]);
    assert_eq!(got.server.listen, Listen::Tcp { host: "::".to_owned(), port: 81 });
    assert_eq!((got.server.overflow, got.server.max_body_bytes), (Overflow::Error, 2 << 20));
    assert_eq!((got.server.max_queued_pairs, got.log.format), (Some(8), LogFormat::Json));
    assert_eq!(got.server.cors.allowed_origins, ["https://a.example"]);
    assert_eq!(got.server.api_keys.keys, ["k"]);
    let line = "--model-id m --max-batch-tokens 16384 --max-client-batch-size 32 --otlp-endpoint x --disable-spans";
    let notices = options(line, &[]).log.notices;
    assert_eq!(notices.len(), 4, "{notices:?}");
    assert!(notices.iter().all(|notice| notice.contains("for TEI's sake")), "{notices:?}");
}

#[test]
fn teis_variables_count_where_its_model_is_named() {
    let variables = [
        ("MODEL_ID", "/data/m"),
        ("PORT", "81"),
        ("AUTO_TRUNCATE", "false"),
        ("SERVED_MODEL_NAME", "e"),
        ("API_KEY", "k"),
        ("PAYLOAD_LIMIT", "5000000"),
        ("DTYPE", "float16"),
    ];
    for line in ["", "serve", "text-embeddings-router"] {
        let got = options(line, &variables);
        assert_eq!((&got.models[0].model.dir, &got.models[0].names[..]), (&Some("/data/m".into()), &texts(&["e"])[..]));
        assert_eq!(got.server.listen, Listen::Tcp { host: "0.0.0.0".to_owned(), port: 81 });
        assert_eq!((got.server.overflow, got.server.max_body_bytes), (Overflow::Error, 5 << 20));
        assert_eq!(got.server.api_keys.keys, ["k"]);
    }
    let mut without = options("serve m", &variables);
    without.log.notices.clear();
    assert_eq!(without, options("serve m", &[]), "the names of its variables are anybody's");
}

#[test]
fn what_would_change_vectors_is_refused() {
    refused("--model-id m --default-prompt Q:", &[], "--default-prompt (DEFAULT_PROMPT) is not possible");
    refused("--model-id m", &[("DEFAULT_PROMPT_NAME", "query")], "DEFAULT_PROMPT_NAME");
    refused("--model-id m --pooling mean", &[], "--pooling mean is not possible");
    refused("serve m --model-id n", &[], "--model-id n and MODEL both name a model");
    refused("--model-id m", &[("PORT", "x")], "PORT: 'x' is not a TCP port");
    refused("--model-id m", &[("AUTO_TRUNCATE", "maybe")], "neither true nor false");
}
