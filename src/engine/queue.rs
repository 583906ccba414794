//! Requests that wait or run, and whose turn it is.
//!
//! Every request has a virtual time: it begins at that of the request served last and grows by the tokens served, so
//! that large requests share the machine by tokens and a new one is not behind all that came before. A step of
//! priority shifts it by [`PRIORITY_TOKENS`]: a lower priority value goes first, and a higher one has its turn once
//! the others have been served that many tokens more, so that nothing starves. Owned by [`super::worker`].
//!
//! A prompt is taken in time logarithmic in the requests. What the worker does once a step of the model looks at each of
//! them: [`Queue::drop_closed`], [`Queue::oldest`], [`Queue::smallest`].

use super::admission::Admission;
use super::answer_cache::Key;
use super::request::{Answer, Asked, Request, failed};
use crate::batch::{BatchBuilder, Cost};
use crate::error::{Error, ErrorKind, Result};
use crate::model::Rows;
use crate::prefix_cache::PrefixCache;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;
use tokio::sync::oneshot;

/// Tokens that a step of priority is worth: minutes of work on a small machine.
const PRIORITY_TOKENS: i64 = 32_768;

/// The queue.
#[derive(Default)]
pub(super) struct Queue {
    /// By order of arrival.
    requests: BTreeMap<u64, Waiting>,
    /// Those that wait, by virtual time and then by order of arrival: large ones, small ones.
    turns: [BTreeSet<(i64, u64)>; 2],
    arrivals: u64,
    /// Virtual time of the request served last.
    now: i64,
}

/// A prompt that was taken.
pub(super) struct Ticket {
    request: u64,
    /// Its place there.
    index: usize,
    /// What its row is kept under, if rows are kept: also when its request is gone.
    pub key: Option<Key>,
}

struct Waiting {
    prompts: Vec<Asked>,
    arrival: Instant,
    /// Made up where the prompt has not been taken; without a row where it is not done.
    answers: Vec<Answer>,
    /// The next prompt to take.
    next: usize,
    /// Prompts that have their row.
    done: usize,
    time: i64,
    /// Tokens to compute for all prompts together, if it counts as small.
    small: Option<usize>,
    reply: oneshot::Sender<Result<Vec<Answer>>>,
    admission: Admission,
}

impl Queue {
    /// Takes a request in. It counts as small if its prompts cost at most `small` tokens together; one of low priority
    /// never does, since it would overtake what it should wait for.
    pub fn push(&mut self, request: Request, small: usize, cache: &PrefixCache) {
        let Request { prompts, priority, arrival, reply, admission } = request;
        let time = self.now.saturating_add(priority.saturating_mul(PRIORITY_TOKENS));
        let small = small_cost(&prompts, small, cache).filter(|_| priority <= 0);
        let answers = vec![Answer::of(Box::default()); prompts.len()];
        self.arrivals += 1;
        let waiting = Waiting { prompts, arrival, answers, next: 0, done: 0, time, small, reply, admission };
        if waiting.waits() {
            self.turns[usize::from(small.is_some())].insert((time, self.arrivals));
        }
        self.requests.insert(self.arrivals, waiting);
    }

    /// Drops cancelled requests, whose client has left.
    pub fn drop_closed(&mut self) {
        let Self { requests, turns, .. } = self;
        requests.retain(|&id, request| {
            let closed = request.reply.is_closed();
            if closed {
                turns[usize::from(request.small.is_some())].remove(&(request.time, id));
            }
            !closed
        });
    }

    /// Whether the request of `ticket` has not been cancelled.
    pub fn wants(&self, ticket: &Ticket) -> bool {
        self.requests.contains_key(&ticket.request)
    }

    /// Whether nothing waits or runs.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// When the request came that has waited for the longest time.
    pub fn oldest(&self) -> Option<Instant> {
        self.requests.values().filter(|request| request.waits()).map(|request| request.arrival).min()
    }

