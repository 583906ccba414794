//! A small valid checkpoint as a value, which a test spoils before it is written.

use ironrank::checkpoint::{Checkpoint, Overrides};
use ironrank::error::{Error, ErrorKind};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

pub const WEIGHTS: &str = "model.safetensors";
pub const INDEX: &str = "model.safetensors.index.json";

/// One tensor of a header and its bytes.
#[derive(Clone)]
pub struct Weight {
    pub name: String,
    pub dtype: &'static str,
    pub shape: Vec<usize>,
}

/// A checkpoint before it is written.
#[derive(Clone)]
pub struct Draft {
    pub config: Map<String, Value>,
    pub weights: Vec<Weight>,
    pub overrides: Overrides,
}

/// The files of a model directory.
pub type Files = BTreeMap<String, Vec<u8>>;

impl Draft {
    /// One layer, hidden size 8, two heads of 4 on one key head, tied.
    pub fn new() -> Self {
        let config = json!({
            "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 8, "num_hidden_layers": 1,
            "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4, "intermediate_size": 12,
            "vocab_size": 16, "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "rope_theta": 10_000.0,
            "tie_word_embeddings": true, "hidden_act": "silu", "torch_dtype": "bfloat16",
        });
        let layer = [
            ("input_layernorm", vec![8]),
            ("self_attn.q_proj", vec![8, 8]),
            ("self_attn.k_proj", vec![4, 8]),
            ("self_attn.v_proj", vec![4, 8]),
            ("self_attn.o_proj", vec![8, 8]),
            ("self_attn.q_norm", vec![4]),
            ("self_attn.k_norm", vec![4]),
            ("post_attention_layernorm", vec![8]),
            ("mlp.gate_proj", vec![12, 8]),
            ("mlp.up_proj", vec![12, 8]),
            ("mlp.down_proj", vec![8, 12]),
        ];
        let mut draft =
            Self { config: config.as_object().unwrap().clone(), weights: Vec::new(), overrides: Map::new() };
        draft.add("model.embed_tokens.weight", &[16, 8]);
        for (name, shape) in layer {
            draft.add(&format!("model.layers.0.{name}.weight"), &shape);
        }
        draft.add("model.norm.weight", &[8]);
        draft
    }

    pub fn add(&mut self, name: &str, shape: &[usize]) {
        self.weights.push(Weight { name: name.into(), dtype: "BF16", shape: shape.to_vec() });
    }

    pub fn set(&mut self, key: &str, value: Value) {
        self.config.insert(key.into(), value);
    }

    pub fn weight(&mut self, name: &str) -> &mut Weight {
        self.weights.iter_mut().find(|w| w.name == name).unwrap()
    }

    pub fn remove(&mut self, name: &str) {
        self.weights.retain(|w| w.name != name);
    }

    pub fn files(&self) -> Files {
        [("config.json".into(), json!(self.config).to_string().into_bytes()), (WEIGHTS.into(), self.shard(|_| true))]
            .into()
    }

    /// Two shards, odd and even tensors, and their index.
    pub fn sharded(&self) -> Files {
        let home = |i: usize| format!("part-{}.safetensors", i % 2);
        let map: Map<String, Value> =
            self.weights.iter().enumerate().map(|(i, w)| (w.name.clone(), home(i).into())).collect();
        let mut files = self.files();
        files.remove(WEIGHTS);
        files.insert(home(0), self.shard(|i| i % 2 == 0));
        files.insert(home(1), self.shard(|i| i % 2 == 1));
        files.insert(INDEX.into(), json!({"metadata": {}, "weight_map": map}).to_string().into_bytes());
        files
    }

    fn shard(&self, mine: impl Fn(usize) -> bool) -> Vec<u8> {
        let mut header = Map::new();
        let mut data = Vec::new();
        for (i, w) in self.weights.iter().enumerate().filter(|(i, _)| mine(*i)) {
            let size = if w.dtype.ends_with("16") { 2 } else { 4 };
            let bytes = w.shape.iter().product::<usize>() * size;
            let offsets = [data.len(), data.len() + bytes];
            header.insert(w.name.clone(), json!({"dtype": w.dtype, "shape": w.shape, "data_offsets": offsets}));
            data.extend((0..bytes).map(|b| number_byte(b * 7 + i)));
        }
        with_header(json!(header).to_string().as_bytes(), &data)
    }
}

/// A byte of a number: without the exponents of NaN and infinity, in every type.
pub fn number_byte(n: usize) -> u8 {
    n as u8 & 0xBF
}

/// A safetensors file of this header.
pub fn with_header(header: &[u8], data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header, data].concat()
}

/// Header and data of a safetensors file.
pub fn parts(file: &[u8]) -> (&[u8], &[u8]) {
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    file[8..].split_at(length)
}

/// Rewrites the header as text.
pub fn edit_header(files: &mut Files, name: &str, edit: impl FnOnce(String) -> String) {
    let (header, data) = parts(&files[name]);
    let header = edit(String::from_utf8(header.to_vec()).unwrap());
    let file = with_header(header.as_bytes(), data);
    files.insert(name.into(), file);
}

/// Writes the files into a directory; a name that ends in a slash is one in it.
pub fn write(dir: &Path, files: &Files) {
    for (name, bytes) in files {
        match name.strip_suffix('/') {
            Some(name) => std::fs::create_dir(dir.join(name)).unwrap(),
            None => std::fs::write(dir.join(name), bytes).unwrap(),
        }
    }
}

/// Writes the files and opens them.
pub fn open(files: &Files, overrides: &Overrides) -> Result<(Checkpoint, tempfile::TempDir), Error> {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), files);
    Checkpoint::open(dir.path(), overrides).map(|checkpoint| (checkpoint, dir))
}

/// Asserts that opening fails with one clear sentence that holds all `facts`.
pub fn assert_refused(case: &str, files: &Files, overrides: &Overrides, facts: &[&str]) {
    let error = match open(files, overrides) {
        Ok(_) => panic!("{case}: opened, expected an error with {facts:?}"),
        Err(error) => error,
    };
    let sentence = error.to_string();
    println!("{case}: {sentence}");
    assert_eq!(error.kind(), ErrorKind::Checkpoint, "{case}: {sentence}");
    assert!(!sentence.contains(['\n', '\r']) && sentence.ends_with('.'), "{case}: not one line: {sentence}");
    assert!(sentence.len() < 700, "{case}: too long: {sentence}");
    for fact in facts {
        assert!(sentence.contains(fact), "{case}: no {fact:?} in: {sentence}");
    }
}
