//! Checkpoints that must not open: each gives one clear sentence and never a panic.

use super::files::{Draft, Files, INDEX, WEIGHTS, assert_refused, edit_header, open, with_header};
use ironrank::checkpoint::{Checkpoint, Overrides};
use serde_json::json;
use std::path::Path;

#[test]
fn a_hub_id_or_a_missing_directory_says_that_nothing_is_downloaded() {
    for (model, fact) in [
        ("Qwen/Qwen3-Reranker-0.6B", "`ironrank download Qwen/Qwen3-Reranker-0.6B --dir DIR`"),
        ("/no/such/directory", "give a directory with config.json"),
        ("./no-such-directory", "give a directory with config.json"),
    ] {
        let error = Checkpoint::open(Path::new(model), &Overrides::new()).unwrap_err().to_string();
        assert!(error.contains(fact) && error.contains("never downloads"), "{error}");
    }
    let error = Checkpoint::open(Path::new("Cargo.toml"), &Overrides::new()).unwrap_err().to_string();
    assert!(error.contains("Cargo.toml is not a directory"), "{error}");
}

#[test]
fn unsupported_configurations_are_refused() {
    for (key, value, fact) in [
        ("architectures", json!(["LlamaForCausalLM"]), "LlamaForCausalLM"),
        ("architectures", json!([]), "[]"),
        ("architectures", json!(["Qwen3ForSequenceClassification"]), "lacks tensor score.weight"),
        ("model_type", json!("qwen3_moe"), "qwen3_moe"),
        ("rope_scaling", json!({"rope_type": "yarn", "factor": 4.0}), "yarn"),
        ("rope_scaling", json!(7), "7"),
        ("rope_parameters", json!({"rope_type": "linear", "rope_theta": 1e6}), "linear"),
        ("layer_types", json!(["sliding_attention"]), "sliding_attention"),
        ("layer_types", json!(["full_attention", "full_attention"]), "not 2"),
        ("attention_bias", json!(true), "true"),
        ("attention_bias", json!("no"), "\"no\""),
        ("hidden_act", json!("gelu"), "gelu"),
        ("quantization_config", json!({"quant_method": "awq"}), "awq"),
        ("hidden_size", json!(0), "0"),
        ("hidden_size", json!(-8), "-8"),
        ("hidden_size", json!(8.5), "8.5"),
        ("hidden_size", json!("8"), "\"8\""),
        ("hidden_size", json!(u64::MAX), "18446744073709551615"),
        ("hidden_size", json!(null), "missing"),
        ("num_hidden_layers", json!(100_000), "100000"),
        ("num_key_value_heads", json!(3), "divisor of num_attention_heads, 2"),
        ("head_dim", json!(3), "even"),
        ("vocab_size", json!(1u64 << 40), "1099511627776"),
        ("rms_norm_eps", json!(-1), "-1"),
        ("rope_theta", json!(0), "0"),
        ("rope_theta", json!("big"), "big"),
        ("torch_dtype", json!("int8"), "int8"),
        ("classifier_from_token", json!(["yes"]), "[\"yes\"]"),
        ("tie_word_embeddings", json!(1), "1"),
        ("partial_rotary_factor", json!(0.5), "0.5"),
        ("is_causal", json!(false), "false"),
    ] {
        let mut draft = Draft::new();
        draft.set(key, value.clone());
        let key_or_tensor = if fact.starts_with("lacks") { "is_original_qwen3_reranker" } else { key };
        let place = if fact.starts_with("lacks") { "" } else { "config.json" };
        assert_refused(key, &draft.files(), &draft.overrides, &[place, key_or_tensor, fact]);
        if !fact.starts_with("lacks") {
            let mut overridden = Draft::new();
            overridden.overrides.insert(key.into(), value);
            assert_refused(key, &overridden.files(), &overridden.overrides, &["overrides", key, fact]);
        }
    }
    let mut draft = Draft::new();
    draft.set("rope_parameters", json!({"rope_type": "default", "rope_theta": 7e6}));
    assert_refused(
        "two thetas",
        &draft.files(),
        &draft.overrides,
        &["config.json", "rope_theta is 10000.0", "7000000"],
    );
    for overrides in [json!({"rope_theta": 7e6}), json!({"rope_parameters": draft.config["rope_parameters"]})] {
        draft.overrides = overrides.as_object().unwrap().clone();
        assert_eq!(open(&draft.files(), &draft.overrides).unwrap().0.config().rope_theta, 7e6);
    }
    let mut draft = Draft::new();
    draft.set("use_sliding_window", json!(true));
    draft.set("sliding_window", json!(4096));
    assert_refused("sliding window", &draft.files(), &draft.overrides, &["config.json", "sliding_window", "4096"]);
    let mut draft = Draft::new();
    draft.set("architectures", json!(["Qwen3ForSequenceClassification"]));
    draft.add("score.weight", &[2, 8]);
    assert_refused("two scores", &draft.files(), &draft.overrides, &[WEIGHTS, "score.weight", "[2, 8]", "[1, 8]"]);
    draft.set("num_labels", json!(2));
    assert_refused("two labels", &draft.files(), &draft.overrides, &["config.json", "num_labels", "2"]);
    draft.config.remove("num_labels");
    draft.set("id2label", json!({"0": "no", "1": "yes"}));
    assert_refused("two names", &draft.files(), &draft.overrides, &["config.json", "id2label", "yes"]);
}

