//! Who is connected: how many at a time, and for how long without a request.
//!
//! Invariants: no connection stays that neither has a request at work nor takes its answer nor begins another in time.
//! An idle one ends in order, later than its client was told, and not while a request is arriving: a client that uses
//! it until then loses nothing. When all places are taken, the one that has been idle for longest makes room.
//! actix closes those that never send a first head. Called by `run` and `stream` and, around each request, by `app`.

use crate::options::DEFAULT_MAX_CONNECTIONS;
use actix_web::http::header::HeaderValue;
use actix_web::rt::time::sleep;
use rustix::io::ioctl_fionread;
use rustix::net::{Shutdown, shutdown};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
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
    all: Arc<Mutex<Vec<Weak<Connection>>>>,
}

/// One of them; requests find it by `HttpRequest::conn_data`.
pub struct Connection {
    socket: OwnedFd,
    times: Times,
    state: Mutex<State>,
}

/// What a connection does. It is decided under the lock that one is to end, and a head that comes is told under it: the
/// thread that watches is not the one that serves.
struct State {
    /// Requests at work.
    requests: usize,
    /// When it has been without a request for too long.
    until: Instant,
    /// Since when it is idle; `None` while a head is arriving.
    idle_since: Option<Instant>,
    /// Whether it is to end before the next request.
    over: bool,
    reader: Option<Waker>,
}

impl Connections {
    /// None yet; there will be `most` of them at a time.
    pub fn new(times: Times, most: usize) -> Self {
        Self { times, most, all: Arc::default() }
    }

    /// Takes in a new connection; `None` if the system has no file for it, without which it could not be closed later.
    pub fn add(&self, socket: BorrowedFd<'_>) -> Option<Arc<Connection>> {
        let now = Instant::now();
        let until = now + self.times.receive + MARGIN;
        let state = State { requests: 0, until, idle_since: Some(now), over: false, reader: None };
        let socket = socket.try_clone_to_owned().ok()?;
        let connection = Arc::new(Connection { socket, times: self.times, state: Mutex::new(state) });
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
            all.retain(|connection| connection.upgrade().is_some_and(|connection| connection.may_stay()));
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
        let settled = |connection: Arc<Connection>| {
            let since = connection.state().settled_since()?;
            Some((since, connection))
        };
        let idle = all.iter().filter_map(Weak::upgrade).filter_map(settled);
        if let Some((since, oldest)) = idle.min_by_key(|(since, _)| *since) {
            let mut state = oldest.state();
            // It may have been asked in between.
            if state.settled_since() == Some(since) {
                state.end();
            }
        }
    }
}

impl State {
    fn wait_for(&mut self, time: Duration) {
        (self.until, self.over) = (Instant::now() + time, false);
    }

    /// How long it has gone without a request beyond its time.
    fn silent_for(&self) -> Option<Duration> {
        Instant::now().checked_duration_since(self.until).filter(|_| self.requests == 0)
    }

    /// Since when it is idle, if that is long enough to make room for another.
    fn settled_since(&self) -> Option<Instant> {
        self.idle_since.filter(|since| self.requests == 0 && since.elapsed() >= SETTLED)
    }

    fn end(&mut self) {
        self.over = true;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl Connection {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it if it has been silent for too long; false once there is nothing more to end.
    fn may_stay(&self) -> bool {
        let mut state = self.state();
        match state.silent_for() {
            None => true,
            Some(beyond) if beyond <= PATIENCE => {
                state.end();
                true
            }
            Some(_) => {
                // The other side may have left already, which is as well.
                let _ = shutdown(&self.socket, Shutdown::Both);
                false
            }
        }
    }

    /// A head begins to arrive: from now on its time counts.
    pub fn is_asked(&self) {
        let mut state = self.state();
        state.idle_since = None;
        state.wait_for(self.times.receive);
    }

    /// Whether it is to end now, before another request. If not, `reader` is woken when it is.
    pub fn is_over(&self, reader: &Waker) -> bool {
        let mut state = self.state();
        state.reader = Some(reader.clone());
        // What has arrived in this very moment is read first.
        state.over && !ioctl_fionread(&self.socket).is_ok_and(|bytes| bytes > 0)
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
            connection.state().requests += 1;
        }
        Self(connection.cloned())
    }

    /// Gives the client time for an answer of so many bytes.
    pub fn answered(self, bytes: u64) {
        if let Some(connection) = &self.0 {
            let mut state = connection.state();
            state.idle_since = Some(Instant::now());
            state.wait_for(connection.times.keep_alive + MARGIN + Duration::from_secs(bytes / BYTES_PER_SECOND));
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(connection) = &self.0 {
            connection.state().requests -= 1;
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
    use super::{Busy, Connections, Times, make_room};
    use crate::server::http::stream::Stream;
    use std::future::poll_fn;
    use std::os::fd::AsFd;
    use std::pin::Pin;
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
            connection.state().end();
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
        connection.state().end();
        assert_eq!(stream.read(&mut got).await.expect("ends in order"), 0);
    }

    #[actix_web::test]
    async fn a_request_that_comes_when_its_connection_is_to_end_is_answered() {
        let (mut client, server) = UnixStream::pair().expect("a pair");
        let connection = Connections::new(TIMES, 9).add(server.as_fd()).expect("a file");
        let mut stream = Stream::new(server, connection.clone());
        connection.state().until = Instant::now() - Duration::from_secs(1);
        client.write_all(REQUEST).await.expect("sends");
        let mut got = [0; REQUEST.len()];
        stream.read_exact(&mut got).await.expect("reads");
        assert!(connection.may_stay());
        assert_eq!(read_now(&mut stream).await, None, "it does not end");
        let busy = Busy::begin(Some(&connection));
        connection.state().until = Instant::now() - Duration::from_secs(90);
        assert!(connection.may_stay());
        assert_eq!(read_now(&mut stream).await, None, "nor while the request is at work");
        busy.answered(0);
        assert!(connection.may_stay());
        assert_eq!(read_now(&mut stream).await, None, "nor behind the answer");
    }

    #[actix_web::test]
    async fn the_connection_that_was_idle_for_longest_makes_room_and_none_that_is_at_work() {
        let connections = Connections::new(TIMES, 5);
        let mut pairs = Vec::new();
        for (idle_for, requests) in [(3, 0), (9, 1), (6, 0), (0, 0)] {
            let (client, server) = UnixStream::pair().expect("a pair");
            let connection = connections.add(server.as_fd()).expect("a file");
            connection.state().idle_since = Some(Instant::now() - Duration::from_secs(idle_for));
            connection.state().requests = requests;
            pairs.push((client, connection));
        }
        let ended = || pairs.iter().map(|(_, connection)| connection.state().over).collect::<Vec<_>>();
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
