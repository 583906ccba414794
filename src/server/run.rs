//! The life of a server: take the address, listen when the model is ready, stop in order.
//!
//! Invariant: no connection is taken before [`Reserved::listen`], and after a stop signal running requests get their time.

use super::{State, routes};
use crate::error::{Error, ErrorKind, Result};
use actix_web::{App, HttpServer, web};
use socket2::{Domain, Socket, Type};
use std::future::Future;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::time::Duration;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;
/// Threads that speak HTTP. They only move bytes: the cores belong to the engine.
const WORKERS: usize = 1;
/// Threads that read JSON and make tokens.
const BLOCKING_THREADS: usize = 4;

/// Times of a server's life.
#[derive(Debug, Clone, Copy)]
pub struct Lifecycle {
    /// How long an idle connection stays open.
    pub keep_alive: Duration,
    /// How long running requests get after a stop signal; zero aborts them.
    pub shutdown_timeout: Duration,
}

/// An address that is ours but does not listen yet.
pub struct Reserved {
    socket: Socket,
    address: SocketAddr,
}

impl Reserved {
    /// The address, with the real port where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets clients connect; they are answered from [`run`] on.
    pub fn listen(self) -> Result<Listening> {
        let Self { socket, address } = self;
        socket.listen(BACKLOG).map_err(|err| cannot_listen(&address.ip().to_string(), address.port(), &err))?;
        Ok(Listening { socket: socket.into(), address })
    }
}

/// An address that clients can connect to.
pub struct Listening {
    socket: TcpListener,
    address: SocketAddr,
}

/// Takes `host:port` before the model is loaded, so that a port in use is said at once and not minutes later.
pub fn reserve(host: &str, port: u16) -> Result<Reserved> {
    let fail = |err: std::io::Error| cannot_listen(host, port, &err);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address = (bare, port)
        .to_socket_addrs()
        .map_err(fail)?
        .next()
        .ok_or_else(|| Error::new(ErrorKind::Options, format!("The host '{host}' has no address.")))?;
    let bind = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        // On Unix this lets a restarted server take its port back while old connections expire.
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        let address = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok(Reserved { socket, address })
    };
    bind().map_err(fail)
}

fn cannot_listen(host: &str, port: u16, err: &std::io::Error) -> Error {
    let sentence = match err.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!("Port {port} of {host} is in use by another program; choose another with --port.")
        }
        std::io::ErrorKind::PermissionDenied => {
            format!("Port {port} of {host} may not be used by this user; choose one above 1023 with --port.")
        }
        _ => format!("The server cannot listen on {host}:{port}: {err}."),
    };
    Error::new(ErrorKind::Unavailable, sentence)
}

/// Serves until `stop` resolves, then finishes what is running. Runs inside an actix system.
pub async fn run(
    state: State,
    listening: Listening,
    lifecycle: Lifecycle,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    run_app(routes(web::Data::new(state)), listening, lifecycle, stop).await
}

async fn run_app(
    routes: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
    listening: Listening,
    lifecycle: Lifecycle,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let Listening { socket, address } = listening;
    let fail = |err: std::io::Error| cannot_listen(&address.ip().to_string(), address.port(), &err);
    let server = HttpServer::new(move || App::new().configure(routes.clone()))
        .workers(WORKERS)
        .worker_max_blocking_threads(BLOCKING_THREADS)
        .keep_alive(lifecycle.keep_alive)
        .shutdown_timeout(lifecycle.shutdown_timeout.as_secs())
        // A client that closes its side has left: its request's future is dropped, and the engine's work with it.
        // Otherwise actix would take it for a half-closed connection and compute the answer for nobody.
        .h1_allow_half_closed(false)
        .disable_signals()
        .listen(socket)
        .map_err(fail)?
        .run();
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
    result.map_err(fail)
}

#[cfg(test)]
mod tests;
