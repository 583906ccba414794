//! The life of a server over real loopback connections, with a handler that tests can hold back.

use super::run_app;
use crate::options::{ClientCertificates, ServerOptions, Tls};
use crate::server::http::listen::{reserve, reserve_unix};
use actix_web::{HttpResponse, web};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio_rustls::TlsConnector;

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

fn patient(shutdown_timeout: Duration) -> ServerOptions {
    ServerOptions {
        keep_alive: PATIENCE,
        receive_timeout: PATIENCE,
        max_connections: 100,
        shutdown_timeout,
        ..ServerOptions::default()
    }
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
    let address = reserved.address().expect("a TCP address");
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
    let options = patient(PATIENCE);
    let server = run_app(hold(held.clone()), listening, &options, async {
        let _ = stopped.await;
        true
    });
    let (result, ()) = tokio::join!(server, client);
    result.expect("stops in order");
    assert_eq!(held.answered.load(Ordering::SeqCst), 0);
}

#[actix_web::test]
async fn a_stopping_server_finishes_what_is_running() {
    let held = Arc::new(Held::default());
    let reserved = reserve("127.0.0.1", 0).expect("a free port");
    let address = reserved.address().expect("a TCP address");
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
    let options = patient(PATIENCE);
    let server = run_app(hold(held.clone()), listening, &options, async {
        let _ = stop.acquire().await;
        true
    });
    let (result, ()) = tokio::join!(soon("the stop", server), client);
    result.expect("stops in order");
    assert!(TcpStream::connect(address).await.is_err(), "a stopped server takes no connections");
}

#[actix_web::test]
async fn a_shutdown_timeout_of_zero_aborts_what_is_running() {
    let held = Arc::new(Held::default());
    let reserved = reserve("127.0.0.1", 0).expect("a free port");
    let address = reserved.address().expect("a TCP address");
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
    let options = patient(Duration::ZERO);
    let server = run_app(hold(held.clone()), listening, &options, async {
        let _ = stop.acquire().await;
        true
    });
    let (result, ()) = tokio::join!(soon("the stop", server), client);
    result.expect("stops in order");
}

#[actix_web::test]
async fn no_connection_is_taken_before_the_server_listens() {
    let reserved = reserve("127.0.0.1", 0).expect("a free port");
    assert!(TcpStream::connect(reserved.address().expect("a TCP address")).await.is_err());
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

#[actix_web::test]
async fn a_unix_socket_is_served_and_removed_in_the_end() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("i.sock");
    let held = Arc::new(Held::default());
    held.release.notify_one();
    let listening = reserve_unix(&path).expect("a free path").listen().expect("listens");
    let stop = Semaphore::new(0);
    let client = async {
        let stream = UnixStream::connect(&path).await.expect("connects");
        let answer = exchange(stream).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("done"), "{answer}");
        stop.add_permits(1);
    };
    let options = patient(PATIENCE);
    let server = run_app(hold(held.clone()), listening, &options, async {
        let _ = stop.acquire().await;
        true
    });
    let (result, ()) = tokio::join!(soon("the stop", server), client);
    result.expect("stops in order");
    assert!(!path.exists());
}

#[actix_web::test]
async fn an_encrypted_server_speaks_to_those_who_show_what_it_asks_for() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let server_pem = Pem::new(&dir, "server");
    let client_pem = Pem::new(&dir, "client");
    for (asked, shown, served) in [
        (ClientCertificates::Ignored, false, true),
        (ClientCertificates::Optional, false, true),
        (ClientCertificates::Required, false, false),
        (ClientCertificates::Required, true, true),
    ] {
        let tls = Tls {
            certificate: server_pem.certificate.clone(),
            key: server_pem.key.clone(),
            client_authorities: Some(client_pem.certificate.clone()),
            client_certificates: asked,
            refresh: false,
        };
        let held = Arc::new(Held::default());
        held.release.notify_one();
        let reserved = reserve("127.0.0.1", 0).expect("a free port").secured(&tls).expect("good files");
        let address = reserved.address().expect("a TCP address");
        assert_eq!(reserved.url(), format!("https://{address}"));
        let listening = reserved.listen().expect("listens");
        let connector = server_pem.connector(shown.then_some(&client_pem));
        let stop = Semaphore::new(0);
        let client = async {
            let stream = TcpStream::connect(address).await.expect("connects");
            let name = ServerName::try_from("localhost").expect("a name");
            let answer = match connector.connect(name, stream).await {
                Ok(stream) => exchange(stream).await,
                Err(err) => Err(err),
            };
            stop.add_permits(1);
            answer
        };
        let options = patient(PATIENCE);
        let server = run_app(hold(held.clone()), listening, &options, async {
            let _ = stop.acquire().await;
            true
        });
        let (result, answer) = tokio::join!(soon("the stop", server), soon("the answer", client));
        result.expect("stops in order");
        let got = answer.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200") && answer.contains("done"));
        assert_eq!(got, served, "{asked:?}, shown: {shown}");
        assert_eq!(held.answered.load(Ordering::SeqCst), usize::from(served));
    }
}

