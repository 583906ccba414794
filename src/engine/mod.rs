//! The one thread that owns the model, and the async handle to it.
//!
//! Requests cross a channel into the worker's queue; the worker packs their prompts into batches under a budget,
//! runs the model and scatters the results. Dropping the future of a request frees its work: what waits at once, what
//! runs at the end of the layer. When the last handle is gone the worker finishes what is queued and ends.

mod queue;
mod worker;

use crate::checkpoint::Activation;
use crate::error::{Error, ErrorKind, Result};
use crate::model::Model;
use crate::options::Pooling;
use crate::prompt::Prompt;
use crate::threads;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use worker::Worker;

/// A handle to the worker thread; clones share it.
#[derive(Clone)]
pub struct Engine {
    requests: mpsc::UnboundedSender<Request>,
    limits: Limits,
    /// Bytes of one token's keys and values.
    kv_bytes: usize,
    state: Arc<State>,
}

/// What became of a prompt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answer {
    /// What the model's head gives: `logit(yes) - logit(no)`, as a rule.
    pub margin: f32,
    /// How long it waited for a batch.
    pub queued: Duration,
    /// How long its batch took.
    pub computed: Duration,
    /// Tokens that had to be computed for it; the others were there already.
    pub computed_tokens: usize,
}

impl Answer {
    /// The score that `pooling` and `activation` make of the margin; without an activation, the logit.
    pub fn score(&self, pooling: &Pooling, activation: Option<Activation>) -> f32 {
        // A small sigma may take it beyond all numbers, and JSON has no infinity.
        let logit = ((self.margin - pooling.logit_mean) / pooling.logit_sigma).clamp(f32::MIN, f32::MAX);
        activation.unwrap_or(Activation::Identity).of(logit)
    }
}

/// Upper bounds of the sizes by which batches are counted, in tokens of their prompts, shared or not; larger ones have a
/// count of their own.
pub const BATCH_SIZES: [usize; 13] = [1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384];

/// What a batch may hold, one prompt always fitting, however long; and what is kept between batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Tokens to compute in a batch at most.
    pub tokens: usize,
    /// Sequences in a batch at most.
    pub sequences: usize,
    /// Bytes of the prefix cache; 0 turns it off.
    pub prefix_cache_bytes: usize,
    /// Pairs that may wait or run before new requests are refused.
    pub queued_pairs: usize,
    /// Tokens of their prompts, the same.
    pub queued_tokens: usize,
}

impl Default for Limits {
    /// Nothing limited, nothing kept.
    fn default() -> Self {
        let none = usize::MAX;
        Self { tokens: none, sequences: none, prefix_cache_bytes: 0, queued_pairs: none, queued_tokens: none }
    }
}

/// What has been done since the start.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// Tokens of all pairs that were run.
    pub tokens: u64,
    /// How many of them were computed; the others were shared.
    pub computed_tokens: u64,
    /// How many the prefix cache gave, counted once where pairs share them.
    pub cached_tokens: u64,
    /// Floating-point operations of finished batches, without what pads tiles.
    pub flop: u64,
    /// How long the model ran.
    pub model_time: Duration,
    /// Batches by size, see [`BATCH_SIZES`].
    pub batches: [u64; BATCH_SIZES.len() + 1],
    /// Requests refused because too many pairs were there.
    pub refused_by_pairs: u64,
    /// Requests refused because too many tokens were there.
    pub refused_by_tokens: u64,
}

impl Work {
    /// What has been done since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            tokens: self.tokens - earlier.tokens,
            computed_tokens: self.computed_tokens - earlier.computed_tokens,
            cached_tokens: self.cached_tokens - earlier.cached_tokens,
            flop: self.flop - earlier.flop,
            model_time: self.model_time - earlier.model_time,
            batches: std::array::from_fn(|i| self.batches[i] - earlier.batches[i]),
            refused_by_pairs: self.refused_by_pairs - earlier.refused_by_pairs,
            refused_by_tokens: self.refused_by_tokens - earlier.refused_by_tokens,
        }
    }
}

