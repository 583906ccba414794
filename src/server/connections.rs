//! Who is connected: how many at a time, and for how long without a request.
//!
//! Invariants: no connection stays that neither has a request at work nor takes its answer nor begins another in time.
//! An idle one ends in order, later than its client was told, and not while a request is arriving: a client that uses
//! it until then loses nothing. When all places are taken, the one that has been idle for longest makes room.
//! actix closes those that never send a first head. Called by `run` and `stream` and, around each request, by `server`.

use crate::options::DEFAULT_MAX_CONNECTIONS;
use actix_web::http::header::HeaderValue;
use actix_web::rt::time::sleep;
use rustix::io::ioctl_fionread;
use rustix::net::{Shutdown, shutdown};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

/// How often connections are looked at.
const PERIOD: Duration = Duration::from_secs(1);

/// How much longer than its client was told an idle connection stays: what is sent at the last moment takes that long
/// to come, on a busy machine.
const MARGIN: Duration = Duration::from_secs(2);

/// How long a connection that should end in order may take to do so.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long a connection has been idle at least when it makes room for another.
const SETTLED: Duration = Duration::from_secs(1);

/// Bytes of an answer that earn it another second.
const BYTES_PER_SECOND: u64 = 16 << 10;

/// Files that are not connections: libraries, sockets, what the runtime needs.
const OTHER_FILES: usize = 64;

/// Files of a connection: its own, and the one by which it is closed.
const FILES_PER_CONNECTION: usize = 2;

/// How long a connection may go without a request.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// From an answer to the first byte of the next request.
    pub keep_alive: Duration,
    /// From the first byte of a head to its end.
    pub receive: Duration,
}

/// All connections.
#[derive(Clone)]
pub struct Connections {
    times: Times,
    most: usize,
    start: Instant,
    all: Arc<Mutex<Vec<Weak<Connection>>>>,
}

/// One of them; requests find it by `HttpRequest::conn_data`.
pub struct Connection {
    socket: OwnedFd,
    times: Times,
    start: Instant,
    requests: AtomicUsize,
    /// Milliseconds after `start` when it has been without a request for too long.
    until: AtomicU64,
    /// Milliseconds after `start` when it became idle; `u64::MAX` while a head is arriving.
    idle_since: AtomicU64,
    /// Whether it is to end before the next request.
    over: AtomicBool,
    reader: Mutex<Option<Waker>>,
}

impl Connections {
    /// None yet; there will be `most` of them at a time.
    pub fn new(times: Times, most: usize) -> Self {
        Self { times, most, start: Instant::now(), all: Arc::default() }
    }

    /// Takes in a new connection; `None` if the system has no file for it, without which it could not be closed later.
    pub fn add(&self, socket: BorrowedFd<'_>) -> Option<Arc<Connection>> {
        let connection = Arc::new(Connection {
            socket: socket.try_clone_to_owned().ok()?,
            times: self.times,
            start: self.start,
            requests: AtomicUsize::new(0),
            until: AtomicU64::new(0),
            idle_since: AtomicU64::new(0),
            over: AtomicBool::new(false),
            reader: Mutex::new(None),
        });
        connection.is_idle_for(self.times.receive + MARGIN);
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Arc::downgrade(&connection));
        make_room(&mut all, self.most);
        Some(connection)
    }

    /// Ends what has been silent for too long, for ever.
    pub async fn watch(self) {
        loop {
            sleep(PERIOD).await;
            let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|connection| {
                let Some(connection) = connection.upgrade() else { return false };
                let silent_for = connection.silent_for();
                if silent_for > Some(PATIENCE) {
                    // The other side may have left already, which is as well.
                    let _ = shutdown(&connection.socket, Shutdown::Both);
                } else if silent_for.is_some() {
                    connection.end();
                }
                silent_for <= Some(PATIENCE)
            });
            make_room(&mut all, self.most);
        }
    }
}

/// Ends the connection that has been idle for longest when there is no place for another.
fn make_room(all: &mut Vec<Weak<Connection>>, most: usize) {
    if all.len() < most {
        return;
    }
    all.retain(|connection| connection.strong_count() > 0);
    if all.len() >= most {
        let idle = all.iter().filter_map(Weak::upgrade).filter(|connection| connection.is_settled());
        if let Some(oldest) = idle.min_by_key(|connection| connection.idle_since.load(Ordering::Relaxed)) {
            oldest.end();
        }
    }
}

impl Connection {
    fn now(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    fn wait_for(&self, time: Duration) {
        self.over.store(false, Ordering::Relaxed);
        self.until.store(self.now() + time.as_millis() as u64, Ordering::Relaxed);
    }

    fn is_idle_for(&self, time: Duration) {
        self.idle_since.store(self.now(), Ordering::Relaxed);
        self.wait_for(time);
    }

    /// A head begins to arrive: from now on its time counts.
    pub fn is_asked(&self) {
        self.idle_since.store(u64::MAX, Ordering::Relaxed);
        self.wait_for(self.times.receive);
    }

    /// Whether it is to end now, before another request. If not, `reader` is woken when it is.
    pub fn is_over(&self, reader: &Waker) -> bool {
        *self.reader.lock().unwrap_or_else(PoisonError::into_inner) = Some(reader.clone());
        // What has arrived in this very moment is read first.
        self.over.load(Ordering::Relaxed) && !ioctl_fionread(&self.socket).is_ok_and(|bytes| bytes > 0)
    }

    fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take() {
            reader.wake();
        }
    }

