//! Causal grouped-query attention over ragged runs of tokens, shaped as two matrix products.
//!
//! Queries stand in lanes: a panel is up to 32 (token, head) pairs that share a key head, `[channel][lane]`, of as few
//! tokens as possible, since all its lanes meet every key that its last token sees. Scores
//! of a block of keys are then `S[key][lane] = K[key] . Q[lane]`, a tile product whose left operand is the stored
//! block of keys; softmax runs down the columns, so that no lane is ever reduced; and
//! `O[channel][lane] = sum_key V[key][channel] * P[key][lane]` is a tile product whose left operand is the stored block of
//! values. Softmax is online (running maximum, sum and rescaled output): memory is one block of scores.
//!
//! Keys and values stand in blocks of [`KV_BLOCK`] absolute positions, found through a run's block table, laid out as
//! the left operands that they are ([`KvBlocks`]): read with a stride, they took 8 % longer at 8192 positions. Key blocks
//! therefore begin at the same positions whatever the batch, and a lane's sums do not depend on other lanes, so a
//! token's result is the same bits in every batch.
//!
//! Cost: `4 d` FLOP for each query-key pair, rounded up to whole tiles at the diagonal, and one exponential.
//! Source: Dao et al., "FlashAttention"; Ainslie et al., "GQA"; Milakov and Gimelshein, "Online normalizer
//! calculation for softmax".

use crate::activation::exp;
use crate::buffer::Buffer;
use crate::cpu::Cpu;
use crate::isa::{Isa, Simd};
use crate::matmul::pack::{Lhs, size, transpose};
use crate::matmul::tile::{NR, TileArgs, Write, tile};
use crate::norm::RmsNorm;
use crate::pool::{Block, Blocks, Job};
use crate::rope::Rope;
use std::ops::Range;

/// Positions of a block of keys and values: whole tiles of every ISA, 48 KiB of keys at 128 channels.
pub const KV_BLOCK: usize = 96;

/// Query rows of a task: whole tiles of every ISA, and with two heads to a key head three full panels.
const ROWS: usize = 48;

/// Heads of one attention layer. `heads` is a multiple of `kv_heads`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionShape {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Channels of a head.
    pub head_dim: usize,
}

impl AttentionShape {
    /// Query heads that share a key head.
    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }
}

/// Some columns of a row-major matrix: the heads of a projection, side by side from `column` on.
#[derive(Clone, Copy)]
pub struct Heads<'a> {
    /// The matrix.
    pub data: &'a [f32],
    /// Its row length.
    pub stride: usize,
    /// Where the first head begins.
    pub column: usize,
}

impl<'a> Heads<'a> {
    /// Panics unless `columns` columns lie within a row.
    fn check(&self, columns: usize) {
        assert!(self.column.saturating_add(columns) <= self.stride, "the heads do not lie within a row");
    }

    #[inline(always)]
    fn head(&self, row: usize, head: usize, d: usize) -> &'a [f32] {
        &self.data[row * self.stride + self.column + head * d..][..d]
    }
}

/// What happens to a query or key head before attention: RMSNorm over its channels, then rotation to its position.
#[derive(Clone, Copy)]
pub struct QkNormRope<'a> {
    /// Weight (d) and epsilon.
    pub norm: RmsNorm<'a>,
    /// Tables for heads of `d` channels.
    pub rope: &'a Rope,
}

impl QkNormRope<'_> {
    /// Panics unless it is made for heads of `d` channels.
    fn check(&self, d: usize) {
        assert!(self.norm.weight.len() == d && self.rope.head_dim() == d, "norm and rotation are for other heads");
    }

    /// One head at `position`, the result times `scale`.
    #[inline(always)]
    fn apply<S: Simd>(&self, s: S, x: &[f32], position: usize, scale: f32, out: &mut [f32]) {
        self.norm.apply(s, x, scale, out);
        self.rope.rotate(s, position, out);
    }
}