    /// Tokens of the smallest request that waits, if it is small.
    pub fn smallest(&self) -> Option<usize> {
        self.requests.values().filter(|request| request.waits()).filter_map(|request| request.small).min()
    }

    /// Fills a batch in turn, as far as `limit` and `sequences` allow; only with small requests if `small`. The first
    /// prompt always fits, and so do those that are in the batch already. Small requests and others never share a batch:
    /// a small one would wait for the whole of it.
    pub fn take(
        &mut self,
        limit: Cost,
        sequences: usize,
        small: bool,
        cache: &PrefixCache,
    ) -> (BatchBuilder, Vec<Ticket>) {
        let (mut batch, mut tickets) = (BatchBuilder::default(), Vec::new());
        let (mut used, mut distinct) = (Cost { tokens: 0, blocks: 0 }, 0);
        let mut size = small.then_some(true);
        while let Some((time, id)) = self.first(size)
            && let Some(request) = self.requests.get_mut(&id)
        {
            let Asked { prompt, key } = &request.prompts[request.next];
            let cost = batch.cost(prompt, cache);
            if cost != (Cost { tokens: 0, blocks: 0 }) {
                let fits = used.tokens + cost.tokens <= limit.tokens && used.blocks + cost.blocks <= limit.blocks;
                if !batch.is_empty() && (!fits || distinct == sequences) {
                    break;
                }
                used = Cost { tokens: used.tokens + cost.tokens, blocks: used.blocks + cost.blocks };
                distinct += 1;
            }
            batch.push(prompt);
            size = Some(request.small.is_some());
            tickets.push(Ticket { request: id, index: request.next, key: *key });
            let answer = &mut request.answers[request.next];
            (answer.queued, answer.computed_tokens) = (request.arrival.elapsed(), cost.tokens);
            request.next += 1;
            self.now = self.now.max(time);
            request.time = time.saturating_add(cost.tokens.max(1) as i64);
            let turns = &mut self.turns[usize::from(request.small.is_some())];
            turns.remove(&(time, id));
            if request.waits() {
                turns.insert((request.time, id));
            }
        }
        (batch, tickets)
    }

    /// Whose turn it is: among all that wait, or only among the small or the large ones.
    fn first(&self, small: Option<bool>) -> Option<(i64, u64)> {
        let turns = match small {
            None => &self.turns[..],
            Some(small) => std::slice::from_ref(&self.turns[usize::from(small)]),
        };
        turns.iter().filter_map(BTreeSet::first).min().copied()
    }

    /// Gives results to the requests they belong to, and answers those that are complete.
    pub fn give(&mut self, tickets: &[Ticket], rows: &Rows) {
        for (ticket, row) in tickets.iter().zip(rows.iter()) {
            let Some(request) = self.requests.get_mut(&ticket.request) else { continue };
            let answer = &mut request.answers[ticket.index];
            answer.row = row.into();
            answer.computed = request.arrival.elapsed().saturating_sub(answer.queued);
            request.done += 1;
            request.admission.done(request.prompts[ticket.index].prompt.len());
            if request.done == request.prompts.len()
                && let Some(request) = self.requests.remove(&ticket.request)
            {
                // A client that has left in the meantime needs no answer.
                let _ = request.reply.send(finite(request.answers));
            }
        }
    }

    /// Fails everything.
    pub fn fail(self) {
        for request in self.requests.into_values() {
            let _ = request.reply.send(Err(failed()));
        }
    }
}

impl Waiting {
    /// Whether it has prompts that no batch has taken.
    fn waits(&self) -> bool {
        self.next < self.prompts.len()
    }
}

/// What `prompts` cost together, unless it is more than `limit` tokens.
fn small_cost(prompts: &[Asked], limit: usize, cache: &PrefixCache) -> Option<usize> {
    let (mut batch, mut tokens) = (BatchBuilder::default(), 0);
    for Asked { prompt, .. } in prompts {
        tokens += batch.cost(prompt, cache).tokens;
        if tokens > limit {
            return None;
        }
        batch.push(prompt);
    }
    Some(tokens)
}

