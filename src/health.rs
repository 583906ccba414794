//! `ironrank health`: asks a server whether it is well, for containers that have neither a shell nor curl.
//!
//! Invariant: one GET, an answer within `PATIENCE` a step, one sentence. A server's certificate is not checked, for
//! this asks how it is and tells it nothing; Kubernetes' probes do the same. Called by `main`.

use crate::error::{Error, ErrorKind, Result};
use crate::options::{self, Command, HealthOptions, Listen};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long a connection, a write or a read may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// A status line is far shorter.
const STATUS_LINE_BYTES: u64 = 1024;

/// A sentence that says that the server of `options` is well, or an error that says why not.
pub fn check(options: &HealthOptions) -> Result<String> {
    let HealthOptions { listen, tls, path } = options;
    let (name, line) = match listen {
        Listen::Tcp { host, port } => {
            let (host, stream) = connect(host, *port);
            let line = stream.and_then(|stream| match tls {
                true => ask(encrypted(stream, &host)?, &host, path),
                false => ask(stream, &host, path),
            });
            (format!("{}://{host}:{port}{path}", if *tls { "https" } else { "http" }), line)
        }
        Listen::Unix(socket) => {
            let line = UnixStream::connect(socket).and_then(|stream| {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                ask(stream, "localhost", path)
            });
            (format!("unix:{}, {path}", socket.display()), line)
        }
    };
    let unwell = |why: String| Error::new(ErrorKind::Machine, format!("{name} is not well: {why}."));
    let line = line.map_err(|err| match err.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            unwell(format!("no answer came within {} s", PATIENCE.as_secs()))
        }
        _ => unwell(err.to_string()),
    })?;
    match line.split_whitespace().nth(1).filter(|_| line.starts_with("HTTP/1.")) {
        Some("200") => Ok(format!("{name} is well.")),
        Some(status) => Err(unwell(format!("it answers with status {status}"))),
        None => Err(unwell("what answers does not speak HTTP".to_owned())),
    }
}

/// The server of this container: process 1, by its own command line and the environment, which is the same for both;
/// where there is none, the default port.
pub fn here() -> HealthOptions {
    let program = std::env::current_exe().unwrap_or_default();
    let command_line = std::fs::read("/proc/1/cmdline").unwrap_or_default();
    server_of(&command_line, &program, |name| std::env::var(name).ok())
        .unwrap_or_else(|| HealthOptions::of(Listen::default()))
}

/// What a process with this command line (arguments that end with a zero byte) serves, if it is `program`, by itself or
/// below an init such as `docker-init -- ironrank ...`.
fn server_of(command_line: &[u8], program: &Path, env: impl Fn(&str) -> Option<String>) -> Option<HealthOptions> {
    let args = command_line.split(|byte| *byte == 0).map(|arg| String::from_utf8_lossy(arg).into_owned());
    let mut args: Vec<String> = args.skip_while(|arg| Path::new(arg).file_name() != program.file_name()).collect();
    // Behind the last zero byte there is nothing.
    args.pop();
    match options::parse(args, env) {
        Command::Serve(options) => {
            let tls = options.server.tls.is_some();
            Some(HealthOptions { tls, ..HealthOptions::of(options.server.listen) })
        }
        _ => None,
    }
}

/// A connection to the first address of `host` that takes one, and how that is called; if none does, what the first said.
fn connect(host: &str, port: u16) -> (String, io::Result<TcpStream>) {
    let addresses = match reachable(host, port) {
        Ok(addresses) => addresses,
        Err(err) => return (host.to_owned(), Err(err)),
    };
    let mut first = None;
    for (name, address) in addresses {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).and_then(|stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(stream)
        });
        match stream {
            Ok(stream) => return (name, Ok(stream)),
            Err(err) => first = first.or(Some((name, Err(err)))),
        }
    }
    let none = || io::Error::new(io::ErrorKind::NotFound, format!("the host '{host}' has no address"));
    first.unwrap_or_else(|| (host.to_owned(), Err(none())))
}

/// Where a server that listens on `host` is reached, and how that is called. One that listens on all addresses is reached
/// on loopback: where that is all of IPv6, on IPv4 as well, for the machine may have no other.
fn reachable(host: &str, port: u16) -> io::Result<Vec<(String, SocketAddr)>> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let v4 = ("127.0.0.1".to_owned(), SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let v6 = ("[::1]".to_owned(), SocketAddr::from((Ipv6Addr::LOCALHOST, port)));
    let loopback = |address: SocketAddr| match address.ip() {
        ip if !ip.is_unspecified() => vec![(host.to_owned(), address)],
        IpAddr::V4(_) => vec![v4.clone()],
        IpAddr::V6(_) => vec![v6.clone(), v4.clone()],
    };
    Ok((bare, port).to_socket_addrs()?.flat_map(loopback).collect())
}

/// Sends the request; the status line of the answer.
fn ask(mut stream: impl Read + Write, host: &str, path: &str) -> io::Result<String> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    stream.flush()?;
    let (mut line, mut byte) = (Vec::new(), [0]);
    let mut stream = stream.take(STATUS_LINE_BYTES);
    while !line.ends_with(b"\n") && stream.read(&mut byte)? > 0 {
        line.extend(byte);
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

fn encrypted(stream: TcpStream, host: &str) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(bare).map_err(io::Error::other)?;
    Ok(StreamOwned::new(ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?, stream))
}

