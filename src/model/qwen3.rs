//! Qwen3, dense: the forward pass of its rerankers.
//!
//! Layer by layer over the whole batch, so that only one layer's keys and values are in memory; within a layer chunk
//! by chunk, so that the activations of a chunk stay in cache. Source: the Qwen3 technical report and the checkpoint's
//! tensor names.

use super::workspace::{Widths, Workspace};
use super::{AnswerTokens, Model};
use crate::batch::{Batch, Chunk};
use crate::checkpoint::{Checkpoint, Head, Tensor};
use crate::error::Result;
use ironrank_kernels::{AttentionShape, Cpu, Heads, QkNormRope, RmsNorm, Rope, Run, Weights};

/// Rows of a chunk: long enough that a layer's weights, read from memory once a chunk, cost nothing.
const CHUNK: usize = 768;

/// A Qwen3 reranker.
pub(super) struct Qwen3 {
    cpu: Cpu,
    weights: ModelWeights,
    workspace: Workspace,
}

struct ModelWeights {
    widths: Widths,
    eps: f32,
    rope: Rope,
    /// (vocabulary, hidden), read row by row from the checkpoint
    embedding: Tensor,
    layers: Vec<Layer>,
    /// (hidden)
    norm: Vec<f32>,
    /// (hidden): the yes row of the output matrix minus the no row, or the score head
    head: Vec<f32>,
    bias: f32,
}

struct Layer {
    /// (hidden)
    input_norm: Vec<f32>,
    /// (qkv, hidden): queries, keys, values
    qkv: Weights,
    /// (head_dim)
    q_norm: Vec<f32>,
    /// (head_dim)
    k_norm: Vec<f32>,
    /// (hidden, heads * head_dim)
    output: Weights,
    /// (hidden)
    post_norm: Vec<f32>,
    /// 2 x (intermediate, hidden)
    gate_up: Weights,
    /// (hidden, intermediate)
    down: Weights,
}

impl Qwen3 {
    pub fn load(
        cpu: Cpu,
        checkpoint: &Checkpoint,
        answers: Option<AnswerTokens>,
        max_model_len: usize,
    ) -> Result<Self> {
        let weights = ModelWeights::load(&cpu, checkpoint, answers, max_model_len)?;
        let workspace = Workspace::new(cpu.isa(), weights.widths, CHUNK);
        Ok(Self { cpu, weights, workspace })
    }
}

impl Model for Qwen3 {
    fn margins(&mut self, batch: &Batch) -> Vec<f32> {
        let Self { cpu, weights, workspace } = self;
        cpu.install(|| {
            weights.forward(cpu, workspace, batch, |_, _| {});
            batch.last_rows().map(|row| weights.margin(cpu, weights.row(workspace, row))).collect()
        })
    }

    fn last_hidden_states(&mut self, batch: &Batch) -> Vec<Vec<Vec<f32>>> {
        let Self { cpu, weights, workspace } = self;
        let mut states = vec![Vec::new(); batch.len()];
        cpu.install(|| {
            weights.forward(cpu, workspace, batch, |depth, workspace| {
                for (states, row) in states.iter_mut().zip(batch.last_rows()) {
                    let x = weights.row(workspace, row);
                    states.push(if depth == weights.layers.len() { weights.final_norm(cpu, x) } else { x.to_vec() });
                }
            });
        });
        states
    }

    fn bytes(&self) -> usize {
        self.weights.bytes() + self.workspace.bytes()
    }
}

impl ModelWeights {
    fn load(cpu: &Cpu, checkpoint: &Checkpoint, answers: Option<AnswerTokens>, max_model_len: usize) -> Result<Self> {
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

    /// Takes the residual stream of `batch` through all layers. `inspect` sees it after the embedding (depth 0) and
    /// after every layer.
    fn forward(&self, cpu: &Cpu, ws: &mut Workspace, batch: &Batch, mut inspect: impl FnMut(usize, &Workspace)) {
        let hidden = self.widths.hidden;
        ws.reserve(batch.token_ids().len(), batch.blocks());
        for (&token, x) in batch.token_ids().iter().zip(ws.residual.chunks_exact_mut(hidden)) {
            self.embedding.read_row(token as usize, x);
        }
        inspect(0, ws);
        let chunks = batch.chunks(ws.rows);
        for (depth, layer) in self.layers.iter().enumerate() {
            for chunk in &chunks {
                layer.forward(cpu, ws, chunk, self);
            }
            inspect(depth + 1, ws);
        }
    }

    fn row<'a>(&self, ws: &'a Workspace, row: usize) -> &'a [f32] {
        &ws.residual[row * self.widths.hidden..][..self.widths.hidden]
    }

    fn rms_norm<'a>(&self, weight: &'a [f32]) -> RmsNorm<'a> {
        RmsNorm { weight, eps: self.eps }
    }

    fn final_norm(&self, cpu: &Cpu, x: &[f32]) -> Vec<f32> {
        let mut normed = vec![0.0; x.len()];
        cpu.rms_norm_vector(x, self.rms_norm(&self.norm), &mut normed);
        normed
    }

    fn margin(&self, cpu: &Cpu, x: &[f32]) -> f32 {
        cpu.dot(&self.final_norm(cpu, x), &self.head) + self.bias
    }

    fn bytes(&self) -> usize {
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
        let qkv = Weights::pack(cpu, hidden, q + 2 * kv, |row, out| match row {
            row if row < q => queries.read_row(row, out),
            row if row < q + kv => keys.read_row(row - q, out),
            row => values.read_row(row - q - kv, out),
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

    fn forward(&self, cpu: &Cpu, ws: &mut Workspace, chunk: &Chunk, model: &ModelWeights) {
        let Widths { hidden, attention, .. } = model.widths;
        let (d, stride, rows) = (attention.head_dim, model.widths.qkv(), chunk.rows.len());
        let norm = |weight| model.rms_norm(weight);
        let prepare = |weight| QkNormRope { norm: norm(weight), rope: &model.rope };
        let runs: Vec<Run> = chunk
            .pieces
            .iter()
            .map(|piece| Run { rows: piece.rows.clone(), start: piece.start, blocks: piece.blocks })
            .collect();
        let x = &mut ws.residual[chunk.rows.start * hidden..chunk.rows.end * hidden];

        cpu.rms_norm(x, norm(&self.input_norm), &mut ws.normed);
        cpu.matmul(&ws.normed, &self.qkv, &mut ws.qkv[..rows * stride]);
        let heads = |first: usize| Heads { data: &ws.qkv[..rows * stride], stride, column: first * d };
        let (queries, keys) = (heads(0), heads(attention.heads));
        let values = heads(attention.heads + attention.kv_heads);
        cpu.store_kv(keys, values, prepare(&self.k_norm), &runs, &mut ws.kv);
        cpu.attention(attention, queries, prepare(&self.q_norm), &runs, &ws.kv, &mut ws.attended);
        cpu.matmul_add(&ws.attended, &self.output, x);

        cpu.rms_norm(x, norm(&self.post_norm), &mut ws.normed);
        cpu.matmul_silu_mul(&ws.normed, &self.gate_up, &mut ws.gated);
        cpu.matmul_add(&ws.gated, &self.down, x);
    }
}
