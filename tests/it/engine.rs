//! What the engine promises, with a model that tests hold in their hands.

mod answers;
mod turns;

use ironrank::batch::Batch;
use ironrank::engine::{BatchLimits, Engine, QueueLimits, Turns};
use ironrank::error::{ErrorKind, Result};
use ironrank::model::{Model, Outcome, Progress, Rows, Slot};
use ironrank::prompt::Prompt;
use ironrank::rerank;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// What the engine asks of the model.
#[derive(Debug, PartialEq, Eq)]
enum Call {
    /// A step of the batch whose last tokens are these, with so many tokens to go.
    Advance(Slot, Vec<u32>, usize),
    Retain(Slot, Vec<bool>),
}

/// What the test lets a step come to.
enum Step {
    /// Within a layer; so many tokens are still to go.
    Chunk(usize),
    /// The end of a layer.
    Layer,
    /// The end: every margin is this plus the sequence's last token.
    Done(f32),
}

/// Tells the test about every step and does what the test says; a closed channel is a bug of the model.
struct Held {
    calls: Sender<Call>,
    steps: Receiver<Step>,
    slots: [Option<(Vec<u32>, usize)>; 2],
}

impl Model for Held {
    fn begin(&mut self, slot: Slot, batch: Batch) {
        let ids: Vec<u32> = batch.token_ids().collect();
        let last = batch.last_tokens();
        let ends = last.of_sequence.iter().map(|&i| ids[last.rows[i]]).collect();
        assert!(self.slots[slot as usize].is_none(), "the slot is free");
        self.slots[slot as usize] = Some((ends, batch.rows()));
    }

    fn advance(&mut self, slot: Slot) -> Progress {
        let held = &mut self.slots[slot as usize];
        let (ends, left) = held.as_mut().expect("the slot holds a batch");
        self.calls.send(Call::Advance(slot, ends.clone(), *left)).expect("the test listens");
        match self.steps.recv().expect("the test answers") {
            Step::Chunk(remaining) => {
                *left = remaining;
                Progress::Chunk
            }
            Step::Layer => Progress::Layer,
            Step::Done(margin) => {
                let rows = Rows { width: 1, values: ends.iter().map(|&id| margin + id as f32).collect() };
                *held = None;
                Progress::Done(Outcome { rows, kept: Vec::new(), flop: 1 })
            }
        }
    }

    fn retain(&mut self, slot: Slot, wanted: &[bool]) {
        self.calls.send(Call::Retain(slot, wanted.to_vec())).expect("the test listens");
        let held = &mut self.slots[slot as usize];
        let (ends, _) = held.as_mut().expect("the slot holds a batch");
        let mut flags = wanted.iter();
        ends.retain(|_| flags.next() == Some(&true));
        if ends.is_empty() {
            *held = None;
        }
    }

    fn remaining(&self, slot: Slot) -> usize {
        self.slots[slot as usize].as_ref().map_or(0, |(_, left)| *left)
    }

    fn width(&self) -> usize {
        1
    }

    fn kv_bytes(&self) -> usize {
        1
    }
}

struct Bench {
    engine: Engine,
    calls: Receiver<Call>,
    steps: Sender<Step>,
}

/// An engine over a held model; batches of at most `tokens` tokens.
fn bench(tokens: usize) -> Bench {
    bench_within(tokens, QueueLimits::default())
}

fn bench_within(tokens: usize, queue: QueueLimits) -> Bench {
    bench_of(BatchLimits { tokens, ..BatchLimits::default() }, queue)
}

fn bench_of(batch: BatchLimits, queue: QueueLimits) -> Bench {
    let (call_sender, calls) = channel();
    let (steps, step_receiver) = channel();
    let model = Box::new(Held { calls: call_sender, steps: step_receiver, slots: [None, None] });
    Bench { engine: Engine::start(model, &Turns::default(), batch, queue).unwrap(), calls, steps }
}

impl Bench {
    /// A request that is in the queue when this returns, behind those before it.
    fn request(&self, prompts: Vec<Prompt>, priority: i64) -> JoinHandle<Result<Vec<f32>>> {
        let engine = self.engine.clone();
        queued(async move { margins(&engine, prompts, priority).await })
    }

    /// Lets the running step end in `step`; the answer is the call that follows.
    fn step(&self, step: Step) -> Call {
        self.steps.send(step).unwrap();
        self.calls.recv().unwrap()
    }

