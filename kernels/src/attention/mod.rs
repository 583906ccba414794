//! Causal grouped-query attention over ragged runs of tokens, shaped as two matrix products.
//!
//! Queries stand in columns: a panel is up to 32 (token, head) pairs that share a key head, `[channel][column]`, of as few
//! tokens as possible, since all its columns meet every key that its last token sees. Scores
//! of a block of keys are then `S[key][column] = K[key] . Q[column]`, a tile product whose left operand is the stored
//! block of keys; softmax runs down the columns, so that no vector is ever reduced; and
//! `O[channel][column] = sum_key V[key][channel] * P[key][column]` is a tile product whose left operand is the stored
//! block of values. Softmax is online (running maximum, sum and rescaled output): memory is one block of scores.
//!
//! Keys and values stand in blocks of [`KV_BLOCK`] absolute positions, found through a run's block table, laid out as
//! the left operands that they are ([`KvBlocks`]): read with a stride, they took 8 % longer at 8192 positions. Key blocks
//! therefore begin at the same positions whatever the batch, and a column's sums do not depend on other columns, so a
//! token's result is the same bits in every batch.
//!
//! Cost: `4 d` FLOP for each query-key pair, rounded up to whole tiles at the diagonal, and one exponential.
//! Source: Dao et al., "FlashAttention"; Ainslie et al., "GQA"; Milakov and Gimelshein, "Online normalizer
//! calculation for softmax".

mod heads;
mod kv;
mod shape;

pub use heads::{Heads, QkNormRope};
pub use kv::{KV_BLOCK, KvBlocks, KvPiece};
pub use shape::{AttentionShape, Run};

use crate::activation::exp;
use crate::buffer::size;
use crate::cpu::Cpu;
use crate::dispatch::Arch;
use crate::isa::Simd;
use crate::matmul::lhs::{Lhs, LhsBlock, LhsBlocks};
use crate::matmul::transpose::transpose;
use crate::pool::{Block, Blocks, Job};
use crate::tile::float32::F32;
use crate::tile::{LINE, NR, Tile, TileArgs, Write, tile};
use std::ops::Range;

/// Query rows of a task: whole tiles of every ISA, and with two heads to a key head three full panels.
const ROWS: usize = 48;

impl Cpu {
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
        let (width, tasks) = (heads * d, rows.div_ceil(ROWS) * kv_heads);
        let scratch = Columns::panels(ROWS, group) * Panel::len(d) + (KV_BLOCK + d) * NR;
        let attend = |out| {
            self.run(tasks, scratch, &Attention { queries, prepare, runs, kv, out, tasks, kv_heads, group, d });
        };
        match out.scheme() {
            None => attend(Output::Tiles(out.blocks(rows, width, ROWS, group * d))),
            Some(_) => {
                // A task's heads need not be whole blocks of integers: they are made of whole rows.
                let mut floats = out.take_floats(size(&[rows, width]));
                attend(Output::Rows(Blocks::new(&mut floats, rows, width, ROWS, group * d)));
                self.pack_lhs(&floats[..rows * width], width, out);
                out.give_floats(floats);
            }
        }
    }
}

/// Where the results go: tiles of a left operand, or rows.
enum Output<'a> {
    Tiles(LhsBlocks<'a>),
    Rows(Blocks<'a>),
}

/// A task's part of it.
enum OutputBlock<'a> {
    Tiles(LhsBlock<'a>),
    Rows(Block<'a>),
}

/// A task is [`ROWS`] query rows and one key head.
struct Attention<'a> {
    queries: Heads<'a>,
    prepare: QkNormRope<'a>,
    runs: &'a [Run<'a>],
    kv: &'a KvBlocks,
    out: Output<'a>,
    tasks: usize,
    kv_heads: usize,
    group: usize,
    d: usize,
}