#[test]
fn tensors_that_do_not_fit_the_configuration_are_refused() {
    type Change = fn(&mut Draft);
    let cases: [(&str, Change, &[&str]); 11] = [
        ("missing", |d| d.remove("model.norm.weight"), &["lacks tensor model.norm.weight", "[8]"]),
        ("two missing", |d| d.weights.truncate(11), &["lacks", "mlp.down_proj.weight", "[8, 12]", "1 more"]),
        (
            "untied without output",
            |d| d.set("tie_word_embeddings", json!(false)),
            &["lm_head.weight", "[16, 8]", "tie_word_embeddings"],
        ),
        (
            "extra",
            |d| d.add("model.layers.0.self_attn.q_proj.bias", &[8]),
            &[WEIGHTS, "q_proj.bias", "Qwen3ForCausalLM"],
        ),
        (
            "extra layer",
            |d| d.add("model.layers.1.mlp.up_proj.weight", &[12, 8]),
            &["model.layers.1.mlp.up_proj.weight", "num_hidden_layers 1"],
        ),
        ("a score on a causal model", |d| d.add("score.weight", &[1, 8]), &["score.weight", "Qwen3ForCausalLM"]),
        ("vision tensors", |d| d.add("visual.patch_embed.weight", &[8, 8]), &["visual.patch_embed.weight"]),
        (
            "transposed",
            |d| d.weight("model.layers.0.mlp.up_proj.weight").shape = vec![8, 12],
            &[WEIGHTS, "mlp.up_proj", "[8, 12]", "[12, 8]"],
        ),
        ("another rank", |d| d.weight("model.norm.weight").shape = vec![1, 8], &["model.norm.weight", "[1, 8]", "[8]"]),
        ("vocabulary", |d| d.set("vocab_size", json!(17)), &["embed_tokens", "[16, 8]", "[17, 8]"]),
        ("both spellings", |d| d.add("norm.weight", &[8]), &["model.norm.weight", "with and without"]),
    ];
    for (case, change, facts) in cases {
        let mut draft = Draft::new();
        change(&mut draft);
        assert_refused(case, &draft.files(), &draft.overrides, facts);
    }
}

