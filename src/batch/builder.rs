//! Sequences collected for a batch, what each would add to it, and the tree of runs that they and the prefix cache make.
//!
//! Invariant: the last token of every sequence is computed, never loaded. Used by [`crate::engine`].

use super::layout::{Batch, Keep, Source, TreeRun};
use super::tree::Tree;
use crate::prefix_cache::{PrefixCache, Span};
use crate::prompt::Prompt;
use ironrank_kernels::KV_BLOCK;

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
        let mut runs: Vec<TreeRun> = Vec::new();
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
                        runs.push(TreeRun::new(parent, at, Source::Cached(Span { rows, ..span })));
                        (parent, at) = (Some(runs.len() - 1), end.min(limit));
                    }
                    position = end;
                }
                held[index] = position == path.len();
            }
            if at < path.len() {
                runs.push(TreeRun::new(parent, at, Source::Computed(path[at..].to_vec())));
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
}
