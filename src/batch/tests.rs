use super::*;
use crate::prefix_cache::{KvRows, PrefixCache};
use crate::prompt::Prompt;
use ironrank_kernels::{Buffer, KV_BLOCK, KvPiece};
use proptest::prelude::*;

fn prompt(ids: &[u32], prefix: usize) -> Prompt {
    Prompt::new(ids[..prefix].into(), &ids[prefix..])
}

/// What the blocks hold, slot by slot: a position and the token there.
type Stored = Vec<[Option<(usize, u32)>; KV_BLOCK]>;

fn store(stored: &mut Stored, pieces: &[KvPiece], token: impl Fn(usize) -> u32) {
    assert!(pieces.is_sorted_by_key(|piece| piece.block), "the pieces of a block stand side by side");
    for piece in pieces {
        for (i, row) in piece.rows.clone().enumerate() {
            let position = piece.position + i;
            stored[piece.block as usize][position % KV_BLOCK] = Some((position, token(row)));
        }
    }
}

/// The tokens from position 0 to `position`, as attention finds them.
fn visible(stored: &Stored, blocks: &[u32], position: usize) -> Vec<u32> {
    let at = |p: usize| stored[blocks[p / KV_BLOCK] as usize][p % KV_BLOCK].filter(|&(stored, _)| stored == p);
    (0..=position).map(|p| at(p).unwrap_or_else(|| panic!("position {p} is not stored")).1).collect()
}

/// Goes through a layer as the model does; the answer is what the last token of every sequence attends to.
fn attended(batch: &Batch, rows_per_chunk: usize) -> Vec<Vec<u32>> {
    let ids: Vec<u32> = batch.token_ids().collect();
    assert_eq!(ids.len(), batch.rows());
    let mut stored: Stored = vec![[None; KV_BLOCK]; batch.blocks()];
    for (span, pieces) in batch.cached() {
        store(&mut stored, &pieces, |row| span.kv.layers[0][row] as u32);
    }
    for start in (0..batch.rows()).step_by(rows_per_chunk) {
        let chunk = batch.chunk(start..batch.rows().min(start + rows_per_chunk));
        store(&mut stored, &chunk.pieces, |row| ids[start + row]);
        let mut covered = 0;
        for run in &chunk.runs {
            assert_eq!(run.rows.start, covered, "runs cover the rows in order");
            covered = run.rows.end;
            let last = run.start + run.rows.len() - 1;
            let seen = visible(&stored, run.blocks, last);
            assert!(seen.ends_with(&ids[start + run.rows.start..start + run.rows.end]));
        }
        assert_eq!(covered, chunk.rows.len());
    }
    for keep in batch.keeps() {
        for (position, &token) in keep.token_ids.iter().enumerate().skip(keep.from) {
            let (block, slot) = batch.slot(keep, position);
            assert_eq!(stored[block as usize][slot], Some((position, token)), "what is kept is there");
        }
    }
    let last = batch.last_tokens();
    let seen = |&i: &usize| {
        let run = &last.runs[i];
        let seen = visible(&stored, run.blocks, run.start);
        assert_eq!(ids[last.rows[i]], seen[run.start]);
        seen
    };
    last.of_sequence.iter().map(seen).collect()
}

/// A cache that holds `prefix`.
fn cache_of(prefixes: &[Vec<u32>]) -> PrefixCache {
    let mut cache = PrefixCache::new(10_000);
    for prefix in prefixes {
        let mut rows = Buffer::zeroed(prefix.len());
        rows.iter_mut().zip(prefix).for_each(|(row, &id)| *row = id as f32);
        cache.insert(prefix, 0, KvRows { layers: vec![rows] });
    }
    cache
}

/// Sequences over few different tokens, so that many begin alike; some tokens stand for a long stretch of them.
fn sequence() -> impl Strategy<Value = Vec<u32>> {
    let stretch = (0..2_u32, prop_oneof![3 => 1..3_usize, 1 => 1..150_usize]);
    prop::collection::vec(stretch, 1..5)
        .prop_map(|parts| parts.into_iter().flat_map(|(token, len)| vec![token; len]).collect())
}

