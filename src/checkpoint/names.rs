//! The names of tensors outside of layers, which all decoders share.
//!
//! Invariant: a name is the causal model's, from its root; some converters leave out the prefix `model.`. Used by all that
//! looks for a tensor.

/// (vocab_size, hidden_size)
pub const EMBEDDING: &str = "model.embed_tokens.weight";
/// The norm behind the layers: (hidden_size).
pub const NORM: &str = "model.norm.weight";
/// (vocab_size, hidden_size), of a model whose output is not tied to the embedding.
pub const OUTPUT: &str = "lm_head.weight";
/// The head of a converted reranker: (1, hidden_size).
pub const SCORE: &str = "score.weight";
/// Its bias, of models that have one: (1).
pub const SCORE_BIAS: &str = "score.bias";

/// A tensor's name with the prefix `model.`.
pub fn canonical(name: &str) -> String {
    let bare = ["embed_tokens.", "layers.", "norm.", "rotary_emb."].iter().any(|start| name.starts_with(start));
    if bare { format!("model.{name}") } else { name.to_owned() }
}