#[actix_web::test]
async fn a_wish_for_another_protocol_ends_no_connection_on_any_kind_of_socket() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (path, pem) = (dir.path().join("i.sock"), Pem::new(&dir, "server"));
    let tls = Tls {
        certificate: pem.certificate.clone(),
        key: pem.key.clone(),
        client_authorities: None,
        client_certificates: ClientCertificates::Ignored,
        refresh: false,
    };
    let local = || reserve("127.0.0.1", 0).expect("a free port");
    for reserved in [local(), local().secured(&tls).expect("good files"), reserve_unix(&path).expect("a free path")] {
        let held = Arc::new(Held::default());
        let (address, is_encrypted) = (reserved.address(), reserved.url().starts_with("https"));
        let listening = reserved.listen().expect("listens");
        let stop = Semaphore::new(0);
        let client = async {
            let Some(address) = address else {
                return wish(UnixStream::connect(&path).await.expect("connects"), &held, &stop).await;
            };
            let stream = TcpStream::connect(address).await.expect("connects");
            if is_encrypted {
                let name = ServerName::try_from("localhost").expect("a name");
                let stream = pem.connector(None).connect(name, stream).await.expect("connects");
                return wish(stream, &held, &stop).await;
            }
            wish(stream, &held, &stop).await
        };
        let options = patient(PATIENCE);
        let server = run_app(hold(held.clone()), listening, &options, async {
            let _ = stop.acquire().await;
            true
        });
        let (result, ()) = tokio::join!(soon("the stop", server), soon("the answers", client));
        result.expect("stops in order");
    }
}

/// Sends one request after the other, each with a wish for another protocol, then tells the server to stop.
async fn wish(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, held: &Held, stop: &Semaphore) {
    let head = "POST /rerank HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade:";
    for _ in 0..3 {
        for rest in [
            " h2c\r\nContent-Length: 2\r\n\r\n{}",
            " websocket\r\nContent-Length: 2\r\n\r\n{}",
            " h2c\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
        ] {
            held.release.notify_one();
            stream.write_all(format!("{head}{rest}").as_bytes()).await.expect("sends");
            stream.flush().await.expect("sends");
            let mut answer = Vec::new();
            while !answer.ends_with(b"done") {
                assert_ne!(stream.read_buf(&mut answer).await.expect("reads"), 0, "it has ended");
            }
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.starts_with("HTTP/1.1 200 OK") && !answer.contains("connection:"), "{answer}");
        }
    }
    stop.add_permits(1);
}

/// Sends the request and reads what comes back up to the end of its body.
async fn exchange(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin) -> std::io::Result<String> {
    stream.write_all(REQUEST).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"done") {
        if stream.read_buf(&mut answer).await? == 0 {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// A certificate for localhost and its key, in files.
struct Pem {
    certificate: PathBuf,
    key: PathBuf,
}

impl Pem {
    fn new(dir: &tempfile::TempDir, name: &str) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let [certificate, key] = ["crt", "key"].map(|end| dir.path().join(format!("{name}.{end}")));
        std::fs::write(&certificate, made.cert.pem()).expect("written");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
        Self { certificate, key }
    }

    /// A client that trusts this certificate and shows `own`.
    fn connector(&self, own: Option<&Self>) -> TlsConnector {
        let read = |pem: &Self| CertificateDer::from_pem_file(&pem.certificate).expect("a certificate");
        let mut roots = RootCertStore::empty();
        roots.add(read(self)).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let config = match own {
            Some(own) => {
                let key = PrivateKeyDer::from_pem_file(&own.key).expect("a key");
                config.with_client_auth_cert(vec![read(own)], key).expect("a pair")
            }
            None => config.with_no_client_auth(),
        };
        TlsConnector::from(Arc::new(config))
    }
}
