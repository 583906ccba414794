//! Configuration files, good and bad.

use super::*;
use crate::options::listen::DEFAULT_HOST;
use serde_json::json;

#[test]
fn a_configuration_file_is_a_command_line_that_the_real_one_wins_over() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("c.yaml");
    let flag = format!("--config {}", path.display());
    let write = |yaml: &str| std::fs::write(&path, yaml).expect("written");
    let good: &[(&str, &str, &[&str], Change)] = &[
        ("", "m", &[], |_| {}),
        ("# nothing\n", "m", &[], |_| {}),
        ("model: m\nmax_model_len: 8K\n", "serve", &[], |o| o.models[0].model.max_model_len = Some(8192)),
        ("model: n\n", "m", &["--model n is overruled"], |_| {}),
        ("max-model-len: 512\n", "m --max-model-len 1k", &[], |o| o.models[0].model.max_model_len = Some(1000)),
        ("served-model-name: [a, b]\n", "m", &[], |o| o.models[0].names = texts(&["a", "b"])),
        ("served-model-name: [a, b]\n", "m --served-model-name c", &[], |o| {
            o.models[0].names = texts(&["c"]);
        }),
        ("api-key: []\nuds: null\n", "m", &[], |_| {}),
        ("served-model-name: \"\"\ninstruction: |\n  Find laws.\n", "m", &[], |o| {
            o.models[0].instruction = Some("Find laws.".to_owned());
        }),
        ("allowed-origins: [\"https://a.example\"]\n", "m", &[], |o| {
            o.server.cors.allowed_origins = texts(&["https://a.example"]);
        }),
        ("enable-prefix-caching: false\nno-pin: true\n", "m", &[], |o| {
            (o.machine.prefix_cache_bytes, o.machine.pin) = (Some(0), false);
        }),
        ("answer-cache-mib: 8\n", "m", &[], |o| o.machine.answer_cache_bytes = Some(8 << 20)),
        ("enable-log-requests: true\n", "m --no-enable-log-requests", &[], |_| {}),
        ("enforce-eager: yes\nseed: -1\n", "m", &["--enforce-eager", "--seed"], |_| {}),
        ("hf-overrides:\n  classifier_from_token: [no, yes]\n", "m --hf-overrides.num_labels 1", &[], |o| {
            overrides(o, json!({"classifier_from_token": ["no", "yes"], "num_labels": 1}));
        }),
        ("pooler-config: {softmax: false}\n", "m", &[], |o| o.server.pooling.use_activation = false),
    ];
    for (yaml, line, notices, change) in good {
        write(yaml);
        // The flag's own place does not matter.
        check(&format!("{line} {flag}"), &[], notices, *change);
    }
    for mark in ["\u{feff}", "\u{feff}\u{feff}"] {
        write(&format!("{mark}model: m\r\nmax-model-len: 512\r\n"));
        check(&format!("serve {flag}"), &[], &[], |o| o.models[0].model.max_model_len = Some(512));
    }
    write("port: 9\n");
    check(&format!("serve {flag} m"), &[], &[], |o| {
        o.server.listen = Listen::Tcp { host: DEFAULT_HOST.to_owned(), port: 9 };
    });
    write("api-key: |\n  k1\n");
    let keys = options(&format!("serve m {flag}"), &[]).server.api_keys;
    assert_eq!((keys.keys, keys.from), (texts(&["k1"]), format!("--api-key or {}", path.display())));
    let bad = [
        ("prot: 9\n", "--port"),
        ("api-key: \"\"\n", "is empty"),
        ("api-key: [k1, \" \"]\n", "is empty"),
        ("api-key: [k1, null]\n", "is empty"),
        ("api-key:\nport: 81\n", "is empty"),
        ("port: 70000\n", "70000"),
        ("model:\n", "model is empty, which names no model"),
        ("model: \"\"\n", "--model is '', which names no model"),
        ("- port\n", "not a YAML mapping"),
        ("port: [\n", "not a YAML mapping"),
        ("config: other.yaml\n", "cannot name another"),
        ("enforce-eager: maybe\n", "--enforce-eager"),
        ("p\0o\0r\0t\0:\0 \09\0", "c.yaml is UTF-16 text"),
        ("<!DOCTYPE html>", "c.yaml is an HTML page"),
    ];
    for (yaml, named) in bad {
        write(yaml);
        refused(&format!("serve m {flag}"), &[], named);
    }
}

#[test]
fn the_configuration_of_the_service_is_one_also_with_the_lines_that_are_set_aside_in_it() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/config.yaml");
    let text = std::fs::read_to_string(&file).expect("read");
    let is_key = |line: &str| {
        line.split_once(": ").is_some_and(|(key, _)| key.chars().all(|c| c == '-' || c.is_ascii_lowercase()))
    };
    let lines = text.lines().map(|line| line.strip_prefix("# ").filter(|rest| is_key(rest)).unwrap_or(line));
    let whole = lines.collect::<Vec<_>>().join("\n");
    assert!(whole.contains("\noverflow: truncate"), "{whole}");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("whole.yaml");
    std::fs::write(&path, whole).expect("written");
    for path in [file, path] {
        let options = options(&format!("serve --config {}", path.display()), &[]);
        assert_eq!(options.server.listen, Listen::Tcp { host: "127.0.0.1".to_owned(), port: 8000 });
        assert_eq!(options.models[0].model.max_model_len, Some(8192));
        assert_eq!(options.log.notices, Vec::<String>::new());
    }
}