/// Takes every certificate whose key the server shows to have.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    /// What is said of a server on loopback that sends `answer` to the first who asks.
    fn said_of(answer: &'static [u8]) -> (bool, String) {
        said_of_one_on("0.0.0.0", answer)
    }

    fn said_of_one_on(host: &str, answer: &'static [u8]) -> (bool, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // All of it: a connection that is closed with something unread is reset, and the answer lost.
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.extend(byte);
            }
            stream.write_all(answer).unwrap();
            String::from_utf8(request).unwrap()
        });
        let result = check(&HealthOptions::of(Listen::Tcp { host: host.to_owned(), port }));
        assert!(server.join().unwrap().starts_with("GET /health HTTP/1.1\r\n"));
        (result.is_ok(), result.unwrap_or_else(|err| err.to_string()))
    }

    #[test]
    fn only_a_200_is_well_and_each_other_answer_has_its_sentence() {
        let (well, sentence) = said_of(b"HTTP/1.1 200 OK\r\n\r\n");
        assert!(
            well && sentence.starts_with("http://127.0.0.1:") && sentence.ends_with("/health is well."),
            "{sentence}"
        );
        for (answer, words) in [
            (&b"HTTP/1.1 503 Service Unavailable\r\n\r\n"[..], "status 503."),
            (b"HTTP/1.1 2000 What\r\n\r\n", "status 2000."),
            (b"SSH-2.0 200 OK\r\n", "does not speak HTTP."),
            (b"", "does not speak HTTP."),
        ] {
            let (well, sentence) = said_of(answer);
            assert!(!well && sentence.ends_with(words), "{sentence}");
        }
    }

    #[test]
    fn a_server_on_all_addresses_is_found_on_loopback_of_either_kind() {
        let found = |host: &str| -> Vec<String> {
            reachable(host, 8000).unwrap().into_iter().map(|(_, address)| address.to_string()).collect()
        };
        assert_eq!(found("0.0.0.0"), ["127.0.0.1:8000"]);
        for host in ["::", "[::]", "::0", "0:0:0:0:0:0:0:0"] {
            assert_eq!(found(host), ["[::1]:8000", "127.0.0.1:8000"], "{host}");
        }
        assert_eq!(found("192.0.2.7"), ["192.0.2.7:8000"]);
        assert_eq!(found("[2001:db8::7]"), ["[2001:db8::7]:8000"]);
    }

    #[test]
    fn a_server_on_all_addresses_is_found_where_there_is_no_ipv6() {
        // It takes connections to 127.0.0.1 alone, as one on `::` does where IPv6 is off.
        let (well, sentence) = said_of_one_on("::", b"HTTP/1.1 200 OK\r\n\r\n");
        assert!(well && sentence.starts_with("http://127.0.0.1:"), "{sentence}");
        let (well, sentence) = said_of_one_on("::", b"HTTP/1.1 503 Service Unavailable\r\n\r\n");
        assert!(!well && sentence.ends_with("status 503."), "{sentence}");
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let gone =
            check(&HealthOptions::of(Listen::Tcp { host: "::".to_owned(), port: free })).unwrap_err().to_string();
        assert!(gone.starts_with("http://[::1]:"), "the first place is named: {gone}");
    }

    #[test]
    fn a_server_that_is_not_there_is_not_well() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let gone = check(&HealthOptions::of(Listen::Tcp { host: "127.0.0.1".to_owned(), port: free }));
        assert!(gone.unwrap_err().to_string().contains("refused"));
        let socket = check(&HealthOptions::of(Listen::Unix("/no/such/socket".into())));
        assert!(socket.unwrap_err().to_string().starts_with("unix:/no/such/socket, /health is not well: No such file"));
    }

    #[test]
    fn the_server_of_a_container_is_found_by_its_own_command_line() {
        let found = |command_line: &str| {
            let bytes = command_line.replace(' ', "\0") + "\0";
            server_of(bytes.as_bytes(), Path::new("/ironrank"), |_| None)
        };
        let tcp = |port| HealthOptions::of(Listen::Tcp { host: "0.0.0.0".to_owned(), port });
        assert_eq!(found("/ironrank /models/m --task score --port 8123"), Some(tcp(8123)));
        assert_eq!(found("/ironrank serve"), Some(tcp(8000)));
        assert_eq!(found("/sbin/docker-init -- /ironrank /models/m --port=9"), Some(tcp(9)));
        assert_eq!(found("ironrank m --uds /run/i.sock"), Some(HealthOptions::of(Listen::Unix("/run/i.sock".into()))));
        let tls = found("/ironrank m --ssl-certfile c.pem").unwrap();
        assert_eq!(tls, HealthOptions { tls: true, ..tcp(8000) });
        assert_eq!(found("/sbin/init splash"), None);
        assert_eq!(found("/ironrank bench"), None);
    }
}
