//! Pairs that the engine has or will have, and the rows they belong to, first in, first out.
//!
//! Invariant: rows leave in the order in which they came. The engine takes requests of one priority in the order of their
//! arrival; those of a low one never go through its express lane, whose small batches are for people who wait. Owned by
//! [`super`].

use super::source::{Item, Place};
use crate::engine::{Answer, Engine};
use crate::error::{Error, ErrorKind, Result};
use serde_json::value::RawValue;
use std::collections::VecDeque;
use std::future::pending;
use tokio::task::JoinHandle;

/// Not for people who wait.
const PRIORITY: i64 = 1;

/// The queue.
pub(super) struct Flight {
    engine: Engine,
    entries: VecDeque<Entry>,
    /// Of the pairs in it.
    tokens: usize,
    /// Of the pairs that have left it, until their row does.
    answers: Vec<Answer>,
}

/// A row stands behind its pairs.
enum Entry {
    Pair { answer: JoinHandle<Result<Answer>>, tokens: usize },
    Answered { answer: Answer, tokens: usize },
    Row(Landed),
}

/// A row that is done, once it has left the queue.
pub(super) enum Landed {
    Scored { place: Place, id: Option<Box<RawValue>>, many: bool, truncated: usize, answers: Vec<Answer> },
    Rejected { place: Place, reason: String, row: String },
}

impl Flight {
    /// An empty queue.
    pub fn new(engine: Engine) -> Self {
        Self { engine, entries: VecDeque::new(), tokens: 0, answers: Vec::new() }
    }

    /// Tokens of the pairs in it.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes what came of the input; a pair goes to the engine.
    pub fn take(&mut self, item: Item) {
        self.entries.push_back(match item {
            Item::Pair(prompt) => {
                let tokens = prompt.token_ids.len();
                self.tokens += tokens;
                let engine = self.engine.clone();
                let answer = async move { engine.answers(vec![prompt], PRIORITY).await.map(|answers| answers[0]) };
                Entry::Pair { answer: tokio::spawn(answer), tokens }
            }
            Item::Row { place, id, many, truncated } => {
                Entry::Row(Landed::Scored { place, id, many, truncated, answers: Vec::new() })
            }
            Item::Rejected { place, reason, row } => Entry::Row(Landed::Rejected { place, reason, row }),
        });
    }

    /// The next row, if it is done.
    pub async fn land(&mut self) -> Result<Option<Landed>> {
        while let Some(entry) = self.entries.pop_front() {
            match entry {
                Entry::Pair { answer, tokens } if !answer.is_finished() => {
                    self.entries.push_front(Entry::Pair { answer, tokens });
                    return Ok(None);
                }
                Entry::Pair { mut answer, tokens } => {
                    self.answers.push(answered(&mut answer).await?);
                    self.tokens -= tokens;
                }
                Entry::Answered { answer, tokens } => {
                    self.answers.push(answer);
                    self.tokens -= tokens;
                }
                Entry::Row(Landed::Scored { place, id, many, truncated, .. }) => {
                    let answers = std::mem::take(&mut self.answers);
                    return Ok(Some(Landed::Scored { place, id, many, truncated, answers }));
                }
                Entry::Row(rejected) => return Ok(Some(rejected)),
            }
        }
        Ok(None)
    }

    /// Resolves when the first of the queue is done; never if there is none.
    pub async fn wait(&mut self) -> Result<()> {
        match self.entries.front_mut() {
            Some(first) => {
                if let Entry::Pair { answer, tokens } = first {
                    let (answer, tokens) = (answered(answer).await?, *tokens);
                    *first = Entry::Answered { answer, tokens };
                }
                Ok(())
            }
            None => pending().await,
        }
    }

    /// Takes back what the engine has not begun, and rows that would not be whole without it.
    pub fn cut_short(&mut self) {
        // Batches are filled in the order of the queue.
        let (mut begun, mut whole) = (self.engine.running(), 0);
        for (index, entry) in self.entries.iter().enumerate() {
            match entry {
                Entry::Pair { answer, .. } if !answer.is_finished() => match begun.checked_sub(1) {
                    Some(left) => begun = left,
                    None => break,
                },
                Entry::Pair { .. } | Entry::Answered { .. } => {}
                Entry::Row(_) => whole = index + 1,
            }
        }
        for entry in self.entries.drain(whole..) {
            if let Entry::Pair { answer, .. } = entry {
                answer.abort();
            }
        }
    }
}

async fn answered(answer: &mut JoinHandle<Result<Answer>>) -> Result<Answer> {
    answer.await.map_err(|err| Error::new(ErrorKind::Internal, format!("A pair was lost: {err}.")))?
}
