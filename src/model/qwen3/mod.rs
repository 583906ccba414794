//! Qwen3, dense: the forward pass of its rerankers and embedding models.
//!
//! Layer by layer over the whole batch, so that only one layer's keys and values are in memory; within a layer chunk
//! by chunk, so that the activations of a chunk stay in cache. The last layer makes keys and values of all tokens, and
//! the rest of the last tokens only. Source: the Qwen3 technical report and the checkpoint's tensor names.

mod weights;

use super::cost::CHUNK;
use super::forward::{Model, Outcome, Progress, Rows, Slot};
use super::head::{Head, LinearHead};
use super::workspace::{LayerBuffers, Widths, Workspace};
use crate::batch::{Batch, Chunk};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::packed::Packed;
use crate::error::Result;
use crate::prefix_cache::KvRows;
use ironrank_kernels::{Buffer, Cpu, Heads, QkNormRope, RmsNorm, Run};
use std::ops::Range;
use std::sync::Arc;
use weights::{Layer, ModelWeights};

/// Chunks are whole numbers of these rows: a task of attention, and whole register tiles of every ISA.
const CHUNK_STEP: usize = 48;

/// A Qwen3 with a head.
pub struct Qwen3 {
    cpu: Arc<Cpu>,
    weights: ModelWeights,
    /// One for each [`Slot`].
    slots: [SlotState; 2],
}

struct SlotState {
    workspace: Workspace,
    pass: Option<Pass>,
}

/// A batch on its way.
struct Pass {
    batch: Batch,
    /// Where it is: the layer, and rows of the batch that have been through it.
    layer: usize,
    done: usize,
    /// For each of the batch's keeps, the layers so far.
    kept: Vec<KvRows>,
    flop: u64,
}

impl Qwen3 {
    /// See [`super::load`].
    pub fn load(
        cpu: impl Into<Arc<Cpu>>,
        checkpoint: &Checkpoint,
        packed: Packed,
        head: Head,
        max_model_len: usize,
    ) -> Result<Self> {
        let cpu = cpu.into();
        let weights = cpu.spread(|| ModelWeights::load(checkpoint, packed, head, max_model_len))?;
        let workspace = || Workspace::new(cpu.isa(), weights.storage(), weights.widths, CHUNK);
        let slot = || SlotState { workspace: workspace(), pass: None };
        let slots = [slot(), slot()];
        Ok(Self { cpu, weights, slots })
    }

    /// Takes the batch through and answers, for every sequence, the last token's hidden state after the embedding, after
    /// every layer but the last, and after the last layer and the final norm: what a reference is compared with.
    pub fn last_hidden_states(&mut self, batch: Batch) -> Vec<Vec<Vec<f32>>> {
        let last = batch.last_tokens();
        let (rows, of_sequence) = (last.rows, last.of_sequence);
        let mut states = vec![Vec::new(); rows.len()];
        self.begin(Slot::Bulk, batch);
        loop {
            let workspace = &self.slots[Slot::Bulk as usize].workspace;
            for (states, &row) in states.iter_mut().zip(&rows) {
                states.push(self.weights.row(&workspace.residual, row).to_vec());
            }
            loop {
                match self.advance(Slot::Bulk) {
                    Progress::Chunk => {}
                    Progress::Layer => break,
                    Progress::Done(_) => {
                        let last = &self.slots[Slot::Bulk as usize].workspace.last;
                        for (i, states) in states.iter_mut().enumerate() {
                            states.push(self.weights.final_norm(&self.cpu, self.weights.row(last, i)));
                        }
                        return of_sequence.into_iter().map(|i| states[i].clone()).collect();
                    }
                }
            }
        }
    }
}

impl Model for Qwen3 {
    fn begin(&mut self, slot: Slot, batch: Batch) {
        let SlotState { workspace, pass } = &mut self.slots[slot as usize];
        assert!(pass.is_none() && !batch.is_empty(), "a free slot takes a batch");
        self.weights.embed(workspace, &batch);
        let kept = batch.keeps().iter().map(|_| KvRows { layers: Vec::new() }).collect();
        *pass = Some(Pass { batch, layer: 0, done: 0, kept, flop: 0 });
    }

    fn advance(&mut self, slot: Slot) -> Progress {
        let Self { cpu, weights, slots } = self;
        let SlotState { workspace, pass: held } = &mut slots[slot as usize];
        let mut pass = held.take().expect("the slot holds a batch");
        cpu.install(|| {
            if pass.done == 0 {
                weights.load_cached(cpu, workspace, &pass);
            }
            let rows = pass.next_rows();
            pass.flop += weights.forward(cpu, workspace, &pass.batch.chunk(rows.clone()), pass.layer);
            pass.done = rows.end;
            if pass.done < pass.batch.rows() {
                *held = Some(pass);
                return Progress::Chunk;
            }
            pass.keep(weights.widths, workspace);
            (pass.layer, pass.done) = (pass.layer + 1, 0);
            if pass.layer < weights.layers.len() {
                *held = Some(pass);
                return Progress::Layer;
            }
            let (rows, flop) = weights.finish(cpu, workspace, &pass.batch);
            Progress::Done(Outcome {
                rows,
                flop: pass.flop + flop,
                kept: pass.batch.into_keeps().into_iter().zip(pass.kept).collect(),
            })
        })
    }

