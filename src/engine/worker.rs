//! The worker: forms batches, drives the model step by step, lets small batches overtake large ones.
//!
//! The bulk slot takes what is next in the queue. While it holds a batch that will be long, small requests go through
//! the express slot, step after step until they are done; then the bulk slot goes on. It keeps a fifth of the machine
//! at least, whatever comes by express. Each step waits for its turn among those of other models.

use super::answer_cache::AnswerCache;
use super::queue::{Queue, Ticket};
use super::request::Request;
use super::status::Status;
use super::turns::{Length, Place};
use crate::batch::Cost;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Model, Outcome, Progress, Slot};
use crate::prefix_cache::PrefixCache;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Instant;
use tokio::sync::mpsc;

/// Tokens of an express batch at most: a document or a few passages.
const EXPRESS_TOKENS: usize = 512;

/// Tokens of a batch to a block of keys and values at least: a batch of very short sequences, each with a block of its
/// own, must not take more memory than the token budget promises.
const TOKENS_PER_BLOCK: usize = 24;

/// Blocks that a batch may have in any case.
const LEAST_BLOCKS: usize = 64;

/// What a batch may hold, one prompt always fitting, however long; and what is kept between batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Tokens to compute.
    pub tokens: usize,
    /// Sequences.
    pub sequences: usize,
    /// Bytes of the prefix cache; 0 turns it off.
    pub prefix_cache_bytes: usize,
    /// Bytes of the answer cache; 0 turns it off.
    pub answer_cache_bytes: usize,
}

impl Default for BatchLimits {
    /// Nothing limited, nothing kept.
    fn default() -> Self {
        Self { tokens: usize::MAX, sequences: usize::MAX, prefix_cache_bytes: 0, answer_cache_bytes: 0 }
    }
}

pub(super) struct Worker {
    model: Box<dyn Model>,
    place: Place,
    receiver: mpsc::UnboundedReceiver<Request>,
    queue: Queue,
    cache: PrefixCache,
    answers: Arc<AnswerCache>,
    limits: BatchLimits,
    status: Arc<Status>,
    /// What each slot's batch is made of; empty if the slot is free.
    tickets: [Vec<Ticket>; 2],
    /// Tokens whose keys and values each slot's batch uses.
    tokens: [usize; 2],
    /// How much each slot's batch is.
    lengths: [Length; 2],
    /// The express slot stays closed while the bulk slot has more than this many tokens to go.
    express_from: usize,
}

impl Worker {
    pub fn new(
        model: Box<dyn Model>,
        place: Place,
        receiver: mpsc::UnboundedReceiver<Request>,
        limits: BatchLimits,
        status: Arc<Status>,
        answers: Arc<AnswerCache>,
    ) -> Self {
        let cache = PrefixCache::new(limits.prefix_cache_bytes / model.kv_bytes().max(1));
        let (queue, tickets) = (Queue::default(), [Vec::new(), Vec::new()]);
        let (tokens, lengths, express_from) = ([0; 2], [Length::Long; 2], usize::MAX);
        Self { model, place, receiver, queue, cache, answers, limits, status, tickets, tokens, lengths, express_from }
    }

    pub fn run(mut self) {
        // A panic is a bug; the model's buffers can't be trusted after it, so everything pending fails.
        let served = catch_unwind(AssertUnwindSafe(|| self.serve()));
        if let Err(error) = served.unwrap_or_else(|panic| Err(bug(&*panic))) {
            self.fail(error);
        }
    }

    fn serve(&mut self) -> Result<()> {
        while self.receive() {
            self.begin();
            *self.status.oldest.lock().unwrap_or_else(PoisonError::into_inner) = self.queue.oldest();
            let slot = if self.is_free(Slot::Express) { Slot::Bulk } else { Slot::Express };
            if self.is_free(slot) {
                continue;
            }
            let progress = self.place.step(self.lengths[slot as usize], || {
                let started = Instant::now();
                let progress = self.model.advance(slot);
                self.status.model_nanos.fetch_add(started.elapsed().as_nanos() as u64, Ordering::Relaxed);
                progress
            });
            match progress {
                Progress::Chunk => {}
                Progress::Layer => self.drop_cancelled(slot),
                Progress::Done(outcome) => {
                    self.model.check()?;
                    self.finish(slot, outcome);
                }
            }
        }
        Ok(())
    }

    fn is_free(&self, slot: Slot) -> bool {
        self.tickets[slot as usize].is_empty()
    }

    /// Measures the peak, once, when it was asked for and the first batch is done: no first answer waits for it.
    fn measure(&self) {
        let Status { peak, peak_is_wanted, flop, .. } = &*self.status;
        let has_worked = flop.load(Ordering::Relaxed) > 0;
        if has_worked && peak_is_wanted.load(Ordering::Relaxed) {
            peak.get_or_init(|| self.place.step(Length::Short, || self.model.peak()));
        }
    }

