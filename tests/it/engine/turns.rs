//! Two models on one set of threads: their steps never meet, who asks for little is answered soon, and who asks for much gets
//! on all the same.

use super::{long_prompts, margins};
use ironrank::batch::Batch;
use ironrank::engine::{BatchLimits, Engine, QueueLimits, Turns};
use ironrank::model::{Model, Outcome, Progress, Rows, Slot};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::Duration;

/// Steps that a batch takes, as layers of a model do.
const STEPS: usize = 28;

/// What the models share: whose steps ran, in order.
#[derive(Clone, Default)]
struct Threads {
    busy: Arc<AtomicBool>,
    ran: Arc<Mutex<Vec<&'static str>>>,
}

/// A model whose steps take a microsecond a token.
struct Slow {
    name: &'static str,
    threads: Threads,
    /// Sequences, tokens, steps to go.
    slots: [Option<(usize, usize, usize)>; 2],
}

impl Model for Slow {
    fn begin(&mut self, slot: Slot, batch: Batch) {
        self.slots[slot as usize] = Some((batch.last_tokens().of_sequence.len(), batch.rows(), STEPS));
    }

    fn advance(&mut self, slot: Slot) -> Progress {
        assert!(!self.threads.busy.swap(true, Ordering::SeqCst), "another step runs");
        let held = &mut self.slots[slot as usize];
        let (sequences, tokens, left) = held.as_mut().expect("the slot holds a batch");
        sleep(Duration::from_micros(*tokens as u64));
        *left -= 1;
        let (sequences, left) = (*sequences, *left);
        self.threads.ran.lock().unwrap().push(self.name);
        self.threads.busy.store(false, Ordering::SeqCst);
        if left > 0 {
            return Progress::Layer;
        }
        *held = None;
        Progress::Done(Outcome { rows: Rows { width: 1, values: vec![0.5; sequences] }, kept: Vec::new(), flop: 1 })
    }

    fn retain(&mut self, _: Slot, _: &[bool]) {}

    fn remaining(&self, slot: Slot) -> usize {
        self.slots[slot as usize].map_or(0, |(_, tokens, left)| tokens * left / STEPS)
    }

    fn width(&self) -> usize {
        1
    }

    fn kv_bytes(&self) -> usize {
        1
    }
}

fn engine(name: &'static str, threads: &Threads, turns: &Turns) -> Engine {
    let model = Box::new(Slow { name, threads: threads.clone(), slots: [None, None] });
    let batch = BatchLimits { tokens: 8192, ..BatchLimits::default() };
    Engine::start(model, turns, batch, QueueLimits::default()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_request_to_one_model_is_answered_while_another_model_works_at_a_long_one() {
    let (threads, turns) = (Threads::default(), Turns::default());
    let [long, short] = ["long", "short"].map(|name| engine(name, &threads, &turns));
    let job = {
        let long = long.clone();
        tokio::spawn(async move { margins(&long, long_prompts(0..16, 4096), 0).await })
    };
    while threads.ran.lock().unwrap().len() < 3 {
        tokio::task::yield_now().await;
    }
    for _ in 0..5 {
        let before = threads.ran.lock().unwrap().len();
        // Steps of 0.5 ms between steps of 8 ms.
        assert_eq!(margins(&short, long_prompts([1], 500), 0).await.unwrap(), [0.5]);
        let ran = threads.ran.lock().unwrap()[before..].to_vec();
        let others = ran.iter().filter(|name| **name == "long").count();
        assert!(ran.iter().filter(|name| **name == "short").count() == STEPS && others <= STEPS / 2, "{ran:?}");
    }
    assert!(!job.is_finished(), "it has 8 batches of 28 steps");
    // And as much as it likes does not keep the other from getting on.
    let before = threads.ran.lock().unwrap().len();
    let many: Vec<_> = (0..40)
        .map(|i| {
            let short = short.clone();
            tokio::spawn(async move { margins(&short, long_prompts([i], 500), 0).await })
        })
        .collect();
    for request in many {
        request.await.unwrap().unwrap();
    }
    assert!(threads.ran.lock().unwrap()[before..].contains(&"long"));
    assert_eq!(job.await.unwrap().unwrap(), [0.5; 16]);
}

/// Fails at its first step.
struct Failing;

impl Model for Failing {
    fn begin(&mut self, _: Slot, _: Batch) {}

    fn advance(&mut self, _: Slot) -> Progress {
        panic!("as it should")
    }

    fn retain(&mut self, _: Slot, _: &[bool]) {}

    fn remaining(&self, _: Slot) -> usize {
        1
    }

    fn width(&self) -> usize {
        1
    }

    fn kv_bytes(&self) -> usize {
        1
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_fails_gives_the_threads_back() {
    let (threads, turns) = (Threads::default(), Turns::default());
    let well = engine("well", &threads, &turns);
    let failing = Engine::start(Box::new(Failing), &turns, BatchLimits::default(), QueueLimits::default()).unwrap();
    assert!(margins(&failing, long_prompts([1], 4), 0).await.is_err() && !failing.is_alive());
    assert_eq!(margins(&well, long_prompts([1], 4), 0).await.unwrap(), [0.5]);
}
