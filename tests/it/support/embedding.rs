//! The embedding model of the goldens: `tiny` as Qwen3-Embedding lies in its directory, and the tokenizer that ends texts.

use super::{config, repository, tokenizer_json, unpacked, write_calm_checkpoint, write_tensors};
use safetensors::Dtype;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::Path;

/// A vector that transformers computed in float64 on the synthetic checkpoint.
#[derive(Debug, Clone, Deserialize)]
pub struct GoldenVector {
    pub text: String,
    pub token_ids: Vec<u32>,
    /// Of length 1.
    pub embedding: Vec<f64>,
}

/// The goldens of the embedding model.
pub fn golden_vectors() -> Vec<GoldenVector> {
    let path = repository().join("tests/fixtures/goldens-embedding-tiny.json.gz");
    serde_json::from_slice(&unpacked(&path)).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The tokenizer of Qwen's embedding models: the rerankers', and `<|endoftext|>` behind every text.
pub fn embedding_tokenizer() -> Vec<u8> {
    let json = String::from_utf8(tokenizer_json()).unwrap();
    let (before, behind) = json.split_once("\"post_processor\": ").unwrap();
    let (own, behind) = behind.split_once(", \"decoder\"").unwrap();
    let end = json!({"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}});
    let text = |id: &str, kind: u32| json!({"Sequence": {"id": id, "type_id": kind}});
    let template = json!({
        "type": "TemplateProcessing", "single": [text("A", 0), end], "pair": [text("A", 0), end, text("B", 1), end],
        "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [151_643], "tokens": ["<|endoftext|>"]}},
    });
    let own: Value = serde_json::from_str(own).unwrap();
    let both = json!({"type": "Sequence", "processors": [own, template]});
    format!("{before}\"post_processor\": {both}, \"decoder\"{behind}").into_bytes()
}

/// Writes the embedding model into `dir`.
pub fn write_embedder(dir: &Path) {
    write_sentence_transformers(dir);
    write_tensors(&config("tiny"), dir, 1, |_, _, bytes| (Dtype::BF16, bytes));
    std::fs::write(dir.join("tokenizer.json"), embedding_tokenizer()).unwrap();
}

/// The same with the calm checkpoint's weights, on which lower precision can be judged.
pub fn write_calm_embedder(dir: &Path) {
    write_sentence_transformers(dir);
    write_calm_checkpoint(dir);
    std::fs::write(dir.join("tokenizer.json"), embedding_tokenizer()).unwrap();
}

fn write_sentence_transformers(dir: &Path) {
    let module = |idx: usize, path: &str, class: &str| json!({"idx": idx, "name": idx.to_string(), "path": path, "type": format!("sentence_transformers.models.{class}")});
    let modules =
        [module(0, "", "Transformer"), module(1, "1_Pooling", "Pooling"), module(2, "2_Normalize", "Normalize")];
    let pooling = json!({
        "word_embedding_dimension": 64, "pooling_mode_cls_token": false, "pooling_mode_mean_tokens": false,
        "pooling_mode_max_tokens": false, "pooling_mode_mean_sqrt_len_tokens": false,
        "pooling_mode_weightedmean_tokens": false, "pooling_mode_lasttoken": true, "include_prompt": true,
    });
    let model = json!({
        "prompts": {
            "query": "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:",
            "document": "",
        },
        "default_prompt_name": null, "similarity_fn_name": "cosine",
    });
    std::fs::create_dir(dir.join("1_Pooling")).unwrap();
    for (name, json) in [
        ("modules.json", json!(modules)),
        ("1_Pooling/config.json", pooling),
        ("config_sentence_transformers.json", model),
    ] {
        std::fs::write(dir.join(name), json.to_string()).unwrap();
    }
}
