//! The tree of a batch laid out: rows without padding, the block table of every run, and where its positions are stored.
//!
//! Invariant: a run's parent comes before it. Built by [`super::builder`], read by [`crate::model`].

use crate::prefix_cache::Span;
use ironrank_kernels::{KV_BLOCK, KvPiece, Run};
use std::ops::Range;

/// Sequences for one forward pass.
pub struct Batch {
    pub(super) runs: Vec<TreeRun>,
    /// The run that ends each sequence.
    pub(super) sequences: Vec<usize>,
    pub(super) keeps: Vec<Keep>,
    pub(super) rows: usize,
    pub(super) blocks: u32,
}

/// A run of the tree.
pub(super) struct TreeRun {
    parent: Option<usize>,
    /// Position of the first token in its sequences.
    start: usize,
    source: Source,
    /// Rows of the batch; none if it is loaded.
    rows: Range<usize>,
    /// Block table, from position 0 to the run's end.
    blocks: Vec<u32>,
    /// Where positions of this run are stored: in its own blocks, and in those of descendants that begin within one.
    stores: Vec<Store>,
}

pub(super) enum Source {
    Computed(Vec<u32>),
    Cached(Span),
}

impl Source {
    fn len(&self) -> usize {
        match self {
            Self::Computed(tokens) => tokens.len(),
            Self::Cached(span) => span.rows.len(),
        }
    }
}

impl TreeRun {
    pub fn new(parent: Option<usize>, start: usize, source: Source) -> Self {
        Self { parent, start, source, rows: 0..0, blocks: Vec::new(), stores: Vec::new() }
    }

    fn end(&self) -> usize {
        self.start + self.source.len()
    }
}

struct Store {
    positions: Range<usize>,
    block: u32,
}

/// The last tokens of a batch's sequences.
pub struct LastTokens<'a> {
    /// Their rows in the batch.
    pub rows: Vec<usize>,
    /// Each as a run of one row.
    pub runs: Vec<Run<'a>>,
    /// Which of them ends each sequence.
    pub of_sequence: Vec<usize>,
}

/// A prefix of a sequence whose keys and values are worth keeping.
pub struct Keep {
    /// The tokens of the whole prefix.
    pub token_ids: Vec<u32>,
    /// Position of the first that the cache does not hold.
    pub from: usize,
    pub(super) run: usize,
}

/// Consecutive rows of a batch that go through a layer together.
pub struct Chunk<'a> {
    /// Rows of the batch.
    pub rows: Range<usize>,
    /// Runs that make up the rows, in order.
    pub runs: Vec<Run<'a>>,
    /// Where the rows' keys and values are stored.
    pub pieces: Vec<KvPiece>,
}

impl Batch {
    /// Number of sequences.
    pub fn len(&self) -> usize {
        self.sequences.len()
    }

    /// Whether there are no sequences.
    pub fn is_empty(&self) -> bool {
        self.sequences.is_empty()
    }

    /// Tokens of all sequences, shared ones counted in each.
    pub fn tokens(&self) -> usize {
        self.sequences.iter().map(|&run| self.runs[run].end()).sum()
    }

    /// Tokens that are computed.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Tokens that the prefix cache gives.
    pub fn cached_tokens(&self) -> usize {
        self.runs.iter().filter(|run| matches!(run.source, Source::Cached(_))).map(|run| run.source.len()).sum()
    }

    /// Blocks of keys and values that the block tables name.
    pub fn blocks(&self) -> usize {
        self.blocks as usize
    }

    /// Token ids of all rows.
    pub fn token_ids(&self) -> impl Iterator<Item = u32> {
        let computed = self.runs.iter().filter_map(|run| match &run.source {
            Source::Computed(tokens) => Some(tokens),
            Source::Cached(_) => None,
        });
        computed.flatten().copied()
    }