#[test]
fn hostile_files_give_one_clear_sentence() {
    type Change = fn(&mut Files);
    let norm = "model.norm.weight";
    let cases: Vec<(&str, Change, &[&str])> = vec![
        ("no config", |f| drop(f.remove("config.json")), &["has no config.json."]),
        ("empty config", |f| drop(f.insert("config.json".into(), vec![])), &["config.json is empty (0 bytes)"]),
        (
            "config is an array",
            |f| drop(f.insert("config.json".into(), b"[1]".to_vec())),
            &["config.json holds an array"],
        ),
        ("deep config", |f| drop(f.insert("config.json".into(), b"[".repeat(100_000))), &["config.json", "recursion"]),
        ("binary config", |f| drop(f.insert("config.json".into(), vec![0xff; 64])), &["config.json", "not valid JSON"]),
        (
            "config is a directory",
            |f| {
                f.remove("config.json");
                f.insert("config.json/".into(), vec![]);
            },
            &["config.json is a directory"],
        ),
        ("no weights", |f| drop(f.remove(WEIGHTS)), &["neither model.safetensors nor model.safetensors.index.json"]),
        (
            "only PyTorch weights",
            |f| {
                f.remove(WEIGHTS);
                f.insert("pytorch_model.bin".into(), vec![1]);
            },
            &["convert them to safetensors"],
        ),
        (
            "weights are a directory",
            |f| {
                f.remove(WEIGHTS);
                f.insert(format!("{WEIGHTS}/"), vec![]);
            },
            &[WEIGHTS, "is a directory"],
        ),
        ("empty weights", |f| drop(f.insert(WEIGHTS.into(), vec![])), &[WEIGHTS, "is empty (0 bytes)"]),
        ("seven bytes", |f| drop(f.insert(WEIGHTS.into(), vec![1; 7])), &[WEIGHTS, "7 bytes"]),
        ("huge header", |f| f.get_mut(WEIGHTS).unwrap()[..8].fill(0xff), &[WEIGHTS, "18446744073709551615"]),
        (
            "header of 90 MB",
            |f| f.get_mut(WEIGHTS).unwrap()[..8].copy_from_slice(&90_000_000u64.to_le_bytes()),
            &[WEIGHTS, "90000000"],
        ),
        ("header of nothing", |f| f.get_mut(WEIGHTS).unwrap()[..8].fill(0), &[WEIGHTS, "header", "EOF"]),
        ("header cut", |f| f.get_mut(WEIGHTS).unwrap().truncate(100), &[WEIGHTS, "only 92 after it"]),
        (
            "data cut",
            |f| {
                let n = f[WEIGHTS].len();
                f.get_mut(WEIGHTS).unwrap().truncate(n - 1);
            },
            &[WEIGHTS, "model.norm.weight", "within the"],
        ),
        ("data too long", |f| f.get_mut(WEIGHTS).unwrap().extend([0; 3]), &[WEIGHTS, "from its header"]),
        (
            "header is an array",
            |f| drop(f.insert(WEIGHTS.into(), with_header(b"[]", b""))),
            &[WEIGHTS, "not a JSON object"],
        ),
        (
            "header is a number",
            |f| drop(f.insert(WEIGHTS.into(), with_header(b"1e999", b""))),
            &[WEIGHTS, "not a JSON object"],
        ),
        (
            "header is no text",
            |f| drop(f.insert(WEIGHTS.into(), with_header(&[0xff; 40], b""))),
            &[WEIGHTS, "not a JSON object"],
        ),
        (
            "header is deep",
            |f| drop(f.insert(WEIGHTS.into(), with_header(&b"{\"a\":".repeat(100_000), b""))),
            &[WEIGHTS, "JSON"],
        ),
        (
            "deep entry",
            |f| {
                drop(f.insert(
                    WEIGHTS.into(),
                    with_header(format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000)).as_bytes(), b""),
                ))
            },
            &[WEIGHTS, "tensor a", "wrong entry"],
        ),
        (
            "empty header",
            |f| drop(f.insert(WEIGHTS.into(), with_header(b"{}", b""))),
            &["lacks tensor model.embed_tokens.weight"],
        ),
        ("text after header", |f| edit_header(f, WEIGHTS, |h| h + "x"), &[WEIGHTS, "trailing characters"]),
        (
            "negative offset",
            |f| edit_header(f, WEIGHTS, |h| h.replacen("[0,", "[-1,", 1)),
            &[WEIGHTS, "embed_tokens", "-1"],
        ),
        (
            "fractional offset",
            |f| edit_header(f, WEIGHTS, |h| h.replacen("[0,", "[0.5,", 1)),
            &[WEIGHTS, "embed_tokens", "0.5"],
        ),
        (
            "reversed offsets",
            |f| edit_header(f, WEIGHTS, |h| h.replacen("[0,256]", "[256,0]", 1)),
            &[WEIGHTS, "embed_tokens", "256 to 0"],
        ),
        (
            "offset beyond",
            |f| edit_header(f, WEIGHTS, |h| h.replacen("[0,256]", "[0,99999999]", 1)),
            &[WEIGHTS, "embed_tokens", "99999999"],
        ),
        (
            "offset overflow",
            |f| edit_header(f, WEIGHTS, |h| h.replacen("[0,256]", "[18446744073709551615,18446744073709551615]", 1)),
            &[WEIGHTS, "embed_tokens", "18446744073709551615"],
        ),
        (
            "three offsets",
            |f| edit_header(f, WEIGHTS, |h| h.replacen("[0,256]", "[0,256,512]", 1)),
            &[WEIGHTS, "embed_tokens", "wrong entry"],
        ),
        (
            "too few bytes",
            |f| edit_header(f, WEIGHTS, |h| h.replacen("[0,256]", "[0,254]", 1)),
            &[WEIGHTS, "254 bytes", "256", "[16, 8]", "BF16"],
        ),
        (
            "shape overflows",
            |f| edit_header(f, WEIGHTS, |h| h.replacen("[16,8]", "[18446744073709551615,8]", 1)),
            &[WEIGHTS, "embed_tokens", "overflows"],
        ),
        (
            "overlap",
            |f| edit_header(f, WEIGHTS, |h| h.replacen("[256,272]", "[240,256]", 1)),
            &[WEIGHTS, "input_layernorm", "overlaps"],
        ),
        (
            "hole",
            |f| edit_header(f, WEIGHTS, |h| h.replace("model.norm.weight", "__metadata__")),
            &[WEIGHTS, "from its header"],
        ),
        (
            "integers",
            |f| edit_header(f, WEIGHTS, |h| h.replacen("BF16", "I16", 1)),
            &[WEIGHTS, "embed_tokens", "type I16", "BF16, F16 or F32"],
        ),
        ("8-bit floats", |f| edit_header(f, WEIGHTS, |h| h.replacen("BF16", "F8_E4M3", 1)), &[WEIGHTS, "F8_E4M3"]),
        (
            "another float",
            |f| edit_header(f, WEIGHTS, |h| h.replacen("BF16", "F32", 1)),
            &[WEIGHTS, "embed_tokens", "256 bytes", "512", "F32"],
        ),
        (
            "no dtype",
            |f| edit_header(f, WEIGHTS, |h| h.replacen("\"dtype\"", "\"kind\"", 1)),
            &[WEIGHTS, "embed_tokens", "dtype"],
        ),
        (
            "name twice",
            |f| edit_header(f, WEIGHTS, |h| h.replacen("q_norm", "k_norm", 1)),
            &[WEIGHTS, "k_norm", "twice"],
        ),
        (
            "metadata twice",
            |f| edit_header(f, WEIGHTS, |h| h.replacen('{', "{\"__metadata__\":{},\"__metadata__\":{},", 1)),
            &[WEIGHTS, "__metadata__ twice"],
        ),
        (
            "name with a line break",
            |f| edit_header(f, WEIGHTS, |h| h.replacen("model.norm", "model.\\nnorm\\u0000", 1)),
            &["lacks tensor model.norm.weight"],
        ),
        (
            "endless name",
            |f| edit_header(f, WEIGHTS, |h| h.replacen("BF16", &"B".repeat(1 << 20), 1)),
            &[WEIGHTS, "BBB..."],
        ),
        (
            "HTML instead of weights",
            |f| drop(f.insert(WEIGHTS.into(), b"<!DOCTYPE html><html>Not found</html>".to_vec())),
            &[WEIGHTS, "is an HTML page"],
        ),
        (
            "git-lfs pointer",
            |f| {
                drop(f.insert(
                    WEIGHTS.into(),
                    b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n".to_vec(),
                ))
            },
            &[WEIGHTS, "git lfs pull"],
        ),
    ];
    assert!(cases.len() >= 40, "{} cases", cases.len());
    assert!(Draft::new().weights.iter().any(|w| w.name == norm));
    for (case, change, facts) in cases {
        let mut files = Draft::new().files();
        change(&mut files);
        assert_refused(case, &files, &Overrides::new(), facts);
    }
}

