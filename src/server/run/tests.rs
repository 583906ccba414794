//! The life of a server over real loopback connections, with a handler that tests can hold back.

use super::{Lifecycle, reserve, run_app};
use actix_web::{HttpResponse, web};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore, oneshot};

const REQUEST: &[u8] = b"POST /rerank HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}";
/// Longer than anything here takes; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A handler that waits for `release`, and what became of its futures.
#[derive(Default)]
struct Held {
    started: Notify,
    dropped: Notify,
    answered: AtomicUsize,
    release: Notify,
}

struct OnDrop(Arc<Held>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.dropped.notify_one();
    }
}

fn hold(held: Arc<Held>) -> impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static {
    move |app| {
        let held = held.clone();
        app.default_service(web::to(move |_body: web::Bytes| {
            let held = held.clone();
            async move {
                let _on_drop = OnDrop(held.clone());
                held.started.notify_one();
                held.release.notified().await;
                held.answered.fetch_add(1, Ordering::SeqCst);
                HttpResponse::Ok().body("done")
            }
        }));
    }
}

fn patient(shutdown_timeout: Duration) -> Lifecycle {
    Lifecycle { keep_alive: PATIENCE, shutdown_timeout }
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen"),
    }
}

#[actix_web::test]
async fn a_client_that_leaves_frees_its_work() {
    let held = Arc::new(Held::default());
    let reserved = reserve("127.0.0.1", 0).expect("a free port");
    let address = reserved.address();
    let listening = reserved.listen().expect("listens");
    let (stop, stopped) = oneshot::channel::<()>();
    let client = async {
        let mut stream = TcpStream::connect(address).await.expect("connects");
        stream.write_all(REQUEST).await.expect("sends");
        soon("the handler's start", held.started.notified()).await;
        drop(stream);
        soon("the drop of the handler's future", held.dropped.notified()).await;
        let _ = stop.send(());
    };
    let server = run_app(hold(held.clone()), listening, patient(PATIENCE), async {
        let _ = stopped.await;
    });
    let (result, ()) = tokio::join!(server, client);
    result.expect("stops in order");
    assert_eq!(held.answered.load(Ordering::SeqCst), 0);
}

#[actix_web::test]
async fn a_stopping_server_finishes_what_is_running() {
    let held = Arc::new(Held::default());
    let reserved = reserve("127.0.0.1", 0).expect("a free port");
    let address = reserved.address();
    let listening = reserved.listen().expect("listens");
    let stop = Semaphore::new(0);
    let client = async {
        let mut idle = TcpStream::connect(address).await.expect("connects");
        let mut stream = TcpStream::connect(address).await.expect("connects");
        stream.write_all(REQUEST).await.expect("sends");
        soon("the handler's start", held.started.notified()).await;
        stop.add_permits(1);
        // The idle connection is closed by the stop: from then on the server is draining.
        let mut nothing = Vec::new();
        let _ = soon("the end of the idle connection", idle.read_to_end(&mut nothing)).await;
        held.release.notify_one();
        let mut answer = String::new();
        soon("the answer", stream.read_to_string(&mut answer)).await.expect("reads");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
    };
    let server = run_app(hold(held.clone()), listening, patient(PATIENCE), async {
        let _ = stop.acquire().await;
    });
    let (result, ()) = tokio::join!(soon("the stop", server), client);
    result.expect("stops in order");
    assert!(TcpStream::connect(address).await.is_err(), "a stopped server takes no connections");
}

#[actix_web::test]
async fn a_shutdown_timeout_of_zero_aborts_what_is_running() {
    let held = Arc::new(Held::default());
    let reserved = reserve("127.0.0.1", 0).expect("a free port");
    let address = reserved.address();
    let listening = reserved.listen().expect("listens");
    let stop = Semaphore::new(0);
    let client = async {
        let mut stream = TcpStream::connect(address).await.expect("connects");
        stream.write_all(REQUEST).await.expect("sends");
        soon("the handler's start", held.started.notified()).await;
        stop.add_permits(1);
        let mut answer = Vec::new();
        let _ = soon("the end of the connection", stream.read_to_end(&mut answer)).await;
        assert!(answer.is_empty());
    };
    let server = run_app(hold(held.clone()), listening, patient(Duration::ZERO), async {
        let _ = stop.acquire().await;
    });
    let (result, ()) = tokio::join!(soon("the stop", server), client);
    result.expect("stops in order");
}

#[actix_web::test]
async fn no_connection_is_taken_before_the_server_listens() {
    let reserved = reserve("127.0.0.1", 0).expect("a free port");
    assert!(TcpStream::connect(reserved.address()).await.is_err());
}

#[test]
fn a_port_in_use_is_one_sentence() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = other.local_addr().expect("an address").port();
    let err = reserve("127.0.0.1", port).err().expect("the port is taken");
    assert_eq!(
        err.to_string(),
        format!("Port {port} of 127.0.0.1 is in use by another program; choose another with --port.")
    );
}
