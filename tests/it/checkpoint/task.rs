//! What the files say of the task: which head, which activation, a reranker or not.

use super::files::{Draft, Files, INDEX, WEIGHTS, assert_refused, open, parts, with_header, write};
use super::tokens;
use ironrank::checkpoint::{Activation, Checkpoint, Head};
use ironrank::task::Task;
use serde_json::{Value, json};

pub(super) const TRANSFORMER: &str = "sentence_transformers.base.modules.transformer.Transformer";
pub(super) const LOGIT_SCORE: &str = "sentence_transformers.cross_encoder.modules.logit_score.LogitScore";

/// A draft with these files of sentence-transformers.
pub(super) fn files(draft: &Draft, more: &[(&str, Value)]) -> Files {
    let mut files = draft.files();
    for (name, value) in more {
        if let Some((dir, _)) = name.split_once('/') {
            files.insert(format!("{dir}/"), Vec::new());
        }
        files.insert((*name).to_owned(), value.to_string().into_bytes());
    }
    files
}

pub(super) fn modules(kinds: &[(&str, &str)]) -> Value {
    let module = |(idx, (kind, path)): (usize, &(&str, &str))| json!({"idx": idx, "path": path, "type": kind});
    kinds.iter().enumerate().map(module).collect()
}

pub(super) fn opened(draft: &Draft, more: &[(&str, Value)]) -> Checkpoint {
    open(&files(draft, more), &draft.overrides).map(|(checkpoint, _)| checkpoint).unwrap_or_else(|e| panic!("{e}"))
}

pub(super) fn overridden(overrides: Value) -> Draft {
    Draft { overrides: overrides.as_object().unwrap().clone(), ..Draft::new() }
}

#[test]
fn the_tokens_of_a_logit_score_are_the_head_unless_classifier_from_token_names_others() {
    let chain = || modules(&[(TRANSFORMER, ""), (LOGIT_SCORE, "1_LogitScore")]);
    let score = |config: Value| [("modules.json", chain()), ("1_LogitScore/config.json", config)];
    for (config, expected) in [
        (json!({"true_token_id": 7, "false_token_id": 5}), &["7", "5"][..]),
        (json!({"true_token_id": 7, "false_token_id": 0, "module_input_name": "causal_logits"}), &["7", "0"]),
        (json!({"true_token_id": 7, "false_token_id": null}), &["7"]),
        (json!({"true_token_id": 0}), &["0"]),
    ] {
        let checkpoint = opened(&Draft::new(), &score(config.clone()));
        assert_eq!(tokens(&checkpoint), expected, "{config}");
        assert_eq!(checkpoint.notices(), [""; 0]);
        // A copy without modules.json means the same.
        assert_eq!(tokens(&opened(&Draft::new(), &[("1_LogitScore/config.json", config)])), expected);
    }
    let config = json!({"true_token_id": 7, "false_token_id": 5});
    let named = overridden(json!({"classifier_from_token": ["no", "yes"]}));
    assert_eq!(tokens(&opened(&named, &score(config.clone()))), ["yes", "no"]);
    let mut saved = Draft::new();
    saved.set("classifier_from_token", json!(["No", "Yes"]));
    assert_eq!(tokens(&opened(&saved, &score(config.clone()))), ["Yes", "No"]);
    // The architecture alone, as vLLM's users override it, names no tokens.
    let converted = overridden(json!({"architectures": ["Qwen3ForSequenceClassification"]}));
    assert_eq!(tokens(&opened(&converted, &score(config.clone()))), ["7", "5"]);
    // A score head that is there is the head.
    let mut trained = Draft::new();
    trained.set("architectures", json!(["Qwen3ForSequenceClassification"]));
    trained.add("score.weight", &[1, 8]);
    let checkpoint = opened(&trained, &score(config));
    assert_eq!(*checkpoint.head(), Head::Score { bias: false });
    assert!(checkpoint.notices()[0].contains("1_LogitScore/config.json is passed over"), "{:?}", checkpoint.notices());
}

