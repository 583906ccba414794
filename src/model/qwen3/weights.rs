//! The weights of a Qwen3: the checkpoint's tensors, packed for the kernels.
//!
//! Invariant: every shape is the one that the configuration gives. Made once, at start; read by [`super`] alone.

use super::super::cost::{Cost, cost};
use super::super::head::Head;
use super::super::workspace::Widths;
use crate::checkpoint::architecture::{Part, layer_tensor};
use crate::checkpoint::packed::Packed;
use crate::checkpoint::{Checkpoint, NORM};
use crate::error::Result;
use ironrank_kernels::{Rope, Storage, Weights};

pub struct ModelWeights {
    pub widths: Widths,
    pub cost: Cost,
    pub eps: f32,
    pub rope: Rope,
    /// Where matrices and embedding come from: (vocabulary, hidden), read row by row; the matrices are in `layers`
    pub packed: Packed,
    pub layers: Vec<Layer>,
    /// (hidden)
    pub norm: Vec<f32>,
    pub head: Head,
}

/// What a layer of the checkpoint's table becomes.
pub struct Layer {
    /// (hidden)
    pub input_norm: Vec<f32>,
    /// (qkv, hidden): queries, zeros up to a whole panel, keys, values
    pub qkv: Weights,
    /// (head_dim)
    pub q_norm: Vec<f32>,
    /// (head_dim)
    pub k_norm: Vec<f32>,
    /// (hidden, heads * head_dim)
    pub output: Weights,
    /// (hidden)
    pub post_norm: Vec<f32>,
    /// 2 x (intermediate, hidden)
    pub gate_up: Weights,
    /// (hidden, intermediate)
    pub down: Weights,
}

impl ModelWeights {
    /// Reads what is small; `packed` has the matrices.
    pub fn load(checkpoint: &Checkpoint, mut packed: Packed, head: Head, max_model_len: usize) -> Result<Self> {
        let config = checkpoint.config();
        let widths = Widths::of(config);
        let (parts, mut matrices) = (checkpoint.layer(), std::mem::take(&mut packed.matrices).into_iter());
        let layers = (0..config.num_hidden_layers)
            .map(|i| Layer::load(checkpoint, i, &parts, &mut matrices))
            .collect::<Result<_>>()?;
        let norm = checkpoint.vector(NORM, &[widths.hidden])?;
        checkpoint.check_unchanged()?;
        Ok(Self {
            widths,
            cost: cost(config),
            eps: config.rms_norm_eps,
            rope: Rope::new(config.rope_theta, config.head_dim, max_model_len),
            packed,
            layers,
            norm,
            head,
        })
    }

    /// How the matrices stand: all alike, or some as f32 and some as bfloat16, which multiply alike.
    pub fn storage(&self) -> Storage {
        self.layers[0].qkv.storage()
    }

    /// Bytes of packed weights, in memory or mapped, and of tables.
    pub fn bytes(&self) -> usize {
        let matrices = |layer: &Layer| [&layer.qkv, &layer.output, &layer.gate_up, &layer.down].map(Weights::bytes);
        self.layers.iter().flat_map(matrices).sum::<usize>() + self.packed.embedding.bytes() + self.rope.bytes()
    }
}

impl Layer {
    /// Reads layer `index`, which consists of `parts`; its matrices are the next of `matrices`.
    fn load(
        checkpoint: &Checkpoint,
        index: usize,
        parts: &[Part],
        matrices: &mut impl Iterator<Item = Weights>,
    ) -> Result<Self> {
        let vectors = parts.iter().filter_map(|part| match part {
            Part::Vector { name, len } => Some(checkpoint.vector(&layer_tensor(index, name), &[*len])),
            Part::Matrix(_) => None,
        });
        let mut vectors = vectors.collect::<Result<Vec<_>>>()?.into_iter();
        let mut vector = || vectors.next().expect("the table has the vectors of a layer");
        let mut matrix = || matrices.next().expect("the table has the matrices of a layer");
        // In the table's order.
        Ok(Self {
            input_norm: vector(),
            qkv: matrix(),
            output: matrix(),
            q_norm: vector(),
            k_norm: vector(),
            post_norm: vector(),
            gate_up: matrix(),
            down: matrix(),
        })
    }
}