/// What the worker is doing, for health and metrics.
#[derive(Default)]
struct State {
    /// Why the worker has ended, if a fault ended it.
    failure: watch::Sender<Option<Error>>,
    /// Pairs accepted and not yet answered.
    pending: AtomicUsize,
    /// Tokens of the requests that are not answered.
    pending_tokens: AtomicUsize,
    /// Pairs of the batches that run now.
    running: AtomicUsize,
    /// Tokens whose keys and values these batches use.
    running_tokens: AtomicUsize,
    tokens: AtomicU64,
    computed_tokens: AtomicU64,
    cached_tokens: AtomicU64,
    flop: AtomicU64,
    model_nanos: AtomicU64,
    batches: [AtomicU64; BATCH_SIZES.len() + 1],
    refused_by_pairs: AtomicU64,
    refused_by_tokens: AtomicU64,
    prefix_cache_tokens: AtomicUsize,
    /// Arrival of the request that has waited for the longest time.
    oldest: Mutex<Option<Instant>>,
}

struct Request {
    prompts: Vec<Prompt>,
    priority: i64,
    arrival: Instant,
    reply: oneshot::Sender<Result<Vec<Answer>>>,
    /// Keeps [`State::pending`] true however the request ends.
    pending: Pending,
}

/// A request's place in the queue, as far as it is known: its pairs first, its tokens while they are made.
pub struct Admission(Pending);

struct Pending {
    pairs: usize,
    tokens: usize,
    limits: Limits,
    state: Arc<State>,
}

impl Admission {
    /// Counts more tokens of the request in; an error if those of the others have reached the limit. A request that is
    /// larger than the limit is let in when nothing else is there: it could never be answered otherwise.
    pub fn add_tokens(&mut self, more: usize) -> Result<()> {
        let Pending { tokens, limits, state, .. } = &mut self.0;
        let within = |now: usize| (now - *tokens < limits.queued_tokens).then_some(now + more);
        state.pending_tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).map_err(|now| {
            state.refused_by_tokens.fetch_add(1, Ordering::Relaxed);
            let sentence = "The engine has reached its prefill token backlog limit. Please try again later or on a \
                            different instance.";
            let (now, limit) = (now - *tokens, limits.queued_tokens);
            full(format!("{sentence} ({now} tokens wait or run, --max-num-queued-tokens is {limit}.)"))
        })?;
        *tokens += more;
        Ok(())
    }
}

impl Pending {
    /// Counts `pairs` in, unless those that are there have reached the limit.
    fn admit(pairs: usize, limits: &Limits, state: &Arc<State>) -> Result<Self> {
        let within = |now: usize| (now < limits.queued_pairs).then_some(now + pairs);
        state.pending.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).map_err(|now| {
            state.refused_by_pairs.fetch_add(1, Ordering::Relaxed);
            let sentence = "The engine is currently busy and cannot accept new requests. Please try again later or on \
                            a different instance.";
            let limit = limits.queued_pairs;
            full(format!("{sentence} ({now} pairs wait or run, --max-num-queued-reqs is {limit}.)"))
        })?;
        Ok(Self { pairs, tokens: 0, limits: *limits, state: state.clone() })
    }

    fn done(&mut self, pairs: usize) {
        self.pairs -= pairs;
        self.state.pending.fetch_sub(pairs, Ordering::Relaxed);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.state.pending.fetch_sub(self.pairs, Ordering::Relaxed);
        self.state.pending_tokens.fetch_sub(self.tokens, Ordering::Relaxed);
    }
}