#[test]
fn one_token_is_a_head_where_method_says_so() {
    let one = json!({"classifier_from_token": ["yes"], "method": "no_post_processing"});
    assert_eq!(tokens(&opened(&overridden(one), &[])), ["yes"]);
    for (overrides, fact) in [
        (json!({"classifier_from_token": ["no", "yes"], "method": "no_post_processing"}), "expected one token"),
        (json!({"classifier_from_token": ["yes"], "method": "from_2_way_softmax"}), "two different tokens"),
        (json!({"method": "mean"}), "from_2_way_softmax"),
    ] {
        let draft = overridden(overrides.clone());
        assert_refused(&overrides.to_string(), &draft.files(), &draft.overrides, &[fact]);
    }
}

#[test]
fn a_logit_score_that_says_nothing_clear_is_refused() {
    let chain = modules(&[(TRANSFORMER, ""), (LOGIT_SCORE, "1_LogitScore")]);
    for (config, facts) in [
        (json!({"true_token_id": -1}), &["true_token_id -1"][..]),
        (json!({"true_token_id": true}), &["true_token_id true"]),
        (json!({"true_token_id": "yes"}), &["true_token_id \"yes\""]),
        (json!({"true_token_id": 7.5}), &["7.5"]),
        (json!({"true_token_id": 1u64 << 32}), &["4294967296"]),
        (json!({"true_token_id": null}), &["has no true_token_id"]),
        (json!({}), &["has no true_token_id"]),
        (json!({"true_token_id": 7, "false_token_id": "no"}), &["false_token_id \"no\""]),
        (json!({"true_token_id": 7, "false_token_id": 7}), &["the same token, 7"]),
        (json!({"true_token_id": 7, "module_input_name": "hidden"}), &["module_input_name \"hidden\""]),
        (json!([7, 5]), &["expected a JSON object"]),
    ] {
        let files =
            files(&Draft::new(), &[("modules.json", chain.clone()), ("1_LogitScore/config.json", config.clone())]);
        let facts = [&["1_LogitScore/config.json"], facts].concat();
        assert_refused(&config.to_string(), &files, &Draft::new().overrides, &facts);
    }
    let missing = files(&Draft::new(), &[("modules.json", chain)]);
    assert_refused("missing", &missing, &Draft::new().overrides, &["1_LogitScore/config.json does not exist"]);
}

#[test]
fn a_directory_of_another_task_is_refused_with_the_module_that_says_so() {
    let old = |class: &str| format!("sentence_transformers.models.{class}");
    for (kind, path, facts) in [
        (old("Normalize").as_str(), "2_Normalize", &["Normalize", "embedding"][..]),
        (&old("Dense"), "2_Dense", &["Dense", "not supported"]),
        (&old("WeightedLayerPooling"), "1", &["WeightedLayerPooling"]),
        ("custom_st.Scaler", "1", &["custom_st.Scaler", "code of the model's own"]),
        (LOGIT_SCORE, "../other", &["../other"]),
        (LOGIT_SCORE, "/etc", &["/etc"]),
        (LOGIT_SCORE, "", &["LogitScore in '',"]),
        (&old("Transformer"), "0_Transformer", &["0_Transformer", "in the directory itself"]),
    ] {
        let files = files(&Draft::new(), &[("modules.json", modules(&[(TRANSFORMER, ""), (kind, path)]))]);
        let facts = [&["modules.json"], facts].concat();
        assert_refused(kind, &files, &Draft::new().overrides, &facts);
        // What the operator says of tokens does not make it a reranker.
        let named = overridden(json!({"is_original_qwen3_reranker": true, "classifier_from_token": ["no", "yes"]}));
        assert_refused(kind, &files, &named.overrides, &facts);
    }
    for (text, fact) in [("{}", "expected a list"), ("[{}]", "without a type"), ("[", "not valid JSON")] {
        let mut files = Draft::new().files();
        files.insert("modules.json".to_owned(), text.into());
        assert_refused(text, &files, &Draft::new().overrides, &["modules.json", fact]);
    }
    let bare = [("1_Pooling/".to_owned(), Vec::new())].into_iter().chain(Draft::new().files()).collect();
    assert_refused("an empty directory", &bare, &Draft::new().overrides, &["1_Pooling/config.json does not exist"]);
    let sparse = files(&Draft::new(), &[("config_sentence_transformers.json", json!({"model_type": "SparseEncoder"}))]);
    let facts = ["config_sentence_transformers.json", "SparseEncoder", "embedding"];
    assert_refused("sparse", &sparse, &Draft::new().overrides, &facts);
    for transformer in [TRANSFORMER, "sentence_transformers.models.Transformer"] {
        opened(&Draft::new(), &[("modules.json", modules(&[(transformer, "")]))]);
    }
}

