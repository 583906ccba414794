//! The one thread that owns the model, and the async handle to it.
//!
//! Requests cross a channel into the worker's queue, without what the answer cache has of them; the worker packs their
//! prompts into batches under a budget, runs the model, keeps the results for those who ask again and scatters them.
//! Dropping the future of a request frees its work: what waits at once, what runs at the end of the layer. When the last
//! handle is gone the worker finishes what is queued and ends.

mod admission;
mod answer_cache;
mod queue;
mod request;
mod status;
mod turns;
mod worker;

pub use admission::{Admission, QueueLimits};
pub use request::Answer;
pub use status::Work;
pub use turns::Turns;
pub use worker::BatchLimits;

use crate::error::{Error, ErrorKind, Result};
use crate::model::Model;
use crate::prompt::Prompt;
use crate::threads;
use answer_cache::{AnswerCache, Lookup};
use request::{Asked, Request, failed};
use status::Status;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use worker::Worker;

/// A handle to the worker thread; clones share it.
#[derive(Clone)]
pub struct Engine {
    requests: mpsc::UnboundedSender<Request>,
    batch: BatchLimits,
    queue: QueueLimits,
    /// Bytes of one token's keys and values.
    kv_bytes: usize,
    status: Arc<Status>,
    kept: Arc<AnswerCache>,
    /// Closed when the worker has ended.
    ended: watch::Receiver<()>,
}

impl Engine {
    /// Starts the worker, whose batches keep within `batch`, for a queue within `queue`; `turns` are those of all models on
    /// the same compute threads. The thread ends when all handles are dropped and the queue is empty. An error if the system
    /// refuses the thread, or the randomness that keys of the answer cache need.
    pub fn start(model: Box<dyn Model>, turns: &Turns, batch: BatchLimits, queue: QueueLimits) -> Result<Self> {
        let (requests, receiver) = mpsc::unbounded_channel();
        let status = Arc::new(Status::default());
        let kv_bytes = model.kv_bytes();
        let kept = Arc::new(AnswerCache::new(batch.answer_cache_bytes, model.width())?);
        let worker = Worker::new(model, turns.place(), receiver, batch, status.clone(), kept.clone());
        let (end, ended) = watch::channel(());
        threads::spawn("engine", move || {
            worker.run();
            drop(end);
        })?;
        Ok(Self { requests, batch, queue, kv_bytes, status, kept, ended })
    }

    /// Gives up this handle, the last one, and waits until the model is gone.
    pub async fn end(self) {
        let mut ended = self.ended.clone();
        drop(self);
        // Nothing is ever sent.
        while ended.changed().await.is_ok() {}
    }

    /// The answer to every prompt, in order. Among requests that wait, those of a lower `priority` go first; 0 is the
    /// usual. Dropping the future frees the work. An error if the queue is full.
    pub async fn answers(&self, prompts: Vec<Prompt>, priority: i64) -> Result<Vec<Answer>> {
        let mut admission = self.admit(prompts.len())?;
        prompts.iter().for_each(|prompt| admission.add(prompt));
        self.answers_to(admission, prompts, priority).await
    }

    /// A place in the queue for a request of so many sequences, whose prompts are yet to be made; an error if it is full,
    /// or if the engine has failed.
    pub fn admit(&self, sequences: usize) -> Result<Admission> {
        if !self.is_alive() {
            return Err(Error::new(ErrorKind::Busy, "The engine has stopped and takes no more requests."));
        }
        Admission::new(sequences, self.queue, &self.status, &self.kept)
    }

    /// The answer to every prompt of a request that has its place, to which all of them were added; see [`Self::answers`].
    pub async fn answers_to(
        &self,
        mut admission: Admission,
        prompts: Vec<Prompt>,
        priority: i64,
    ) -> Result<Vec<Answer>> {
        let lookups = admission.take_lookups();
        assert_eq!(lookups.len(), prompts.len(), "every prompt was added");
        let missing = prompts.into_iter().zip(&lookups).filter_map(|(prompt, lookup)| match lookup {
            Lookup::Found(_) => None,
            Lookup::Missing(key) => Some(Asked { prompt, key: *key }),
        });
        let missing: Vec<Asked> = missing.collect();
        let hits = lookups.len() - missing.len();
        self.status.count_lookups(hits, missing.iter().filter(|asked| asked.key.is_some()).count());
        let mut computed = self.computed(admission, missing, priority).await?.into_iter();
        let answer = |lookup| match lookup {
            Lookup::Found(row) => Some(Answer::of(row)),
            Lookup::Missing(_) => computed.next(),
        };
        Ok(lookups.into_iter().filter_map(answer).collect())
    }

