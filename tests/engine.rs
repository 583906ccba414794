//! What the engine promises, with a model that tests hold in their hands.

use ironrank::batch::Batch;
use ironrank::engine::{BatchLimits, Engine};
use ironrank::error::ErrorKind;
use ironrank::model::Model;
use ironrank::prompt::Prompt;
use std::sync::mpsc::{Receiver, Sender, channel};

/// Tells the test about every batch and answers what the test says; a closed channel is a bug of the model.
struct Held {
    batches: Sender<Vec<u32>>,
    answers: Receiver<f32>,
}

impl Model for Held {
    fn margins(&mut self, batch: &Batch) -> Vec<f32> {
        self.batches.send(batch.token_ids().to_vec()).expect("the test listens");
        let answer = self.answers.recv().expect("the test answers");
        batch.token_ids().iter().map(|&id| answer + id as f32).collect()
    }

    fn last_hidden_states(&mut self, _: &Batch) -> Vec<Vec<Vec<f32>>> {
        Vec::new()
    }

    fn bytes(&self) -> usize {
        0
    }
}

struct Bench {
    engine: Engine,
    batches: Receiver<Vec<u32>>,
    answers: Sender<f32>,
}

/// An engine over a held model; batches of at most three one-token prompts.
fn bench() -> Bench {
    let (batch_sender, batches) = channel();
    let (answers, answer_receiver) = channel();
    let model = Box::new(Held { batches: batch_sender, answers: answer_receiver });
    Bench { engine: Engine::start(model, BatchLimits { tokens: 3, sequences: 3 }), batches, answers }
}

fn prompts(ids: impl IntoIterator<Item = u32>) -> Vec<Prompt> {
    ids.into_iter().map(|id| Prompt { token_ids: vec![id] }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_share_batches_and_each_gets_its_own_results_in_order() {
    let Bench { engine, batches, answers } = bench();
    let first = tokio::spawn({
        let engine = engine.clone();
        async move { engine.margins(prompts([1, 2, 3, 4])).await }
    });
    assert_eq!(batches.recv().unwrap(), [1, 2, 3]);
    let second = tokio::spawn({
        let engine = engine.clone();
        async move { engine.margins(prompts([5, 6])).await }
    });
    while engine.waiting() < 3 {
        tokio::task::yield_now().await;
    }
    answers.send(0.5).unwrap();
    assert_eq!(batches.recv().unwrap(), [4, 5, 6]);
    answers.send(0.25).unwrap();
    assert_eq!(first.await.unwrap().unwrap(), [1.5, 2.5, 3.5, 4.25]);
    assert_eq!(second.await.unwrap().unwrap(), [5.25, 6.25]);
    while engine.running() + engine.waiting() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_client_left_is_not_computed_any_further() {
    let Bench { engine, batches, answers } = bench();
    let leaver = tokio::spawn({
        let engine = engine.clone();
        async move { engine.margins(prompts(1..=90)).await }
    });
    assert_eq!(batches.recv().unwrap(), [1, 2, 3]);
    let other = tokio::spawn({
        let engine = engine.clone();
        async move { engine.margins(prompts([100])).await }
    });
    while engine.waiting() < 88 {
        tokio::task::yield_now().await;
    }
    leaver.abort();
    assert!(leaver.await.unwrap_err().is_cancelled());
    answers.send(0.0).unwrap();
    assert_eq!(batches.recv().unwrap(), [100], "the next batch has nothing of the one who left");
    answers.send(0.0).unwrap();
    assert_eq!(other.await.unwrap().unwrap(), [100.0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bug_in_the_model_fails_what_is_pending_and_shows_in_health() {
    let Bench { engine, batches, answers } = bench();
    let pending = tokio::spawn({
        let engine = engine.clone();
        async move { engine.margins(prompts([1, 2, 3, 4])).await }
    });
    batches.recv().unwrap();
    assert!(engine.is_alive());
    drop(answers);
    assert_eq!(pending.await.unwrap().unwrap_err().kind(), ErrorKind::Internal);
    assert!(!engine.is_alive());
    assert_eq!(engine.margins(prompts([1])).await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_margin_that_is_not_a_number_is_an_error_and_not_an_answer() {
    let Bench { engine, batches, answers } = bench();
    answers.send(f32::NAN).unwrap();
    assert_eq!(engine.margins(prompts([1])).await.unwrap_err().kind(), ErrorKind::Internal);
    answers.send(1.0).unwrap();
    assert_eq!(engine.margins(prompts([1])).await.unwrap(), [2.0], "the next request is unhurt");
    assert_eq!(batches.iter().take(2).count(), 2);
}

#[tokio::test]
async fn no_prompts_are_no_work() {
    assert_eq!(bench().engine.margins(Vec::new()).await.unwrap(), [0.0_f32; 0]);
}