/// Writes the draft into a directory of that name and opens it.
pub(super) fn opened_as(name: &str, draft: &Draft, more: &[(&str, Value)]) -> Result<Checkpoint, String> {
    let dir = tempfile::Builder::new().prefix("plain").tempdir().unwrap();
    let place = dir.path().join(name);
    std::fs::create_dir_all(&place).unwrap();
    write(&place, &files(draft, more));
    Checkpoint::open(&place, &draft.overrides).map_err(|err| err.to_string())
}

#[test]
fn a_causal_model_is_doubted_unless_something_says_that_it_is_a_reranker() {
    let plain = Draft::new();
    let notices =
        |name: &str, draft: &Draft, more: &[(&str, Value)]| opened_as(name, draft, more).unwrap().notices().to_vec();
    let doubt = notices("model", &plain, &[]);
    assert!(doubt.len() == 1 && doubt[0].contains("says that it is a reranker"), "{doubt:?}");
    assert_eq!(notices("Qwen3-0.6B", &plain, &[]).len(), 1);
    for name in ["qwen3-reranker-0.6b", "models--Qwen--Qwen3-Reranker-0.6B/snapshots/1b2c", "my-ReRank"] {
        assert_eq!(notices(name, &plain, &[]), [""; 0], "{name}");
    }
    for overrides in [json!({"is_original_qwen3_reranker": true}), json!({"classifier_from_token": ["no", "yes"]})] {
        assert_eq!(notices("model", &overridden(overrides), &[]), [""; 0]);
    }
    let mut tuned = Draft::new();
    tuned.set("_name_or_path", json!("Qwen/Qwen3-Reranker-0.6B"));
    assert_eq!(notices("model", &tuned, &[]), [""; 0]);
    let encoder = [("config_sentence_transformers.json", json!({"model_type": "CrossEncoder"}))];
    assert_eq!(notices("model", &plain, &encoder), [""; 0]);
    // Where it lies is not what it is.
    assert_eq!(notices("embeddings/model", &plain, &[]).len(), 1);
    let named = overridden(json!({"is_original_qwen3_reranker": true}));
    for (name, draft) in [("Qwen3-Embedding-0.6B", &named), ("Qwen3-Embedding-reranker", &plain)] {
        assert_eq!(opened_as(name, draft, &[]).unwrap().task(), Task::Rerank);
    }
}

