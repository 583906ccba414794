//! The line that the log has every ten seconds while there is work, as vLLM's has.
//!
//! Invariant: a server that does nothing says nothing. Started and ended by `life`.

use super::http::request_log::WINDOW;
use super::state::State;
use crate::engine;
use actix_web::web;
use indicatif::HumanCount;
use std::time::{Duration, Instant};
use tokio::time::{MissedTickBehavior, interval_at};

/// What the engine had done and what the time was when the last line was due, and what there is now.
struct Glance {
    work: engine::Work,
    elapsed: Duration,
    running: usize,
    waiting: usize,
    /// How full the prefix cache is, from 0 to 1.
    cache: f64,
}

/// Tells of the work until it is dropped, in a line for each model that has any.
pub async fn tell(state: web::Data<State>) {
    let models = state.models.all();
    let (mut before, mut since): (Vec<_>, _) =
        (models.iter().map(|model| model.engine.work()).collect(), Instant::now());
    let mut ticks = interval_at((since + WINDOW).into(), WINDOW);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let elapsed = since.elapsed();
        since = Instant::now();
        for (model, before) in models.iter().zip(&mut before) {
            let engine = &model.engine;
            let work = engine.work();
            let glance = Glance {
                work: work.since(before),
                elapsed,
                running: engine.running(),
                waiting: engine.waiting(),
                cache: engine.prefix_cache_tokens() as f64 / engine.prefix_cache_capacity().max(1) as f64,
            };
            *before = work;
            match glance.line() {
                Some(line) if models.len() > 1 => tracing::info!("{}: {line}", model.name()),
                Some(line) => tracing::info!("{line}"),
                None => {}
            }
        }
        tell_of_failures(&state);
    }
}

/// Tells how many failed requests have no line of their own, if any; for the last time when the server ends.
pub fn tell_of_failures(state: &State) {
    match state.told.unsaid() {
        0 => {}
        unsaid => tracing::warn!("{}", more_failures(unsaid)),
    }
}

fn more_failures(unsaid: u64) -> String {
    format!("{} more requests failed, were given up or shortened than have a line here", HumanCount(unsaid))
}

impl Glance {
    /// What was done and what there is to do, if there is anything.
    fn line(&self) -> Option<String> {
        let Self { work, elapsed, running, waiting, cache, .. } = self;
        let looked_up = work.answer_hits + work.answer_misses;
        if work.tokens == 0 && looked_up == 0 && running + waiting == 0 {
            return None;
        }
        let seconds = elapsed.as_secs_f64().max(1e-3);
        let percent = |part: u64, all: u64| if all == 0 { 0.0 } else { 100.0 * part as f64 / all as f64 };
        Some(format!(
            "{} tokens/s, {:.0} % of them computed; documents: {running} running, {waiting} waiting; busy for {:.0} % of the time; \
             prefix cache: {:.0} % hits, {:.0} % full; answer cache: {:.0} % hits",
            HumanCount((work.tokens as f64 / seconds) as u64),
            percent(work.computed_tokens, work.tokens),
            100.0 * work.model_time.as_secs_f64() / seconds,
            percent(work.cached_tokens, work.tokens),
            100.0 * cache,
            percent(work.answer_hits, looked_up),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Glance = Glance {
        work: engine::Work {
            tokens: 0,
            computed_tokens: 0,
            cached_tokens: 0,
            answer_hits: 0,
            answer_misses: 0,
            flop: 0,
            model_time: Duration::ZERO,
            batches: [0; 32],
            refused_by_sequences: 0,
            refused_by_tokens: 0,
        },
        elapsed: WINDOW,
        running: 0,
        waiting: 0,
        cache: 0.5,
    };

    #[test]
    fn work_is_told_of_and_idleness_is_not() {
        assert_eq!(IDLE.line(), None);
        let work = engine::Work {
            tokens: 36_000,
            computed_tokens: 9_000,
            cached_tokens: 3_600,
            answer_hits: 22,
            answer_misses: 66,
            model_time: Duration::from_millis(9_500),
            ..IDLE.work
        };
        assert_eq!(
            Glance { work, running: 12, waiting: 54, ..IDLE }.line().as_deref(),
            Some(
                "3,600 tokens/s, 25 % of them computed; documents: 12 running, 54 waiting; busy for 95 % of the time; prefix cache: \
                 10 % hits, 50 % full; answer cache: 25 % hits"
            )
        );
        let known = engine::Work { answer_hits: 32, ..IDLE.work };
        assert!(Glance { work: known, ..IDLE }.line().is_some_and(|line| line.ends_with("answer cache: 100 % hits")));
        // A batch may take longer than the time between two lines.
        assert!(Glance { running: 1, ..IDLE }.line().is_some_and(|line| line.starts_with("0 tokens/s, 0 %")));
        assert!(Glance { waiting: 1, ..IDLE }.line().is_some());
        assert_eq!(
            more_failures(9_980),
            "9,980 more requests failed, were given up or shortened than have a line here"
        );
    }
}