proptest! {
    #[test]
    fn every_sequence_finds_its_own_tokens_whatever_is_shared_cached_or_dropped(
        sequences in prop::collection::vec(sequence(), 1..12),
        cached in prop::collection::vec(sequence(), 0..4),
        prefix in 0..200_usize,
        chunk in prop_oneof![Just(usize::MAX / 2), 1..100_usize],
        wanted in prop::collection::vec(any::<bool>(), 12),
    ) {
        let mut cache = cache_of(&cached);
        let mut builder = BatchBuilder::default();
        let mut tokens = 0;
        for ids in &sequences {
            let prompt = prompt(ids, prefix.min(ids.len() - 1));
            tokens += builder.cost(&prompt, &cache).tokens;
            builder.push(&prompt);
        }
        let mut batch = builder.finish(&mut cache);
        prop_assert!(batch.rows() <= tokens + sequences.len(), "{} rows for {tokens} tokens", batch.rows());
        prop_assert_eq!(attended(&batch, chunk), sequences.clone());

        let wanted = &wanted[..sequences.len()];
        let before: Vec<u32> = batch.token_ids().collect();
        let (rows, _) = batch.retain(wanted);
        let left: Vec<u32> = rows.into_iter().flat_map(|rows| before[rows].to_vec()).collect();
        prop_assert_eq!(batch.token_ids().collect::<Vec<_>>(), left, "rows keep their order");
        let sequences: Vec<_> = sequences.iter().zip(wanted).filter(|(_, wanted)| **wanted).map(|(s, _)| s.clone()).collect();
        prop_assert_eq!(attended(&batch, chunk), sequences);
    }
}

#[test]
fn what_sequences_share_is_computed_once() {
    let shared: Vec<u32> = (0..100).collect();
    let documents: Vec<Prompt> = (0..5).map(|i| prompt(&[&shared[..], &[200 + i; 30]].concat(), 100)).collect();
    let mut builder = BatchBuilder::default();
    builder.push(&documents[0]);
    let again = builder.cost(&documents[0], &PrefixCache::new(0));
    assert_eq!(again, Cost { tokens: 0, blocks: 0 }, "so that it fits into any batch that has it");
    let batch = Batch::of(documents.iter().chain(&documents[..2]));
    assert_eq!((batch.len(), batch.rows()), (7, 100 + 5 * 30), "a repeated document costs nothing");
    let last = batch.last_tokens();
    assert_eq!((last.rows.len(), last.of_sequence), (5, vec![0, 1, 2, 3, 4, 0, 1]));
    assert_eq!(batch.blocks(), 2 + 4, "the first child goes on in its parent's last block");
}

#[test]
fn a_sequence_that_is_in_the_cache_is_still_answered() {
    let mut cache = cache_of(&[(0..50).collect()]);
    let ids: Vec<u32> = (0..50).collect();
    for (len, rows) in [(50, 1), (30, 1), (1, 1)] {
        let mut builder = BatchBuilder::default();
        assert_eq!(builder.cost(&prompt(&ids[..len], 0), &cache).tokens, rows);
        builder.push(&prompt(&ids[..len], 0));
        let batch = builder.finish(&mut cache);
        assert_eq!((batch.rows(), batch.cached_tokens()), (rows, len - 1));
        assert_eq!(attended(&batch, 7), [&ids[..len]]);
    }
}

#[test]
fn beginnings_are_kept_once_and_only_as_far_as_the_cache_lacks_them() {
    let mut cache = cache_of(&[vec![1, 2, 3]]);
    let mut builder = BatchBuilder::default();
    for ids in [[1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 7], [1, 2, 3, 8, 9, 7], [4, 4, 4, 4, 4, 4]] {
        builder.push(&prompt(&ids, 5));
    }
    builder.push(&prompt(&[1, 2, 3, 3], 3));
    let batch = builder.finish(&mut cache);
    let keeps: Vec<_> = batch.keeps().iter().map(|keep| (keep.token_ids.clone(), keep.from)).collect();
    let want = [(vec![1, 2, 3, 4, 5], 3), (vec![1, 2, 3, 8, 9], 3), (vec![4; 5], 0)];
    assert_eq!(keeps, want);
}