/// Consecutive tokens of one sequence: rows of the projections, and where their sequence's keys are.
#[derive(Debug, Clone)]
pub struct Run<'a> {
    /// Rows of the projections.
    pub rows: Range<usize>,
    /// Position of the first row in its sequence.
    pub start: usize,
    /// Block table: block `b` of the sequence (positions from `b * KV_BLOCK`) is block `blocks[b]` of [`KvBlocks`].
    pub blocks: &'a [u32],
}

impl Run<'_> {
    /// What is stored of this run where it has its blocks for itself.
    pub fn pieces(&self) -> impl Iterator<Item = KvPiece> + '_ {
        let end = self.start + self.rows.len();
        (self.start / KV_BLOCK..end.div_ceil(KV_BLOCK)).map(move |b| {
            let (from, to) = (self.start.max(b * KV_BLOCK), end.min((b + 1) * KV_BLOCK));
            let first = self.rows.start + from - self.start;
            KvPiece { rows: first..first + to - from, position: from, block: self.blocks[b] }
        })
    }
}

/// Consecutive tokens whose keys and values go to one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvPiece {
    /// Rows of the projections.
    pub rows: Range<usize>,
    /// Position of the first row in its sequence; the last has the same quotient by [`KV_BLOCK`].
    pub position: usize,
    /// Block of [`KvBlocks`].
    pub block: u32,
}

/// Keys and values of one layer in blocks of [`KV_BLOCK`] positions, per key head. Each is the left operand of its
/// product, laid out as an [`Lhs`]: keys in tiles of `MR` positions by `d` steps, values in tiles of `MR` channels by
/// [`KV_BLOCK`] steps, so that a register tile reads one stretch of memory.
pub struct KvBlocks {
    keys: Buffer,
    values: Buffer,
    kv_heads: usize,
    head_dim: usize,
    mr: usize,
}

impl KvBlocks {
    /// Room for `blocks` blocks, laid out for the register tile of `isa`.
    pub fn new(isa: Isa, shape: AttentionShape, blocks: usize) -> Self {
        let (AttentionShape { kv_heads, head_dim, .. }, mr) = (shape, isa.mr());
        Self {
            keys: Buffer::zeroed(size(&[blocks, kv_heads, head_dim, KV_BLOCK])),
            values: Buffer::zeroed(size(&[blocks, kv_heads, head_dim.next_multiple_of(mr), KV_BLOCK])),
            kv_heads,
            head_dim,
            mr,
        }
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        (self.keys.len() + self.values.len()) * size_of::<f32>()
    }

    /// The stored key and value of one position, all heads: `out` (2 * kv_heads * d) becomes the keys' channels, then
    /// the values'. As [`Heads`] of such rows they can be stored again without preparation, to the same bits.
    pub fn read(&self, block: u32, slot: usize, out: &mut [f32]) {
        let (d, mr) = (self.head_dim, self.mr);
        let (keys, values) = out.split_at_mut(self.kv_heads * d);
        for (head, (key, value)) in keys.chunks_exact_mut(d).zip(values.chunks_exact_mut(d)).enumerate() {
            let tile = &self.keys(block, head)[slot / mr * mr * d..];
            key.iter_mut().enumerate().for_each(|(c, x)| *x = tile[c * mr + slot % mr]);
            let tiles = self.values(block, head).chunks_exact(mr * KV_BLOCK);
            value.chunks_mut(mr).zip(tiles).for_each(|(x, tile)| x.copy_from_slice(&tile[slot * mr..][..x.len()]));
        }
    }

    fn key_len(&self) -> usize {
        self.head_dim * KV_BLOCK
    }

    fn value_len(&self) -> usize {
        self.head_dim.next_multiple_of(self.mr) * KV_BLOCK
    }

    #[inline(always)]
    fn keys(&self, block: u32, head: usize) -> &[f32] {
        &self.keys[(block as usize * self.kv_heads + head) * self.key_len()..][..self.key_len()]
    }

