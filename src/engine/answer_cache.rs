//! Rows that the model gave, by the token ids of their prompts: a pair that comes again is not computed again.
//!
//! A row depends on its token ids alone, to the bit, so that the one that is kept is the one that would be computed. An
//! engine has one model: nothing else need be part of the key. Invariants: the memory is at most what it was given, links
//! and buckets counted; a key is 128 bits of an HMAC-SHA-256 under a secret that is the system's randomness, drawn anew at
//! every start, so that nobody can make two prompts with one key. What has not been used for the longest time makes
//! room. Asked by [`super::admission`] from any thread, filled by [`super::worker`].

use crate::error::{Error, ErrorKind, Result};
use crate::prompt::Prompt;
use ring::hmac;
use ring::rand::SystemRandom;
use std::iter::successors;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Names the token ids of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key([u8; 16]);

/// What there is for a prompt.
#[derive(Debug, PartialEq)]
pub(super) enum Lookup {
    /// Its row.
    Found(Box<[f32]>),
    /// Nothing yet; with the name of what will be computed, if that is kept.
    Missing(Option<Key>),
}

/// The rows that are kept.
pub(super) struct AnswerCache {
    bytes: usize,
    secret: hmac::Key,
    rows: Mutex<Recent>,
}

impl AnswerCache {
    /// Room for `bytes` bytes of rows of `width` numbers; 0 keeps nothing. An error if the system has no random numbers.
    pub fn new(bytes: usize, width: usize) -> Result<Self> {
        let secret = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| Error::new(ErrorKind::Machine, "The system has no random numbers for the answer cache."))?;
        Ok(Self { bytes, secret, rows: Mutex::new(Recent::within(bytes, width)) })
    }

    /// What it has for `prompt`, which counts as used now.
    pub fn find(&self, prompt: &Prompt) -> Lookup {
        if self.bytes == 0 {
            return Lookup::Missing(None);
        }
        let key = self.key(prompt);
        match self.rows().find(key) {
            Some(row) => Lookup::Found(row.into()),
            None => Lookup::Missing(Some(key)),
        }
    }

    /// Keeps rows but for those with numbers that are not finite.
    pub fn insert<'a>(&self, rows: impl IntoIterator<Item = (Key, &'a [f32])>) {
        let mut kept = self.rows();
        for (key, row) in rows {
            if row.iter().all(|number| number.is_finite()) {
                kept.insert(key, row);
            }
        }
    }

    /// Bytes of the rows that it holds, with all that they need to be found.
    pub fn held(&self) -> usize {
        let kept = self.rows();
        kept.len() * Recent::each(kept.width)
    }

    fn key(&self, prompt: &Prompt) -> Key {
        let mut context = hmac::Context::with_key(&self.secret);
        prompt.token_ids().iter().for_each(|id| context.update(&id.to_le_bytes()));
        let mut key = [0; 16];
        key.copy_from_slice(&context.sign().as_ref()[..16]);
        Key(key)
    }

    fn rows(&self) -> MutexGuard<'_, Recent> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A table of rows in a ring by their use. Its memory is had once, and touched as it fills.
struct Recent {
    /// Numbers in a row.
    width: usize,
    /// The first entry of each chain, or 0.
    buckets: Vec<u32>,
    /// Entry 0 is no row: the ring begins and ends in it.
    entries: Vec<Entry>,
    /// (entries, width)
    numbers: Vec<f32>,
}

struct Entry {
    key: Key,
    /// The next of its chain, or 0.
    next: u32,
    newer: u32,
    older: u32,
}

impl Recent {
    /// Room for rows of `width` numbers within `bytes` bytes, entry 0 among them.
    fn within(bytes: usize, width: usize) -> Self {
        let count = (bytes / Self::each(width)).clamp(1, u32::MAX as usize);
        let (mut entries, mut numbers) = (Vec::with_capacity(count), Vec::with_capacity(count * width));
        entries.push(Entry { key: Key([0; 16]), next: 0, newer: 0, older: 0 });
        numbers.resize(width, 0.0);
        Self { width, buckets: vec![0; count - 1], entries, numbers }
    }

