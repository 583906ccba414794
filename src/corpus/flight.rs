//! Prompts that the engine has or will have, and the rows they belong to, first in, first out.
//!
//! Invariant: rows leave in the order in which they came. The engine takes requests of one priority in the order of their
//! arrival; those of a low one never go through its express slot, whose small batches are for people who wait. Owned by
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
    /// Of the prompts in it.
    tokens: usize,
    /// Of the rows in it: those without prompts have no tokens, and there may be millions of them.
    bytes: usize,
    /// Of the prompts that have left it, until their row does.
    answers: Vec<Answer>,
}

/// A row stands behind its prompts.
enum Entry {
    Prompt { answer: JoinHandle<Result<Answer>>, tokens: usize },
    Answered { answer: Answer, tokens: usize },
    Row(Landed),
}

/// A row that is done, once it has left the queue.
pub(super) enum Landed {
    Done { place: Place, id: Option<Box<RawValue>>, many: bool, truncated: usize, answers: Vec<Answer> },
    Rejected { place: Place, reason: String, row: String },
}

impl Landed {
    /// What it takes in memory, its answers aside.
    fn bytes(&self) -> usize {
        let (place, texts) = match self {
            Self::Done { place, id, .. } => (place, id.as_ref().map_or(0, |id| id.get().len())),
            Self::Rejected { place, reason, row } => (place, reason.len() + row.len()),
        };
        size_of::<Entry>() + place.mark.xxh3.len() + texts
    }
}

impl Flight {
    /// An empty queue.
    pub fn new(engine: Engine) -> Self {
        Self { engine, entries: VecDeque::new(), tokens: 0, bytes: 0, answers: Vec::new() }
    }

    /// Whether it has as many tokens as a window of so many, or rows as large as their ids.
    pub fn fills(&self, window: usize) -> bool {
        self.tokens >= window || self.bytes / size_of::<u32>() >= window
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes what came of the input; a prompt goes to the engine.
    pub fn take(&mut self, item: Item) {
        let entry = match item {
            Item::Prompt(prompt) => {
                let tokens = prompt.len();
                self.tokens += tokens;
                let engine = self.engine.clone();
                let answer = async move { engine.answers(vec![prompt], PRIORITY).await.map(|mut one| one.remove(0)) };
                Entry::Prompt { answer: tokio::spawn(answer), tokens }
            }
            Item::Row { place, id, many, truncated } => {
                Entry::Row(Landed::Done { place, id, many, truncated, answers: Vec::new() })
            }
            Item::Rejected { place, reason, row } => Entry::Row(Landed::Rejected { place, reason, row }),
        };
        if let Entry::Row(row) = &entry {
            self.bytes += row.bytes();
        }
        self.entries.push_back(entry);
    }

    /// The next row, if it is done.
    pub async fn land(&mut self) -> Result<Option<Landed>> {
        while let Some(entry) = self.entries.pop_front() {
            match entry {
                Entry::Prompt { answer, tokens } if !answer.is_finished() => {
                    self.entries.push_front(Entry::Prompt { answer, tokens });
                    return Ok(None);
                }
                Entry::Prompt { mut answer, tokens } => {
                    self.answers.push(answered(&mut answer).await?);
                    self.tokens -= tokens;
                }
                Entry::Answered { answer, tokens } => {
                    self.answers.push(answer);
                    self.tokens -= tokens;
                }
                Entry::Row(mut row) => {
                    self.bytes -= row.bytes();
                    if let Landed::Done { answers, .. } = &mut row {
                        *answers = std::mem::take(&mut self.answers);
                    }
                    return Ok(Some(row));
                }
            }
        }
        Ok(None)
    }

    /// Resolves when the first of the queue is done; never if there is none.
    pub async fn wait(&mut self) -> Result<()> {
        match self.entries.front_mut() {
            Some(first) => {
                if let Entry::Prompt { answer, tokens } = first {
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
                Entry::Prompt { answer, .. } if !answer.is_finished() => match begun.checked_sub(1) {
                    Some(left) => begun = left,
                    None => break,
                },
                Entry::Prompt { .. } | Entry::Answered { .. } => {}
                Entry::Row(_) => whole = index + 1,
            }
        }
        for entry in self.entries.drain(whole..) {
            if let Entry::Prompt { answer, .. } = entry {
                answer.abort();
            }
        }
    }
}

async fn answered(answer: &mut JoinHandle<Result<Answer>>) -> Result<Answer> {
    answer.await.map_err(|err| Error::new(ErrorKind::Internal, format!("A prompt was lost: {err}.")))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;
    use crate::corpus::lines::Mark;
    use crate::engine::{BatchLimits, QueueLimits, Turns};
    use crate::model::{Model, Progress, Slot};

    /// Nothing comes to it.
    struct Idle;

    impl Model for Idle {
        fn begin(&mut self, _: Slot, _: Batch) {
            unreachable!()
        }

        fn advance(&mut self, _: Slot) -> Progress {
            unreachable!()
        }

        fn retain(&mut self, _: Slot, _: &[bool]) {
            unreachable!()
        }

        fn remaining(&self, _: Slot) -> usize {
            0
        }

        fn width(&self) -> usize {
            1
        }
    }

    #[tokio::test]
    async fn rows_without_prompts_fill_it_too_until_they_leave() {
        let mut flight = Flight::new(
            Engine::start(Box::new(Idle), &Turns::default(), BatchLimits::default(), QueueLimits::default()).unwrap(),
        );
        let place = |line| Place { line, bytes: 0, mark: Mark { lines: line, xxh3: String::new() } };
        let empty = |line| Item::Row { place: place(line), id: None, many: true, truncated: 0 };
        let bad = |line| Item::Rejected { place: place(line), reason: String::new(), row: "x".repeat(4000) };
        for (item, most) in [(&bad as &dyn Fn(u64) -> Item, 10), (&empty, 1000)] {
            let mut taken = 0;
            while !flight.fills(10_000) {
                taken += 1;
                assert!(taken <= most, "{taken} rows do not fill it");
                flight.take(item(taken));
            }
            for _ in 0..taken {
                assert!(flight.land().await.expect("no error").is_some());
            }
            assert!(flight.is_empty() && !flight.fills(1));
        }
    }
}