    #[inline(always)]
    fn values(&self, block: u32, head: usize) -> &[f32] {
        &self.values[(block as usize * self.kv_heads + head) * self.value_len()..][..self.value_len()]
    }

    /// Panics unless it is laid out for the register tile of `isa`.
    fn check_layout(&self, isa: Isa) {
        assert_eq!(self.mr, isa.mr(), "keys and values are laid out for another instruction set");
    }
}

impl Cpu {
    /// Stores keys and values, the keys normalised and rotated first, or as they are where `prepare` is `None`.
    ///
    /// Shapes: `keys`, `values` (m, kv_heads * d). A row may go to several blocks; pieces of one block stand side by
    /// side in `pieces`. Cost: `8 d` FLOP a stored key, and one transposition.
    pub fn store_kv(
        &self,
        keys: Heads,
        values: Heads,
        prepare: Option<QkNormRope>,
        pieces: &[KvPiece],
        kv: &mut KvBlocks,
    ) {
        kv.check_layout(self.isa());
        let (heads, d, key_len, value_len) = (kv.kv_heads, kv.head_dim, kv.key_len(), kv.value_len());
        keys.check(heads * d);
        values.check(heads * d);
        prepare.iter().for_each(|prepare| prepare.check(d));
        let blocks: Vec<&[KvPiece]> = pieces.chunk_by(|a, b| a.block == b.block).collect();
        let panels = kv.keys.len() / key_len.max(1);
        let key_panels = Blocks::new(&mut kv.keys, panels, key_len, 1, key_len);
        let value_panels = Blocks::new(&mut kv.values, panels, value_len, 1, value_len);
        self.run(
            blocks.len() * heads,
            key_len,
            &StoreKv { keys, values, prepare, blocks, heads, d, key_panels, value_panels },
        );
    }

    /// `out[token][head] = sum_key softmax(q . k / sqrt(d)) * v` over the keys at or before each token's position,
    /// the queries being normalised and rotated first; the result is laid out as a left operand.
    ///
    /// Shapes: `queries` (m, heads * d), `out` becomes (m, heads * d). `runs` cover the rows `0..m` in order, and
    /// their keys up to their last position are stored in `kv`.
    pub fn attention(
        &self,
        shape: AttentionShape,
        queries: Heads,
        prepare: QkNormRope,
        runs: &[Run],
        kv: &KvBlocks,
        out: &mut Lhs,
    ) {
        let AttentionShape { heads, kv_heads, head_dim: d } = shape;
        assert!(heads.is_multiple_of(kv_heads), "{heads} heads do not share {kv_heads} key heads evenly");
        assert_eq!((kv.kv_heads, kv.head_dim), (kv_heads, d), "the keys are those of another shape");
        kv.check_layout(self.isa());
        queries.check(size(&[heads, d]));
        prepare.check(d);
        let covered = runs.iter().try_fold(0, |end, run| (run.rows.start == end).then_some(run.rows.end));
        assert!(covered.is_some(), "the runs do not cover the rows in order");
        let group = shape.group();
        let rows = runs.last().map_or(0, |run| run.rows.end);
        let out = out.blocks(rows, shape.heads * d, ROWS, group * d);
        let scratch = Lanes::panels(ROWS, group) * Panel::len(d) + (KV_BLOCK + d) * NR;
        let tasks = rows.div_ceil(ROWS) * kv_heads;
        self.run(tasks, scratch, &Attention { queries, prepare, runs, kv, out, tasks, kv_heads, group, d });
    }
}

/// A task is one block and one key head.
struct StoreKv<'a> {
    keys: Heads<'a>,
    values: Heads<'a>,
    prepare: Option<QkNormRope<'a>>,
    blocks: Vec<&'a [KvPiece]>,
    heads: usize,
    d: usize,
    key_panels: Blocks<'a>,
    value_panels: Blocks<'a>,
}