    /// How long it has gone without a request beyond its time.
    fn silent_for(&self) -> Option<Duration> {
        let beyond = self.now().checked_sub(self.until.load(Ordering::Relaxed))?;
        (self.requests.load(Ordering::Relaxed) == 0).then(|| Duration::from_millis(beyond))
    }

    fn is_settled(&self) -> bool {
        let idle = self.now().checked_sub(self.idle_since.load(Ordering::Relaxed));
        self.requests.load(Ordering::Relaxed) == 0 && idle.is_some_and(|idle| Duration::from_millis(idle) >= SETTLED)
    }

    /// What a client is told of the time that the connection stays, as the value of `Keep-Alive`.
    pub fn keep_alive(&self) -> Option<HeaderValue> {
        let seconds = self.times.keep_alive.as_secs();
        HeaderValue::from_str(&format!("timeout={seconds}")).ok().filter(|_| seconds > 0)
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
            let time = connection.times.keep_alive + MARGIN + Duration::from_secs(bytes / BYTES_PER_SECOND);
            connection.is_idle_for(time);
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

#[cfg(test)]
mod tests {
    use super::{Connections, Times, make_room};
    use crate::server::stream::Stream;
    use std::future::poll_fn;
    use std::os::fd::AsFd;
    use std::pin::Pin;
    use std::sync::atomic::Ordering;
    use std::task::Poll;
    use std::time::{Duration, Instant};
    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
    use tokio::net::UnixStream;

    const TIMES: Times = Times { keep_alive: Duration::from_secs(90), receive: Duration::from_secs(20) };
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

    /// What reading gives without waiting: `None` if there is nothing yet, no bytes at the end.
    async fn read_now(stream: &mut Stream<UnixStream>) -> Option<Vec<u8>> {
        poll_fn(|cx| {
            let mut room = [0; 100];
            let mut room = ReadBuf::new(&mut room);
            Poll::Ready(match Pin::new(&mut *stream).poll_read(cx, &mut room) {
                Poll::Ready(result) => result.ok().map(|()| room.filled().to_vec()),
                Poll::Pending => None,
            })
        })
        .await
    }

    #[actix_web::test]
    async fn a_connection_ends_when_it_is_told_to_but_not_while_a_request_is_arriving() {
        let (mut client, server) = UnixStream::pair().expect("a pair");
        let connection = Connections::new(TIMES, 9).add(server.as_fd()).expect("a file");
        let mut stream = Stream::new(server, connection.clone());
        assert_eq!(read_now(&mut stream).await, None);
        for piece in [REQUEST, &REQUEST[..5]] {
            connection.end();
            client.write_all(piece).await.expect("sends");
            // Nothing has told the stream of the bytes, but they are there.
            assert_eq!(read_now(&mut stream).await, None, "it does not end");
            if piece == REQUEST {
                let mut got = [0; REQUEST.len()];
                stream.read_exact(&mut got).await.expect("reads");
                assert_eq!(got, REQUEST);
                assert_eq!(read_now(&mut stream).await, None, "nor before the request is answered");
            }
        }
        client.write_all(&REQUEST[5..]).await.expect("sends");
        let mut got = [0; REQUEST.len()];
        stream.read_exact(&mut got).await.expect("reads");
        connection.end();
        assert_eq!(stream.read(&mut got).await.expect("ends in order"), 0);
    }

    #[actix_web::test]
    async fn the_connection_that_was_idle_for_longest_makes_room_and_none_that_is_at_work() {
        let mut connections = Connections::new(TIMES, 5);
        connections.start = Instant::now() - Duration::from_secs(60);
        let mut pairs = Vec::new();
        for (idle_for, requests) in [(3_000, 0), (9_000, 1), (6_000, 0), (0, 0)] {
            let (client, server) = UnixStream::pair().expect("a pair");
            let connection = connections.add(server.as_fd()).expect("a file");
            connection.idle_since.store(connection.now() - idle_for, Ordering::Relaxed);
            connection.requests.store(requests, Ordering::Relaxed);
            pairs.push((client, connection));
        }
        let ended = || pairs.iter().map(|(_, connection)| connection.over.load(Ordering::Relaxed)).collect::<Vec<_>>();
        assert_eq!(ended(), [false; 4], "there is a place left");
        let (_client, server) = UnixStream::pair().expect("a pair");
        let _last = connections.add(server.as_fd()).expect("a file");
        assert_eq!(ended(), [false, false, true, false]);
        pairs[0].1.is_asked();
        pairs[2].1.is_asked();
        make_room(&mut connections.all.lock().expect("not poisoned"), 5);
        assert_eq!(ended(), [false; 4], "the others are asked, at work or have just come");
    }
}
