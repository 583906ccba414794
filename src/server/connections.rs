//! Who is connected: how many at a time, and for how long without a request.
//!
//! Invariant: no connection stays that neither has a request at work nor takes its answer nor begins another in time.
//! actix closes idle connections and those that never send a first head, but waits for ever for the rest of a later
//! head and for a client that does not take its answer. Called by `run` and, around each request, by `server`.

use crate::options::DEFAULT_MAX_CONNECTIONS;
use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::dev::Extensions;
use actix_web::rt::net::{TcpStream, UnixStream};
use actix_web::rt::time::sleep;
use rustix::net::{Shutdown, shutdown};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::any::Any;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// How often connections are looked at.
const PERIOD: Duration = Duration::from_secs(1);

/// Bytes of an answer that earn it another second.
const BYTES_PER_SECOND: u64 = 16 << 10;

/// Files that are not connections: libraries, sockets, what the runtime needs.
const OTHER_FILES: usize = 64;

/// Files of a connection: its own, and the one by which it is closed.
const FILES_PER_CONNECTION: usize = 2;

/// All connections.
#[derive(Clone)]
pub struct Connections {
    /// How long one may go without a request.
    grace: Duration,
    start: Instant,
    all: Arc<Mutex<Vec<Weak<Connection>>>>,
}

/// One of them; requests find it by `HttpRequest::conn_data`.
pub struct Connection {
    socket: OwnedFd,
    requests: AtomicUsize,
    /// Milliseconds after `start` when it has been without a request for too long.
    until: AtomicU64,
    start: Instant,
    grace: Duration,
}

impl Connections {
    /// None yet; each may be without a request for `grace`.
    pub fn new(grace: Duration) -> Self {
        Self { grace, start: Instant::now(), all: Arc::default() }
    }

    /// Takes in a new connection, as actix tells of it.
    pub fn add(&self, stream: &dyn Any, data: &mut Extensions) {
        let Some(socket) = socket(stream) else { return };
        match socket.try_clone_to_owned() {
            Ok(socket) => {
                let (requests, until) = (AtomicUsize::new(0), AtomicU64::new(0));
                let connection = Arc::new(Connection { socket, requests, until, start: self.start, grace: self.grace });
                connection.wait_for(self.grace);
                self.all.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&connection));
                data.insert(connection);
            }
            // Without a file of its own it could not be closed later.
            Err(_) => drop(shutdown(socket, Shutdown::Both)),
        }
    }

    /// Closes what has been silent for too long, for ever.
    pub async fn watch(self) {
        loop {
            sleep(PERIOD).await;
            self.all.lock().unwrap_or_else(PoisonError::into_inner).retain(|connection| {
                let Some(connection) = connection.upgrade() else { return false };
                let silent = connection.is_silent();
                if silent {
                    // The other side may have left already, which is as well.
                    let _ = shutdown(&connection.socket, Shutdown::Both);
                }
                !silent
            });
        }
    }
}

impl Connection {
    fn now(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    fn wait_for(&self, time: Duration) {
        self.until.store(self.now() + time.as_millis() as u64, Ordering::Relaxed);
    }

    fn is_silent(&self) -> bool {
        self.requests.load(Ordering::Relaxed) == 0 && self.now() > self.until.load(Ordering::Relaxed)
    }
}

/// A request at work on a connection.
pub struct Busy(Option<Arc<Connection>>);

impl Busy {
    /// Counts a request in; without a connection, as in tests, nothing is counted.
    pub fn begin(connection: Option<&Arc<Connection>>) -> Self {
        if let Some(connection) = connection {
            connection.requests.fetch_add(1, Ordering::Relaxed);
        }
        Self(connection.cloned())
    }

    /// Gives the client time for an answer of so many bytes.
    pub fn answered(self, bytes: u64) {
        if let Some(connection) = &self.0 {
            connection.wait_for(connection.grace + Duration::from_secs(bytes / BYTES_PER_SECOND));
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(connection) = &self.0 {
            connection.requests.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The socket under a stream.
fn socket(stream: &dyn Any) -> Option<BorrowedFd<'_>> {
    if let Some(stream) = stream.downcast_ref::<TcpStream>() {
        return Some(stream.as_fd());
    }
    if let Some(stream) = stream.downcast_ref::<TlsStream<TcpStream>>() {
        return Some(stream.get_ref().0.as_fd());
    }
    stream.downcast_ref::<UnixStream>().map(AsFd::as_fd)
}

/// Raises the limit of open files as far as `connections` need it; the answer is how many of them there can be. Fewer
/// than were asked for cost a line in the log.
pub fn allow(connections: usize) -> usize {
    let needed = connections.saturating_mul(FILES_PER_CONNECTION).saturating_add(OTHER_FILES) as u64;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < needed) {
        let raised = Rlimit { current: Some(needed.min(maximum.unwrap_or(needed))), maximum };
        // What it comes to is seen below.
        let _ = setrlimit(Resource::Nofile, raised);
    }
    let Some(files) = getrlimit(Resource::Nofile).current else { return connections };
    let most = ((files as usize).saturating_sub(OTHER_FILES) / FILES_PER_CONNECTION).max(1);
    if most < connections && connections != DEFAULT_MAX_CONNECTIONS {
        tracing::warn!(
            "--max-connections {connections} is more than the limit of open files ({files}) allows; {most} clients can be \
             connected at a time"
        );
    }
    connections.min(most)
}