    async fn until(&self, condition: impl Fn(&Engine) -> bool) {
        while !condition(&self.engine) {
            tokio::task::yield_now().await;
        }
    }
}

/// Runs `request` up to where it waits for its answer, and the rest beside the test: a task that is only spawned may stand
/// between its place and the queue for as long as the system likes, and others would overtake it.
fn queued<T: Send + 'static>(request: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    let mut request = Box::pin(request);
    match request.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => tokio::spawn(async { answer }),
        Poll::Pending => tokio::spawn(request),
    }
}

async fn margins(engine: &Engine, prompts: Vec<Prompt>, priority: i64) -> Result<Vec<f32>> {
    Ok(engine.answers(prompts, priority).await?.iter().map(rerank::margin).collect())
}

/// Prompts of one token each.
fn prompts(ids: impl IntoIterator<Item = u32>) -> Vec<Prompt> {
    ids.into_iter().map(|id| vec![id].into()).collect()
}

/// Prompts of `len` tokens that begin and end with their id.
fn long_prompts(ids: impl IntoIterator<Item = u32>, len: usize) -> Vec<Prompt> {
    ids.into_iter().map(|id| vec![id; len].into()).collect()
}

fn bulk<const N: usize>(ids: [u32; N]) -> Call {
    Call::Advance(Slot::Bulk, ids.to_vec(), N)
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_share_batches_and_each_gets_its_own_results_in_order() {
    let bench = bench(3);
    let first = bench.request(prompts([1, 2, 3, 4]), 0);
    assert_eq!(bench.calls.recv().unwrap(), bulk([1, 2, 3]));
    let second = bench.request(prompts([5, 6]), 0);
    assert_eq!(bench.engine.waiting(), 3);
    // The first has had three turns.
    assert_eq!(bench.step(Step::Done(0.5)), bulk([5, 4, 6]));
    bench.steps.send(Step::Done(0.25)).unwrap();
    assert_eq!(first.await.unwrap().unwrap(), [1.5, 2.5, 3.5, 4.25]);
    assert_eq!(second.await.unwrap().unwrap(), [5.25, 6.25]);
    bench.until(|engine| engine.running() + engine.waiting() == 0).await;
    let work = bench.engine.work();
    assert_eq!((work.tokens, work.computed_tokens, work.flop), (6, 6, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn large_requests_share_by_tokens_and_a_priority_goes_first() {
    let bench = bench(4);
    let _first = bench.request(prompts([1, 1, 1, 1]), 0);
    assert_eq!(bench.calls.recv().unwrap(), Call::Advance(Slot::Bulk, vec![1; 4], 1), "equal pairs are computed once");
    let _long = bench.request(long_prompts([10, 11], 2), 0);
    let _short = bench.request(prompts([20, 21, 22, 23, 24]), 0);
    let _late = bench.request(prompts([40]), 1);
    let _urgent = bench.request(prompts([30]), -1);
    assert_eq!(bench.engine.waiting(), 9);
    let ends = |call| match call {
        Call::Advance(Slot::Bulk, ends, _) => ends,
        other => panic!("{other:?}"),
    };
    let order: Vec<u32> = [0; 4].into_iter().flat_map(|_| ends(bench.step(Step::Done(0.0)))).collect();
    assert_eq!(order[0], 30, "the lower priority value is first: {order:?}");
    assert_eq!(order[order.len() - 1], 40, "the higher one is last: {order:?}");
    let place = |id| order.iter().position(|&end| end == id).unwrap();
    assert!(place(21) < place(11) && place(11) < place(23), "as many tokens for either: {order:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_low_priority_is_served_once_the_others_have_had_enough() {
    let bench = bench(40_000);
    let first = bench.request(prompts([1]), 0);
    assert_eq!(bench.calls.recv().unwrap(), bulk([1]));
    let _large = bench.request(long_prompts(10..14, 20_000), 0);
    assert_eq!(bench.engine.waiting(), 4);
    let low = bench.request(prompts([2]), 1);
    assert_eq!(bench.engine.waiting(), 5);
    assert_eq!(bench.step(Step::Done(0.0)), Call::Advance(Slot::Bulk, vec![10, 11], 40_000));
    first.await.unwrap().unwrap();
    // Neither does it wait for the end of a request that came before, nor does it overtake by express.
    assert_eq!(bench.step(Step::Chunk(30_000)), Call::Advance(Slot::Bulk, vec![10, 11], 30_000));
    assert_eq!(bench.step(Step::Done(0.0)), Call::Advance(Slot::Bulk, vec![2, 12], 20_001));
    bench.steps.send(Step::Done(0.0)).unwrap();
    assert_eq!(low.await.unwrap().unwrap(), [2.0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_request_overtakes_a_large_batch_and_leaves_it_a_share() {
    let bench = bench(5000);
    let large = bench.request(long_prompts([1], 4000), 0);
    assert_eq!(bench.calls.recv().unwrap(), Call::Advance(Slot::Bulk, vec![1], 4000));
    let small = bench.request(long_prompts([2], 400), 0);
    assert_eq!(bench.engine.waiting(), 1);
    assert_eq!(bench.step(Step::Chunk(3000)), Call::Advance(Slot::Express, vec![2], 400));
    assert_eq!(bench.step(Step::Layer), Call::Advance(Slot::Express, vec![2], 400), "to its end, without a pause");
    bench.steps.send(Step::Done(0.0)).unwrap();
    assert_eq!(small.await.unwrap().unwrap(), [2.0]);

    let next = bench.request(long_prompts([3], 400), 0);
    assert_eq!(bench.calls.recv().unwrap(), Call::Advance(Slot::Bulk, vec![1], 3000));
    assert_eq!(bench.engine.waiting(), 1);
    let call = bench.step(Step::Chunk(2901));
    assert_eq!(call, Call::Advance(Slot::Bulk, vec![1], 2901), "a quarter of what went by express comes first");
    assert_eq!(bench.step(Step::Chunk(2900)), Call::Advance(Slot::Express, vec![3], 400));
    bench.steps.send(Step::Done(0.0)).unwrap();
    next.await.unwrap().unwrap();
    assert_eq!(bench.calls.recv().unwrap(), Call::Advance(Slot::Bulk, vec![1], 2900));

    // What is nearly done is not interrupted, and what is not small waits.
    let waiting = bench.request(long_prompts([4, 5], 300), 0);
    assert_eq!(bench.engine.waiting(), 2);
    assert_eq!(bench.step(Step::Chunk(2000)), Call::Advance(Slot::Bulk, vec![1], 2000));
    let soon = bench.request(long_prompts([6], 400), 0);
    assert_eq!(bench.engine.waiting(), 3);
    assert_eq!(bench.step(Step::Chunk(800)), Call::Advance(Slot::Bulk, vec![1], 800));
    assert_eq!(bench.step(Step::Done(0.5)), Call::Advance(Slot::Bulk, vec![4, 5], 600), "without the small one");
    assert_eq!(large.await.unwrap().unwrap(), [1.5]);
    assert_eq!(bench.step(Step::Done(0.0)), Call::Advance(Slot::Bulk, vec![6], 400));
    bench.steps.send(Step::Done(0.0)).unwrap();
    assert_eq!((waiting.await.unwrap().unwrap(), soon.await.unwrap().unwrap()), (vec![4.0, 5.0], vec![6.0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_waits_for_leaves_the_batch_at_the_next_layer() {
    let bench = bench(10);
    let _first = bench.request(prompts([9]), 0);
    assert_eq!(bench.calls.recv().unwrap(), bulk([9]));
    let leaver = bench.request(prompts([1, 2]), 0);
    assert_eq!(bench.engine.waiting(), 2);
    let other = bench.request(prompts([3]), 0);
    assert_eq!(bench.engine.waiting(), 3);
    assert_eq!(bench.step(Step::Done(0.0)), bulk([1, 3, 2]));
    leaver.abort();
    assert!(leaver.await.unwrap_err().is_cancelled());
    assert_eq!(bench.step(Step::Chunk(3)), bulk([1, 3, 2]), "within a layer nothing changes");
    assert_eq!(bench.step(Step::Layer), Call::Retain(Slot::Bulk, vec![false, true, false]));
    assert_eq!(bench.calls.recv().unwrap(), Call::Advance(Slot::Bulk, vec![3], 3));
    bench.steps.send(Step::Done(0.0)).unwrap();
    assert_eq!(other.await.unwrap().unwrap(), [3.0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_client_left_is_not_computed_any_further() {
    let bench = bench(2);
    let leaver = bench.request(prompts(1..=90), 0);
    assert_eq!(bench.calls.recv().unwrap(), bulk([1, 2]));
    let other = bench.request(prompts([100]), 0);
    assert_eq!(bench.engine.waiting(), 89);
    leaver.abort();
    assert!(leaver.await.unwrap_err().is_cancelled());
    assert_eq!(bench.step(Step::Layer), Call::Retain(Slot::Bulk, vec![false; 2]));
    assert_eq!(bench.calls.recv().unwrap(), bulk([100]), "the next batch has nothing of the one who left");
    bench.steps.send(Step::Done(0.0)).unwrap();
    assert_eq!(other.await.unwrap().unwrap(), [100.0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_until_there_is_a_place_again() {
    for (limits, named) in [
        (QueueLimits { sequences: 4, ..QueueLimits::default() }, "4 pairs wait or run"),
        (QueueLimits { tokens: 8, ..QueueLimits::default() }, "8 tokens wait or run"),
    ] {
        let bench = bench_within(3, limits);
        // The last one in may pass the limit by itself.
        let first = bench.request(long_prompts([1, 2, 3, 4], 2), 0);
        assert_eq!(bench.calls.recv().unwrap(), Call::Advance(Slot::Bulk, vec![1], 2));
        let refused = bench.request(prompts([5]), 0).await.unwrap().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Busy);
        assert!(refused.to_string().contains(named), "{refused}");
        assert_eq!(bench.engine.waiting(), 3, "what was refused is not counted");
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        bench.steps.send(Step::Done(0.0)).unwrap();
        bench.until(|engine| engine.waiting() == 0).await;
        let next = bench.request(prompts([6]), 0);
        bench.steps.send(Step::Done(0.0)).unwrap();
        assert_eq!(next.await.unwrap().unwrap(), [6.0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_before_prompts_are_made_and_who_is_let_in_stays_in() {
    let bench = bench_within(3, QueueLimits { sequences: 7, tokens: 8 });
    let prompt = |tokens| long_prompts([1], tokens).remove(0);
    let refused = || bench.engine.admit(1).err().unwrap().to_string();
    let mut first = bench.engine.admit(5).unwrap();
    let mut second = bench.engine.admit(1).unwrap();
    first.add(&prompt(7));
    let third = bench.engine.admit(1).expect("a token is free");
    assert!(refused().contains("7 pairs wait or run"), "{}", refused());
    drop(third);
    second.add(&prompt(2));
    assert!(refused().contains("9 tokens wait or run"), "{}", refused());
    first.add(&prompt(100));
    second.add(&prompt(1));
    assert!(refused().contains("110 tokens wait or run"), "{}", refused());
    drop((first, second));
    assert_eq!(bench.engine.waiting(), 0);
    let mut all = bench.engine.admit(6).unwrap();
    all.add(&prompt(7));
    bench.engine.admit(1).expect("all is given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_gives_room_back_before_its_request_is_answered() {
    let bench = bench_within(3, QueueLimits { tokens: 8, ..QueueLimits::default() });
    let first = bench.request(long_prompts([1, 2, 3, 4], 3), 0);
    for (ends, pending) in [([1], 12), ([2], 9)] {
        assert_eq!(bench.calls.recv().unwrap(), Call::Advance(Slot::Bulk, ends.to_vec(), 3));
        let refused = margins(&bench.engine, prompts([5]), 0).await.unwrap_err().to_string();
        assert!(refused.contains(&format!("{pending} tokens wait or run")), "{refused}");
        bench.steps.send(Step::Done(0.0)).unwrap();
    }
    assert_eq!(bench.calls.recv().unwrap(), Call::Advance(Slot::Bulk, vec![3], 3));
    let second = bench.request(prompts([5]), 0);
    assert_eq!(bench.engine.waiting(), 2);
    assert!(!first.is_finished());
    assert_eq!(bench.step(Step::Done(0.0)), Call::Advance(Slot::Bulk, vec![5], 1));
    assert_eq!(bench.step(Step::Done(0.0)), Call::Advance(Slot::Bulk, vec![4], 3));
    bench.steps.send(Step::Done(0.0)).unwrap();
    assert_eq!((first.await.unwrap().unwrap().len(), second.await.unwrap().unwrap()), (4, vec![5.0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bug_in_the_model_fails_what_is_pending_and_shows_in_health() {
    let bench = bench(3);
    let pending = bench.request(prompts([1, 2, 3, 4]), 0);
    bench.calls.recv().unwrap();
    let Bench { engine, steps, calls: _calls } = bench;
    assert!(engine.is_alive());
    drop(steps);
    assert_eq!(pending.await.unwrap().unwrap_err().kind(), ErrorKind::Internal);
    assert!(!engine.is_alive());
    assert_eq!(margins(&engine, prompts([1]), 0).await.unwrap_err().kind(), ErrorKind::Busy);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_margin_that_is_not_a_number_is_an_error_and_not_an_answer() {
    let Bench { engine, steps, calls } = bench(3);
    steps.send(Step::Done(f32::NAN)).unwrap();
    assert_eq!(margins(&engine, prompts([1]), 0).await.unwrap_err().kind(), ErrorKind::Internal);
    steps.send(Step::Done(1.0)).unwrap();
    assert_eq!(margins(&engine, prompts([1]), 0).await.unwrap(), [2.0], "the next request is unhurt");
    assert_eq!(calls.iter().take(2).count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_says_how_long_a_prompt_waited_and_ran_and_the_queue_how_old_it_is() {
    let bench = bench(3);
    assert_eq!(bench.engine.queue_age(), Duration::ZERO);
    let answers = |prompts| {
        let engine = bench.engine.clone();
        queued(async move { engine.answers(prompts, 0).await.unwrap() })
    };
    let start = Instant::now();
    let first = answers(prompts([1, 1, 2]));
    assert_eq!(bench.calls.recv().unwrap(), Call::Advance(Slot::Bulk, vec![1, 1, 2], 2));
    assert_eq!(bench.engine.queue_age(), Duration::ZERO, "what runs does not wait");
    let second = answers(prompts([3]));
    assert_eq!(bench.engine.waiting(), 1);
    assert_eq!(bench.step(Step::Layer), Call::Advance(Slot::Bulk, vec![1, 1, 2], 2));
    let age = bench.engine.queue_age();
    assert!(age > Duration::ZERO && age < start.elapsed(), "{age:?}");
    bench.until(|engine| engine.queue_age() > age).await;
    assert_eq!(bench.step(Step::Done(0.0)), bulk([3]));
    assert_eq!(bench.engine.queue_age(), Duration::ZERO);
    bench.steps.send(Step::Done(0.0)).unwrap();
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    assert_eq!(first.iter().map(|answer| answer.computed_tokens).collect::<Vec<_>>(), [1, 0, 1]);
    assert!(second[0].queued >= age && first[0].computed > Duration::ZERO);
    assert!(second[0].queued + second[0].computed <= start.elapsed());
    let work = bench.engine.work();
    assert!(work.model_time > Duration::ZERO && work.model_time < start.elapsed());
    assert_eq!((work.batches[0], work.batches[2], work.batches.iter().sum()), (1, 1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_counted_by_all_tokens_of_its_prompts_and_uses_the_memory_of_those_that_differ() {
    let bench = bench(40);
    assert_eq!(bench.engine.kv_usage(), 0.0);
    let request = bench.request(long_prompts([7, 7, 7], 4), 0);
    bench.calls.recv().unwrap();
    assert_eq!(bench.engine.kv_usage(), 0.1, "4 tokens of 40");
    bench.steps.send(Step::Done(0.0)).unwrap();
    request.await.unwrap().unwrap();
    assert_eq!(bench.engine.kv_usage(), 0.0, "nothing runs");
    let work = bench.engine.work();
    assert_eq!((work.tokens, work.computed_tokens), (12, 4));
    assert_eq!((work.batches[4], work.batches.iter().sum()), (1, 1), "12 tokens are more than 8 and at most 16");
}

#[tokio::test]
async fn no_prompts_are_no_work() {
    assert_eq!(margins(&bench(3).engine, Vec::new(), 0).await.unwrap(), [0.0_f32; 0]);
}

#[tokio::test]
async fn the_end_is_waited_for_until_the_model_is_gone() {
    let Bench { engine, calls, .. } = bench(8);
    engine.end().await;
    assert_eq!(calls.try_recv(), Err(TryRecvError::Disconnected));
}
