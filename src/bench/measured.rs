//! Requests, sent and timed, with a bar. Used by `bench` and `compare`.

use crate::engine::{Answer, Engine, Work};
use crate::error::Result;
use crate::progress;
use crate::prompt::Prompt;
use std::pin::pin;
use std::time::{Duration, Instant};

/// How often the bar moves.
const TICK: Duration = Duration::from_millis(200);

/// What requests gave, and how long they took.
pub(crate) struct Measured {
    /// Of each request, in the order they were sent.
    pub latencies: Vec<Duration>,
    pub work: Work,
    /// Of all of them, in order.
    pub answers: Vec<Answer>,
}

/// Sends requests one after the other; `name` stands before the bar.
pub(crate) async fn measure(engine: &Engine, requests: &[Vec<Prompt>], name: &str) -> Result<Measured> {
    let tokens: usize = requests.iter().flatten().map(Prompt::len).sum();
    let bar = progress::bar(Some(tokens as u64), "{msg} {wide_bar} {pos}/{len} tokens, {eta} left");
    bar.set_message(name.to_owned());
    let before = engine.work();
    let (mut latencies, mut answers) = (Vec::with_capacity(requests.len()), Vec::new());
    for request in requests {
        let start = Instant::now();
        let mut answer = pin!(engine.answers(request.clone(), 0));
        loop {
            if let Ok(answer) = tokio::time::timeout(TICK, &mut answer).await {
                answers.extend(answer?);
                break;
            }
            bar.set_position(engine.work().tokens - before.tokens);
        }
        latencies.push(start.elapsed());
    }
    bar.finish_and_clear();
    Ok(Measured { latencies, work: engine.work().since(&before), answers })
}
