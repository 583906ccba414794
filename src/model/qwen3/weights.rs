//! The weights of a Qwen3 reranker: the checkpoint's tensors, packed for the kernels.
//!
//! Invariant: every shape is the one that the configuration gives. Made once, at start; read by [`super`] alone.

use super::super::AnswerTokens;
use super::super::workspace::Widths;
use crate::checkpoint::{Checkpoint, Head, Tensor};
use crate::error::Result;
use ironrank_kernels::{AttentionShape, Cpu, Rope, Weights};

pub struct ModelWeights {
    pub widths: Widths,
    pub eps: f32,
    pub rope: Rope,
    /// (vocabulary, hidden), read row by row from the checkpoint
    pub embedding: Tensor,
    pub layers: Vec<Layer>,
    /// (hidden)
    pub norm: Vec<f32>,
    /// (hidden): the yes row of the output matrix minus the no row, or the score head
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

impl ModelWeights {
    pub fn load(
        cpu: &Cpu,
        checkpoint: &Checkpoint,
        answers: Option<AnswerTokens>,
        max_model_len: usize,
    ) -> Result<Self> {
        let config = checkpoint.config();
        let attention = AttentionShape {
            heads: config.num_attention_heads,
            kv_heads: config.num_key_value_heads,
            head_dim: config.head_dim,
        };
        let widths = Widths { hidden: config.hidden_size, intermediate: config.intermediate_size, attention };
        let vector = |name: &str, len: usize| -> Result<Vec<f32>> {
            let mut out = vec![0.0; len];
            checkpoint.tensor(name, &[len])?.read_row(0, &mut out);
            Ok(out)
        };
        let embedding = checkpoint.tensor("model.embed_tokens.weight", &[config.vocab_size, config.hidden_size])?;
        let (head, bias) = match (checkpoint.head(), answers) {
            (Head::Score { bias }, _) => {
                let mut head = vec![0.0; widths.hidden];
                checkpoint.tensor("score.weight", &[1, widths.hidden])?.read_row(0, &mut head);
                (head, if bias { vector("score.bias", 1)?[0] } else { 0.0 })
            }
            (Head::Tokens, Some(answers)) => {
                let output = checkpoint.output_matrix()?;
                let (mut yes, mut no) = (vec![0.0; widths.hidden], vec![0.0; widths.hidden]);
                output.read_row(answers.yes as usize, &mut yes);
                output.read_row(answers.no as usize, &mut no);
                (yes.iter().zip(no).map(|(yes, no)| yes - no).collect(), 0.0)
            }
            (Head::Tokens, None) => unreachable!("a checkpoint without a score head names its answer tokens"),
        };
        let layers =
            (0..config.num_hidden_layers).map(|i| Layer::load(cpu, checkpoint, widths, i)).collect::<Result<_>>()?;
        Ok(Self {
            widths,
            eps: config.rms_norm_eps,
            rope: Rope::new(config.rope_theta, config.head_dim, max_model_len),
            embedding,
            layers,
            norm: vector("model.norm.weight", widths.hidden)?,
            head,
            bias,
        })
    }

    /// Bytes of packed weights and tables.
    pub fn bytes(&self) -> usize {
        let matrices = |layer: &Layer| [&layer.qkv, &layer.output, &layer.gate_up, &layer.down].map(Weights::bytes);
        self.layers.iter().flat_map(matrices).sum::<usize>() + self.rope.bytes()
    }
}

impl Layer {
    fn load(cpu: &Cpu, checkpoint: &Checkpoint, widths: Widths, index: usize) -> Result<Self> {
        let Widths { hidden, intermediate, attention } = widths;
        let (q, kv) = (attention.heads * attention.head_dim, attention.kv_heads * attention.head_dim);
        let tensor =
            |name: &str, shape: &[usize]| checkpoint.tensor(&format!("model.layers.{index}.{name}.weight"), shape);
        let vector = |name: &str, len: usize| -> Result<Vec<f32>> {
            let mut out = vec![0.0; len];
            tensor(name, &[len])?.read_row(0, &mut out);
            Ok(out)
        };
        let (queries, keys, values) = (
            tensor("self_attn.q_proj", &[q, hidden])?,
            tensor("self_attn.k_proj", &[kv, hidden])?,
            tensor("self_attn.v_proj", &[kv, hidden])?,
        );
        let first_key = widths.queries();
        let qkv = Weights::pack(cpu, hidden, widths.qkv(), |row, out| match row {
            row if row < q => queries.read_row(row, out),
            row if row < first_key => out.fill(0.0),
            row if row < first_key + kv => keys.read_row(row - first_key, out),
            row => values.read_row(row - first_key - kv, out),
        });
        let output = tensor("self_attn.o_proj", &[hidden, q])?;
        let (gate, up) =
            (tensor("mlp.gate_proj", &[intermediate, hidden])?, tensor("mlp.up_proj", &[intermediate, hidden])?);
        let down = tensor("mlp.down_proj", &[hidden, intermediate])?;
        // The gated unit comes in whole panels; its surplus columns are zeros and so are the weights they meet.
        let depth = intermediate.next_multiple_of(ironrank_kernels::NR);
        Ok(Self {
            input_norm: vector("input_layernorm", hidden)?,
            qkv,
            q_norm: vector("self_attn.q_norm", attention.head_dim)?,
            k_norm: vector("self_attn.k_norm", attention.head_dim)?,
            output: Weights::pack(cpu, q, hidden, |row, out| output.read_row(row, out)),
            post_norm: vector("post_attention_layernorm", hidden)?,
            gate_up: Weights::pack_gated(
                cpu,
                hidden,
                intermediate,
                |row, out| gate.read_row(row, out),
                |row, out| up.read_row(row, out),
            ),
            down: Weights::pack(cpu, depth, hidden, |row, out| {
                let (weights, surplus) = out.split_at_mut(intermediate);
                down.read_row(row, weights);
                surplus.fill(0.0);
            }),
        })
    }
}