    /// `rows` of the batch, in which every token comes after those before it in its sequences.
    pub fn chunk(&self, rows: Range<usize>) -> Chunk<'_> {
        let (mut runs, mut pieces) = (Vec::new(), Vec::new());
        let first = self.runs.partition_point(|run| run.rows.end <= rows.start);
        for run in self.runs[first..].iter().take_while(|run| run.rows.start < rows.end) {
            let (from, to) = (run.rows.start.max(rows.start), run.rows.end.min(rows.end));
            if from < to {
                let start = run.start + from - run.rows.start;
                let chunk = from - rows.start..to - rows.start;
                pieces.extend(run.pieces(start..start + chunk.len(), chunk.start));
                runs.push(Run { rows: chunk, start, blocks: &run.blocks });
            }
        }
        pieces.sort_by_key(|piece| piece.block);
        Chunk { rows, runs, pieces }
    }

    /// What the prefix cache holds, with the pieces that store it; their rows are rows of the content.
    pub fn cached(&self) -> impl Iterator<Item = (&Span, Vec<KvPiece>)> {
        self.runs.iter().filter_map(|run| match &run.source {
            Source::Computed(_) => None,
            Source::Cached(span) => {
                let mut pieces: Vec<KvPiece> = run.pieces(run.start..run.end(), span.rows.start).collect();
                pieces.sort_by_key(|piece| piece.block);
                Some((span, pieces))
            }
        })
    }

    /// The last tokens of all sequences as runs of one row each; sequences that are the same have one between them.
    pub fn last_tokens(&self) -> LastTokens<'_> {
        let mut ends = self.sequences.clone();
        ends.sort_unstable();
        ends.dedup();
        let rows = ends.iter().map(|&run| self.runs[run].rows.end - 1).collect();
        let one = |(i, &run): (usize, &usize)| {
            let run = &self.runs[run];
            Run { rows: i..i + 1, start: run.end() - 1, blocks: &run.blocks }
        };
        let runs = ends.iter().enumerate().map(one).collect();
        let of = |run| ends.partition_point(|&end| end < run);
        LastTokens { rows, runs, of_sequence: self.sequences.iter().map(|&run| of(run)).collect() }
    }

    /// The prefixes whose keys and values are worth keeping.
    pub fn keeps(&self) -> &[Keep] {
        &self.keeps
    }

    /// The same, when the batch is done.
    pub fn into_keeps(self) -> Vec<Keep> {
        self.keeps
    }

    /// Where position `position` of `keep` is stored: block and slot.
    pub fn slot(&self, keep: &Keep, position: usize) -> (u32, usize) {
        (self.runs[keep.run].blocks[position / KV_BLOCK], position % KV_BLOCK)
    }

    /// Drops the sequences that are not `wanted` (one flag a sequence) with all that only they need, and gives
    /// every row a new place; the answer is which rows of before are left, in order, and which keeps (one flag each).
    pub fn retain(&mut self, wanted: &[bool]) -> (Vec<Range<usize>>, Vec<bool>) {
        let mut needed = vec![false; self.runs.len()];
        self.sequences.iter().zip(wanted).filter(|(_, wanted)| **wanted).for_each(|(&run, _)| needed[run] = true);
        for run in (0..self.runs.len()).rev() {
            if let (true, Some(parent)) = (needed[run], self.runs[run].parent) {
                needed[parent] = true;
            }
        }
        let mut place = vec![usize::MAX; self.runs.len()];
        let (mut rows, mut left) = (Vec::new(), 0);
        for (run, _) in needed.iter().enumerate().filter(|(_, needed)| **needed) {
            (place[run], left) = (left, left + 1);
            rows.push(self.runs[run].rows.clone());
        }
        let mut wanted = wanted.iter();
        self.sequences.retain(|_| wanted.next() == Some(&true));
        self.sequences.iter_mut().for_each(|run| *run = place[*run]);
        let kept = self.keeps.iter().map(|keep| needed[keep.run]).collect();
        self.keeps.retain(|keep| needed[keep.run]);
        self.keeps.iter_mut().for_each(|keep| keep.run = place[keep.run]);
        let mut needed = needed.iter();
        self.runs.retain(|_| needed.next() == Some(&true));
        self.runs.iter_mut().for_each(|run| run.parent = run.parent.map(|parent| place[parent]));
        self.lay_out();
        (rows, kept)
    }

    /// Gives every run its rows, its blocks and the places where its positions are stored.
    pub(super) fn lay_out(&mut self) {
        (self.rows, self.blocks) = (0, 0);
        let mut tail_taken = vec![false; self.runs.len()];
        for index in 0..self.runs.len() {
            let (before, rest) = self.runs.split_at_mut(index);
            let run = &mut rest[0];
            let computed = if matches!(run.source, Source::Computed(_)) { run.source.len() } else { 0 };
            run.rows = self.rows..self.rows + computed;
            self.rows += computed;
            run.stores.clear();
            run.blocks.clear();
            let mut fresh = self.blocks;
            if let Some(parent) = run.parent {
                // The first child goes on in the block that the parent has begun.
                let shared = if tail_taken[parent] { run.start / KV_BLOCK } else { run.start.div_ceil(KV_BLOCK) };
                tail_taken[parent] = true;
                run.blocks.extend_from_slice(&before[parent].blocks[..shared]);
            }
            let own = run.blocks.len();
            let end = run.end();
            run.blocks.resize_with(end.div_ceil(KV_BLOCK), || {
                fresh += 1;
                fresh - 1
            });
            self.blocks = fresh;
            for b in run.start / KV_BLOCK..run.blocks.len() {
                let positions = run.start.max(b * KV_BLOCK)..end.min((b + 1) * KV_BLOCK);
                run.stores.push(Store { positions, block: run.blocks[b] });
            }
            // What stands before the run in a first block of its own.
            if own * KV_BLOCK < run.start {
                let (block, mut until, mut ancestor) = (run.blocks[own], run.start, run.parent);
                while let Some(index) = ancestor.filter(|_| until > own * KV_BLOCK) {
                    let run = &mut before[index];
                    let from = run.start.max(own * KV_BLOCK);
                    run.stores.push(Store { positions: from..until, block });
                    (until, ancestor) = (from, run.parent);
                }
            }
        }
    }

    /// Of the sequence that ends with `run`: the run that holds its first `prefix` tokens' last, and how many of them
    /// the cache holds; `None` if that is all of them, or if they are kept already.
    pub(super) fn worth_keeping(&self, run: usize, prefix: usize) -> Option<(usize, usize)> {
        let ancestors = || std::iter::successors(Some(run), |&run| self.runs[run].parent);
        let run = ancestors().find(|&run| self.runs[run].start < prefix)?;
        let cached = ancestors().find(|&run| matches!(self.runs[run].source, Source::Cached(_)));
        let from = cached.map_or(0, |run| self.runs[run].end());
        let kept = self.keeps.iter().any(|keep| keep.run == run && keep.token_ids.len() == prefix);
        (from < prefix && !kept).then_some((run, from))
    }
}

impl TreeRun {
    /// Pieces that store `positions` of this run, whose first is row `row`.
    fn pieces(&self, positions: Range<usize>, row: usize) -> impl Iterator<Item = KvPiece> {
        self.stores.iter().filter_map(move |store| {
            let (from, to) = (store.positions.start.max(positions.start), store.positions.end.min(positions.end));
            let first = row + from.saturating_sub(positions.start);
            (from < to).then(|| KvPiece { rows: first..first + to - from, position: from, block: store.block })
        })
    }
}
