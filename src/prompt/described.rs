//! What `tokenizer_config.json` says of a tokenizer, for clients that ask. Nothing that is computed depends on it.
//!
//! Called by `main`, once: a running server reads nothing of the model directory.

use crate::error::{Error, ErrorKind, Result};
use crate::file;
use serde_json::{Map, Value};
use std::path::Path;

/// The class that Qwen's models name, for directories that name none.
const CLASS: &str = "Qwen2Tokenizer";

/// The configuration of the tokenizer in `dir`, `None` being the built-in one, as vLLM tells it: without the names of files,
/// with its class, tokens as their text, and with the operator's `template` if there is one.
pub fn described(dir: Option<&Path>, template: Option<&str>) -> Result<Map<String, Value>> {
    let mut config = match dir {
        Some(dir) => read(&dir.join("tokenizer_config.json"))?,
        None => Map::new(),
    };
    for files in ["vocab_file", "merges_file"] {
        config.remove(files);
    }
    config.values_mut().for_each(name_tokens);
    config.entry("tokenizer_class").or_insert_with(|| CLASS.into());
    config.extend(template.map(|template| ("chat_template".to_owned(), template.into())));
    Ok(config)
}

fn read(path: &Path) -> Result<Map<String, Value>> {
    let refuse = |what: String| Error::new(ErrorKind::Checkpoint, format!("{} {what}.", path.display()));
    let json = match file::read_json(path, file::MAX_TEXT_BYTES) {
        Ok(json) => json,
        Err(fault) if fault.is_missing() => return Ok(Map::new()),
        Err(fault) => return Err(refuse(fault.to_string())),
    };
    serde_json::from_slice(&json).map_err(|err| refuse(format!("is not a JSON object: {err}")))
}

/// Puts a token's text in the place of each object that describes one.
fn name_tokens(value: &mut Value) {
    match value {
        Value::Object(map) => match map.get_mut("content").map(Value::take) {
            Some(Value::String(text)) => *value = text.into(),
            Some(other) => {
                map.insert("content".to_owned(), other);
            }
            None => map.values_mut().for_each(name_tokens),
        },
        Value::Array(items) => items.iter_mut().for_each(name_tokens),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_configuration_is_told_with_its_class_and_without_files() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let told = |template| described(Some(dir.path()), template).map(Value::Object);
        assert_eq!(told(None).expect("no file is none"), json!({"tokenizer_class": CLASS}));
        let config = json!({
            "tokenizer_class": "Other", "vocab_file": "vocab.json", "merges_file": "merges.txt", "model_max_length": 131072,
            "pad_token": {"content": "<|endoftext|>", "lstrip": false}, "eos_token": "<|im_end|>", "bos_token": null,
            "added_tokens_decoder": {"151643": {"content": "<|endoftext|>", "special": true}},
            "additional_special_tokens": ["<|im_start|>", {"content": "<|im_end|>"}],
        });
        let path = dir.path().join("tokenizer_config.json");
        std::fs::write(&path, format!("\u{feff}{config}")).expect("written");
        assert_eq!(
            told(Some("{{ query }}")).expect("told"),
            json!({
                "tokenizer_class": "Other", "model_max_length": 131072, "pad_token": "<|endoftext|>",
                "eos_token": "<|im_end|>", "bos_token": null, "added_tokens_decoder": {"151643": "<|endoftext|>"},
                "additional_special_tokens": ["<|im_start|>", "<|im_end|>"], "chat_template": "{{ query }}",
            })
        );
        for broken in ["[1]", "{", "nonsense"] {
            std::fs::write(&path, broken).expect("written");
            let said = told(None).expect_err("refused").to_string();
            assert!(said.contains("tokenizer_config.json is not"), "{said}");
        }
    }
}