    /// Bytes that a row of `width` numbers takes.
    fn each(width: usize) -> usize {
        size_of::<Entry>() + size_of::<u32>() + width * size_of::<f32>()
    }

    fn len(&self) -> usize {
        self.entries.len().saturating_sub(1)
    }

    fn find(&mut self, key: Key) -> Option<&[f32]> {
        let at = self.place(key)?;
        self.unlink(at);
        self.link(at);
        Some(&self.numbers[at as usize * self.width..][..self.width])
    }

    fn insert(&mut self, key: Key, row: &[f32]) {
        let Some(bucket) = self.bucket(key) else { return };
        if self.find(key).is_some() {
            return;
        }
        let at = if self.len() < self.buckets.len() {
            self.entries.push(Entry { key, next: 0, newer: 0, older: 0 });
            self.numbers.extend_from_slice(row);
            self.len() as u32
        } else {
            let oldest = self.entries[0].newer;
            self.unlink(oldest);
            self.unchain(oldest);
            self.numbers[oldest as usize * self.width..][..self.width].copy_from_slice(row);
            oldest
        };
        let next = std::mem::replace(&mut self.buckets[bucket], at);
        self.entries[at as usize] = Entry { key, next, newer: 0, older: 0 };
        self.link(at);
    }

    /// Where the chain of a key begins; `None` if there is no room at all.
    fn bucket(&self, key: Key) -> Option<usize> {
        let part = u64::from_le_bytes(std::array::from_fn(|i| key.0[i]));
        part.checked_rem(self.buckets.len() as u64).map(|bucket| bucket as usize)
    }

    fn place(&self, key: Key) -> Option<u32> {
        let chain = successors(Some(self.buckets[self.bucket(key)?]), |&at| Some(self.entries[at as usize].next));
        chain.take_while(|&at| at != 0).find(|&at| self.entries[at as usize].key == key)
    }

    /// Takes an entry out of its chain.
    fn unchain(&mut self, gone: u32) {
        let Entry { key, next, .. } = self.entries[gone as usize];
        let Some(bucket) = self.bucket(key) else { return };
        let mut link = &mut self.buckets[bucket];
        while *link != gone {
            let at = *link as usize;
            link = &mut self.entries[at].next;
        }
        *link = next;
    }

    /// Takes an entry out of the ring.
    fn unlink(&mut self, at: u32) {
        let Entry { newer, older, .. } = self.entries[at as usize];
        self.entries[newer as usize].older = older;
        self.entries[older as usize].newer = newer;
    }

