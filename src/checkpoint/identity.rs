//! By what a checkpoint is known: what it holds, and that it is still the one that was opened.
//!
//! Invariant: of tensors only the first bytes are read. Called by `Checkpoint`.

use super::config::Config;
use super::head::{Answers, Head};
use super::shards::{Places, TensorPlace};
use std::collections::BTreeSet;
use xxhash_rust::xxh3::xxh3_128;

/// Bytes of a tensor that are looked at.
const SAMPLE: usize = 4096;

/// What tells a checkpoint from others.
#[derive(PartialEq, Eq)]
pub struct Identity {
    /// A name of what it holds, wherever its files lie: a hash of its configuration and, of every tensor, its type, its
    /// shape and its first bytes.
    pub digest: String,
    /// What tells its packed weights from another's: its `digest` and, of every tensor, where it lies; of every file, its
    /// length and its time of change.
    pub fingerprint: u128,
}

impl Identity {
    /// Of a checkpoint as it is now; a synthetic one has no `places`.
    pub fn of(config: &Config, head: &Head, places: Option<&Places>) -> Self {
        let digest = digest(config, head, places);
        Self { fingerprint: fingerprint(&digest, places), digest }
    }
}

fn digest(config: &Config, head: &Head, places: Option<&Places>) -> String {
    // Without the place where the tokens are named.
    let head = match head {
        Head::Tokens(Answers { yes, no, .. }) => format!("{yes:?} {no:?}"),
        Head::Score { bias } => format!("score.weight, bias {bias}"),
        // What vectors are made of it is no part of the model.
        Head::Vector(_) => "state".to_owned(),
    };
    let mut facts = format!("{config:?} {head}").into_bytes();
    for (name, place) in places.into_iter().flatten() {
        let TensorPlace { map, dtype, shape, start, bytes, .. } = place;
        facts.extend(format!("{name} {dtype} {shape:?}").as_bytes());
        facts.extend(&map[*start..*start + SAMPLE.min(*bytes)]);
    }
    format!("{:032x}", xxh3_128(&facts))
}

fn fingerprint(digest: &str, places: Option<&Places>) -> u128 {
    let mut facts = digest.as_bytes().to_vec();
    let mut files = BTreeSet::new();
    for (name, place) in places.into_iter().flatten() {
        let TensorPlace { file, map, start, .. } = place;
        facts.extend(format!("{name} {start}").as_bytes());
        if files.insert(file) {
            let changed = std::fs::metadata(file).and_then(|facts| facts.modified());
            facts.extend(format!("{} {changed:?}", map.len()).as_bytes());
        }
    }
    xxh3_128(&facts)
}
