//! Keys and values of prefixes that prompts share: the system prompt with its instruction, recent queries.
//!
//! Invariant: at most [`PrefixCache::capacity`] tokens; an entry's parent is in the cache as long as the entry is. What a
//! running batch uses stays in memory until it is done, evicted or not. Owned by the worker of [`crate::engine`], asked
//! by [`crate::batch`]; the contents are made by [`crate::model`].
//!
//! An entry continues another one, from any position of it on: a new query hangs on the system prompt's tokens within
//! the entry that first brought them, and nothing is ever split or copied.

use ironrank_kernels::Buffer;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

/// Prepared keys and values of consecutive tokens in all layers.
pub struct KvRows {
    /// One for each layer: (tokens, 2 * kv_heads * head_dim), a token's keys before its values.
    pub layers: Vec<Buffer>,
}

impl KvRows {
    /// Without the first `skipped` of `tokens`.
    fn skip(self, skipped: usize, tokens: usize) -> Self {
        if skipped == 0 {
            return self;
        }
        let rest = |layer: &Buffer| {
            let kept = &layer[layer.len() / tokens * skipped..];
            let mut rest = Buffer::zeroed(kept.len());
            rest.copy_from_slice(kept);
            rest
        };
        Self { layers: self.layers.iter().map(rest).collect() }
    }
}

/// Some tokens of an entry.
#[derive(Clone)]
pub struct Span {
    /// The entry's content.
    pub kv: Arc<KvRows>,
    /// Rows of it.
    pub rows: Range<usize>,
}

/// A least-recently-used tree of prefixes.
pub struct PrefixCache {
    capacity: usize,
    used: usize,
    clock: u64,
    entries: BTreeMap<u64, Entry>,
    /// The entry that continues another one (or none) at a position with a token: there is at most one.
    next: HashMap<(Option<u64>, usize, u32), u64>,
}

struct Entry {
    /// The entry that this one continues at `start`.
    parent: Option<u64>,
    start: usize,
    tokens: Vec<u32>,
    kv: Arc<KvRows>,
    last_used: u64,
    children: usize,
}

impl Entry {
    /// What it continues, where, and with which token.
    fn place(&self) -> (Option<u64>, usize, u32) {
        (self.parent, self.start, self.tokens[0])
    }
}

impl PrefixCache {
    /// Room for `capacity` tokens; 0 keeps nothing.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, used: 0, clock: 0, entries: BTreeMap::new(), next: HashMap::new() }
    }

    /// Tokens it may hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Tokens it holds.
    pub fn tokens(&self) -> usize {
        self.used
    }

    /// Length of the longest prefix of `ids` that it holds.
    pub fn common(&self, ids: &[u32]) -> usize {
        self.path(ids).last().map_or(0, |&(id, count)| self.entries[&id].start + count)
    }

    /// The content for the longest prefix of `ids` that it holds, in order; its entries count as used now.
    pub fn find(&mut self, ids: &[u32]) -> Vec<Span> {
        self.clock += 1;
        let mut spans = Vec::new();
        for (id, count) in self.path(ids) {
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.last_used = self.clock;
                spans.push(Span { kv: Arc::clone(&entry.kv), rows: 0..count });
            }
        }
        spans
    }

    /// Keeps `kv`, the content of `ids[from..]`, less what is there already. What has not been used for the longest time
    /// makes room; what does not fit, or continues what was evicted, is dropped.
    pub fn insert(&mut self, ids: &[u32], from: usize, kv: KvRows) {
        self.find(ids);
        let start = self.common(ids);
        if start < from || start == ids.len() || !self.make_room(ids.len() - start) {
            return;
        }
        let parent = self.path(ids).last().map(|&(id, _)| id);
        if let Some(parent) = parent.and_then(|id| self.entries.get_mut(&id)) {
            parent.children += 1;
        }
        let tokens = ids[start..].to_vec();
        self.used += tokens.len();
        let kv = Arc::new(kv.skip(start - from, ids.len() - from));
        let entry = Entry { parent, start, tokens, kv, last_used: self.clock, children: 0 };
        self.next.insert(entry.place(), self.clock);
        self.entries.insert(self.clock, entry);
    }

    /// Evicts what nothing continues and was not used just now until `tokens` more fit; false if they can't.
    fn make_room(&mut self, tokens: usize) -> bool {
        while self.used + tokens > self.capacity {
            let idle = self.entries.iter().filter(|(_, entry)| entry.children == 0 && entry.last_used < self.clock);
            let Some((&id, _)) = idle.min_by_key(|(_, entry)| entry.last_used) else { return false };
            let Some(entry) = self.entries.remove(&id) else { return false };
            self.next.remove(&entry.place());
            self.used -= entry.tokens.len();
            if let Some(parent) = entry.parent.and_then(|id| self.entries.get_mut(&id)) {
                parent.children -= 1;
            }
        }
        true
    }

    /// The entries that hold the longest known prefix of `ids`, and how many tokens of each.
    fn path(&self, ids: &[u32]) -> Vec<(u64, usize)> {
        let (mut path, mut parent, mut at) = (Vec::new(), None, 0);
        while let Some(&id) = ids.get(at).and_then(|&token| self.next.get(&(parent, at, token))) {
            let count = common(&self.entries[&id].tokens, &ids[at..]);
            path.push((id, count));
            (parent, at) = (Some(id), at + count);
        }
        path
    }
}

