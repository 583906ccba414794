//! What a speed means for RAGFlow, which gives up a question after 30 s: docs/ragflow.md in a sentence.
//!
//! Called by the reports of `bench` and `check`.

use std::fmt;

/// How long it waits for an answer, in seconds.
const PATIENCE: f64 = 30.0;
/// Passages of a question, at least and at most.
const FEWEST: usize = 64;
const MOST: usize = 90;
/// Tokens of a prompt beside the passage's: title, keywords, and the prompt's end.
const BESIDE: usize = 30;
/// Chunk sizes to choose in the place of the usual one.
const SMALLER: [usize; 3] = [256, 128, 64];

/// How its questions fit its patience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ragflow {
    /// Passages that are scored in time.
    pub passages: usize,
    /// Tokens of each.
    tokens: usize,
    /// The largest smaller chunk size with which [`MOST`] of them would be.
    chunk: Option<usize>,
}

impl Ragflow {
    /// From how long `count` passages of `tokens` tokens take.
    pub fn of(count: usize, tokens: usize, seconds: f64) -> Self {
        let in_time = |tokens_each: usize| {
            let each = seconds / count as f64 * (tokens_each + BESIDE) as f64 / (tokens + BESIDE) as f64;
            (PATIENCE / each) as usize
        };
        let chunk = SMALLER.into_iter().find(|smaller| in_time(*smaller) >= MOST);
        Self { passages: in_time(tokens), tokens, chunk }
    }
}

impl fmt::Display for Ragflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passages, tokens, chunk } = self;
        write!(
            f,
            "RAGFlow waits {PATIENCE} s for a question of {FEWEST} to {MOST} passages; {passages} of {tokens} tokens fit"
        )?;
        match chunk {
            _ if *passages >= MOST => write!(f, "."),
            Some(chunk) => write!(f, ", and all of them in chunks of {chunk} (docs/ragflow.md)."),
            None => write!(f, ", and not all in chunks of {} either (docs/ragflow.md).", SMALLER[SMALLER.len() - 1]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_becomes_what_fits_and_what_to_set() {
        for (seconds, passages, words) in [
            (5.0, 384, "; 384 of 512 tokens fit."),
            (25.0, 76, "; 76 of 512 tokens fit, and all of them in chunks of 256 (docs/ragflow.md)."),
            (60.0, 32, "in chunks of 128"),
            (100.0, 19, "in chunks of 64 (docs"),
            (400.0, 4, "not all in chunks of 64 either"),
        ] {
            let means = Ragflow::of(64, 512, seconds);
            assert_eq!(means.passages, passages, "{seconds} s");
            assert!(means.to_string().contains(words), "{seconds} s: {means}");
        }
    }
}
