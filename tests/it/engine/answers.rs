//! Pairs that come again: none is computed twice while its row is kept, and a row that is kept is right.

use super::*;

/// An engine over a held model that keeps rows, in batches of at most `tokens` tokens.
fn keeping(tokens: usize, bytes: usize) -> Bench {
    keeping_within(tokens, bytes, QueueLimits::default())
}

fn keeping_within(tokens: usize, answer_cache_bytes: usize, queue: QueueLimits) -> Bench {
    bench_of(BatchLimits { tokens, answer_cache_bytes, ..BatchLimits::default() }, queue)
}

/// Hits and misses.
fn looked_up(bench: &Bench) -> (u64, u64) {
    let work = bench.engine.work();
    (work.answer_hits, work.answer_misses)
}

impl Bench {
    /// The margins of prompts that are computed in one batch, to which `margin` is added.
    async fn computed(&self, prompts: Vec<Prompt>, margin: f32) -> Vec<f32> {
        let request = self.request(prompts, 0);
        self.calls.recv().unwrap();
        self.steps.send(Step::Done(margin)).unwrap();
        request.await.unwrap().unwrap()
    }

    /// The margins of prompts that are not computed.
    async fn known(&self, prompts: Vec<Prompt>) -> Vec<f32> {
        let margins = margins(&self.engine, prompts, 0).await.unwrap();
        assert!(self.calls.try_recv().is_err(), "nothing is computed");
        margins
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_comes_again_is_answered_at_once_whatever_runs_and_waits() {
    let bench = keeping(4, 1 << 16);
    assert_eq!(bench.computed(prompts([1, 2, 3]), 0.5).await, [1.5, 2.5, 3.5]);
    let work = bench.engine.work();
    let other = bench.request(prompts([9]), 0);
    assert_eq!(bench.calls.recv().unwrap(), bulk([9]));
    let waits = bench.request(prompts([8]), 0);
    assert_eq!(bench.engine.waiting(), 1);
    for priority in [0, 7] {
        let again = bench.engine.answers(prompts([3, 1, 1, 2]), priority).await.unwrap();
        assert_eq!(again.iter().map(rerank::margin).collect::<Vec<_>>(), [3.5, 1.5, 1.5, 2.5]);
        assert!(again.iter().all(|answer| answer.queued.is_zero() && answer.computed.is_zero()));
        assert!(again.iter().all(|answer| answer.computed_tokens == 0));
    }
    assert_eq!((bench.engine.running(), bench.engine.waiting()), (1, 1));
    assert_eq!(bench.step(Step::Done(0.0)), bulk([8]));
    bench.steps.send(Step::Done(0.0)).unwrap();
    assert_eq!((other.await.unwrap().unwrap(), waits.await.unwrap().unwrap()), (vec![9.0], vec![8.0]));
    let done = bench.engine.work().since(&work);
    assert_eq!((done.tokens, done.computed_tokens, done.flop), (2, 2, 2), "of the other requests");
    assert_eq!((done.answer_hits, done.answer_misses), (8, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_request_that_is_known_in_part_the_rest_is_computed_and_takes_a_place() {
    let queue = QueueLimits { sequences: 4, tokens: 6 };
    let bench = keeping_within(8, 1 << 16, queue);
    assert_eq!(bench.computed(long_prompts([1, 2], 4), 0.5).await, [1.5, 2.5]);
    let other = bench.request(long_prompts([9], 5), 0);
    bench.calls.recv().unwrap();
    let part = bench.request([long_prompts([1], 4), prompts([7]), long_prompts([2, 1], 4)].concat(), 0);
    assert_eq!(bench.engine.waiting(), 1);
    let refused = margins(&bench.engine, prompts([6]), 0).await.unwrap_err().to_string();
    assert!(refused.contains("6 tokens wait or run"), "5 that run and 1 that waits: {refused}");
    assert_eq!(bench.step(Step::Done(0.0)), bulk([7]));
    bench.steps.send(Step::Done(0.25)).unwrap();
    assert_eq!(part.await.unwrap().unwrap(), [1.5, 7.25, 2.5, 1.5]);
    other.await.unwrap().unwrap();
    bench.until(|engine| engine.running() + engine.waiting() == 0).await;
    assert_eq!(looked_up(&bench), (3, 4), "what is refused is not counted");
    let mut all_but_one = bench.engine.admit(1).unwrap();
    all_but_one.add(&long_prompts([5], 5)[0]);
    drop(bench.engine.admit(1).expect("all places were given back"));
    drop(all_but_one);
    assert_eq!(bench.known(prompts([7])).await, [7.25], "the rest is kept as well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_that_differs_in_one_token_is_another() {
    let bench = keeping(100, 1 << 16);
    let of = |ids: &[u32]| vec![Prompt::from(ids.to_vec())];
    assert_eq!(bench.computed(of(&[1, 2, 3]), 0.5).await, [3.5]);
    for (other, margin) in [(&[1, 9, 3][..], 0.25), (&[1, 2], 0.125), (&[1, 2, 3, 3], 0.75), (&[2, 3], 1.0)] {
        let end = *other.last().unwrap() as f32;
        assert_eq!(bench.computed(of(other), margin).await, [end + margin], "{other:?}");
    }
    assert_eq!(bench.known(of(&[1, 2, 3])).await, [3.5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_computed_for_a_client_that_has_left_is_kept_and_what_was_cancelled_is_not() {
    let bench = keeping(2, 1 << 16);
    let leaver = bench.request(prompts(1..=7), 0);
    assert_eq!(bench.calls.recv().unwrap(), bulk([1, 2]));
    assert_eq!(bench.step(Step::Done(0.5)), bulk([3, 4]));
    leaver.abort();
    assert!(leaver.await.unwrap_err().is_cancelled());
    // In the last layer there is no taking out any more.
    bench.steps.send(Step::Done(0.5)).unwrap();
    bench.until(|engine| engine.running() + engine.waiting() == 0).await;
    let second = bench.request(prompts(1..=7), 0);
    assert_eq!(bench.calls.recv().unwrap(), bulk([5, 6]), "two batches are done");
    second.abort();
    assert!(second.await.unwrap_err().is_cancelled());
    assert_eq!(bench.step(Step::Layer), Call::Retain(Slot::Bulk, vec![false; 2]));
    bench.until(|engine| engine.running() + engine.waiting() == 0).await;
    let third = bench.request(prompts(1..=7), 0);
    assert_eq!(bench.calls.recv().unwrap(), bulk([5, 6]), "what was given up has no row");
    assert_eq!(bench.step(Step::Done(0.25)), bulk([7]));
    bench.steps.send(Step::Done(0.25)).unwrap();
    assert_eq!(third.await.unwrap().unwrap(), [1.5, 2.5, 3.5, 4.5, 5.25, 6.25, 7.25]);
    assert_eq!(bench.known(prompts(1..=7)).await.len(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_used_for_the_longest_time_makes_room_within_the_bytes() {
    let limit = 1000;
    let bench = keeping(1000, limit);
    let rows = |bench: &Bench| bench.engine.answer_cache_bytes();
    assert_eq!((rows(&bench), bench.engine.answer_cache_limit_bytes()), (0, limit));
    bench.computed(prompts([1]), 0.5).await;
    let each = rows(&bench);
    let most = (limit / each - 1) as u32;
    assert!(each >= 16 + 4 && most > 10, "a key and a number take {each} bytes, with what leads to them");
    bench.computed(prompts(2..=most), 0.5).await;
    assert_eq!(bench.known(prompts([1])).await, [1.5], "all have room");
    bench.computed(prompts(101..=105), 0.5).await;
    assert_eq!(rows(&bench), most as usize * each);
    assert!(rows(&bench) <= limit);
    assert_eq!(bench.known(prompts([1, 7])).await, [1.5, 7.5]);
    for gone in 2..=6 {
        assert_eq!(bench.computed(prompts([gone]), 0.25).await, [gone as f32 + 0.25], "{gone}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_kept_without_a_cache_and_nothing_that_is_no_number_with_one() {
    let off = bench(10);
    for margin in [0.5, 0.25] {
        assert_eq!(off.computed(prompts([1]), margin).await, [1.0 + margin]);
    }
    assert_eq!((looked_up(&off), off.engine.answer_cache_bytes()), ((0, 0), 0));
    let on = keeping(10, 1 << 16);
    for margin in [f32::NAN, f32::INFINITY] {
        let bad = on.request(prompts([1]), 0);
        on.calls.recv().unwrap();
        on.steps.send(Step::Done(margin)).unwrap();
        assert_eq!(bad.await.unwrap().unwrap_err().kind(), ErrorKind::Internal);
    }
    assert_eq!(on.engine.answer_cache_bytes(), 0);
    assert_eq!(on.computed(prompts([1]), 0.5).await, [1.5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_rest_of_a_large_request_overtakes_as_a_small_one() {
    let bench = keeping(5000, 1 << 16);
    bench.computed(long_prompts([1, 2, 3, 4], 400), 0.5).await;
    let large = bench.request(long_prompts([9], 4000), 0);
    bench.calls.recv().unwrap();
    let rest = bench.request(long_prompts([1, 2, 5, 3, 4], 400), 0);
    assert_eq!(bench.engine.waiting(), 1);
    assert_eq!(bench.step(Step::Chunk(3000)), Call::Advance(Slot::Express, vec![5], 400));
    bench.steps.send(Step::Done(0.0)).unwrap();
    assert_eq!(rest.await.unwrap().unwrap(), [1.5, 2.5, 5.0, 3.5, 4.5]);
    bench.calls.recv().unwrap();
    bench.steps.send(Step::Done(0.0)).unwrap();
    large.await.unwrap().unwrap();
}
