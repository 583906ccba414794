//! Who is let into the queue: a request is counted from before its prompts are made until it is answered or dropped.
//!
//! Invariant: what [`Status`] says is pending is what all admissions hold together. Asked by [`super`].

use super::answer_cache::{AnswerCache, Lookup};
use super::status::Status;
use crate::error::{Error, ErrorKind, Result};
use crate::prompt::Prompt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What may wait or run before new requests are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// Sequences.
    pub sequences: usize,
    /// Tokens of their prompts.
    pub tokens: usize,
}

impl Default for QueueLimits {
    /// Nothing is refused.
    fn default() -> Self {
        Self { sequences: usize::MAX, tokens: usize::MAX }
    }
}

/// A request's place in the queue, as far as it is known: its sequences first, its tokens while they are made. What the
/// answer cache has takes no place. Dropping it gives the place back.
pub struct Admission {
    sequences: usize,
    tokens: usize,
    limits: QueueLimits,
    status: Arc<Status>,
    answers: Arc<AnswerCache>,
    /// What that has for each prompt, in order.
    lookups: Vec<Lookup>,
}

impl Admission {
    /// Counts `sequences` in, unless those that are there have reached the limit. Which of them the cache has is not known
    /// before they are tokens, and making those is work that a full server must not take on.
    pub(super) fn new(
        sequences: usize,
        limits: QueueLimits,
        status: &Arc<Status>,
        answers: &Arc<AnswerCache>,
    ) -> Result<Self> {
        let within = |now: usize| (now < limits.sequences).then_some(now + sequences);
        status.pending.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).map_err(|now| {
            status.refused_by_sequences.fetch_add(1, Ordering::Relaxed);
            let sentence = "The engine is currently busy and cannot accept new requests. Please try again later or on \
                            a different instance.";
            let limit = limits.sequences;
            full(format!("{sentence} ({now} pairs wait or run, --max-num-queued-reqs is {limit}.)"))
        })?;
        let (status, answers) = (status.clone(), answers.clone());
        let mut admission = Self { sequences, tokens: 0, limits, status, answers, lookups: Vec::new() };
        admission.add_tokens(0)?;
        Ok(admission)
    }

    /// Looks the next prompt of the request up, and counts its tokens in if it has to be computed; an error if those of the
    /// others have reached the limit. A request that is larger than the limit is let in when nothing else is there: it
    /// could never be answered otherwise.
    pub fn add(&mut self, prompt: &Prompt) -> Result<()> {
        let lookup = self.answers.find(prompt);
        match lookup {
            Lookup::Found(_) => self.done(1),
            Lookup::Missing(_) => self.add_tokens(prompt.len())?,
        }
        self.lookups.push(lookup);
        Ok(())
    }

    /// What there was for the prompts that were added.
    pub(super) fn take_lookups(&mut self) -> Vec<Lookup> {
        std::mem::take(&mut self.lookups)
    }

    fn add_tokens(&mut self, more: usize) -> Result<()> {
        let Self { tokens, limits, status, .. } = self;
        let within = |now: usize| (now - *tokens < limits.tokens).then_some(now + more);
        status.pending_tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).map_err(|now| {
            status.refused_by_tokens.fetch_add(1, Ordering::Relaxed);
            let sentence = "The engine has reached its prefill token backlog limit. Please try again later or on a \
                            different instance.";
            let (now, limit) = (now - *tokens, limits.tokens);
            full(format!("{sentence} ({now} tokens wait or run, --max-num-queued-tokens is {limit}.)"))
        })?;
        *tokens += more;
        Ok(())
    }

    /// Counts `sequences` of the request as answered.
    pub(super) fn done(&mut self, sequences: usize) {
        self.sequences -= sequences;
        self.status.pending.fetch_sub(sequences, Ordering::Relaxed);
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.status.pending.fetch_sub(self.sequences, Ordering::Relaxed);
        self.status.pending_tokens.fetch_sub(self.tokens, Ordering::Relaxed);
    }
}

fn full(sentence: String) -> Error {
    Error::new(ErrorKind::Busy, sentence)
}