/// Length of the common prefix.
pub(crate) fn common(a: &[u32], b: &[u32]) -> usize {
    // Whole chunks are compared as memory: the head of a long query is gone over for every document.
    const CHUNK: usize = 64;
    let (chunks, others) = (a.chunks_exact(CHUNK), b.chunks_exact(CHUNK));
    let same = CHUNK * chunks.zip(others).take_while(|(a, b)| a == b).count();
    same + a[same..].iter().zip(&b[same..]).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(cache: &mut PrefixCache, ids: &[u32]) {
        insert_from(cache, ids, 0);
    }

    fn insert_from(cache: &mut PrefixCache, ids: &[u32], from: usize) {
        let mut rows = Buffer::zeroed(ids.len() - from);
        rows.iter_mut().zip(&ids[from..]).for_each(|(row, &id)| *row = id as f32);
        cache.insert(ids, from, KvRows { layers: vec![rows] });
    }

    fn content(cache: &mut PrefixCache, ids: &[u32]) -> Vec<u32> {
        let spans = cache.find(ids);
        spans.iter().flat_map(|span| &span.kv.layers[0][span.rows.clone()]).map(|&row| row as u32).collect()
    }

    #[test]
    fn a_prefix_is_found_as_far_as_it_is_the_same() {
        let mut cache = PrefixCache::new(100);
        insert(&mut cache, &[1, 2, 3, 4]);
        insert(&mut cache, &[1, 2, 5, 6]);
        insert(&mut cache, &[1, 2, 5, 6, 7]);
        insert(&mut cache, &[9]);
        assert_eq!(cache.tokens(), 4 + 2 + 1 + 1, "what is shared is held once");
        for (ids, held) in [
            (vec![1, 2, 3, 4, 5], 4),
            (vec![1, 2, 5, 6, 7, 8], 5),
            (vec![1, 2, 7], 2),
            (vec![1, 2, 3, 5], 3),
            (vec![9], 1),
            (vec![2], 0),
            (vec![], 0),
        ] {
            assert_eq!(content(&mut cache, &ids), ids[..held], "{ids:?}");
            assert_eq!(cache.common(&ids), held, "{ids:?}");
        }
    }

    #[test]
    fn the_least_recently_used_leaf_makes_room() {
        let mut cache = PrefixCache::new(6);
        insert(&mut cache, &[1, 2, 3]);
        insert(&mut cache, &[1, 2, 4]);
        insert(&mut cache, &[1, 2, 5]);
        cache.find(&[1, 2, 4]);
        insert(&mut cache, &[1, 2, 6, 7]);
        assert_eq!(cache.tokens(), 6);
        assert_eq!([[1, 2, 3], [1, 2, 4], [1, 2, 5], [1, 2, 6]].map(|ids| cache.common(&ids)), [3, 3, 2, 3]);
        insert(&mut cache, &[8, 8, 8, 8, 8, 8]);
        assert_eq!([cache.common(&[1]), cache.common(&[8; 9])], [0, 6], "leaves go before what they continue");
    }

    #[test]
    fn what_does_not_fit_is_not_kept_and_evicts_nothing_it_needs() {
        let mut cache = PrefixCache::new(4);
        insert(&mut cache, &[1, 2, 3]);
        insert(&mut cache, &[1, 2, 3, 4, 5]);
        assert_eq!((cache.tokens(), cache.common(&[1, 2, 3, 4, 5])), (3, 3));
        insert_from(&mut cache, &[7, 8], 1);
        assert_eq!(cache.common(&[7, 8]), 0, "what continues nothing is of no use");
        let mut none = PrefixCache::new(0);
        insert(&mut none, &[1]);
        assert_eq!(none.tokens(), 0);
    }
}
