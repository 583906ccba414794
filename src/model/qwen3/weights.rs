//! The weights of a Qwen3 reranker: the checkpoint's tensors, packed for the kernels.
//!
//! Invariant: every shape is the one that the configuration gives. Made once, at start; read by [`super`] alone.

use super::super::cost::{Cost, cost};
use super::super::head::LinearHead;
use super::super::workspace::Widths;
use crate::checkpoint::packed::{self, Packed};
use crate::checkpoint::{Checkpoint, Config};
use crate::error::{Error, ErrorKind, Result};
use ironrank_kernels::{Cpu, NR, Rope, Storage, Weights};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Matrices of a layer.
const MATRICES: usize = 4;

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
    /// (hidden): the weights of the [`LinearHead`]
    pub head: Vec<f32>,
    pub bias: f32,
}

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

/// The matrices and the embedding that an earlier start has left in the directory `cache`.
pub fn find(cpu: &Cpu, checkpoint: &Checkpoint, cache: &Path) -> Option<Packed> {
    packed::open(cpu, checkpoint, cache, &shapes(checkpoint.config()))
}

/// The matrices and the embedding, packed unless the directory `cache` has them.
pub fn pack(cpu: &Cpu, checkpoint: &Checkpoint, cache: Option<&Path>) -> Result<Packed> {
    let widths = Widths::of(checkpoint.config());
    packed::load(cpu, checkpoint, cache, &shapes(checkpoint.config()), |i| {
        Layer::pack(cpu, checkpoint, widths, i / MATRICES, i % MATRICES)
    })
}

/// Depth and outputs of all matrices, in the order of the layers.
fn shapes(config: &Config) -> Vec<packed::Shape> {
    Widths::of(config).matrices().repeat(config.num_hidden_layers)
}

impl ModelWeights {
    /// Reads what is small; `packed` are the matrices of [`pack`] or [`find`].
    pub fn load(
        checkpoint: &Checkpoint,
        mut packed: Packed,
        LinearHead { weights: head, bias }: LinearHead,
        max_model_len: usize,
    ) -> Result<Self> {
        let config = checkpoint.config();
        let widths = Widths::of(config);
        let mut matrices = std::mem::take(&mut packed.matrices).into_iter();
        let mut next = || matrices.next().expect("every layer has its matrices");
        let layers = (0..config.num_hidden_layers)
            .map(|i| Layer::load(checkpoint, widths, i, [next(), next(), next(), next()]))
            .collect::<Result<_>>()?;
        let norm = checkpoint.vector("model.norm.weight", &[widths.hidden])?;
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
            bias,
        })
    }

    /// Bytes of packed weights, in memory or mapped, and of tables.
    pub fn bytes(&self) -> usize {
        let matrices = |layer: &Layer| [&layer.qkv, &layer.output, &layer.gate_up, &layer.down].map(Weights::bytes);
        self.layers.iter().flat_map(matrices).sum::<usize>() + self.packed.embedding.bytes() + self.rope.bytes()
    }
}

impl Layer {
    /// Reads what is small; the matrices are as [`Layer::pack`] numbers them.
    fn load(
        checkpoint: &Checkpoint,
        widths: Widths,
        index: usize,
        [qkv, output, gate_up, down]: [Weights; MATRICES],
    ) -> Result<Self> {
        let vector = |name: &str, len| checkpoint.vector(&layer_tensor(index, name), &[len]);
        Ok(Self {
            input_norm: vector("input_layernorm", widths.hidden)?,
            qkv,
            q_norm: vector("self_attn.q_norm", widths.attention.head_dim)?,
            k_norm: vector("self_attn.k_norm", widths.attention.head_dim)?,
            output,
            post_norm: vector("post_attention_layernorm", widths.hidden)?,
            gate_up,
            down,
        })
    }

    /// Packs one matrix of layer `index`, in the order of [`Widths::matrices`]; an error if a number of it is none.
    fn pack(cpu: &Cpu, checkpoint: &Checkpoint, widths: Widths, index: usize, matrix: usize) -> Result<Weights> {
        let Widths { hidden, intermediate, attention } = widths;
        let (q, kv) = (attention.heads * attention.head_dim, widths.keys());
        let broken = AtomicBool::new(false);
        let tensor = |name: &str, shape: [usize; 2]| {
            let (tensor, broken) = (checkpoint.tensor(&layer_tensor(index, name), &shape)?, &broken);
            Ok(move |row: usize, out: &mut [f32]| {
                tensor.read_row(row, out);
                // Without a branch for each number, so that it vectorises.
                if !out.iter().fold(true, |good, number| good & number.is_finite()) {
                    broken.store(true, Ordering::Relaxed);
                }
            })
        };
        let [qkv_shape, output_shape, _, down_shape] = widths.matrices();
        let packed = match matrix {
            0 => {
                let queries = tensor("self_attn.q_proj", [q, hidden])?;
                let keys = tensor("self_attn.k_proj", [kv, hidden])?;
                let values = tensor("self_attn.v_proj", [kv, hidden])?;
                let first_key = widths.queries();
                Weights::pack(cpu, Storage::F32, qkv_shape.0, qkv_shape.1, |row, out| match row {
                    row if row < q => queries(row, out),
                    row if row < first_key => out.fill(0.0),
                    row if row < first_key + kv => keys(row - first_key, out),
                    row => values(row - first_key - kv, out),
                })
            }
            1 => {
                let output = tensor("self_attn.o_proj", [hidden, q])?;
                Weights::pack(cpu, Storage::F32, output_shape.0, output_shape.1, output)
            }
            2 => {
                let gate = tensor("mlp.gate_proj", [intermediate, hidden])?;
                let up = tensor("mlp.up_proj", [intermediate, hidden])?;
                Weights::pack_gated(cpu, Storage::F32, hidden, intermediate, gate, up)
            }
            _ => {
                let down = tensor("mlp.down_proj", [hidden, intermediate])?;
                Weights::pack(cpu, Storage::F32, down_shape.0, down_shape.1, |row, out| {
                    let (weights, surplus) = out.split_at_mut(intermediate);
                    down(row, weights);
                    surplus.fill(0.0);
                })
            }
        };
        match broken.into_inner() {
            true => Err(Error::new(
                ErrorKind::Checkpoint,
                format!(
                    "The checkpoint has NaN or infinity in a matrix of layer {index}: its file is damaged or was not \
                     copied to its end; fetch it again."
                ),
            )),
            false => Ok(packed),
        }
    }
}

/// The name of a tensor of layer `index`.
fn layer_tensor(index: usize, name: &str) -> String {
    format!("model.layers.{index}.{name}.weight")
}

impl Widths {
    /// Depth and outputs of a layer's matrices: queries, keys and values; output; gate and up; down.
    fn matrices(self) -> [packed::Shape; MATRICES] {
        // The gated unit comes in whole panels; its surplus columns are zeros and so are the weights they meet.
        let gated = self.intermediate.next_multiple_of(NR);
        let queries = self.attention.heads * self.attention.head_dim;
        [(self.hidden, self.qkv()), (queries, self.hidden), (self.hidden, 2 * gated), (gated, self.hidden)]
    }
}
