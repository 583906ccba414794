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
///
/// While others fill a queue, room goes to the next request that asks, whatever its size. So that none starves, who is let
/// in stays in, however much comes in while its prompts are made, which takes large requests longest; and every batch gives
/// room back, not only an answer, at which its client would be the first to ask again, time after time. No room is kept for
/// who was refused: that client has left, and nobody knows whether it comes back, or as which of those that ask next. Nor
/// does anybody wait for room: that would be the queue once more, under another limit.
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
    status: Arc<Status>,
    answers: Arc<AnswerCache>,
    /// What that has for each prompt, in order.
    lookups: Vec<Lookup>,
}

impl Admission {
    /// Counts `sequences` in, unless what is there has reached a limit. Which of them the cache has is not known before they
    /// are tokens, and making those is work that a full server must not take on. A request that is larger than a limit is
    /// let in as others are: it could never be answered otherwise.
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
        let admission = Self { sequences, tokens: 0, status, answers, lookups: Vec::new() };
        let now = admission.status.pending_tokens.load(Ordering::Relaxed);
        if now >= limits.tokens {
            admission.status.refused_by_tokens.fetch_add(1, Ordering::Relaxed);
            let sentence = "The engine has reached its prefill token backlog limit. Please try again later or on a \
                            different instance.";
            let limit = limits.tokens;
            return Err(full(format!("{sentence} ({now} tokens wait or run, --max-num-queued-tokens is {limit}.)")));
        }
        Ok(admission)
    }

    /// Looks the next prompt of the request up, and counts its tokens in if it has to be computed.
    pub fn add(&mut self, prompt: &Prompt) {
        let lookup = self.answers.find(prompt);
        match lookup {
            Lookup::Found(_) => self.done(0),
            Lookup::Missing(_) => {
                self.tokens += prompt.len();
                self.status.pending_tokens.fetch_add(prompt.len(), Ordering::Relaxed);
            }
        }
        self.lookups.push(lookup);
    }

    /// What there was for the prompts that were added.
    pub(super) fn take_lookups(&mut self) -> Vec<Lookup> {
        std::mem::take(&mut self.lookups)
    }

    /// Gives back the place of a sequence whose answer is there, and of so many tokens.
    pub(super) fn done(&mut self, tokens: usize) {
        self.sequences -= 1;
        self.tokens -= tokens;
        self.status.pending.fetch_sub(1, Ordering::Relaxed);
        self.status.pending_tokens.fetch_sub(tokens, Ordering::Relaxed);
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
