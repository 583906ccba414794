//! A batch: the token sequences of one forward pass, packed one after another without padding, with the block table
//! of each sequence's keys and values.
//!
//! Invariant: sequences are not empty and keep the order in which they were pushed. Made by [`crate::engine`], read
//! by [`crate::model`].

use ironrank_kernels::KV_BLOCK;
use std::ops::Range;

/// Sequences for one forward pass.
#[derive(Debug, Default, Clone)]
pub struct Batch {
    token_ids: Vec<u32>,
    sequences: Vec<Sequence>,
    blocks: u32,
}

#[derive(Debug, Clone)]
struct Sequence {
    rows: Range<usize>,
    blocks: Vec<u32>,
}

/// Consecutive rows of a batch that go through a layer together.
#[derive(Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// Rows of the batch.
    pub rows: Range<usize>,
    /// Pieces of sequences that make up the rows, in order.
    pub pieces: Vec<Piece<'a>>,
}

/// Consecutive tokens of one sequence in a chunk.
#[derive(Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Rows of the chunk.
    pub rows: Range<usize>,
    /// Position of the first row in its sequence.
    pub start: usize,
    /// The sequence's block table: where its keys and values are.
    pub blocks: &'a [u32],
}

impl Batch {
    /// Adds a sequence.
    ///
    /// # Panics
    /// When it is empty: it would have no last token to score.
    pub fn push(&mut self, token_ids: &[u32]) {
        assert!(!token_ids.is_empty(), "a sequence has at least one token");
        let start = self.token_ids.len();
        self.token_ids.extend_from_slice(token_ids);
        let blocks = token_ids.len().div_ceil(KV_BLOCK) as u32;
        self.sequences.push(Sequence {
            rows: start..self.token_ids.len(),
            blocks: (self.blocks..self.blocks + blocks).collect(),
        });
        self.blocks += blocks;
    }

    /// Token ids of all rows.
    pub fn token_ids(&self) -> &[u32] {
        &self.token_ids
    }

    /// Number of sequences.
    pub fn len(&self) -> usize {
        self.sequences.len()
    }

    /// Whether there are no sequences.
    pub fn is_empty(&self) -> bool {
        self.sequences.is_empty()
    }

    /// Blocks of keys and values that the block tables name.
    pub fn blocks(&self) -> usize {
        self.blocks as usize
    }

    /// The row of every sequence's last token, in order.
    pub fn last_rows(&self) -> impl Iterator<Item = usize> {
        self.sequences.iter().map(|sequence| sequence.rows.end - 1)
    }

    /// The batch cut into chunks of at most `limit` rows, in an order in which every token comes after those before
    /// it in its sequence.
    pub fn chunks(&self, limit: usize) -> Vec<Chunk<'_>> {
        let rows = self.token_ids.len();
        (0..rows).step_by(limit).map(|start| self.chunk(start..rows.min(start + limit))).collect()
    }

    fn chunk(&self, rows: Range<usize>) -> Chunk<'_> {
        let first = self.sequences.partition_point(|sequence| sequence.rows.end <= rows.start);
        let pieces = self.sequences[first..].iter().take_while(|sequence| sequence.rows.start < rows.end);
        let pieces = pieces.map(|sequence| {
            let (from, to) = (sequence.rows.start.max(rows.start), sequence.rows.end.min(rows.end));
            Piece {
                rows: from - rows.start..to - rows.start,
                start: from - sequence.rows.start,
                blocks: &sequence.blocks,
            }
        });
        Chunk { pieces: pieces.collect(), rows }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(lengths: &[usize]) -> Batch {
        let mut batch = Batch::default();
        lengths.iter().for_each(|&len| batch.push(&vec![7; len]));
        batch
    }

    #[test]
    fn chunks_cover_every_row_once_and_in_order() {
        let batch = batch(&[5, 1, 300, 96, 97]);
        for limit in [1, 7, 96, 499, 10_000] {
            let chunks = batch.chunks(limit);
            let mut next = 0;
            for chunk in &chunks {
                assert_eq!(chunk.rows.start, next);
                let mut row = 0;
                for piece in &chunk.pieces {
                    assert_eq!(piece.rows.start, row);
                    row = piece.rows.end;
                    assert!(piece.blocks.len() * KV_BLOCK >= piece.start + piece.rows.len());
                }
                assert_eq!(row, chunk.rows.len());
                next = chunk.rows.end;
            }
            assert_eq!(next, 499);
        }
    }

    #[test]
    fn no_two_sequences_share_a_block() {
        let batch = batch(&[1, 96, 97, 200]);
        let mut blocks: Vec<u32> = batch.sequences.iter().flat_map(|sequence| sequence.blocks.clone()).collect();
        let all = blocks.len();
        blocks.sort_unstable();
        blocks.dedup();
        assert_eq!((blocks.len(), all), (batch.blocks(), 1 + 1 + 2 + 3));
    }
}
