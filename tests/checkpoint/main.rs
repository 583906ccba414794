//! Good checkpoints open in all their forms; hostile ones give one clear sentence and never a panic.

mod files;

use files::{Draft, Files, INDEX, WEIGHTS, assert_refused, edit_header, open, parts, with_header};
use ironrank::checkpoint::{Checkpoint, Dtype, Head, Overrides};
use ironrank::error::ErrorKind;
use proptest::prelude::*;
use serde_json::json;
use std::path::Path;

fn opened(draft: &Draft) -> (Checkpoint, tempfile::TempDir) {
    open(&draft.files(), &draft.overrides).unwrap()
}

#[test]
fn a_small_checkpoint_opens_and_its_rows_are_the_files_bytes() {
    for (dtype, size) in [("BF16", 2), ("F16", 2), ("F32", 4)] {
        let mut draft = Draft::new();
        draft.weights.iter_mut().for_each(|w| w.dtype = dtype);
        let (checkpoint, _dir) = opened(&draft);
        assert_eq!(checkpoint.head(), Head::Tokens);
        assert_eq!(checkpoint.config().classifier_from_token, Some(["no".into(), "yes".into()]));
        assert_eq!(checkpoint.bytes(), size * (128 + 8 + 64 + 32 + 32 + 64 + 4 + 4 + 8 + 3 * 96 + 8));
        let tensor = checkpoint.output_matrix().unwrap();
        assert_eq!((tensor.rows(), tensor.cols(), tensor.dtype().bytes()), (16, 8, size as usize));
        let mut row = [0.0; 8];
        tensor.read_row(3, &mut row);
        let file = draft.files().remove(WEIGHTS).unwrap();
        let bytes = &parts(&file).1[3 * 8 * size as usize..][..8 * size as usize];
        for (value, b) in row.iter().zip(bytes.chunks_exact(size as usize)) {
            let expected = match dtype {
                "BF16" => half::bf16::from_le_bytes(b.try_into().unwrap()).to_f32(),
                "F16" => half::f16::from_le_bytes(b.try_into().unwrap()).to_f32(),
                _ => f32::from_le_bytes(b.try_into().unwrap()),
            };
            assert_eq!(value.to_bits(), expected.to_bits(), "{dtype}");
        }
    }
}

#[test]
fn long_f16_rows_widen_exactly_past_the_block_size() {
    let mut draft = Draft::new();
    draft.set("vocab_size", json!(1));
    draft.set("intermediate_size", json!(515));
    draft.weight("model.embed_tokens.weight").shape = vec![1, 8];
    for name in ["gate_proj", "up_proj"] {
        draft.weight(&format!("model.layers.0.mlp.{name}.weight")).shape = vec![515, 8];
    }
    draft.weight("model.layers.0.mlp.down_proj.weight").shape = vec![8, 515];
    draft.weights.iter_mut().for_each(|w| w.dtype = "F16");
    let (checkpoint, _dir) = opened(&draft);
    let mut row = [f32::NAN; 515];
    checkpoint.tensor("model.layers.0.mlp.down_proj.weight", &[8, 515]).unwrap().read_row(1, &mut row);
    let expected = |i: usize| half::f16::from_le_bytes([0, 1].map(|b| ((2 * (515 + i) + b) * 7 + 11) as u8)).to_f32();
    assert!(row.iter().enumerate().all(|(i, x)| x.to_bits() == expected(i).to_bits()));
}