    fn retain(&mut self, slot: Slot, wanted: &[bool]) {
        let SlotState { workspace, pass: held } = &mut self.slots[slot as usize];
        let Some(pass) = held else { return };
        assert_eq!(pass.done, 0, "sequences are dropped between layers");
        if !wanted.contains(&true) {
            *held = None;
            return;
        }
        let (hidden, mut row) = (self.weights.widths.hidden, 0);
        let (rows, keeps) = pass.batch.retain(wanted);
        for rows in rows {
            workspace.residual.copy_within(rows.start * hidden..rows.end * hidden, row * hidden);
            row += rows.len();
        }
        let mut keeps = keeps.iter();
        pass.kept.retain(|_| keeps.next() == Some(&true));
    }

    fn remaining(&self, slot: Slot) -> usize {
        self.slots[slot as usize].pass.as_ref().map_or(0, |pass| {
            let layers = self.weights.layers.len();
            (pass.batch.rows() * (layers - pass.layer) - pass.done).div_ceil(layers)
        })
    }

    fn width(&self) -> usize {
        match self.weights.head {
            Head::Margin(_) => 1,
            Head::State => self.weights.widths.hidden,
        }
    }

    fn check(&self) -> Result<()> {
        self.weights.packed.check()
    }

    fn peak(&self) -> Option<f64> {
        // What the compiler made of portable code has no peak of its own.
        (self.cpu.isa().name() != "portable").then(|| 1e9 * self.cpu.peak(self.weights.storage()))
    }

    fn bytes(&self) -> usize {
        self.weights.bytes() + self.slots.iter().map(|slot| slot.workspace.bytes()).sum::<usize>()
    }

    fn kv_bytes(&self) -> usize {
        self.weights.layers.len() * 2 * self.weights.widths.keys() * size_of::<f32>()
    }
}

impl Pass {
    /// The rows of the next chunk; chunks are about the same size, since short ones waste more of their last tiles.
    fn next_rows(&self) -> Range<usize> {
        let rows = self.batch.rows();
        let size = rows.div_ceil(rows.div_ceil(CHUNK).max(1)).next_multiple_of(CHUNK_STEP);
        self.done..rows.min(self.done + size)
    }

    /// Copies what is worth keeping of the layer just done.
    fn keep(&mut self, widths: Widths, workspace: &Workspace) {
        let width = 2 * widths.keys();
        for (keep, kept) in self.batch.keeps().iter().zip(&mut self.kept) {
            let mut rows = Buffer::zeroed((keep.token_ids.len() - keep.from) * width);
            for (i, row) in rows.chunks_exact_mut(width).enumerate() {
                let (block, slot) = self.batch.slot(keep, keep.from + i);
                workspace.layer.kv.read(block, slot, row);
            }
            kept.layers.push(rows);
        }
    }
}

impl ModelWeights {
    /// Makes room for the batch and starts its residual stream.
    fn embed(&self, ws: &mut Workspace, batch: &Batch) {
        ws.reserve(batch.rows(), batch.last_tokens().rows.len(), batch.blocks());
        for (token, x) in batch.token_ids().zip(ws.residual.chunks_exact_mut(self.widths.hidden)) {
            self.packed.embedding.read_row(token as usize, x);
        }
    }

    /// Stores the cached keys and values of the layer that begins.
    fn load_cached(&self, cpu: &Cpu, ws: &mut Workspace, pass: &Pass) {
        let keys = self.widths.keys();
        for (span, pieces) in pass.batch.cached() {
            let heads = |column| Heads { data: &span.kv.layers[pass.layer], stride: 2 * keys, column };
            cpu.store_kv(heads(0), heads(keys), None, &pieces, &mut ws.layer.kv);
        }
    }

    /// Takes a chunk through a layer, of the last one as far as keys and values; the answer is the work in FLOP.
    fn forward(&self, cpu: &Cpu, ws: &mut Workspace, chunk: &Chunk, depth: usize) -> u64 {
        let Widths { hidden, .. } = self.widths;
        let (layer, rows) = (&self.layers[depth], chunk.rows.len());
        let Workspace { residual, layer: ws, .. } = ws;
        let x = &mut residual[chunk.rows.start * hidden..chunk.rows.end * hidden];
        let last = depth + 1 == self.layers.len();
        // Of the last layer's queries only those of last tokens are needed: `finish` makes them.
        let columns = if last { self.widths.queries()..self.widths.qkv() } else { 0..self.widths.qkv() };
        layer.project(cpu, ws, x, columns.clone(), self);
        layer.store_kv(cpu, ws, chunk, columns.len(), self);
        if !last {
            layer.attend(cpu, ws, x, &chunk.runs, columns.len(), self);
        }
        let (rows, keys) = (rows as u64, attended_keys(&chunk.runs));
        match last {
            true => rows * self.cost.keys,
            false => rows * (self.cost.keys + self.cost.rest) + keys * self.cost.attention,
        }
    }