impl Job for StoreKv<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, s: S, task: usize, scratch: &mut [f32]) {
        let (pieces, head, d) = (self.blocks[task / self.heads], task % self.heads, self.d);
        let panel = pieces[0].block as usize * self.heads + head;
        let (mut keys, mut values) = (self.key_panels.take(panel, 0), self.value_panels.take(panel, 0));
        let (keys, values) = (keys.row_mut(0), values.row_mut(0));
        for piece in pieces {
            let slot = piece.position % KV_BLOCK;
            for (i, row) in piece.rows.clone().enumerate() {
                let (key, out) = (self.keys.head(row, head, d), &mut scratch[i * d..][..d]);
                match &self.prepare {
                    Some(prepare) => prepare.apply(s, key, piece.position + i, 1.0, out),
                    None => out.copy_from_slice(key),
                }
                let value = self.values.head(row, head, d).chunks(S::MR);
                for (value, tile) in value.zip(values.chunks_exact_mut(S::MR * KV_BLOCK)) {
                    tile[(slot + i) * S::MR..][..value.len()].copy_from_slice(value);
                }
            }
            let end = slot + piece.rows.len();
            for tile in slot / S::MR..end.div_ceil(S::MR) {
                let (from, to) = (slot.max(tile * S::MR), end.min((tile + 1) * S::MR));
                let tile = &mut keys[tile * S::MR * d..][..S::MR * d];
                transpose(s, &scratch[(from - slot) * d..], d, d, to - from, &mut tile[from % S::MR..], S::MR);
            }
        }
    }
}

/// A task is [`ROWS`] query rows and one key head.
struct Attention<'a> {
    queries: Heads<'a>,
    prepare: QkNormRope<'a>,
    runs: &'a [Run<'a>],
    kv: &'a KvBlocks,
    out: Blocks<'a>,
    tasks: usize,
    kv_heads: usize,
    group: usize,
    d: usize,
}

impl Job for Attention<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, s: S, task: usize, scratch: &mut [f32]) {
        // Last rows first: they have the most keys.
        let task = self.tasks - 1 - task;
        let (i, head) = (task / self.kv_heads, task % self.kv_heads);
        let mut out = self.out.take(i, head);
        let first = self.runs.partition_point(|run| run.rows.end <= i * ROWS);
        for run in self.runs[first..].iter().take_while(|run| run.rows.start < (i + 1) * ROWS) {
            let rows = run.rows.start.max(i * ROWS)..run.rows.end.min((i + 1) * ROWS);
            let segment = Segment { rows, head, run };
            self.attend::<S>(s, &segment, i * ROWS, scratch, &mut out);
        }
    }
}

/// The rows of one run that belong to one task.
struct Segment<'a> {
    rows: Range<usize>,
    head: usize,
    run: &'a Run<'a>,
}

/// What a panel's lanes are: some tokens of a segment under some heads of the group, head after head.
struct Lanes {
    tokens: Range<usize>,
    heads: Range<usize>,
}

impl Lanes {
    /// Heads of a panel, and its tokens.
    fn split(group: usize) -> (usize, usize) {
        let heads = group.min(NR);
        (heads, NR / heads)
    }

    /// Panels of a segment.
    fn panels(tokens: usize, group: usize) -> usize {
        let (heads, width) = Self::split(group);
        tokens.div_ceil(width) * group.div_ceil(heads)
    }

    /// Those of panel `p`.
    fn of_panel(p: usize, tokens: usize, group: usize) -> Self {
        let (heads, width) = Self::split(group);
        let (t, g) = (p / group.div_ceil(heads) * width, p % group.div_ceil(heads) * heads);
        Self { tokens: t..tokens.min(t + width), heads: g..group.min(g + heads) }
    }

    /// The lane of a head's first token; the others follow.
    fn first(&self, head: usize) -> usize {
        (head - self.heads.start) * self.tokens.len()
    }
}

