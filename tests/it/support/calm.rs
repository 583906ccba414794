//! The calm checkpoint: `tiny` with weights whose rounding errors do not grow, as a trained model's don't, so that lower
//! precision can be judged on it.
//!
//! Queries and keys are less peaked, and, as in trained Qwen3 models, an early layer's MLP puts a huge value on three
//! channels of one token at the beginning of the prompt, `system`. Its goldens are `calm-tiny`.

use super::{config, write_tensors};
use half::bf16;
use safetensors::Dtype;
use std::path::Path;

const SPIKE_TOKEN: usize = 8948;
const SPIKE_UNIT: usize = 11;

/// Single weights in the place of the usual ones: tensor, row, column.
const SPIKE: [(&str, usize, usize, f32); 6] = [
    ("model.embed_tokens.weight", SPIKE_TOKEN, 3, 20.0),
    // 2 on a residual stream of 1024 channels, and as much more as this one has fewer: 2 * (1024 / 64)^0.5.
    ("model.layers.2.mlp.gate_proj.weight", SPIKE_UNIT, 3, 8.0),
    ("model.layers.2.mlp.up_proj.weight", SPIKE_UNIT, 3, 8.0),
    ("model.layers.2.mlp.down_proj.weight", 5, SPIKE_UNIT, 7.0),
    ("model.layers.2.mlp.down_proj.weight", 30, SPIKE_UNIT, 7.0),
    ("model.layers.2.mlp.down_proj.weight", 61, SPIKE_UNIT, 7.0),
];

/// Writes it into `dir` as `write_checkpoint` does; where files there tell of an embedding model, as one.
pub fn write_calm_checkpoint(dir: &Path) {
    write_tensors(&config("tiny"), dir, 1, |name, dims, mut bytes| {
        let mut put = |place: usize, weight: f32| {
            bytes[2 * place..][..2].copy_from_slice(&bf16::from_f32(weight).to_le_bytes());
        };
        if name.ends_with("q_norm.weight") || name.ends_with("k_norm.weight") {
            (0..dims[0]).for_each(|i| put(i, (1.2 + 0.4 * (2.0 * uniform(name, i as u64) - 1.0)) as f32));
        }
        for (_, row, column, weight) in SPIKE.into_iter().filter(|(tensor, ..)| *tensor == name) {
            put(row * dims[1] + column, weight);
        }
        (Dtype::BF16, bytes)
    });
}

/// Number `i` of the tensor `name`, of those from 0 to 1 that synthetic weights are made of.
fn uniform(name: &str, i: u64) -> f64 {
    let key = name.bytes().fold(0xCBF2_9CE4_8422_2325, |h: u64, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3));
    let mut x = key.wrapping_add(i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^= x >> 31;
    (x >> 40) as f64 / f64::from(1 << 24)
}
