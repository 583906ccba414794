//! What several tests need: the goldens, the tokenizer as a file, and synthetic checkpoints as directories.
//!
//! Invariant: everything comes from the repository, nothing from the network. Called by the tests beside it.

mod calm;
mod embedding;
pub mod process;

pub use calm::write_calm_checkpoint;
pub use embedding::{embedding_tokenizer, golden_vectors, write_calm_embedder, write_embedder};

use flate2::read::GzDecoder;
use ironrank::checkpoint::{Checkpoint, Overrides};
use ironrank::model::{Head, LinearHead};
use ironrank::precision::Precision;
use ironrank::task::Task;
use safetensors::tensor::{Dtype, TensorView};
use serde::Deserialize;
use serde_json::{Value, json};
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
pub const GOLDENS: [&str; 8] =
    ["tiny", "tiny-long", "tiny-untied", "tiny-untied-long", "tiny-mha", "tiny-mha-long", "0.6b", "calm-tiny"];

/// The goldens called `name`, one of [`GOLDENS`].
pub fn goldens(name: &str) -> Vec<Golden> {
    let path = repository().join(format!("tests/fixtures/goldens-{name}.json.gz"));
    serde_json::from_slice(&unpacked(&path)).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The numbers of the tokens `yes` and `no` in Qwen3's vocabulary.
const YES: u32 = 9693;
const NO: u32 = 2152;

/// The head of an original reranker, found without a tokenizer.
pub fn head(checkpoint: &Checkpoint) -> Head {
    Head::Margin(LinearHead::of_tokens(checkpoint, YES, Some(NO)).expect("the checkpoint has an output matrix"))
}

/// In which precision models over HTTP are computed: that of `tests/run.py --precision`, whose variable this is.
pub fn precision() -> Precision {
    match std::env::var("TEST_PRECISION").as_deref() {
        Ok("int8") => Precision::Int8,
        _ => Precision::Exact,
    }
}

/// How far their scores may be from those of float32, which may itself be off by `float32`.
pub fn may_err(float32: f64) -> f64 {
    if precision() == Precision::Int8 { 0.05 } else { float32 }
}

/// The bytes of the `tokenizer.json` that the binary carries.
pub fn tokenizer_json() -> Vec<u8> {
    unpacked(&repository().join("assets/tokenizer.json.gz"))
}

/// The configuration of a synthetic checkpoint: `tiny`, `tiny-untied`, `tiny-mha`, `0.6b` or `4b`.
pub fn config(shape: &str) -> Value {
    let (hidden, layers, heads, kv_heads, head_dim, intermediate, tied) = match shape {
        "tiny" => (64, 3, 4, 2, 32, 160, true),
        "tiny-untied" => (96, 2, 6, 2, 16, 200, false),
        "tiny-mha" => (128, 2, 4, 4, 64, 352, true),
        "0.6b" => (1024, 28, 16, 8, 128, 3072, true),
        "4b" => (2560, 36, 32, 8, 128, 9728, true),
        other => panic!("no synthetic shape is called {other}"),
    };
    json!({
        "architectures": ["Qwen3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
        "bos_token_id": 151_643, "eos_token_id": 151_645, "head_dim": head_dim, "hidden_act": "silu",
        "hidden_size": hidden, "intermediate_size": intermediate, "max_position_embeddings": 40_960,
        "model_type": "qwen3", "num_attention_heads": heads, "num_hidden_layers": layers,
        "num_key_value_heads": kv_heads, "rms_norm_eps": 1e-6, "rope_scaling": null, "rope_theta": 1_000_000,
        "sliding_window": null, "tie_word_embeddings": tied, "torch_dtype": "bfloat16",
        "use_sliding_window": false, "vocab_size": 151_669,
    })
}

/// Writes the synthetic checkpoint of a shape into `dir`: config.json, tokenizer.json and the weights in bf16, as one
/// file or as `shards` with an index. Its goldens carry the same name.
pub fn write_checkpoint(shape: &str, dir: &Path, shards: usize) {
    write_checkpoint_of(&config(shape), dir, shards);
}

/// The same of any configuration.
pub fn write_checkpoint_of(config: &Value, dir: &Path, shards: usize) {
    write_tensors(config, dir, shards, |_, _, bytes| (Dtype::BF16, bytes));
}

/// The same numbers, each tensor in the type that `dtype` says of its name: [`Dtype::BF16`] or [`Dtype::F32`].
pub fn write_checkpoint_in(config: &Value, dir: &Path, shards: usize, dtype: impl Fn(&str) -> Dtype) {
    write_tensors(config, dir, shards, |name, _, bytes| match dtype(name) {
        Dtype::F32 => (Dtype::F32, bytes.as_chunks::<2>().0.iter().flat_map(|half| [0, 0, half[0], half[1]]).collect()),
        dtype => (dtype, bytes),
    });
}

/// A checkpoint of tensors that `made` makes of name, shape and bfloat16 bytes of every tensor: their type, and their bytes.
fn write_tensors(
    config: &Value,
    dir: &Path,
    shards: usize,
    made: impl Fn(&str, &[usize], Vec<u8>) -> (Dtype, Vec<u8>),
) {
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
    std::fs::write(dir.join("tokenizer.json"), tokenizer_json()).unwrap();
    let checkpoint = Checkpoint::dummy(Some(dir), &Overrides::new()).unwrap();
    let tensors: Vec<(String, Vec<usize>, Dtype, Vec<u8>)> = checkpoint
        .tensors()
        .into_iter()
        .map(|(name, dims)| {
            let (dtype, bytes) = made(&name, &dims, bf16_bytes(&checkpoint, &name, &dims));
            // Embedding models lie without the prefix.
            let stored = match checkpoint.task() {
                Task::Rerank => name,
                Task::Embed => name.replacen("model.", "", 1),
            };
            (stored, dims, dtype, bytes)
        })
        .collect();
    let mut index = serde_json::Map::new();
    for shard in 0..shards {
        let views =
            tensors.iter().skip(shard).step_by(shards).map(|(name, dims, dtype, bytes)| {
                (name.as_str(), TensorView::new(*dtype, dims.clone(), bytes).unwrap())
            });
        let file = match shards {
            1 => "model.safetensors".to_owned(),
            _ => format!("model-{:05}-of-{shards:05}.safetensors", shard + 1),
        };
        index.extend(views.clone().map(|(name, _)| (name.to_owned(), Value::from(file.as_str()))));
        safetensors::serialize_to_file(views, None, &dir.join(file)).unwrap();
    }
    if shards > 1 {
        let index = json!({"metadata": {}, "weight_map": index});
        std::fs::write(dir.join("model.safetensors.index.json"), index.to_string()).unwrap();
    }
}

/// All numbers of a tensor as little-endian bfloat16; exact if they are stored so.
pub fn bf16_bytes(checkpoint: &Checkpoint, name: &str, dims: &[usize]) -> Vec<u8> {
    let tensor = checkpoint.tensor(name, dims).unwrap();
    let mut row = vec![0.0; tensor.cols()];
    let mut bytes = Vec::with_capacity(2 * tensor.rows() * tensor.cols());
    for i in 0..tensor.rows() {
        tensor.read_row(i, &mut row);
        bytes.extend(row.iter().flat_map(|&x| half::bf16::from_f32(x).to_le_bytes()));
    }
    bytes
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