fn finite(answers: Vec<Answer>) -> Result<Vec<Answer>> {
    match answers.iter().flat_map(|answer| &answer.row).all(|number| number.is_finite()) {
        true => Ok(answers),
        false => Err(Error::new(
            ErrorKind::Internal,
            "The model's answer is not a finite number: the weights are damaged or overflow in float32.",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::admission::QueueLimits;
    use super::super::answer_cache::AnswerCache;
    use super::*;
    use std::sync::Arc;

    /// A request of `count` prompts that have `tokens` tokens each and nothing in common.
    fn request(first: u32, count: u32, tokens: u32) -> (Request, oneshot::Receiver<Result<Vec<Answer>>>) {
        let prompts = (0..count)
            .map(|i| {
                let start = first + i * tokens;
                Asked { prompt: (start..start + tokens).collect::<Vec<u32>>().into(), key: None }
            })
            .collect();
        let (reply, answer) = oneshot::channel();
        let answers = Arc::new(AnswerCache::new(0, 1).unwrap());
        let admission = Admission::new(0, QueueLimits::default(), &Arc::default(), &answers).unwrap();
        (Request { prompts, priority: 0, arrival: Instant::now(), reply, admission }, answer)
    }

    #[test]
    fn a_small_request_has_a_batch_of_its_own_between_those_of_a_large_one() {
        let (mut queue, cache) = (Queue::default(), PrefixCache::new(0));
        let (large, _large_answer) = request(0, 20, 200);
        let (small, _small_answer) = request(100_000, 1, 100);
        queue.push(large, 512, &cache);
        queue.push(small, 512, &cache);
        let limit = Cost { tokens: 2048, blocks: 1000 };
        let mut take =
            || queue.take(limit, usize::MAX, false, &cache).1.iter().map(|ticket| ticket.request).collect::<Vec<_>>();
        assert_eq!(take(), [1; 10]);
        assert_eq!(take(), [2]);
        assert_eq!(take(), [1; 10]);
        assert!(take().is_empty());
    }

    #[test]
    fn the_least_virtual_time_goes_first_and_of_equal_ones_the_first_that_came() {
        let (mut queue, cache) = (Queue::default(), PrefixCache::new(0));
        let (mut answers, limit) = (Vec::new(), Cost { tokens: 1000, blocks: 1000 });
        for (i, priority) in [(0, 0), (1, 1), (2, 0), (3, -1)] {
            let (mut request, answer) = request(i * 10_000, 2, 1000);
            request.priority = priority;
            queue.push(request, 512, &cache);
            answers.push(answer);
        }
        // The third leaves after its first prompt.
        let mut order = Vec::new();
        for step in 0..7 {
            if step == 4 {
                drop(answers.remove(2));
                queue.drop_closed();
            }
            order.extend(queue.take(limit, usize::MAX, false, &cache).1.iter().map(|ticket| ticket.request));
        }
        assert_eq!(order, [4, 4, 1, 3, 1, 2, 2]);
        assert!(queue.turns.iter().all(BTreeSet::is_empty));
    }

    #[test]
    fn prompts_that_are_in_a_batch_already_join_it_however_many_they_are() {
        let (mut queue, cache) = (Queue::default(), PrefixCache::new(0));
        let (mut repeated, _answer) = request(0, 3, 100);
        let again = |i: usize| Asked { prompt: repeated.prompts[i].prompt.clone(), key: None };
        repeated.prompts = [0, 0, 1, 0, 1, 1, 2, 0, 2].map(again).into();
        queue.push(repeated, 512, &cache);
        let limit = Cost { tokens: 2048, blocks: 1000 };
        let mut take = || queue.take(limit, 2, false, &cache).1.iter().map(|ticket| ticket.index).collect::<Vec<_>>();
        assert_eq!(take(), [0, 1, 2, 3, 4, 5], "two sequences");
        assert_eq!(take(), [6, 7, 8]);
    }
}