#[test]
fn the_forms_that_real_checkpoints_have_all_open() {
    type Change = fn(&mut Draft);
    let forms: [(&str, Change); 12] = [
        ("no prefix", |d| d.weights.iter_mut().for_each(|w| w.name = w.name.replace("model.", ""))),
        ("untied", |d| {
            d.set("tie_word_embeddings", json!(false));
            d.add("lm_head.weight", &[16, 8]);
        }),
        ("tied with its own output matrix", |d| d.add("lm_head.weight", &[16, 8])),
        ("rotary buffers", |d| d.add("model.layers.0.self_attn.rotary_emb.inv_freq", &[2])),
        ("no head_dim", |d| drop(d.config.remove("head_dim"))),
        ("newer rope and dtype", |d| {
            d.config.remove("rope_theta");
            d.config.remove("torch_dtype");
            d.set("rope_parameters", json!({"rope_theta": 5e6, "rope_type": "default"}));
            d.set("dtype", json!("float16"));
        }),
        ("default rope scaling", |d| d.set("rope_scaling", json!({"type": "default"}))),
        ("unused sliding window", |d| {
            d.set("use_sliding_window", json!(false));
            d.set("sliding_window", json!(4096));
            d.set("layer_types", json!(["full_attention"]));
        }),
        ("mixed types", |d| d.weight("model.norm.weight").dtype = "F32"),
        ("labels of a causal model", |d| d.set("id2label", json!({"0": "a", "1": "b"}))),
        ("original with overrides", |d| {
            d.overrides = json!({"architectures": ["Qwen3ForSequenceClassification"],
                "classifier_from_token": ["no", "yes"], "is_original_qwen3_reranker": true})
            .as_object()
            .unwrap()
            .clone();
        }),
        ("overridden rope", |d| {
            d.set("rope_scaling", json!({"type": "yarn", "factor": 4.0}));
            d.overrides = json!({"rope_scaling": null}).as_object().unwrap().clone();
        }),
    ];
    for (form, change) in forms {
        let mut draft = Draft::new();
        change(&mut draft);
        for files in [draft.files(), draft.sharded()] {
            let (checkpoint, _dir) = open(&files, &draft.overrides).unwrap_or_else(|e| panic!("{form}: {e}"));
            assert_eq!(checkpoint.head(), Head::Tokens, "{form}");
            checkpoint.tensor("model.norm.weight", &[8]).unwrap();
            checkpoint.output_matrix().unwrap();
        }
    }
    let mut draft = Draft::new();
    forms[5].1(&mut draft);
    let (checkpoint, _dir) = opened(&draft);
    assert_eq!((checkpoint.config().rope_theta, checkpoint.config().torch_dtype), (5e6, Dtype::F16));
}

#[test]
fn converted_checkpoints_have_a_score_head_with_or_without_a_bias() {
    for bias in [false, true] {
        for overrides in
            [json!({}), json!({"is_original_qwen3_reranker": true, "classifier_from_token": ["no", "yes"]})]
        {
            let mut draft = Draft::new();
            draft.set("architectures", json!(["Qwen3ForSequenceClassification"]));
            draft.set("id2label", json!({"0": "LABEL_0"}));
            draft.overrides = overrides.as_object().unwrap().clone();
            draft.add("score.weight", &[1, 8]);
            if bias {
                draft.add("score.bias", &[1]);
            }
            let (checkpoint, _dir) = opened(&draft);
            assert_eq!(checkpoint.head(), Head::Score { bias });
            assert_eq!(checkpoint.config().classifier_from_token, None);
            checkpoint.tensor("score.weight", &[1, 8]).unwrap();
        }
    }
}

#[test]
fn a_tensor_outlives_its_checkpoint_and_crosses_threads() {
    let (checkpoint, dir) = opened(&Draft::new());
    let tensor = checkpoint.tensor("model.norm.weight", &[8]).unwrap();
    drop((checkpoint, dir));
    let row = std::thread::spawn(move || {
        let mut row = [0.0; 8];
        tensor.clone().read_row(0, &mut row);
        row
    });
    assert_eq!(row.join().unwrap()[0].to_bits() >> 16, u32::from(u16::from_le_bytes([12, 19])));
}

#[test]
fn asking_for_another_shape_or_name_is_an_error() {
    let (checkpoint, _dir) = opened(&Draft::new());
    for (name, shape) in [("model.norm.weight", &[9][..]), ("model.nothing.weight", &[8]), ("lm_head.weight", &[16, 8])]
    {
        let error = checkpoint.tensor(name, shape).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Checkpoint, "{error}");
    }
}

