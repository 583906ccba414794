//! Connections from the first on: taken in over what `listen` has reserved, and let go in order.
//!
//! Invariant: running requests get their time. Called by `life`.

use super::connections::{self, Connections, Times};
use super::listen::Listening;
use super::stream::Stream;
use crate::error::{Error, ErrorKind, Result};
use crate::options::ServerOptions;
use actix_http::{HttpService, KeepAlive, Request};
use actix_service::{IntoServiceFactory, ServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_tls::accept::rustls_0_23::{Acceptor, TlsStream};
use actix_web::dev::{AppConfig, Server};
use actix_web::rt::net::{TcpStream, UnixStream};
use actix_web::{App, web};
use std::future::{Future, ready};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// Threads that speak HTTP. They only move bytes: the cores belong to the engine.
const WORKERS: usize = 1;
/// Those, and the one that takes connections: what actix starts.
pub const HTTP_THREADS: usize = WORKERS + 1;

/// How long a client that was refused may go on sending: what it has sent is thrown away until then, for it may not look
/// for the answer before it has sent everything.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a server whose engine has failed gives its last answers; none of them needs to be computed.
pub const FAILURE_TIMEOUT: Duration = Duration::from_secs(5);

/// Answers with `routes` until `stop` resolves, to whether running requests get their time. Runs inside an actix system.
pub async fn run_app(
    routes: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
    listening: Listening,
    options: &ServerOptions,
    stop: impl Future<Output = bool>,
) -> Result<()> {
    let name = listening.name();
    let fail = |err: std::io::Error| Error::new(ErrorKind::Machine, format!("The server on {name} failed: {err}."));
    let most = connections::allow(options.max_connections);
    let times = Times { keep_alive: options.keep_alive, receive: options.receive_timeout };
    let connections = Connections::new(times, most);
    let watch = actix_web::rt::spawn(connections.clone().watch());
    let server = Server::build()
        .workers(WORKERS)
        .max_concurrent_connections(most)
        .shutdown_timeout(match options.shutdown_timeout {
            Duration::ZERO => FAILURE_TIMEOUT.as_secs(),
            timeout => timeout.as_secs(),
        })
        .disable_signals();
    let stopping = server.graceful_shutdown_signal();
    let draining = move || {
        let stopping = stopping.clone();
        async move { stopping.notified().await }
    };
    let mut socket_file = None;
    let server = match listening {
        Listening::Tcp { socket, tls: None, .. } => server.listen("http", socket, move || {
            let connections = connections.clone();
            fn_service(move |tcp: TcpStream| {
                let peer = tcp.peer_addr().ok();
                ready(connections.add(tcp.as_fd()).map(|connection| (Stream::new(tcp, connection), peer)).ok_or(()))
            })
            .and_then(http(routes.clone(), times, draining.clone()))
        }),
        Listening::Tcp { socket, tls: Some(tls), .. } => server.listen("https", socket, move || {
            let connections = connections.clone();
            let encrypted = Acceptor::new((*tls).clone()).map_err(drop);
            let taken_in = fn_service(move |tls: TlsStream<TcpStream>| {
                let tcp = tls.get_ref().0;
                let (peer, connection) = (tcp.peer_addr().ok(), connections.add(tcp.as_fd()));
                ready(connection.map(|connection| (Stream::new(tls, connection), peer)).ok_or(()))
            });
            encrypted.and_then(taken_in).and_then(http(routes.clone(), times, draining.clone()))
        }),
        Listening::Unix { socket, path } => {
            socket_file = Some(path);
            server.listen_uds("unix", socket, move || {
                let connections = connections.clone();
                fn_service(move |unix: UnixStream| {
                    let connection = connections.add(unix.as_fd());
                    ready(connection.map(|connection| (Stream::new(unix, connection), None)).ok_or(()))
                })
                .and_then(http(routes.clone(), times, draining.clone()))
            })
        }
    };
    let server = server.map_err(fail)?.run();
    let handle = server.handle();
    tokio::pin!(server);
    let result = tokio::select! {
        result = &mut server => result,
        // The server only makes progress while it is polled.
        graceful = stop => tokio::join!(server, handle.stop(graceful)).0,
    };
    watch.abort();
    if let Some(path) = socket_file {
        // It says to clients that nobody is there; if it is gone already, it says so as well.
        let _ = std::fs::remove_file(path);
    }
    result.map_err(fail)
}

/// HTTP/1.1 over streams of one kind. actix's own server takes sockets alone; this is what it does with them, but for
/// the time between requests, which `connections` watches.
fn http<T, Draining>(
    routes: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
    times: Times,
    draining: impl Fn() -> Draining + 'static,
) -> impl ServiceFactory<(Stream<T>, Option<SocketAddr>), Config = (), Response = (), Error = (), InitError = ()>
where
    T: AsyncRead + AsyncWrite + Unpin + 'static,
    Draining: Future<Output = ()> + 'static,
{
    let app = App::new().configure(routes);
    let app = IntoServiceFactory::<_, Request>::into_factory(app);
    HttpService::build()
        .keep_alive(if times.keep_alive.is_zero() { KeepAlive::Disabled } else { KeepAlive::Os })
        .client_request_timeout(times.receive)
        .client_disconnect_timeout(DISCONNECT_TIMEOUT)
        // A client that closes its side has left: its request's future is dropped, and the engine's work with it.
        // Otherwise actix would take it for a half-closed connection and compute the answer for nobody.
        .h1_allow_half_closed(false)
        .graceful_shutdown_signal(draining)
        .on_connect_ext(|stream: &Stream<T>, data| {
            data.insert(stream.connection().clone());
        })
        .h1(map_config(app, |()| AppConfig::default()))
        .map_err(drop)
}

#[cfg(test)]
mod tests;
