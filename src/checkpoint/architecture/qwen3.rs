//! Qwen3, dense. Source: Hugging Face's `modeling_qwen3.py` and the checkpoints' tensor names.
//!
//! Invariant: every key that changes what Qwen3 computes is honoured or refused with one sentence that names file, key,
//! value found and what is supported; keys that don't are ignored.

use super::super::config::{Config, Keys};
use super::part::{Classes, Matrix, Order, Part, Piece, ShapeOf, layer_tensor};
use crate::error::Result;
use ironrank_kernels::NR;
use serde_json::Value;

pub const CLASSES: Classes = Classes {
    causal: "Qwen3ForCausalLM",
    classification: "Qwen3ForSequenceClassification",
    body: "Qwen3Model",
    model_type: "qwen3",
};

/// As long as a head is wide.
const HEAD_NORM: &str = "self_attn.q_norm.weight";

/// The layer's vectors and matrices, which the model's `Layer` takes in this order.
pub fn layer(config: &Config) -> Vec<Part> {
    let (hidden, gated) = (config.hidden_size, config.intermediate_size);
    let (queries, keys) = (config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim);
    let norm = |name, len| Part::Vector { name, len };
    let whole = |name, rows| Piece { name, rows, outputs: rows };
    let in_panels = |name, rows: usize| Piece { name, rows, outputs: rows.next_multiple_of(NR) };
    let matrix = |cols, pieces: &[Piece]| Matrix { pieces: pieces.to_vec(), cols, depth: cols, order: Order::Stacked };
    let qkv = matrix(
        hidden,
        &[
            // Whole panels, so that keys and values can be had without queries.
            in_panels("self_attn.q_proj.weight", queries),
            whole("self_attn.k_proj.weight", keys),
            whole("self_attn.v_proj.weight", keys),
        ],
    );
    let output = matrix(queries, &[whole("self_attn.o_proj.weight", hidden)]);
    let gate_up = matrix(hidden, &[in_panels("mlp.gate_proj.weight", gated), in_panels("mlp.up_proj.weight", gated)]);
    let gate_up = Matrix { order: Order::Gated, ..gate_up };
    // The gated unit comes in whole panels; its surplus columns are zeros and so are the weights they meet.
    let down = matrix(gated, &[whole("mlp.down_proj.weight", hidden)]);
    let down = Matrix { depth: gated.next_multiple_of(NR), ..down };
    vec![
        norm("input_layernorm.weight", hidden),
        Part::Matrix(qkv),
        Part::Matrix(output),
        norm(HEAD_NORM, config.head_dim),
        norm("self_attn.k_norm.weight", config.head_dim),
        norm("post_attention_layernorm.weight", hidden),
        Part::Matrix(gate_up),
        Part::Matrix(down),
    ]
}

pub fn config(keys: &Keys, shape_of: ShapeOf) -> Result<Config> {
    refuse_unsupported(keys)?;
    // The length of a head's norm is a head's width too; without tensors it is the library's default.
    keys.config(match shape_of(&layer_tensor(0, HEAD_NORM)).as_deref() {
        Some(&[found]) if (1..=4096).contains(&found) => found,
        _ => 128,
    })
}

/// Refuses what would change the forward pass and is not built.
fn refuse_unsupported(keys: &Keys) -> Result<()> {
    for key in ["attention_bias", "mlp_bias", "use_bidirectional_attention"] {
        if keys.flag(key)? {
            return Err(keys.refuse(key, "false, the only value supported"));
        }
    }
    if keys.get("is_causal").is_some_and(|v| v != true) {
        return Err(keys.refuse("is_causal", "true, the only value supported"));
    }
    refuse_windows(keys)?;
    if keys.get("hidden_act").is_some_and(|v| v != "silu") {
        return Err(keys.refuse("hidden_act", "\"silu\", the only activation supported"));
    }
    for key in ["quantization_config", "compression_config"] {
        if keys.get(key).is_some() {
            return Err(keys.refuse(key, "none: only bf16, f16 and f32 tensors are supported"));
        }
    }
    if keys.get("partial_rotary_factor").is_some_and(|v| v.as_f64() != Some(1.0)) {
        return Err(keys.refuse("partial_rotary_factor", "1, the only value supported"));
    }
    if let Some(types) = keys.get("layer_types") {
        let full = |types: &Vec<Value>| types.iter().all(|t| t == "full_attention");
        if !types.as_array().is_some_and(full) {
            return Err(keys.refuse("layer_types", "\"full_attention\" for every layer, the only type supported"));
        }
    }
    ["rope_scaling", "rope_parameters"].into_iter().try_for_each(|key| keys.refuse_scaling(key))
}

/// Refuses windows where any layer may have one; without a `sliding_window` it is 4,096 tokens, as in Hugging Face's
/// library.
fn refuse_windows(keys: &Keys) -> Result<()> {
    // Which layers have one; those that are not full are refused with it.
    if !keys.flag("use_sliding_window")? || keys.is_null("sliding_window") || keys.get("layer_types").is_some() {
        return Ok(());
    }
    let first = keys.get("max_window_layers").and_then(Value::as_u64);
    let layers = keys.get("num_hidden_layers").and_then(Value::as_u64);
    match first.zip(layers).is_some_and(|(first, layers)| layers <= first) {
        true => Ok(()),
        false => {
            let key = if keys.get("sliding_window").is_some() { "sliding_window" } else { "use_sliding_window" };
            Err(keys.refuse(key, "null or use_sliding_window false: sliding windows are unsupported"))
        }
    }
}