#[test]
fn a_hub_id_or_a_missing_directory_says_that_nothing_is_downloaded() {
    for (model, fact) in [
        ("Qwen/Qwen3-Reranker-0.6B", "`hf download Qwen/Qwen3-Reranker-0.6B --local-dir DIR`"),
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
        ("hidden_size", json!(null), "nothing"),
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
        assert_eq!(opened(&draft).0.config().rope_theta, 7e6);
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
        ("two missing", |d| d.weights.truncate(11), &["lacks", "mlp.down_proj.weight", "[8, 12]", "1 others"]),
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
        ("no config", |f| drop(f.remove("config.json")), &["config.json", "does not exist"]),
        ("empty config", |f| drop(f.insert("config.json".into(), vec![])), &["config.json", "not valid JSON", "EOF"]),
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
        ("empty weights", |f| drop(f.insert(WEIGHTS.into(), vec![])), &[WEIGHTS, "0 bytes", "at least 8"]),
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
            &[WEIGHTS, "header of"],
        ),
        (
            "git-lfs pointer",
            |f| {
                drop(f.insert(
                    WEIGHTS.into(),
                    b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n".to_vec(),
                ))
            },
            &[WEIGHTS, "header of"],
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

#[test]
fn sizes_of_a_dummy_are_bounded_by_the_configuration_alone() {
    let overrides = json!({"num_hidden_layers": 1024, "hidden_size": 1 << 20, "vocab_size": 1 << 24,
        "intermediate_size": 1 << 20, "num_attention_heads": 4096, "head_dim": 4096});
    let checkpoint = Checkpoint::dummy(None, overrides.as_object().unwrap()).unwrap();
    assert!(checkpoint.bytes() > 1 << 50);
    let overrides = json!({"architectures": ["Qwen3ForSequenceClassification"]});
    let converted = Checkpoint::dummy(None, overrides.as_object().unwrap()).unwrap();
    assert_eq!(converted.head(), Head::Score { bias: false });
    assert_eq!(converted.tensor("score.weight", &[1, 1024]).unwrap().cols(), 1024);
    assert!(converted.tensor("score.weight", &[2, 1024]).is_err());
}

fn bits(checkpoint: &Checkpoint) -> Vec<u32> {
    let mut all = Vec::new();
    for (name, shape) in checkpoint.tensors() {
        let tensor = checkpoint.tensor(&name, &shape).unwrap();
        let mut row = vec![0.0; tensor.cols()];
        for i in 0..tensor.rows() {
            tensor.read_row(i, &mut row);
            all.extend(row.iter().map(|x| x.to_bits()));
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..Default::default() })]

    #[test]
    fn flipped_bits_in_a_header_never_panic(flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..4)) {
        let mut files = Draft::new().files();
        let (good, _dir) = open(&files, &Overrides::new()).unwrap();
        let file = files.get_mut(WEIGHTS).unwrap();
        let end = 8 + parts(file).0.len();
        for (at, bit) in flips {
            file[at.index(end)] ^= 1 << bit;
        }
        match open(&files, &Overrides::new()) {
            // A flip may exchange BF16 for another 16-bit type; any other that opens must leave the tensors as they are.
            Ok((checkpoint, _dir)) => {
                let same_types = good.tensors().iter().all(|(name, shape)| {
                    checkpoint.tensor(name, shape).unwrap().dtype() == good.tensor(name, shape).unwrap().dtype()
                });
                prop_assert!(!same_types || bits(&checkpoint) == bits(&good));
            }
            Err(e) => {
                prop_assert_eq!(e.kind(), ErrorKind::Checkpoint);
                prop_assert!(!e.to_string().contains('\n'), "{}", e);
            }
        }
    }

    #[test]
    fn random_bytes_as_header_or_index_or_config_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), name in 0usize..3) {
        let mut files = Draft::new().sharded();
        let name = ["config.json", INDEX, "part-0.safetensors"][name];
        files.insert(name.into(), if name.starts_with("part") { with_header(&bytes, &[]) } else { bytes });
        let error = open(&files, &Overrides::new()).map(|_| ()).unwrap_err();
        prop_assert_eq!(error.kind(), ErrorKind::Checkpoint);
    }
}