    /// Puts an entry into the ring, as the newest.
    fn link(&mut self, at: u32) {
        let older = std::mem::replace(&mut self.entries[0].older, at);
        self.entries[older as usize].newer = at;
        let entry = &mut self.entries[at as usize];
        (entry.newer, entry.older) = (0, older);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAN: f32 = f32::NAN;

    fn prompt(ids: &[u32]) -> Prompt {
        ids.to_vec().into()
    }

    /// What is kept for a prompt; if nothing is, `row` is from now on.
    fn find_or_insert(cache: &AnswerCache, ids: &[u32], row: &[f32]) -> Option<Vec<f32>> {
        match cache.find(&prompt(ids)) {
            Lookup::Found(row) => Some(row.into()),
            Lookup::Missing(key) => {
                cache.insert([(key.expect("the cache is on"), row)]);
                None
            }
        }
    }

    fn has(cache: &AnswerCache, ids: &[u32]) -> bool {
        matches!(cache.find(&prompt(ids)), Lookup::Found(_))
    }

    #[test]
    fn a_prompt_finds_its_row_and_one_that_differs_in_a_token_does_not() {
        let cache = AnswerCache::new(1 << 16, 1).unwrap();
        let prompts: Vec<Vec<u32>> = (0..64).map(|i| (0..64).map(|j| 7 + u32::from(i == j)).collect()).collect();
        for (i, ids) in prompts.iter().enumerate() {
            assert_eq!(find_or_insert(&cache, ids, &[i as f32]), None, "{i}");
        }
        for (i, ids) in prompts.iter().enumerate() {
            assert_eq!(find_or_insert(&cache, ids, &[NAN]), Some(vec![i as f32]));
        }
        for other in [&[7; 64][..], &prompts[0][..63], &[], &[8]] {
            assert!(!has(&cache, other), "{other:?}");
        }
        let split = Prompt::new(prompts[5][..9].into(), &prompts[5][9..]);
        assert_eq!(cache.find(&split), Lookup::Found([5.0].into()), "where the head ends is no part of the key");
    }

    #[test]
    fn a_key_is_of_a_secret_that_each_cache_draws_for_itself() {
        let [one, other] = [(); 2].map(|()| AnswerCache::new(1 << 16, 1).unwrap());
        assert_eq!(one.key(&prompt(&[1, 2])), one.key(&prompt(&[1, 2])));
        assert_ne!(one.key(&prompt(&[1, 2])), other.key(&prompt(&[1, 2])));
    }

    #[test]
    fn the_least_recently_used_row_makes_room() {
        let cache = AnswerCache::new(5 * Recent::each(2), 2).unwrap();
        for id in 0..4 {
            find_or_insert(&cache, &[id], &[id as f32, 0.5]);
        }
        assert!(has(&cache, &[0]) && has(&cache, &[2]), "all have room");
        for id in 4..6 {
            find_or_insert(&cache, &[id], &[id as f32, 0.5]);
        }
        let kept: Vec<u32> = (0..6).filter(|&id| has(&cache, &[id])).collect();
        assert_eq!(kept, [0, 2, 4, 5]);
        assert_eq!(cache.find(&prompt(&[2])), Lookup::Found([2.0, 0.5].into()));
    }

    /// Against one that remembers the order by itself, over thousands of steps.
    #[test]
    fn rows_come_and_go_in_the_order_of_their_use() {
        let cache = AnswerCache::new(18 * Recent::each(1), 1).unwrap();
        let (mut order, mut random) = (Vec::new(), 1_u32);
        for step in 0..20_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let id = (random >> 16) % 40;
            let known = order.iter().position(|&other| other == id);
            let found = find_or_insert(&cache, &[id], &[id as f32]);
            assert_eq!(found, known.map(|_| vec![id as f32]), "step {step}");
            if let Some(at) = known {
                order.remove(at);
            }
            order.push(id);
            if order.len() > 17 {
                order.remove(0);
            }
        }
    }

    #[test]
    fn all_that_it_takes_is_within_its_bytes() {
        for (bytes, width) in [(1000, 1), (4096, 1), (100_000, 1), (100_000, 5), (1 << 20, 1024)] {
            let cache = AnswerCache::new(bytes, width).unwrap();
            let row = vec![0.5; width];
            for id in 0..4000 {
                find_or_insert(&cache, &[id], &row);
            }
            let kept = cache.rows();
            let taken = size_of::<Entry>() * kept.entries.capacity()
                + size_of::<f32>() * kept.numbers.capacity()
                + size_of::<u32>() * kept.buckets.capacity();
            let most = bytes / Recent::each(width) - 1;
            assert!(taken <= bytes, "{taken} of {bytes} bytes");
            assert_eq!(kept.len(), most.min(4000), "and as many as have room");
            drop(kept);
            assert!(cache.held() <= bytes && cache.held() > 0);
        }
        assert_eq!(size_of::<Entry>(), 16 + 3 * 4, "nothing is lost between the fields");
    }

    #[test]
    fn no_room_keeps_nothing_and_neither_does_a_number_that_is_none() {
        let off = AnswerCache::new(0, 1).unwrap();
        assert_eq!(off.find(&prompt(&[1])), Lookup::Missing(None));
        let narrow = AnswerCache::new(50, 1).unwrap();
        assert_eq!(narrow.held(), 0);
        let wide = AnswerCache::new(1 << 16, 1).unwrap();
        for (cache, row) in [(&narrow, 1.0), (&wide, NAN), (&wide, f32::INFINITY)] {
            for _ in 0..2 {
                assert_eq!(find_or_insert(cache, &[1], &[row]), None, "{row}");
            }
            assert_eq!(cache.held(), 0);
        }
    }
}