#[test]
fn the_activation_is_what_vllm_resolves() {
    let identity = "torch.nn.modules.linear.Identity";
    let st = |name: Value| json!({"sentence_transformers": {"activation_fn": name, "version": "4.1.0"}});
    let older = |name: &str| json!({"sbert_ce_default_activation_function": name});
    use Activation::{Identity, Sigmoid, Tanh};
    for (config, expected) in [
        (json!({}), Sigmoid),
        (st(json!(identity)), Identity),
        (st(json!("torch.nn.Identity")), Identity),
        (st(json!("torch.nn.modules.activation.Sigmoid")), Sigmoid),
        (st(json!("torch.nn.Sigmoid")), Sigmoid),
        (st(json!("torch.nn.modules.activation.Softmax")), Sigmoid),
        (st(json!("torch.nn.modules.activation.Tanh")), Tanh),
        (st(json!(null)), Sigmoid),
        (json!({"sentence_transformers": {}}), Sigmoid),
        (older(identity), Identity),
        (older("torch.nn.modules.activation.Sigmoid"), Sigmoid),
        (json!({"sbert_ce_default_activation_function": null}), Sigmoid),
        (json!({"problem_type": "regression"}), Identity),
        (json!({"problem_type": "single_label_classification"}), Sigmoid),
        (json!({"problem_type": "multi_label_classification"}), Sigmoid),
        (json!({"problem_type": null}), Sigmoid),
        // What stands over what.
        (
            json!({"problem_type": "single_label_classification", "sbert_ce_default_activation_function": identity}),
            Sigmoid,
        ),
        (
            json!({"sentence_transformers": {"activation_fn": null}, "sbert_ce_default_activation_function": identity}),
            Sigmoid,
        ),
        (json!({"sentence_transformers": {}, "sbert_ce_default_activation_function": identity}), Identity),
    ] {
        let (mut saved, overridden) = (Draft::new(), overridden(config.clone()));
        saved.config.extend(config.as_object().unwrap().clone());
        assert_eq!(opened(&saved, &[]).activation(), expected, "{config}");
        assert_eq!(opened(&overridden, &[]).activation(), expected, "{config} as overrides");
        let note = opened(&saved, &[]).activation_note().map(str::to_owned);
        assert!(expected == Sigmoid || note.is_some_and(|note| note.contains("config.json")), "{config}");
    }
    for (config, facts) in [
        (st(json!("torch.nn.modules.activation.GELU")), &["sentence_transformers", "GELU", "Identity, Sigmoid"][..]),
        (st(json!("os.system")), &["os.system"]),
        (st(json!("Identity")), &["Identity"]),
        (st(json!(1)), &["sentence_transformers"]),
        (json!({"sentence_transformers": "4.1"}), &["sentence_transformers", "a JSON object"]),
        (older("my.module.Scale"), &["sbert_ce_default_activation_function", "my.module.Scale"]),
        (json!({"problem_type": "ranking"}), &["problem_type", "ranking", "regression"]),
    ] {
        let draft = overridden(config.clone());
        assert_refused(&config.to_string(), &draft.files(), &draft.overrides, facts);
    }
    // Another library's default is told of.
    let model = json!({"activation_fn": identity, "model_type": "CrossEncoder"});
    let checkpoint = opened(&Draft::new(), &[("config_sentence_transformers.json", model)]);
    assert_eq!(checkpoint.activation(), Sigmoid);
    assert!(checkpoint.activation_note().unwrap().contains("Identity"), "{:?}", checkpoint.activation_note());
}