    /// Takes in what has arrived, waiting only when there is nothing to do; false when nothing is left to do.
    fn receive(&mut self) -> bool {
        let is_between_batches = self.is_free(Slot::Bulk) && self.is_free(Slot::Express);
        if is_between_batches {
            self.measure();
        }
        if self.queue.is_empty() && is_between_batches {
            self.place.rest();
            match self.receiver.blocking_recv() {
                Some(request) => self.queue.push(request, EXPRESS_TOKENS, &self.cache),
                None => return false,
            }
        }
        while let Ok(request) = self.receiver.try_recv() {
            self.queue.push(request, EXPRESS_TOKENS, &self.cache);
        }
        self.queue.drop_closed();
        true
    }

    /// Gives free slots something to do.
    fn begin(&mut self) {
        let BatchLimits { tokens, sequences, .. } = self.limits;
        if self.is_free(Slot::Bulk) && self.is_free(Slot::Express) {
            self.form(Slot::Bulk, tokens, sequences);
            self.express_from = usize::MAX;
        } else if self.is_free(Slot::Express)
            && let Some(smallest) = self.queue.smallest()
        {
            let remaining = self.model.remaining(Slot::Bulk);
            // What will soon be done is not worth an interruption.
            if remaining <= self.express_from && remaining > 2 * smallest {
                self.form(Slot::Express, EXPRESS_TOKENS.min(tokens), sequences);
                let express = self.model.remaining(Slot::Express);
                self.express_from = remaining.saturating_sub(express.div_ceil(4));
            }
        }
    }

    fn form(&mut self, slot: Slot, tokens: usize, sequences: usize) {
        let limit = Cost { tokens, blocks: (tokens / TOKENS_PER_BLOCK).max(LEAST_BLOCKS) };
        let (batch, tickets) = self.queue.take(limit, sequences, slot == Slot::Express, &self.cache);
        if tickets.is_empty() {
            return;
        }
        let batch = batch.finish(&mut self.cache);
        let count = |counter: &AtomicU64, value: usize| {
            counter.fetch_add(value as u64, Ordering::Relaxed);
        };
        count(&self.status.tokens, batch.tokens());
        count(&self.status.computed_tokens, batch.rows());
        count(&self.status.cached_tokens, batch.cached_tokens());
        self.status.count_batch(batch.tokens());
        self.status.running.fetch_add(tickets.len(), Ordering::Relaxed);
        self.tokens[slot as usize] = batch.rows() + batch.cached_tokens();
        self.lengths[slot as usize] = if batch.rows() > EXPRESS_TOKENS { Length::Long } else { Length::Short };
        self.status.running_tokens.store(self.tokens.iter().sum(), Ordering::Relaxed);
        self.tickets[slot as usize] = tickets;
        self.model.begin(slot, batch);
    }

    /// Takes cancelled requests out of a batch.
    fn drop_cancelled(&mut self, slot: Slot) {
        self.queue.drop_closed();
        let tickets = &mut self.tickets[slot as usize];
        let wanted: Vec<bool> = tickets.iter().map(|ticket| self.queue.wants(ticket)).collect();
        if wanted.contains(&false) {
            self.model.retain(slot, &wanted);
            let before = tickets.len();
            tickets.retain(|ticket| self.queue.wants(ticket));
            self.status.running.fetch_sub(before - tickets.len(), Ordering::Relaxed);
        }
    }

    fn finish(&mut self, slot: Slot, outcome: Outcome) {
        let tickets = std::mem::take(&mut self.tickets[slot as usize]);
        assert_eq!(outcome.rows.len(), tickets.len(), "a model answers every sequence");
        for (keep, kv) in outcome.kept {
            self.cache.insert(&keep.token_ids, keep.from, kv);
        }
        // Before the answers go out: who has one finds it kept, and the engine idle.
        let rows = tickets.iter().zip(outcome.rows.iter());
        self.answers.insert(rows.filter_map(|(ticket, row)| Some((ticket.key?, row))));
        self.status.flop.fetch_add(outcome.flop, Ordering::Relaxed);
        self.status.prefix_cache_tokens.store(self.cache.tokens(), Ordering::Relaxed);
        self.status.running.fetch_sub(tickets.len(), Ordering::Relaxed);
        self.tokens[slot as usize] = 0;
        self.status.running_tokens.store(self.tokens.iter().sum(), Ordering::Relaxed);
        self.queue.give(&tickets, &outcome.rows);
    }

    fn fail(mut self, error: Error) {
        // First, so that nobody who has an error finds the engine well.
        self.status.failure.send_replace(Some(error));
        self.status.running.store(0, Ordering::Relaxed);
        self.status.running_tokens.store(0, Ordering::Relaxed);
        *self.status.oldest.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.receiver.close();
        while let Ok(request) = self.receiver.try_recv() {
            self.queue.push(request, 0, &self.cache);
        }
        self.queue.fail();
    }
}

/// What a panic said.
fn bug(panic: &(dyn Any + Send)) -> Error {
    let said = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Error::new(
        ErrorKind::Internal,
        format!("The engine failed, which is a bug: {}.", said.unwrap_or("no reason given")),
    )
}
