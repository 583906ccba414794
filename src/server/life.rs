//! The life of a server from the first connection on: serve, and stop in order.
//!
//! Invariants: after a stop signal the server says that it is not well before it takes no more connections, and running
//! requests get their time. Called by `main`, over what `listen` has reserved.

use super::activity;
use super::app::routes;
use super::http::listen::Listening;
use super::http::run::{FAILURE_TIMEOUT, run_app};
use super::state::State;
use crate::error::Result;
use actix_web::web;
use std::future::Future;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long it may take until requests that a stop has cut off are dropped.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Serves until `stop` resolves, then finishes what is running. When the engine fails, what it was to answer gets an
/// error, and the server ends with the reason. Runs inside an actix system.
pub async fn run(state: State, listening: Listening, stop: impl Future<Output = ()>) -> Result<()> {
    let state = web::Data::new(state);
    let options = &*state.options;
    let drained = async {
        stop.await;
        state.stopping.store(true, Ordering::Relaxed);
        tokio::time::sleep(options.drain_delay).await;
    };
    let stop = async {
        tokio::select! {
            () = drained => !options.shutdown_timeout.is_zero(),
            _ = state.models.failed() => {
                tracing::error!("the engine has failed; the server ends");
                true
            }
        }
    };
    let telling = actix_web::rt::spawn(activity::tell(state.clone()));
    let serving = run_app(routes(state.clone()), listening, options, stop);
    let failure = async {
        let failure = state.models.failed().await;
        tokio::time::sleep(FAILURE_TIMEOUT).await;
        failure
    };
    let ended = tokio::select! {
        result = serving => match state.models.failure() {
            Some(failure) => Err(failure),
            None => result,
        },
        failure = failure => Err(failure),
    };
    telling.abort();
    // What was cut off says so when it is dropped, on the threads that served.
    let dropped = async {
        while state.at_work.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let _ = tokio::time::timeout(LAST_WORDS, dropped).await;
    activity::tell_of_failures(&state);
    ended
}