#[test]
fn an_output_matrix_that_is_stored_counts_although_the_key_ties_it() {
    let mut draft = Draft::new();
    draft.add("lm_head.weight", &[16, 8]);
    let checkpoint = opened(&draft, &[]);
    let (mut stored, mut embedded) = ([0.0; 8], [0.0; 8]);
    checkpoint.output_matrix().unwrap().read_row(3, &mut stored);
    checkpoint.embedding().unwrap().read_row(3, &mut embedded);
    assert_ne!(stored, embedded);
    let file = &draft.files()[WEIGHTS];
    let (_, data) = parts(file);
    let row = &data[data.len() - 2 * 16 * 8 + 3 * 16..][..16];
    let expected: Vec<f32> = row.chunks(2).map(|b| half::bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect();
    assert_eq!(stored[..], expected);
    assert!(checkpoint.is_tied_by_name_alone());

    draft.weight("lm_head.weight").shape = vec![15, 8];
    assert_refused("another shape", &draft.files(), &draft.overrides, &["lm_head.weight", "[15, 8]", "[16, 8]"]);
    // A converted model has no use for it.
    draft.set("architectures", json!(["Qwen3ForSequenceClassification"]));
    draft.add("score.weight", &[1, 8]);
    opened(&draft, &[]);
}

#[test]
fn without_the_key_the_output_matrix_is_not_tied_as_for_transformers_qwen3() {
    let mut draft = Draft::new();
    for value in [None, Some(Value::Null)] {
        draft.config.remove("tie_word_embeddings");
        draft.config.extend(value.map(|value| ("tie_word_embeddings".to_owned(), value)));
        assert_refused(
            "no head",
            &draft.files(),
            &draft.overrides,
            &["lm_head.weight", "tie_word_embeddings is false"],
        );
    }
    draft.add("lm_head.weight", &[16, 8]);
    let checkpoint = opened(&draft, &[]);
    assert!(!checkpoint.config().tie_word_embeddings && !checkpoint.is_tied_by_name_alone());
}

#[test]
fn the_index_wins_over_a_single_file_that_it_does_not_name() {
    let right = Draft::new();
    let mut wrong = Draft::new();
    wrong.add("model.something.weight", &[8]);
    let mut files = right.sharded();
    files.insert(WEIGHTS.to_owned(), wrong.files().remove(WEIGHTS).unwrap());
    let (checkpoint, _dir) = open(&files, &right.overrides).unwrap();
    let notice = checkpoint.notices().iter().find(|notice| notice.contains("passed over")).unwrap();
    assert!(notice.contains("model.safetensors is passed over") && notice.contains(INDEX), "{notice}");
    // An index that names the single file is no quarrel.
    let mut files = right.files();
    let map: Value =
        right.weights.iter().map(|w| (w.name.clone(), json!(WEIGHTS))).collect::<serde_json::Map<_, _>>().into();
    files.insert(INDEX.to_owned(), json!({"weight_map": map}).to_string().into_bytes());
    let (checkpoint, _dir) = open(&files, &right.overrides).unwrap();
    assert!(!checkpoint.notices().iter().any(|notice| notice.contains("passed over")));
    // One whose files are gone is told of, with what is there.
    let mut files = right.sharded();
    files.remove("part-0.safetensors");
    files.insert(WEIGHTS.to_owned(), right.files().remove(WEIGHTS).unwrap());
    assert_refused(
        "gone",
        &files,
        &right.overrides,
        &["part-0.safetensors does not exist", "model.safetensors is there"],
    );
}

#[test]
fn numbers_that_a_damaged_copy_leaves_behind_are_refused() {
    let draft = Draft::new();
    let file = draft.files().remove(WEIGHTS).unwrap();
    let (header, data) = parts(&file);
    let refused = |case: &str, data: Vec<u8>, facts: &[&str]| {
        let mut files = draft.files();
        files.insert(WEIGHTS.to_owned(), with_header(header, &data));
        let facts = [&[WEIGHTS], facts].concat();
        assert_refused(case, &files, &draft.overrides, &facts);
    };
    refused("all zero", vec![0; data.len()], &["nothing but zeros in tensor model.embed_tokens.weight, and 12 more"]);
    for kept in [data.len() / 2, data.len() - 40, data.len() - 16] {
        let cut = [&data[..kept], &vec![0; data.len() - kept]].concat();
        refused(
            &format!("{kept} bytes kept"),
            cut,
            &["nothing but zeros", "model.norm.weight", "fetch it again"][..1 + usize::from(kept + 16 == data.len())],
        );
    }
    for (at, bits) in [(0, 0x7F80u16), ((data.len() / 2) & !1, 0xFFC0), (data.len() - 2, 0xFF80)] {
        let mut broken = data.to_vec();
        broken[at..at + 2].copy_from_slice(&bits.to_le_bytes());
        refused(&format!("{bits:x} at {at}"), broken, &["NaN or infinity in tensor"]);
    }
}

#[test]
fn a_large_tensor_is_refused_by_its_end_and_an_embedding_only_by_its_middle() {
    let mut draft = Draft::new();
    draft.set("intermediate_size", json!(40_000));
    draft.set("vocab_size", json!(40_000));
    draft.weight("model.embed_tokens.weight").shape = vec![40_000, 8];
    for name in ["gate_proj", "up_proj"] {
        draft.weight(&format!("model.layers.0.mlp.{name}.weight")).shape = vec![40_000, 8];
    }
    draft.weight("model.layers.0.mlp.down_proj.weight").shape = vec![8, 40_000];
    let spoiled = |name: &str, from: usize| {
        let mut files = draft.files();
        let file = files.get_mut(WEIGHTS).unwrap();
        let (header, _) = parts(file);
        let entry = serde_json::from_slice::<Value>(header).unwrap()[name]["data_offsets"].clone();
        let [start, end] = [0, 1].map(|i| 8 + header.len() + entry[i].as_u64().unwrap() as usize);
        file[start + (end - start) * from / 100..end].fill(0);
        files
    };
    let facts = |name| ["nothing but zeros in tensor", name];
    let gate = "model.layers.0.mlp.gate_proj.weight";
    for percent in [0, 50, 95] {
        assert_refused("gate", &spoiled(gate, percent), &draft.overrides, &facts(gate));
    }
    let embedding = "model.embed_tokens.weight";
    for percent in [0, 40] {
        assert_refused("embedding", &spoiled(embedding, percent), &draft.overrides, &facts(embedding));
    }
    // Tokens that were never trained.
    open(&spoiled(embedding, 90), &draft.overrides).unwrap();
}

#[test]
fn every_form_of_the_default_rotary_embedding_opens_and_its_theta_counts() {
    for (config, theta) in [
        (json!({"rope_theta": null, "rope_parameters": {"rope_theta": 1e6}}), 1e6),
        (json!({"rope_theta": null, "rope_parameters": {"rope_theta": 1e6, "rope_type": null}}), 1e6),
        (json!({"rope_theta": null, "rope_parameters": {"rope_theta": 1e6, "type": "default"}}), 1e6),
        (json!({"rope_theta": null, "rope_parameters": {"rope_theta": 1e6, "partial_rotary_factor": 1.0}}), 1e6),
        (json!({"rope_theta": null, "rope_scaling": {"rope_theta": 1e6, "rope_type": "default"}}), 1e6),
        (json!({"rope_theta": 2e6, "rope_parameters": {}}), 2e6),
        (json!({"rope_theta": 2e6, "rope_parameters": {"rope_theta": null}}), 2e6),
        (json!({"rope_theta": 2e6, "rope_parameters": null, "rope_scaling": null}), 2e6),
        (json!({"rope_theta": 2e6, "rope_scaling": {}}), 2e6),
        (json!({"rope_theta": 2e6, "rope_scaling": {"rope_type": null, "type": null}}), 2e6),
        (json!({"rope_theta": 2e6, "rope_scaling": {"rope_type": "default", "factor": null}}), 2e6),
    ] {
        let (mut saved, over) = (Draft::new(), overridden(config.clone()));
        saved.config.extend(config.as_object().unwrap().clone());
        assert_eq!(opened(&saved, &[]).config().rope_theta, theta, "{config}");
        assert_eq!(opened(&over, &[]).config().rope_theta, theta, "{config} as overrides");
    }
    for (config, fact) in [
        (json!({"rope_theta": null, "rope_parameters": {}}), "rope_theta is missing"),
        (json!({"rope_scaling": {"factor": 4.0}}), "scaled"),
        (json!({"rope_scaling": {"rope_type": "default", "type": "yarn"}}), "scaled"),
        (json!({"rope_parameters": {"full_attention": {"rope_type": "default"}}}), "scaled"),
        (json!({"rope_parameters": {"partial_rotary_factor": 0.5}}), "scaled"),
        (json!({"rope_parameters": []}), "scaled"),
        (json!({"rope_parameters": {"rope_theta": "1e6"}}), "a rope_theta from 1"),
        (json!({"use_sliding_window": true}), "use_sliding_window"),
        (json!({"use_sliding_window": true, "sliding_window": 64, "max_window_layers": 0}), "sliding_window is 64"),
        (json!({"compression_config": {"format": "pack-quantized"}}), "compression_config"),
    ] {
        let mut draft = Draft::new();
        draft.config.extend(config.as_object().unwrap().clone());
        assert_refused(&config.to_string(), &draft.files(), &draft.overrides, &["config.json", fact]);
    }
    for windows in [json!({"sliding_window": null}), json!({"sliding_window": 64, "max_window_layers": 1})] {
        let mut draft = overridden(windows);
        draft.set("use_sliding_window", json!(true));
        opened(&draft, &[]);
    }
}

#[test]
fn keys_that_are_absent_have_the_librarys_default_or_what_the_tensors_say() {
    let mut draft = Draft::new();
    for key in ["head_dim", "rms_norm_eps", "hidden_act", "model_type", "torch_dtype"] {
        draft.config.remove(key);
    }
    let checkpoint = opened(&draft, &[]);
    assert_eq!((checkpoint.config().head_dim, checkpoint.config().rms_norm_eps), (4, 1e-6));
    // Without tensors, 128: not the hidden size over the heads.
    let dummy = Checkpoint::dummy(None, json!({"head_dim": null}).as_object().unwrap()).unwrap();
    assert_eq!(dummy.config().head_dim, 128);
}
