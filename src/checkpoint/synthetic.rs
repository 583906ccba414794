//! Weights that are a pure function of the tensor's name and the flat index: `--load-format dummy`, and the tests.
//!
//! Invariant: bit for bit the synthetic checkpoint of seed 0 that the golden scores were computed on. With
//! `key = FNV-1a-64(name)` and `u(i) = (splitmix64(key + i * GOLDEN) >> 40) * 2^-24`, weight `i` is
//! `centre + half_width * (2 u(i) - 1)` in f64, rounded once to f32 and then to the checkpoint's type. The scales make
//! attention peaked, outlier channels and margins that spread, so that a wrong forward pass shows; scores mean nothing.
//! Called by `Tensor::read_row`.

use super::names::{EMBEDDING, NORM, OUTPUT, SCORE};

/// 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
/// Every 251st channel of a layer norm, from channel 7 on, is six times as large.
const OUTLIER_EVERY: usize = 251;

/// The distribution of one tensor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Synthetic {
    key: u64,
    centre: f64,
    half_width: f64,
    outliers: bool,
}

impl Synthetic {
    /// The weights of the tensor `name`, whose rows have `cols` values.
    pub(super) fn new(name: &str, cols: usize) -> Self {
        let (centre, half_width) = scale(name, cols);
        Self { key: fnv1a(name), centre, half_width, outliers: name.ends_with("layernorm.weight") }
    }

    /// Weights `start..start + out.len()` of the flat tensor, rounded to f32.
    pub(super) fn fill(&self, start: usize, out: &mut [f32]) {
        for (i, value) in (start..).zip(out.iter_mut()) {
            *value = self.weight(i) as f32;
        }
        if self.outliers {
            for (i, value) in (start..).zip(out.iter_mut()).filter(|(i, _)| i % OUTLIER_EVERY == 7) {
                *value = (self.weight(i) * 6.0) as f32;
            }
        }
    }

    fn weight(&self, i: usize) -> f64 {
        let mut x = self.key.wrapping_add((i as u64).wrapping_mul(GOLDEN));
        x ^= x >> 30;
        x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x ^= x >> 27;
        x = x.wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^= x >> 31;
        // 24 bits fit an i32, from which every vector unit converts to f64; from a u64 only AVX-512 does.
        let u = f64::from((x >> 40) as i32) * (1.0 / 16_777_216.0);
        self.centre + self.half_width * (2.0 * u - 1.0)
    }
}

/// Centre and half-width of a tensor's uniform distribution.
fn scale(name: &str, cols: usize) -> (f64, f64) {
    let root3 = 3f64.sqrt();
    if name.ends_with("q_norm.weight") || name.ends_with("k_norm.weight") {
        return (1.75, 0.5);
    }
    if name == NORM {
        return (2.0, 0.5);
    }
    if name.ends_with("layernorm.weight") {
        return (1.0, 0.4);
    }
    if matches!(name, EMBEDDING | OUTPUT | SCORE) {
        return (0.0, 0.03 * root3);
    }
    let residual = name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight");
    let gain = if residual { 0.6 } else { 1.0 };
    (0.0, gain * root3 / (cols as f64).sqrt())
}

fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3))
}
