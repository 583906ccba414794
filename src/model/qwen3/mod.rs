//! Qwen3, dense: the forward pass of its rerankers.
//!
//! Layer by layer over the whole batch, so that only one layer's keys and values are in memory; within a layer chunk
//! by chunk, so that the activations of a chunk stay in cache. Source: the Qwen3 technical report and the checkpoint's
//! tensor names.

mod weights;

use super::workspace::{Widths, Workspace};
use super::{AnswerTokens, Model};
use crate::batch::{Batch, Chunk};
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use ironrank_kernels::{Cpu, Heads, QkNormRope, RmsNorm, Run};
use weights::{Layer, ModelWeights};

/// Rows of a chunk: long enough that a layer's weights, read from memory once a chunk, cost nothing.
const CHUNK: usize = 768;

/// A Qwen3 reranker.
pub(super) struct Qwen3 {
    cpu: Cpu,
    weights: ModelWeights,
    workspace: Workspace,
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
}

impl Layer {
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
