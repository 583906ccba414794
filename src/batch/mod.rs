//! A batch: the token sequences of one forward pass as a tree of runs, packed without padding, with the block table of
//! each run's keys and values.
//!
//! What sequences begin with together is one run, computed once; what the prefix cache holds is a run that is loaded.
//! Every run's keys and values stand in blocks of absolute position: where a run begins within a block, the tokens
//! before it in that block are stored there again. Attention therefore adds in the same order whatever the tree's
//! shape, and a sequence's result is the same bits as alone.
//!
//! Invariant: a run's parent comes before it; the last token of every sequence is computed, never loaded. Made by
//! [`crate::engine`], read by [`crate::model`].

mod tree;

use crate::prefix_cache::{PrefixCache, Span};
use crate::prompt::Prompt;
use ironrank_kernels::{KV_BLOCK, KvPiece, Run};
use std::ops::Range;
use tree::Tree;

/// Sequences for one forward pass.
pub struct Batch {
    runs: Vec<Node>,
    /// The run that ends each sequence.
    sequences: Vec<usize>,
    keeps: Vec<Keep>,
    rows: usize,
    blocks: u32,
}

/// A run of the tree.
struct Node {
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

enum Source {
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

impl Node {
    fn new(parent: Option<usize>, start: usize, source: Source) -> Self {
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

/// The beginning of a sequence whose keys and values are worth keeping.
pub struct Keep {
    /// The tokens of the whole beginning.
    pub token_ids: Vec<u32>,
    /// Position of the first that the cache does not hold.
    pub from: usize,
    run: usize,
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

/// Collects sequences for a [`Batch`].
#[derive(Default)]
pub struct BatchBuilder {
    tree: Tree,
    /// The node that ends each sequence, and how many tokens of it are worth keeping.
    sequences: Vec<(usize, usize)>,
}

/// What a sequence adds to a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Tokens to compute.
    pub tokens: usize,
    /// Blocks of keys and values.
    pub blocks: usize,
}

impl BatchBuilder {
    /// What `prompt` would add.
    pub fn cost(&self, prompt: &Prompt, cache: &PrefixCache) -> Cost {
        let ids = prompt.token_ids();
        let shared = self.tree.common(&ids);
        // A sequence's last token is computed, unless another sequence in the batch brings it.
        let known = shared.max(cache.common(&ids[..ids.len() - 1]));
        // A sequence that is there already adds nothing: many of them go into one batch, however long they are.
        let blocks = if shared == ids.len() { 0 } else { ids.len().div_ceil(KV_BLOCK) - shared / KV_BLOCK };
        Cost { tokens: ids.len() - known, blocks }
    }

    /// Adds a sequence.
    ///
    /// # Panics
    /// When it is empty: it would have no last token to score.
    pub fn push(&mut self, prompt: &Prompt) {
        assert!(!prompt.is_empty(), "a sequence has at least one token");
        self.sequences.push((self.tree.insert(&prompt.token_ids()), prompt.prefix()));
    }

    /// Number of sequences.
    pub fn len(&self) -> usize {
        self.sequences.len()
    }

    /// Whether there are no sequences.
    pub fn is_empty(&self) -> bool {
        self.sequences.is_empty()
    }

    /// The batch, less what `cache` holds.
    pub fn finish(self, cache: &mut PrefixCache) -> Batch {
        let mut runs: Vec<Node> = Vec::new();
        // For each node, the run that ends it, and whether the cache holds all of its path.
        let (mut last, mut held) = (vec![0; self.tree.len()], vec![false; self.tree.len()]);
        let mut path: Vec<u32> = Vec::new();
        for index in self.tree.walk() {
            let node = self.tree.node(index);
            path.truncate(node.start);
            path.extend_from_slice(&node.tokens);
            let mut parent = node.parent.map(|parent| last[parent]);
            let mut at = node.start;
            if node.parent.is_none_or(|parent| held[parent]) {
                let limit = path.len() - usize::from(node.ends);
                let mut position = 0;
                for span in cache.find(&path) {
                    let end = position + span.rows.len();
                    if at < end.min(limit) {
                        let rows = span.rows.start + at - position..span.rows.start + end.min(limit) - position;
                        runs.push(Node::new(parent, at, Source::Cached(Span { rows, ..span })));
                        (parent, at) = (Some(runs.len() - 1), end.min(limit));
                    }
                    position = end;
                }
                held[index] = position == path.len();
            }
            if at < path.len() {
                runs.push(Node::new(parent, at, Source::Computed(path[at..].to_vec())));
            }
            last[index] = runs.len() - 1;
        }
        let mut batch = Batch { runs, sequences: Vec::new(), keeps: Vec::new(), rows: 0, blocks: 0 };
        let mut room = cache.capacity();
        for (node, prefix) in self.sequences {
            batch.sequences.push(last[node]);
            if let Some((run, from)) = batch.worth_keeping(last[node], prefix)
                && prefix - from <= room
            {
                room -= prefix - from;
                batch.keeps.push(Keep { token_ids: self.tree.path(node, prefix), from, run });
            }
        }
        batch.lay_out();
        batch
    }
}

impl Batch {
    /// A batch of `prompts`, nothing being known of them before.
    pub fn of<'a>(prompts: impl IntoIterator<Item = &'a Prompt>) -> Self {
        let mut builder = BatchBuilder::default();
        prompts.into_iter().for_each(|prompt| builder.push(prompt));
        builder.finish(&mut PrefixCache::new(0))
    }

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

    /// The beginnings whose keys and values are worth keeping.
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
    fn lay_out(&mut self) {
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
    fn worth_keeping(&self, run: usize, prefix: usize) -> Option<(usize, usize)> {
        let ancestors = || std::iter::successors(Some(run), |&run| self.runs[run].parent);
        let run = ancestors().find(|&run| self.runs[run].start < prefix)?;
        let cached = ancestors().find(|&run| matches!(self.runs[run].source, Source::Cached(_)));
        let from = cached.map_or(0, |run| self.runs[run].end());
        let kept = self.keeps.iter().any(|keep| keep.run == run && keep.token_ids.len() == prefix);
        (from < prefix && !kept).then_some((run, from))
    }
}

impl Node {
    /// Pieces that store `positions` of this run, whose first is row `row`.
    fn pieces(&self, positions: Range<usize>, row: usize) -> impl Iterator<Item = KvPiece> {
        self.stores.iter().filter_map(move |store| {
            let (from, to) = (store.positions.start.max(positions.start), store.positions.end.min(positions.end));
            let first = row + from.saturating_sub(positions.start);
            (from < to).then(|| KvPiece { rows: first..first + to - from, position: from, block: store.block })
        })
    }
}

#[cfg(test)]
mod tests;