    /// Takes the last tokens through the rest of the last layer and to their rows; also the work in FLOP.
    fn finish(&self, cpu: &Cpu, ws: &mut Workspace, batch: &Batch) -> (Rows, u64) {
        let Widths { hidden, .. } = self.widths;
        let last = batch.last_tokens();
        let Workspace { residual, last: x, layer: ws, .. } = ws;
        for (&row, x) in last.rows.iter().zip(x.chunks_exact_mut(hidden)) {
            x.copy_from_slice(self.row(residual, row));
        }
        let layer = &self.layers[self.layers.len() - 1];
        for (runs, x) in last.runs.chunks(ws.rows).zip(x.chunks_mut(ws.rows * hidden)) {
            let x = &mut x[..runs.len() * hidden];
            let runs: Vec<Run> =
                runs.iter().enumerate().map(|(i, run)| Run { rows: i..i + 1, ..run.clone() }).collect();
            layer.project(cpu, ws, x, 0..self.widths.queries(), self);
            layer.attend(cpu, ws, x, &runs, self.widths.queries(), self);
        }
        let states: Vec<Vec<f32>> = (0..last.rows.len()).map(|i| self.final_norm(cpu, self.row(x, i))).collect();
        let flop = last.rows.len() as u64 * self.cost.rest + attended_keys(&last.runs) * self.cost.attention;
        let states = last.of_sequence.into_iter().map(|i| &states[i]);
        let rows = match &self.head {
            Head::Margin(LinearHead { weights, bias }) => {
                Rows { width: 1, values: states.map(|state| cpu.dot(state, weights) + bias).collect() }
            }
            Head::State => Rows { width: hidden, values: states.flatten().copied().collect() },
        };
        (rows, flop)
    }

    fn row<'a>(&self, rows: &'a [f32], row: usize) -> &'a [f32] {
        &rows[row * self.widths.hidden..][..self.widths.hidden]
    }

    fn rms_norm<'a>(&self, weight: &'a [f32]) -> RmsNorm<'a> {
        RmsNorm { weight, eps: self.eps }
    }

    fn prepare<'a>(&'a self, weight: &'a [f32]) -> QkNormRope<'a> {
        QkNormRope { norm: self.rms_norm(weight), rope: &self.rope }
    }

    fn final_norm(&self, cpu: &Cpu, x: &[f32]) -> Vec<f32> {
        let mut normed = vec![0.0; x.len()];
        cpu.rms_norm_vector(x, self.rms_norm(&self.norm), &mut normed);
        normed
    }
}

impl Layer {
    /// Some columns of the projections of `x`'s rows, into the workspace.
    fn project(&self, cpu: &Cpu, ws: &mut LayerBuffers, x: &[f32], columns: Range<usize>, model: &ModelWeights) {
        cpu.rms_norm(x, model.rms_norm(&self.input_norm), &mut ws.normed);
        let rows = x.len() / model.widths.hidden;
        cpu.matmul_columns(&ws.normed, &self.qkv, columns.clone(), &mut ws.qkv[..rows * columns.len()]);
    }

    /// Stores the chunk's keys and values, the last of `stride` projected columns.
    fn store_kv(&self, cpu: &Cpu, ws: &mut LayerBuffers, chunk: &Chunk, stride: usize, model: &ModelWeights) {
        let keys = model.widths.keys();
        let heads = |column| Heads { data: &ws.qkv[..chunk.rows.len() * stride], stride, column };
        let (keys, values) = (heads(stride - 2 * keys), heads(stride - keys));
        cpu.store_kv(keys, values, Some(model.prepare(&self.k_norm)), &chunk.pieces, &mut ws.kv);
    }

    /// Attention and MLP of `x`'s rows, whose queries are the first of `stride` projected columns.
    fn attend(
        &self,
        cpu: &Cpu,
        ws: &mut LayerBuffers,
        x: &mut [f32],
        runs: &[Run],
        stride: usize,
        model: &ModelWeights,
    ) {
        let rows = x.len() / model.widths.hidden;
        let queries = Heads { data: &ws.qkv[..rows * stride], stride, column: 0 };
        let attention = model.widths.attention;
        cpu.attention(attention, queries, model.prepare(&self.q_norm), runs, &ws.kv, &mut ws.attended);
        cpu.matmul_add(&ws.attended, &self.output, x);

        cpu.rms_norm(x, model.rms_norm(&self.post_norm), &mut ws.normed);
        cpu.matmul_silu_mul(&ws.normed, &self.gate_up, &mut ws.gated);
        cpu.matmul_add(&ws.gated, &self.down, x);
    }
}

/// Sum over all rows of the keys that each attends to.
fn attended_keys(runs: &[Run]) -> u64 {
    let keys = |run: &Run| (0..run.rows.len()).map(|i| (run.start + i + 1) as u64).sum::<u64>();
    runs.iter().map(keys).sum()
}