impl Job for Attention<'_> {
    #[inline(always)]
    fn run<S: Arch>(&self, s: S, task: usize, scratch: &mut [f32]) {
        // Last rows first: they have the most keys.
        let task = self.tasks - 1 - task;
        let (i, head) = (task / self.kv_heads, task % self.kv_heads);
        let mut out = match &self.out {
            Output::Tiles(out) => OutputBlock::Tiles(out.take(i, head)),
            Output::Rows(out) => OutputBlock::Rows(out.take(i, head)),
        };
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

impl Segment<'_> {
    /// The position of its first token.
    fn start(&self) -> usize {
        self.run.start + self.rows.start - self.run.rows.start
    }
}

/// What a panel's columns are: some tokens of a segment under some heads of the group, head after head.
struct Columns {
    tokens: Range<usize>,
    heads: Range<usize>,
}

impl Columns {
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

    /// The column of a head's first token; the others follow.
    fn first(&self, head: usize) -> usize {
        (head - self.heads.start) * self.tokens.len()
    }
}

/// Up to [`NR`] columns of queries with their softmax state.
struct Panel<'a> {
    /// `[channel][column]`
    queries: &'a mut [f32],
    /// `[channel][column]`, not yet divided by `sums`
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
    fn attend<S: Tile<F32>>(&self, s: S, segment: &Segment, origin: usize, scratch: &mut [f32], out: &mut OutputBlock) {
        let Self { d, group, .. } = *self;
        let Segment { rows, head, run } = segment;
        let tokens = rows.len();
        let start = segment.start();
        let (shared, panels) = scratch.split_at_mut((KV_BLOCK + d) * NR);
        let (scores, staging) = shared.split_at_mut(KV_BLOCK * NR);
        let panels = &mut panels[..Columns::panels(tokens, group) * Panel::len(d)];

        // All at once, where preparing them would wait for one head after the other.
        self.fetch(s, segment, &Columns::of_panel(0, tokens, group));
        let keys = start + tokens;
        for (b, &block) in run.blocks[..keys.div_ceil(KV_BLOCK)].iter().enumerate() {
            let (block_keys, block_values) = (self.kv.keys(block, *head), self.kv.values(block, *head));
            for (p, memory) in panels.chunks_exact_mut(Panel::len(d)).enumerate() {
                let mut panel = Panel::new(memory, d);
                let columns = Columns::of_panel(p, tokens, group);
                if b == 0 {
                    // The next panel's queries come from memory while this one meets its first keys.
                    self.fetch(s, segment, &Columns::of_panel(p + 1, tokens, group));
                    self.begin(s, segment, &columns, &mut panel, staging);
                }
                let visible = (start + columns.tokens.end).saturating_sub(b * KV_BLOCK).min(KV_BLOCK);
                if visible == 0 {
                    continue;
                }
                for key in (0..visible).step_by(S::MR) {
                    tile(
                        s,
                        TileArgs::<F32> {
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
                // Up to its first token's position all columns see all keys.
                let seen = (start + columns.tokens.start + 1).saturating_sub(b * KV_BLOCK).min(visible);
                mask::<S>(s, &mut scores[seen * NR..], b * KV_BLOCK + seen, panel.positions);
                let mut scale = [0.0; NR];
                softmax::<S>(s, scores, panel.maxima, panel.sums, &mut scale);
                for channel in (0..d).step_by(S::MR) {
                    tile(
                        s,
                        TileArgs::<F32> {
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
            let columns = Columns::of_panel(p, tokens, group);
            for sum in panel.sums.iter_mut() {
                *sum = 1.0 / *sum;
            }
            match out {
                OutputBlock::Tiles(out) => self.store_tiles(s, &panel, &columns, rows.start - origin, out),
                OutputBlock::Rows(out) => self.store_rows(s, &panel, &columns, rows.start - origin, staging, out),
            }
        }
    }

    /// Asks for the queries of a panel; past the last panel there are none.
    #[inline(always)]
    fn fetch<S: Simd>(&self, s: S, segment: &Segment, columns: &Columns) {
        for token in columns.tokens.clone() {
            for g in columns.heads.clone() {
                let query = self.queries.head(segment.rows.start + token, segment.head * self.group + g, self.d);
                for line in query.chunks(LINE / size_of::<f32>()) {
                    s.prefetch_l2(line.as_ptr().cast());
                }
            }
        }
    }

    /// Begins a panel: its queries, and nothing attended to; `staging` has room for the queries, whatever is in it.
    #[inline(always)]
    fn begin<S: Simd>(&self, s: S, segment: &Segment, columns: &Columns, panel: &mut Panel, staging: &mut [f32]) {
        let (d, start) = (self.d, segment.start());
        panel.maxima.fill(f32::NEG_INFINITY);
        panel.sums.fill(0.0);
        panel.positions.fill((start + columns.tokens.start) as f32);
        panel.outputs.fill(0.0);
        for g in columns.heads.clone() {
            for (i, t) in columns.tokens.clone().enumerate() {
                let column = columns.first(g) + i;
                let q = &mut staging[column * d..][..d];
                let x = self.queries.head(segment.rows.start + t, segment.head * self.group + g, d);
                self.prepare.apply(s, x, start + t, 1.0 / (d as f32).sqrt(), q);
                panel.positions[column] = (start + t) as f32;
            }
        }
        staging[columns.first(columns.heads.end) * d..].fill(0.0);
        transpose(s, staging, d, d, NR, panel.queries, NR);
    }

    /// Takes a finished panel to its tiles; its segment's first row is the task's row `first`.
    #[inline(always)]
    fn store_tiles<S: Tile<F32>>(&self, _: S, panel: &Panel, columns: &Columns, first: usize, out: &mut LhsBlock) {
        let d = self.d;
        for g in columns.heads.clone() {
            let mut t = columns.tokens.start;
            while t < columns.tokens.end {
                let (row, column) = (first + t, columns.first(g) + t - columns.tokens.start);
                let count = (S::MR - row % S::MR).min(columns.tokens.end - t);
                let tile = &mut out.tile_mut(row / S::MR)[g * d * S::MR..][..d * S::MR];
                let inverse = &panel.sums[column..column + count];
                let outputs = panel.outputs.chunks_exact(NR).map(|row| &row[column..column + count]);
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

    /// The same to rows; `turned` has room for a panel's outputs, whatever is in it.
    #[inline(always)]
    fn store_rows<S: Simd>(
        &self,
        s: S,
        panel: &Panel,
        columns: &Columns,
        first: usize,
        turned: &mut [f32],
        out: &mut Block,
    ) {
        let d = self.d;
        transpose(s, panel.outputs, NR, NR, d, turned, d);
        for g in columns.heads.clone() {
            for (i, t) in columns.tokens.clone().enumerate() {
                let column = columns.first(g) + i;
                let out = &mut out.row_mut(first + t)[g * d..][..d];
                for (y, x) in out.iter_mut().zip(&turned[column * d..][..d]) {
                    *y = x * panel.sums[column];
                }
            }
        }
    }
}

/// Scores of keys past a column's position become minus infinity. The first key stands at position `first`.
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

/// Turns scores `[key][column]` into probabilities relative to the new maximum, and updates maximum and sum; `scale` is
/// what earlier sums and outputs are to be multiplied by.
#[inline(always)]
fn softmax<S: Simd>(s: S, scores: &mut [f32], maxima: &mut [f32; NR], sums: &mut [f32; NR], scale: &mut [f32; NR]) {
    for column in (0..NR).step_by(S::LANES) {
        let before = s.load(&maxima[column..]);
        let mut maximum = before;
        for row in scores.chunks_exact(NR) {
            maximum = s.max(s.load(&row[column..]), maximum);
        }
        let shrink = exp(s, s.sub(before, maximum));
        let mut sum = s.mul(s.load(&sums[column..]), shrink);
        for row in scores.chunks_exact_mut(NR) {
            let p = exp(s, s.sub(s.load(&row[column..]), maximum));
            s.store(p, &mut row[column..]);
            sum = s.add(sum, p);
        }
        s.store(maximum, &mut maxima[column..]);
        s.store(sum, &mut sums[column..]);
        s.store(shrink, &mut scale[column..]);
    }
}