/// Up to [`NR`] lanes of queries with their softmax state.
struct Panel<'a> {
    /// `[channel][lane]`
    queries: &'a mut [f32],
    /// `[channel][lane]`, not yet divided by `sums`
    outputs: &'a mut [f32],
    maxima: &'a mut [f32; NR],
    sums: &'a mut [f32; NR],
    positions: &'a mut [f32; NR],
}

impl<'a> Panel<'a> {
    fn len(d: usize) -> usize {
        (2 * d + 3) * NR
    }

    #[inline(always)]
    fn new(memory: &'a mut [f32], d: usize) -> Self {
        let (queries, rest) = memory.split_at_mut(d * NR);
        let (outputs, rest) = rest.split_at_mut(d * NR);
        let (rows, _) = rest.as_chunks_mut::<NR>();
        let [maxima, sums, positions] = rows else { unreachable!("a panel has three rows of state") };
        Self { queries, outputs, maxima, sums, positions }
    }
}

impl Attention<'_> {
    #[inline(always)]
    fn attend<S: Simd>(&self, s: S, segment: &Segment, origin: usize, scratch: &mut [f32], out: &mut Block) {
        let Self { d, group, .. } = *self;
        let Segment { rows, head, run } = segment;
        let tokens = rows.len();
        let start = run.start + rows.start - run.rows.start;
        let (shared, panels) = scratch.split_at_mut((KV_BLOCK + d) * NR);
        let (scores, staging) = shared.split_at_mut(KV_BLOCK * NR);
        let panels = &mut panels[..Lanes::panels(tokens, group) * Panel::len(d)];

        for (p, memory) in panels.chunks_exact_mut(Panel::len(d)).enumerate() {
            let panel = Panel::new(memory, d);
            let lanes = Lanes::of_panel(p, tokens, group);
            panel.maxima.fill(f32::NEG_INFINITY);
            panel.sums.fill(0.0);
            panel.positions.fill((start + lanes.tokens.start) as f32);
            panel.outputs.fill(0.0);
            for g in lanes.heads.clone() {
                for (i, t) in lanes.tokens.clone().enumerate() {
                    let lane = lanes.first(g) + i;
                    let q = &mut staging[lane * d..][..d];
                    let x = self.queries.head(rows.start + t, head * group + g, d);
                    self.prepare.apply(s, x, start + t, 1.0 / (d as f32).sqrt(), q);
                    panel.positions[lane] = (start + t) as f32;
                }
            }
            staging[lanes.first(lanes.heads.end) * d..].fill(0.0);
            transpose(s, staging, d, d, NR, panel.queries, NR);
        }

        let keys = start + tokens;
        for (b, &block) in run.blocks[..keys.div_ceil(KV_BLOCK)].iter().enumerate() {
            let (block_keys, block_values) = (self.kv.keys(block, *head), self.kv.values(block, *head));
            for (p, memory) in panels.chunks_exact_mut(Panel::len(d)).enumerate() {
                let panel = Panel::new(memory, d);
                let lanes = Lanes::of_panel(p, tokens, group);
                let visible = (start + lanes.tokens.end).saturating_sub(b * KV_BLOCK).min(KV_BLOCK);
                if visible == 0 {
                    continue;
                }
                for key in (0..visible).step_by(S::MR) {
                    tile(
                        s,
                        TileArgs {
                            rows: S::MR.min(visible - key),
                            depth: d,
                            a: &block_keys[key * d..],
                            b: panel.queries,
                            panels: 1,
                            b_stride: 0,
                            c: &mut scores[key * NR..],
                            c_stride: NR,
                            write: Write::Set,
                            ahead: &[],
                        },
                    );
                }
                let scores = &mut scores[..visible * NR];
                if b * KV_BLOCK + visible - 1 > start + lanes.tokens.start {
                    mask::<S>(s, scores, b * KV_BLOCK, panel.positions);
                }
                let mut scale = [0.0; NR];
                softmax::<S>(s, scores, panel.maxima, panel.sums, &mut scale);
                for channel in (0..d).step_by(S::MR) {
                    tile(
                        s,
                        TileArgs {
                            rows: S::MR.min(d - channel),
                            depth: visible,
                            a: &block_values[channel * KV_BLOCK..],
                            b: scores,
                            panels: 1,
                            b_stride: 0,
                            c: &mut panel.outputs[channel * NR..],
                            c_stride: NR,
                            write: Write::ScaleAdd(&scale),
                            ahead: &[],
                        },
                    );
                }
            }
        }

        for (p, memory) in panels.chunks_exact_mut(Panel::len(d)).enumerate() {
            let panel = Panel::new(memory, d);
            let lanes = Lanes::of_panel(p, tokens, group);
            for sum in panel.sums.iter_mut() {
                *sum = 1.0 / *sum;
            }
            for g in lanes.heads.clone() {
                let mut t = lanes.tokens.start;
                while t < lanes.tokens.end {
                    let (row, lane) = (rows.start + t - origin, lanes.first(g) + t - lanes.tokens.start);
                    let count = (S::MR - row % S::MR).min(lanes.tokens.end - t);
                    let tile = &mut out.row_mut(row / S::MR)[g * d * S::MR..][..d * S::MR];
                    let inverse = &panel.sums[lane..lane + count];
                    let outputs = panel.outputs.chunks_exact(NR).map(|row| &row[lane..lane + count]);
                    for (outputs, tile) in outputs.zip(tile.chunks_exact_mut(S::MR)) {
                        if count == S::MR {
                            // A known length: the compiler makes vectors of it.
                            for i in 0..S::MR {
                                tile[i] = outputs[i] * inverse[i];
                            }
                        } else {
                            for ((y, x), inverse) in tile[row % S::MR..].iter_mut().zip(outputs).zip(inverse) {
                                *y = x * inverse;
                            }
                        }
                    }
                    t += count;
                }
            }
        }
    }
}

