//! What the files say of an embedding model, and what the operator does.

use super::files::{Draft, assert_refused, write};
use super::task::{LOGIT_SCORE, TRANSFORMER, files, modules, opened, opened_as, overridden};
use ironrank::checkpoint::{Checkpoint, Dimensions, Embedding, Head, Said};
use ironrank::task::Task;
use serde_json::{Value, json};

const POOLING: &str = "sentence_transformers.sentence_transformer.modules.pooling.Pooling";
const NORMALIZE: &str = "sentence_transformers.sentence_transformer.modules.normalize.Normalize";

/// The files of a draft in a directory.
fn written(draft: &Draft, more: &[(&str, Value)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &files(draft, more));
    dir
}

/// An embedding model's files of sentence-transformers, in the new wording.
fn embedder(modules: Value, pooling: Value) -> [(&'static str, Value); 2] {
    [("modules.json", modules), ("1_Pooling/config.json", pooling)]
}

/// Its vectors.
fn embedding(checkpoint: &Checkpoint) -> &Embedding {
    let Head::Vector(embedding) = checkpoint.head() else { panic!("{:?}", checkpoint.head()) };
    assert_eq!(checkpoint.task(), Task::Embed);
    embedding
}

#[test]
fn an_embedding_model_is_known_by_its_pooling_in_both_wordings() {
    let old = |class: &str| format!("sentence_transformers.models.{class}");
    let (transformer, pooling, normalize) = (old("Transformer"), old("Pooling"), old("Normalize"));
    let all = |last: bool| {
        json!({
            "word_embedding_dimension": 8, "pooling_mode_cls_token": false, "pooling_mode_mean_tokens": !last,
            "pooling_mode_max_tokens": false, "pooling_mode_lasttoken": last, "include_prompt": true,
        })
    };
    let new = json!({"embedding_dimension": 8, "pooling_mode": "lasttoken", "include_prompt": true});
    for (chain, pooling, normalized) in [
        (vec![(&*transformer, ""), (&pooling, "1_Pooling"), (&normalize, "2_Normalize")], all(true), true),
        (vec![(&*transformer, ""), (&pooling, "1_Pooling")], all(true), false),
        (vec![(TRANSFORMER, ""), (POOLING, "1_Pooling"), (NORMALIZE, "2_Normalize")], new.clone(), true),
        (vec![(TRANSFORMER, ""), (POOLING, "1_Pooling")], new.clone(), false),
    ] {
        let checkpoint = opened(&Draft::new(), &embedder(modules(&chain), pooling));
        assert_eq!(embedding(&checkpoint).normalize, normalized, "{chain:?}");
        assert_eq!(checkpoint.notices(), [""; 0]);
    }
    // A copy without modules.json, and one that only config_sentence_transformers.json tells of, have the usual length.
    for more in [
        ("1_Pooling/config.json", new.clone()),
        ("config_sentence_transformers.json", json!({"model_type": "SentenceTransformer"})),
        ("config_sentence_transformers.json", json!({"similarity_fn_name": "cosine", "default_prompt_name": null})),
    ] {
        assert!(embedding(&opened(&Draft::new(), &[more])).normalize);
    }
    let chain = modules(&[(TRANSFORMER, ""), (POOLING, "1_Pooling")]);
    for (pooling, facts) in [
        (all(false), &["pooling_mode_mean_tokens true", "last token"][..]),
        (json!({"pooling_mode": "mean"}), &["pooling_mode \"mean\"", "last token"]),
        (json!({"pooling_mode": "cls"}), &["pooling_mode \"cls\""]),
        (json!({"pooling_mode_lasttoken": true, "pooling_mode_cls_token": true}), &["pooling_mode_cls_token true"]),
        (json!({}), &["names no pooling"]),
        (json!({"pooling_mode": "lasttoken", "embedding_dimension": 9}), &["a state has 9 numbers, expected 8"]),
    ] {
        let files = files(&Draft::new(), &embedder(chain.clone(), pooling.clone()));
        let facts = [&["1_Pooling/config.json"], facts].concat();
        assert_refused(&pooling.to_string(), &files, &Draft::new().overrides, &facts);
    }
}

#[test]
fn an_embedding_model_needs_no_output_matrix_and_takes_none() {
    let pooling = [("1_Pooling/config.json", json!({"pooling_mode": "lasttoken"}))];
    for (tied, prefixed, stored) in
        [(false, false, false), (false, true, false), (true, true, true), (false, true, true)]
    {
        let mut draft = Draft::new();
        draft.set("tie_word_embeddings", json!(tied));
        if !prefixed {
            draft.weights.iter_mut().for_each(|weight| weight.name = weight.name.replace("model.", ""));
        }
        if stored {
            draft.add("lm_head.weight", &[16, 8]);
        }
        let checkpoint = opened(&draft, &pooling);
        embedding(&checkpoint);
        assert!(checkpoint.tensors().iter().all(|(name, _)| name != "lm_head.weight"));
        assert!(!checkpoint.is_tied_by_name_alone());
    }
    let mut body = Draft::new();
    body.set("architectures", json!(["Qwen3Model"]));
    embedding(&opened(&body, &[]));
    assert_refused("an untied reranker", &untied().files(), &untied().overrides, &["lacks tensor lm_head.weight"]);
}

fn untied() -> Draft {
    let mut draft = Draft::new();
    draft.set("tie_word_embeddings", json!(false));
    draft
}

#[test]
fn the_name_tells_an_embedding_model_where_nothing_else_does() {
    let task = |name: &str, draft: &Draft| opened_as(name, draft, &[]).unwrap().task();
    for name in ["Qwen3-Embedding-0.6B", "models--Qwen--Qwen3-Embedding-0.6B/snapshots/1b2c"] {
        assert_eq!(task(name, &Draft::new()), Task::Embed, "{name}");
    }
    let mut tuned = Draft::new();
    tuned.set("_name_or_path", json!("Qwen/Qwen3-Embedding-0.6B"));
    assert_eq!(task("model", &tuned), Task::Embed);
    let mut converted = Draft::new();
    converted.set("architectures", json!(["Qwen3ForSequenceClassification"]));
    converted.add("score.weight", &[1, 8]);
    assert_eq!(task("Qwen3-Embedding-0.6B", &converted), Task::Rerank);
    assert_eq!(task("embeddings/model", &Draft::new()), Task::Rerank);
}

#[test]
fn what_the_operator_says_of_the_task_stands_over_the_name_and_contradicts_no_file() {
    let chain = modules(&[(TRANSFORMER, ""), (POOLING, "1_Pooling")]);
    let pooled = embedder(chain, json!({"pooling_mode": "lasttoken"}));
    let scored = [("1_LogitScore/config.json", json!({"true_token_id": 7, "false_token_id": 5}))];
    let inspect = |draft: &Draft, more: &[(&str, Value)], task| {
        let dir = written(draft, more);
        let said = Said { overrides: &draft.overrides, task: Some(task) };
        Checkpoint::open(dir.path(), said).map(|checkpoint| checkpoint.task()).map_err(|err| err.to_string())
    };
    for (more, task) in [(&[][..], Task::Embed), (&[], Task::Rerank), (&pooled, Task::Embed), (&scored, Task::Rerank)] {
        assert_eq!(inspect(&Draft::new(), more, task), Ok(task));
    }
    let mut converted = Draft::new();
    converted.set("architectures", json!(["Qwen3ForSequenceClassification"]));
    converted.add("score.weight", &[1, 8]);
    for (draft, more, task, fact) in [
        (&Draft::new(), &pooled[..], Task::Rerank, POOLING),
        (&Draft::new(), &scored, Task::Embed, "1_LogitScore/config.json"),
        (&converted, &[], Task::Embed, "architectures of "),
        (
            &overridden(json!({"classifier_from_token": ["no", "yes"]})),
            &[],
            Task::Embed,
            "classifier_from_token of the",
        ),
    ] {
        let said = inspect(draft, more, task).unwrap_err();
        assert!(said.contains(fact) && said.contains("--task") && said.contains("expected one of them"), "{said}");
    }
    // What files say alone: neither is taken for the other.
    let named = overridden(json!({"is_original_qwen3_reranker": true}));
    let facts = ["is_original_qwen3_reranker of the configuration overrides", POOLING];
    assert_refused("both", &files(&Draft::new(), &pooled), &named.overrides, &facts);
    let both = modules(&[(TRANSFORMER, ""), (LOGIT_SCORE, "1_LogitScore"), (POOLING, "1_Pooling")]);
    let both =
        files(&Draft::new(), &[scored.as_slice(), &embedder(both, json!({"pooling_mode": "lasttoken"}))].concat());
    assert_refused("both modules", &both, &Draft::new().overrides, &["modules.json", POOLING, "makes no sense"]);
}

#[test]
fn prompts_and_dimensions_are_what_the_files_and_the_operator_say() {
    let pooling = ("1_Pooling/config.json", json!({"pooling_mode": "lasttoken"}));
    let of = |draft: &Draft, model: Value| {
        let checkpoint = opened(draft, &[pooling.clone(), ("config_sentence_transformers.json", model)]);
        (embedding(&checkpoint).clone(), checkpoint.notices().to_vec())
    };
    let (usual, notices) = of(&Draft::new(), json!({"similarity_fn_name": "cosine"}));
    assert!(usual.prompts["query"].starts_with("Instruct: Given a web search query") && notices.is_empty());
    assert!(usual.prompts["query"].ends_with("answer the query\nQuery:"));
    assert_eq!((usual.prompts["document"].as_str(), usual.dimensions), ("", Dimensions::Any(8)));
    let own = json!({"prompts": {"query": "q: ", "clustering": "c: "}, "default_prompt_name": "clustering"});
    let (own, notices) = of(&Draft::new(), own);
    assert_eq!(
        own.prompts.into_iter().map(|(name, text)| name + &text).collect::<Vec<_>>(),
        ["clusteringc: ", "document", "queryq: "]
    );
    assert!(notices[0].contains("default_prompt_name clustering"), "{notices:?}");
    for (keys, expected) in [
        (json!({"is_matryoshka": true}), Dimensions::Any(8)),
        (json!({"is_matryoshka": null}), Dimensions::Any(8)),
        (json!({"is_matryoshka": false}), Dimensions::Fixed),
        (json!({"matryoshka_dimensions": [2, 8]}), Dimensions::List(vec![2, 8])),
        (json!({"matryoshka_dimensions": [2], "is_matryoshka": false}), Dimensions::List(vec![2])),
    ] {
        assert_eq!(of(&overridden(keys), json!({})).0.dimensions, expected);
    }
    for (keys, fact) in [
        (json!({"is_matryoshka": "yes"}), "true or false"),
        (json!({"matryoshka_dimensions": []}), "from 1 to 8"),
        (json!({"matryoshka_dimensions": [9]}), "from 1 to 8"),
        (json!({"matryoshka_dimensions": 4}), "from 1 to 8"),
    ] {
        let draft = overridden(keys.clone());
        assert_refused(&keys.to_string(), &files(&draft, std::slice::from_ref(&pooling)), &draft.overrides, &[fact]);
    }
}