impl Engine {
    /// Starts the worker, which keeps within `limits`. The thread ends when all handles are dropped and the queue is
    /// empty. An error if the system refuses the thread.
    pub fn start(model: Box<dyn Model>, limits: Limits) -> Result<Self> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let state = Arc::new(State::default());
        let kv_bytes = model.kv_bytes();
        let worker = Worker::new(model, receiver, limits, state.clone());
        threads::spawn("engine", move || worker.run())?;
        Ok(Self { requests: sender, limits, kv_bytes, state })
    }

    /// The [`Answer::margin`] of every prompt, see [`Self::answers`].
    pub async fn margins(&self, prompts: Vec<Prompt>, priority: i64) -> Result<Vec<f32>> {
        let answers = self.answers(prompts, priority).await?;
        Ok(answers.iter().map(|answer| answer.margin).collect())
    }

    /// The answer to every prompt, in order. Among requests that wait, those of a lower `priority` go first; 0 is the
    /// usual. Dropping the future frees the work. An error if the queue is full.
    pub async fn answers(&self, prompts: Vec<Prompt>, priority: i64) -> Result<Vec<Answer>> {
        let mut admission = self.admit(prompts.len())?;
        admission.add_tokens(prompts.iter().map(Prompt::len).sum())?;
        self.answers_to(admission, prompts, priority).await
    }

    /// A place in the queue for a request of so many pairs, whose prompts are yet to be made; an error if it is full, or
    /// if the engine has failed.
    pub fn admit(&self, pairs: usize) -> Result<Admission> {
        if !self.is_alive() {
            return Err(stopped());
        }
        let mut admission = Admission(Pending::admit(pairs, &self.limits, &self.state)?);
        admission.add_tokens(0)?;
        Ok(admission)
    }

    /// As [`Self::answers`] to a request that has its place, and has counted the tokens of its prompts.
    pub async fn answers_to(&self, admission: Admission, prompts: Vec<Prompt>, priority: i64) -> Result<Vec<Answer>> {
        if prompts.is_empty() {
            return Ok(Vec::new());
        }
        let (reply, answer) = oneshot::channel();
        let (arrival, pending) = (Instant::now(), admission.0);
        // Who has a place was there when the engine failed, and hears so, even where the queue closed before the prompts came.
        self.requests.send(Request { prompts, priority, arrival, reply, pending }).map_err(|_| failed())?;
        answer.await.map_err(|_| failed())?
    }

    /// Whether the worker can still compute: false after a fault ended it.
    pub fn is_alive(&self) -> bool {
        self.failure().is_none()
    }

    /// Why a fault ended the worker, if one did.
    pub fn failure(&self) -> Option<Error> {
        self.state.failure.borrow().clone()
    }

    /// Waits until a fault ends the worker, and says why. What was pending has its error then, or gets it next.
    pub async fn failed(&self) -> Error {
        let mut failure = self.state.failure.subscribe();
        loop {
            if let Some(error) = failure.borrow_and_update().clone() {
                return error;
            }
            // The sender lives in the state that `self` holds.
            failure.changed().await.unwrap_or_else(|_| unreachable!("the engine's state is there"));
        }
    }

    /// Pairs in the batches that run now.
    pub fn running(&self) -> usize {
        self.state.running.load(Ordering::Relaxed)
    }

    /// Pairs accepted that wait for a batch.
    pub fn waiting(&self) -> usize {
        self.state.pending.load(Ordering::Relaxed).saturating_sub(self.running())
    }

    /// What has been done since the start.
    pub fn work(&self) -> Work {
        let state = &*self.state;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Work {
            tokens: read(&state.tokens),
            computed_tokens: read(&state.computed_tokens),
            cached_tokens: read(&state.cached_tokens),
            flop: read(&state.flop),
            model_time: Duration::from_nanos(read(&state.model_nanos)),
            batches: state.batches.each_ref().map(read),
            refused_by_pairs: read(&state.refused_by_pairs),
            refused_by_tokens: read(&state.refused_by_tokens),
        }
    }

    /// How long the request that arrived first has waited for a batch; zero if none waits.
    pub fn queue_age(&self) -> Duration {
        let oldest = *self.state.oldest.lock().unwrap_or_else(PoisonError::into_inner);
        oldest.map_or(Duration::ZERO, |arrival| arrival.elapsed())
    }

    /// How much of the memory for keys and values the batches that run now use: that of the largest batch and of the
    /// prefix cache is 1.
    pub fn kv_usage(&self) -> f64 {
        let capacity = self.limits.tokens.saturating_add(self.prefix_cache_capacity()).max(1);
        (self.state.running_tokens.load(Ordering::Relaxed) as f64 / capacity as f64).min(1.0)
    }

    /// Tokens whose keys and values the prefix cache holds.
    pub fn prefix_cache_tokens(&self) -> usize {
        self.state.prefix_cache_tokens.load(Ordering::Relaxed)
    }

    /// Tokens whose keys and values it may hold.
    pub fn prefix_cache_capacity(&self) -> usize {
        self.limits.prefix_cache_bytes / self.kv_bytes.max(1)
    }

    /// Bytes that the prefix cache may hold.
    pub fn prefix_cache_limit_bytes(&self) -> usize {
        self.limits.prefix_cache_bytes
    }

    /// Bytes that the prefix cache holds.
    pub fn prefix_cache_bytes(&self) -> usize {
        self.prefix_cache_tokens() * self.kv_bytes
    }
}

fn full(sentence: String) -> Error {
    Error::new(ErrorKind::Busy, sentence)
}

fn failed() -> Error {
    Error::new(ErrorKind::Internal, "The engine failed while it computed this request.")
}

fn stopped() -> Error {
    Error::new(ErrorKind::Busy, "The engine has stopped and takes no more requests.")
}
