//! What several tests need: the goldens, and the tokenizer as a file.
//!
//! Invariant: everything comes from the repository, nothing from the network. Called by the tests beside it.
#![allow(dead_code, reason = "each test binary uses its own part")]

use flate2::read::GzDecoder;
use serde::Deserialize;
use std::io::Read;
use std::path::Path;

/// One case computed by Hugging Face transformers in float64 on the synthetic checkpoint of its shape.
#[derive(Debug, Clone, Deserialize)]
pub struct Golden {
    pub query: String,
    pub document: String,
    pub instruction: Option<String>,
    pub token_ids: Vec<u32>,
    pub logit_no: f64,
    pub logit_yes: f64,
    pub score: f64,
    /// How far PyTorch's float32 falls from `logit_yes - logit_no`.
    pub float32_margin_error: f64,
    /// How far PyTorch's float32 falls from `score`.
    pub float32_score_error: f64,
    /// The last token after the embedding, after every layer but the last, and after the last layer and final norm.
    pub last_token_hidden_states: Option<Vec<Vec<f64>>>,
}

/// The names of all goldens.
pub const GOLDENS: [&str; 7] =
    ["tiny", "tiny-long", "tiny-untied", "tiny-untied-long", "tiny-mha", "tiny-mha-long", "0.6b"];

/// The goldens called `name`, one of [`GOLDENS`].
pub fn goldens(name: &str) -> Vec<Golden> {
    let path = repository().join(format!("tests/fixtures/goldens-{name}.json.gz"));
    serde_json::from_slice(&unpacked(&path)).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The bytes of the `tokenizer.json` that the binary carries.
pub fn tokenizer_json() -> Vec<u8> {
    unpacked(&repository().join("assets/tokenizer.json.gz"))
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn unpacked(path: &Path) -> Vec<u8> {
    let file = std::fs::File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut bytes = Vec::new();
    GzDecoder::new(file).read_to_end(&mut bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    bytes
}