#[test]
fn hostile_shards_give_one_clear_sentence() {
    fn edit_index(f: &mut Files, edit: impl FnOnce(String) -> String) {
        let text = String::from_utf8(f[INDEX].clone()).unwrap();
        f.insert(INDEX.into(), edit(text).into_bytes());
    }
    type Change = fn(&mut Files);
    let cases: [(&str, Change, &[&str]); 14] = [
        ("missing shard", |f| drop(f.remove("part-1.safetensors")), &["part-1.safetensors", "does not exist", INDEX]),
        (
            "shard is a directory",
            |f| {
                f.remove("part-1.safetensors");
                f.insert("part-1.safetensors/".into(), vec![]);
            },
            &["part-1.safetensors", "directory"],
        ),
        ("empty shard", |f| drop(f.insert("part-0.safetensors".into(), vec![])), &["part-0.safetensors", "0 bytes"]),
        (
            "shard lacks a tensor",
            |f| edit_index(f, |i| i.replacen("q_norm", "x_norm", 1)),
            &["part-0.safetensors", "x_norm", INDEX],
        ),
        (
            "tensor in the other shard",
            |f| edit_index(f, |i| i.replacen("\"model.norm.weight\":\"part-0", "\"model.norm.weight\":\"part-1", 1)),
            &["part-1.safetensors", "has no tensor model.norm.weight"],
        ),
        (
            "tensor in both shards",
            |f| drop(f.insert("part-1.safetensors".into(), f["part-0.safetensors"].clone())),
            &["part-1.safetensors", "part-0.safetensors has too"],
        ),
        (
            "parent directory",
            |f| edit_index(f, |i| i.replacen("part-0", "../part-0", 1)),
            &[INDEX, "../part-0.safetensors", "same directory"],
        ),
        (
            "absolute path",
            |f| edit_index(f, |i| i.replacen("part-0.safetensors", "/etc/passwd", 1)),
            &[INDEX, "/etc/passwd"],
        ),
        ("two dots", |f| edit_index(f, |i| i.replacen("part-0.safetensors", "..", 1)), &[INDEX, "\"..\""]),
        ("empty file name", |f| edit_index(f, |i| i.replacen("part-0.safetensors", "", 1)), &[INDEX, "\"\""]),
        (
            "file is a number",
            |f| edit_index(f, |i| i.replacen("\"part-0.safetensors\"", "7", 1)),
            &[INDEX, "the file 7", "a string"],
        ),
        ("no weight_map", |f| edit_index(f, |i| i.replacen("weight_map", "map", 1)), &[INDEX, "weight_map"]),
        ("broken index", |f| edit_index(f, |i| i[..40].to_owned()), &[INDEX, "EOF"]),
        ("name twice", |f| edit_index(f, |i| i.replacen("q_norm", "k_norm", 1)), &[INDEX, "k_norm", "twice"]),
    ];
    for (case, change, facts) in cases {
        let mut files = Draft::new().sharded();
        change(&mut files);
        assert_refused(case, &files, &Overrides::new(), facts);
    }
}