/// Scores of keys past a lane's position become minus infinity. The first key stands at position `first`.
#[inline(always)]
fn mask<S: Simd>(s: S, scores: &mut [f32], first: usize, positions: &[f32; NR]) {
    for (key, row) in scores.chunks_exact_mut(NR).enumerate() {
        let key = s.splat((first + key) as f32);
        for (row, position) in row.chunks_exact_mut(S::LANES).zip(positions.chunks_exact(S::LANES)) {
            let masked = s.select_lt(s.load(position), key, s.splat(f32::NEG_INFINITY), s.load(row));
            s.store(masked, row);
        }
    }
}

/// Turns scores `[key][lane]` into probabilities relative to the new maximum, and updates maximum and sum; `scale` is
/// what earlier sums and outputs are to be multiplied by.
#[inline(always)]
fn softmax<S: Simd>(s: S, scores: &mut [f32], maxima: &mut [f32; NR], sums: &mut [f32; NR], scale: &mut [f32; NR]) {
    for lane in (0..NR).step_by(S::LANES) {
        let before = s.load(&maxima[lane..]);
        let mut maximum = before;
        for row in scores.chunks_exact(NR) {
            maximum = s.max(s.load(&row[lane..]), maximum);
        }
        let shrink = exp(s, s.sub(before, maximum));
        let mut sum = s.mul(s.load(&sums[lane..]), shrink);
        for row in scores.chunks_exact_mut(NR) {
            let p = exp(s, s.sub(s.load(&row[lane..]), maximum));
            s.store(p, &mut row[lane..]);
            sum = s.add(sum, p);
        }
        s.store(maximum, &mut maxima[lane..]);
        s.store(sum, &mut sums[lane..]);
        s.store(shrink, &mut scale[lane..]);
    }
}
