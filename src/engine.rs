//! The one thread that owns the model, and the async handle to it.
//!
//! Requests cross a channel into a queue, first come, first served; the worker packs their prompts into batches under
//! a token budget, runs the model and scatters the results. A request whose future was dropped leaves the queue before
//! the next batch. When the last handle is gone the worker finishes what is queued and ends.

use crate::batch::Batch;
use crate::error::{Error, ErrorKind, Result};
use crate::model::Model;
use crate::prompt::Prompt;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::sync::{mpsc, oneshot};

/// A handle to the worker thread; clones share it.
#[derive(Clone)]
pub struct Engine {
    requests: mpsc::UnboundedSender<Request>,
    state: Arc<State>,
}

/// What a batch may hold; one prompt always fits, however long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Tokens at most.
    pub tokens: usize,
    /// Sequences at most.
    pub sequences: usize,
}

/// What the worker is doing, for health and metrics.
#[derive(Default)]
struct State {
    dead: AtomicBool,
    /// Pairs accepted and not yet answered.
    pending: AtomicUsize,
    /// Pairs of the batch that runs now.
    running: AtomicUsize,
}

struct Request {
    prompts: Vec<Prompt>,
    /// Margins of the prompts that are done; the next one to run is the first without.
    margins: Vec<f32>,
    reply: oneshot::Sender<Result<Vec<f32>>>,
    /// Keeps [`State::pending`] true however the request ends.
    pending: Pending,
}

struct Pending {
    pairs: usize,
    state: Arc<State>,
}

impl Pending {
    fn done(&mut self, pairs: usize) {
        self.pairs -= pairs;
        self.state.pending.fetch_sub(pairs, Ordering::Relaxed);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.state.pending.fetch_sub(self.pairs, Ordering::Relaxed);
    }
}

impl Engine {
    /// Starts the worker, which keeps its batches within `limits`. The thread ends when all handles are dropped and
    /// the queue is empty.
    pub fn start(model: Box<dyn Model>, limits: BatchLimits) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let state = Arc::new(State::default());
        let worker = Worker { model, receiver, queue: VecDeque::new(), limits, state: state.clone() };
        std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || worker.run())
            .expect("the operating system starts the engine thread");
        Self { requests: sender, state }
    }

    /// The margin `logit(yes) - logit(no)` of every prompt, in order; the score is [`sigmoid`] of it. Dropping the
    /// future frees its queued work.
    pub async fn margins(&self, prompts: Vec<Prompt>) -> Result<Vec<f32>> {
        if prompts.is_empty() {
            return Ok(Vec::new());
        }
        let (reply, answer) = oneshot::channel();
        self.state.pending.fetch_add(prompts.len(), Ordering::Relaxed);
        let pending = Pending { pairs: prompts.len(), state: self.state.clone() };
        let request = Request { margins: Vec::with_capacity(prompts.len()), prompts, reply, pending };
        self.requests.send(request).map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// Whether the worker can still compute: false after a bug ended it.
    pub fn is_alive(&self) -> bool {
        !self.state.dead.load(Ordering::Relaxed)
    }

    /// Pairs in the batch that runs now.
    pub fn running(&self) -> usize {
        self.state.running.load(Ordering::Relaxed)
    }

    /// Pairs accepted that wait for a batch.
    pub fn waiting(&self) -> usize {
        self.state.pending.load(Ordering::Relaxed).saturating_sub(self.running())
    }
}

fn stopped() -> Error {
    Error::new(ErrorKind::Unavailable, "The engine has stopped and takes no more requests.")
}

/// `1 / (1 + exp(-x))`, computed in f64 and rounded once.
pub fn sigmoid(x: f32) -> f32 {
    (1.0 / (1.0 + (-f64::from(x)).exp())) as f32
}

struct Worker {
    model: Box<dyn Model>,
    receiver: mpsc::UnboundedReceiver<Request>,
    queue: VecDeque<Request>,
    limits: BatchLimits,
    state: Arc<State>,
}

impl Worker {
    fn run(mut self) {
        // A panic is a bug; the model's buffers can't be trusted after it, so everything pending fails.
        if catch_unwind(AssertUnwindSafe(|| self.serve())).is_err() {
            self.fail();
        }
    }

    fn serve(&mut self) {
        while self.receive() {
            let (batch, shares) = self.form_batch();
            if batch.is_empty() {
                continue;
            }
            self.state.running.store(batch.len(), Ordering::Relaxed);
            let margins = self.model.margins(&batch);
            assert_eq!(margins.len(), batch.len(), "a model answers every sequence");
            self.scatter(&shares, &margins);
        }
    }

    /// Takes in what has arrived, waiting only when the queue is empty; false when nothing is left to do.
    fn receive(&mut self) -> bool {
        if self.queue.is_empty() {
            match self.receiver.blocking_recv() {
                Some(request) => self.queue.push_back(request),
                None => return false,
            }
        }
        while let Ok(request) = self.receiver.try_recv() {
            self.queue.push_back(request);
        }
        self.queue.retain(|request| !request.reply.is_closed());
        true
    }

    /// The next batch, and how many prompts of each queued request, first to last, it took.
    fn form_batch(&self) -> (Batch, Vec<usize>) {
        let mut batch = Batch::default();
        let mut shares = Vec::new();
        for request in &self.queue {
            let before = batch.len();
            for prompt in &request.prompts[request.margins.len()..] {
                let tokens = batch.token_ids().len() + prompt.token_ids.len();
                let full = tokens > self.limits.tokens || batch.len() >= self.limits.sequences;
                if full && !batch.is_empty() {
                    shares.push(batch.len() - before);
                    return (batch, shares);
                }
                batch.push(&prompt.token_ids);
            }
            shares.push(batch.len() - before);
        }
        (batch, shares)
    }

    /// Gives every request its part of the results and answers those that are complete.
    fn scatter(&mut self, shares: &[usize], mut margins: &[f32]) {
        for (request, &share) in self.queue.iter_mut().zip(shares) {
            let (own, rest) = margins.split_at(share);
            request.margins.extend_from_slice(own);
            request.pending.done(share);
            margins = rest;
        }
        // Before the answers go out: who has one finds the engine idle.
        self.state.running.store(0, Ordering::Relaxed);
        while self.queue.front().is_some_and(|request| request.margins.len() == request.prompts.len()) {
            let Some(request) = self.queue.pop_front() else { break };
            let answer = match request.margins.iter().all(|margin| margin.is_finite()) {
                true => Ok(request.margins),
                false => Err(Error::new(
                    ErrorKind::Internal,
                    "The model's answer is not a finite number: the weights are damaged or overflow in float32.",
                )),
            };
            // A client that has left in the meantime needs no answer.
            let _ = request.reply.send(answer);
        }
    }

    fn fail(mut self) {
        self.state.dead.store(true, Ordering::Relaxed);
        self.state.running.store(0, Ordering::Relaxed);
        self.receiver.close();
        while let Ok(request) = self.receiver.try_recv() {
            self.queue.push_back(request);
        }
        for request in self.queue {
            let error = Error::new(ErrorKind::Internal, "The engine failed while it computed this request.");
            let _ = request.reply.send(Err(error));
        }
    }
}