    async fn computed(&self, admission: Admission, prompts: Vec<Asked>, priority: i64) -> Result<Vec<Answer>> {
        if prompts.is_empty() {
            return Ok(Vec::new());
        }
        let (reply, answer) = oneshot::channel();
        let arrival = Instant::now();
        // Who has a place was there when the engine failed, and hears so, even where the queue closed before the prompts came.
        self.requests.send(Request { prompts, priority, arrival, reply, admission }).map_err(|_| failed())?;
        answer.await.map_err(|_| failed())?
    }

    /// Whether the worker can still compute: false after a fault ended it.
    pub fn is_alive(&self) -> bool {
        self.failure().is_none()
    }

    /// Why a fault ended the worker, if one did.
    pub fn failure(&self) -> Option<Error> {
        self.status.failure.borrow().clone()
    }

    /// Waits until a fault ends the worker, and says why. What was pending has its error then, or gets it next.
    pub async fn failed(&self) -> Error {
        let mut failure = self.status.failure.subscribe();
        loop {
            if let Some(error) = failure.borrow_and_update().clone() {
                return error;
            }
            // The sender lives in the status that `self` holds.
            failure.changed().await.unwrap_or_else(|_| unreachable!("the engine's status is there"));
        }
    }

    /// Sequences in the batches that run now.
    pub fn running(&self) -> usize {
        self.status.running.load(Ordering::Relaxed)
    }

    /// Sequences accepted that wait for a batch.
    pub fn waiting(&self) -> usize {
        self.status.pending.load(Ordering::Relaxed).saturating_sub(self.running())
    }

    /// What has been done since the start.
    pub fn work(&self) -> Work {
        self.status.work()
    }

    /// How long the request that arrived first has waited for a batch; zero if none waits.
    pub fn queue_age(&self) -> Duration {
        let oldest = *self.status.oldest.lock().unwrap_or_else(PoisonError::into_inner);
        oldest.map_or(Duration::ZERO, |arrival| arrival.elapsed())
    }

    /// How much of the memory for keys and values the batches that run now use: that of the largest batch and of the
    /// prefix cache is 1.
    pub fn kv_usage(&self) -> f64 {
        let capacity = self.batch.tokens.saturating_add(self.prefix_cache_capacity()).max(1);
        (self.status.running_tokens.load(Ordering::Relaxed) as f64 / capacity as f64).min(1.0)
    }

    /// Tokens whose keys and values the prefix cache holds.
    pub fn prefix_cache_tokens(&self) -> usize {
        self.status.prefix_cache_tokens.load(Ordering::Relaxed)
    }

    /// Tokens whose keys and values it may hold.
    pub fn prefix_cache_capacity(&self) -> usize {
        self.batch.prefix_cache_bytes / self.kv_bytes.max(1)
    }

    /// Bytes that the prefix cache may hold.
    pub fn prefix_cache_limit_bytes(&self) -> usize {
        self.batch.prefix_cache_bytes
    }

    /// Floating-point operations a second that the compute threads could do at most of what multiplies the model's matrices.
    /// Whoever asks first gets nothing: it is measured after that, between two batches.
    pub fn peak(&self) -> Option<f64> {
        self.status.peak_is_wanted.store(true, Ordering::Relaxed);
        self.status.peak.get().copied().flatten()
    }

    /// Bytes that the prefix cache holds.
    pub fn prefix_cache_bytes(&self) -> usize {
        self.prefix_cache_tokens() * self.kv_bytes
    }
    /// Bytes that the answer cache may take.
    pub fn answer_cache_limit_bytes(&self) -> usize {
        self.batch.answer_cache_bytes
    }

    /// Bytes that the rows take that it holds.
    pub fn answer_cache_bytes(&self) -> usize {
        self.kept.held()
    }
}
