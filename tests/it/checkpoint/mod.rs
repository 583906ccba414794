//! Good checkpoints open in all their forms; spoiled bytes never panic. Those that must not open are in `hostile`.

mod brought;
mod directories;
mod embedding;
mod files;
mod hostile;
mod task;

use files::{Draft, INDEX, WEIGHTS, number_byte, open, parts, with_header};
use ironrank::checkpoint::{Checkpoint, Dtype, Head, Overrides, Token};
use ironrank::error::ErrorKind;
use proptest::prelude::*;
use serde_json::json;

fn opened(draft: &Draft) -> (Checkpoint, tempfile::TempDir) {
    open(&draft.files(), &draft.overrides).unwrap()
}

/// The tokens of a head, as their files name them.
fn tokens(checkpoint: &Checkpoint) -> Vec<String> {
    let Head::Tokens(answers) = checkpoint.head() else { panic!("{:?}", checkpoint.head()) };
    let name = |token: &Token| match token {
        Token::Text(text) => text.clone(),
        Token::Id(id) => id.to_string(),
    };
    std::iter::once(&answers.yes).chain(&answers.no).map(name).collect()
}

#[test]
fn a_small_checkpoint_opens_and_its_rows_are_the_files_bytes() {
    for (dtype, size) in [("BF16", 2), ("F16", 2), ("F32", 4)] {
        let mut draft = Draft::new();
        draft.weights.iter_mut().for_each(|w| w.dtype = dtype);
        let (checkpoint, _dir) = opened(&draft);
        assert_eq!(tokens(&checkpoint), ["yes", "no"]);
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
    let expected =
        |i: usize| half::f16::from_le_bytes([0, 1].map(|b| number_byte((2 * (515 + i) + b) * 7 + 11))).to_f32();
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
            assert_eq!(tokens(&checkpoint), ["yes", "no"], "{form}");
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
fn a_class_is_called_what_id2label_says_and_names_of_other_classes_count_for_nothing() {
    let label = |keys: serde_json::Value, overrides: serde_json::Value| {
        let mut draft = Draft::new();
        for (key, value) in keys.as_object().unwrap() {
            draft.set(key, value.clone());
        }
        draft.overrides = overrides.as_object().unwrap().clone();
        opened(&draft).0.config().label.clone()
    };
    assert_eq!(label(json!({}), json!({})), "LABEL_0");
    assert_eq!(label(json!({"id2label": {"0": "relevant"}}), json!({})), "relevant");
    assert_eq!(label(json!({}), json!({"id2label": {"0": "relevant"}})), "relevant");
    assert_eq!(label(json!({"id2label": {"0": "old"}}), json!({"id2label": {"0": "new"}})), "new");
    for other in [json!({"0": "no", "1": "yes"}), json!({}), json!(null), json!("relevant"), json!({"0": 5})] {
        assert_eq!(label(json!({"id2label": other}), json!({})), "LABEL_0");
    }
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
            assert_eq!(*checkpoint.head(), Head::Score { bias });
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
fn sizes_of_a_dummy_are_bounded_by_the_configuration_alone() {
    let overrides = json!({"num_hidden_layers": 1024, "hidden_size": 1 << 20, "vocab_size": 1 << 24,
        "intermediate_size": 1 << 20, "num_attention_heads": 4096, "head_dim": 4096});
    let checkpoint = Checkpoint::dummy(None, overrides.as_object().unwrap()).unwrap();
    assert!(checkpoint.bytes() > 1 << 50);
    let overrides = json!({"architectures": ["Qwen3ForSequenceClassification"]});
    let converted = Checkpoint::dummy(None, overrides.as_object().unwrap()).unwrap();
    assert_eq!(*converted.head(), Head::Score { bias: false });
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
