//! The life of a server from the first connection on: serve, and stop in order.
//!
//! Invariants: after a stop signal the server says that it is not well before it takes no more connections, and running
//! requests get their time. Called by `main`, over what `listen` has reserved.

use super::listen::Listening;
use super::{State, routes};
use crate::error::{Error, ErrorKind, Result};
use actix_web::{App, HttpServer, web};
use std::future::Future;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Threads that speak HTTP. They only move bytes: the cores belong to the engine.
const WORKERS: usize = 1;
/// Threads that read JSON and make tokens.
const BLOCKING_THREADS: usize = 4;

/// Times of a server's life.
#[derive(Debug, Clone, Copy)]
pub struct Lifecycle {
    /// How long an idle connection stays open.
    pub keep_alive: Duration,
    /// How long connections are still taken after a stop signal, so that load balancers can turn away first.
    pub drain_delay: Duration,
    /// How long running requests get after that; zero aborts them.
    pub shutdown_timeout: Duration,
}

/// Serves until `stop` resolves, then finishes what is running. Runs inside an actix system.
pub async fn run(
    state: State,
    listening: Listening,
    lifecycle: Lifecycle,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let state = web::Data::new(state);
    let drained = async {
        stop.await;
        state.stopping.store(true, Ordering::Relaxed);
        tokio::time::sleep(lifecycle.drain_delay).await;
    };
    run_app(routes(state.clone()), listening, lifecycle, drained).await
}

async fn run_app(
    routes: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
    listening: Listening,
    lifecycle: Lifecycle,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let name = listening.name();
    let fail = |err: std::io::Error| Error::new(ErrorKind::Unavailable, format!("The server on {name} failed: {err}."));
    let server = HttpServer::new(move || App::new().configure(routes.clone()))
        .workers(WORKERS)
        .worker_max_blocking_threads(BLOCKING_THREADS)
        .keep_alive(lifecycle.keep_alive)
        .shutdown_timeout(lifecycle.shutdown_timeout.as_secs())
        // A client that closes its side has left: its request's future is dropped, and the engine's work with it.
        // Otherwise actix would take it for a half-closed connection and compute the answer for nobody.
        .h1_allow_half_closed(false)
        .disable_signals();
    let mut socket_file = None;
    let server = match listening {
        Listening::Tcp { socket, tls: None, .. } => server.listen(socket),
        Listening::Tcp { socket, tls: Some(tls), .. } => server.listen_rustls_0_23(socket, *tls),
        Listening::Unix { socket, path } => {
            socket_file = Some(path);
            server.listen_uds(socket)
        }
    };
    let server = server.map_err(fail)?.run();
    let handle = server.handle();
    tokio::pin!(server);
    tokio::select! {
        result = &mut server => return result.map_err(fail),
        () = stop => {}
    }
    let graceful = !lifecycle.shutdown_timeout.is_zero();
    let stopping = handle.stop(graceful);
    // The server only makes progress while it is polled.
    let (result, ()) = tokio::join!(server, stopping);
    if let Some(path) = socket_file {
        // It says to clients that nobody is there; if it is gone already, it says so as well.
        let _ = std::fs::remove_file(path);
    }
    result.map_err(fail)
}

#[cfg(test)]
mod tests;
