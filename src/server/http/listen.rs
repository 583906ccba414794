//! Where clients find the server: a TCP port or a Unix socket, taken before the model is loaded, and TLS over it.
//!
//! Invariants: what is reserved is ours but takes no connection before [`Reserved::listen`], and certificates are read and
//! checked before that. Called by `main` and `life`.

use super::tls::{self, Renewal};
use crate::error::{Error, ErrorKind, Result};
use crate::options::Tls;
use rustls::ServerConfig;
use socket2::{Domain, SockAddr, Socket, TcpKeepalive, Type};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// How long a peer may be out of reach, or take nothing of what it is sent.
const PEER_TIMEOUT: Duration = Duration::from_secs(60);

/// A place that is ours but does not listen yet.
pub struct Reserved {
    socket: Socket,
    address: Address,
    tls: Option<Box<ServerConfig>>,
    renewal: Option<Renewal>,
}

/// Where clients find what is reserved.
enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A place that clients can connect to.
pub enum Listening {
    /// A TCP port.
    Tcp {
        /// The socket.
        socket: TcpListener,
        /// Its address, with the real port.
        address: SocketAddr,
        /// What to encrypt with.
        tls: Option<Box<ServerConfig>>,
    },
    /// A Unix socket.
    Unix {
        /// The socket.
        socket: UnixListener,
        /// Its path, to be removed in the end.
        path: PathBuf,
    },
}

/// Takes `host:port`, so that a port in use is said at once and not minutes later.
pub fn reserve(host: &str, port: u16) -> Result<Reserved> {
    let fail = |err: std::io::Error| cannot_listen(host, port, &err);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let addresses = (bare, port).to_socket_addrs().map_err(fail)?;
    let bind = |address: SocketAddr| {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        // This lets a restarted server take its port back while old connections expire.
        socket.set_reuse_address(true)?;
        // Connections inherit these: a peer that has vanished, or that takes nothing of its answer, is given up.
        let probes = TcpKeepalive::new().with_time(PEER_TIMEOUT / 2).with_interval(PEER_TIMEOUT / 6).with_retries(3);
        socket.set_tcp_keepalive(&probes)?;
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(Some(PEER_TIMEOUT))?;
        socket.bind(&address.into())?;
        let address = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok(Reserved { socket, address: Address::Tcp(address), tls: None, renewal: None })
    };
    let mut first = None;
    for address in addresses {
        let tries = match (bind(address), address.ip()) {
            // All addresses of a machine without IPv6 are those of IPv4.
            (Err(err), IpAddr::V6(ip)) if ip.is_unspecified() && is_not_here(&err) => {
                bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).map_err(|_| err)
            }
            (tries, _) => tries,
        };
        match tries {
            // A name may have addresses of both kinds, on a machine that has one.
            Err(err) if is_not_here(&err) => first = first.or(Some(err)),
            tries => return tries.map_err(fail),
        }
    }
    Err(match first {
        Some(err) => fail(err),
        None => Error::new(ErrorKind::Options, format!("The host '{host}' has no address.")),
    })
}

/// Whether the machine has no such address, or none of its kind.
fn is_not_here(err: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let missing = [Errno::ADDRNOTAVAIL, Errno::AFNOSUPPORT].map(Errno::raw_os_error);
    err.raw_os_error().is_some_and(|code| missing.contains(&code))
}

/// Takes the Unix socket `path`; one that a dead server left there is replaced.
pub fn reserve_unix(path: &Path) -> Result<Reserved> {
    let shown = path.display();
    let fail = |why: String| Error::new(ErrorKind::Machine, format!("The server cannot listen on {shown}: {why}."));
    if let Ok(there) = path.symlink_metadata() {
        if !there.file_type().is_socket() {
            return Err(fail("it exists and is not a socket".to_owned()));
        }
        if UnixStream::connect(path).is_ok() {
            return Err(fail("another program listens there".to_owned()));
        }
        std::fs::remove_file(path).map_err(|err| fail(err.to_string()))?;
    }
    let bind = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        Ok(Reserved { socket, address: Address::Unix(path.to_owned()), tls: None, renewal: None })
    };
    bind().map_err(|err: std::io::Error| fail(err.to_string()))
}

impl Reserved {
    /// Encrypts all connections; an error if a file of `tls` is not what it should be.
    pub fn secured(self, tls: &Tls) -> Result<Self> {
        let (config, renewal) = tls::secure(tls)?;
        Ok(Self { tls: Some(Box::new(config)), renewal: Some(renewal), ..self })
    }

    /// What renews its certificates, if it is encrypted.
    pub fn renewal(&mut self) -> Option<Renewal> {
        self.renewal.take()
    }

    /// The address, with the real port where 0 was asked for; `None` of a Unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        match self.address {
            Address::Tcp(address) => Some(address),
            Address::Unix(_) => None,
        }
    }

    /// Where it is, for people.
    pub fn url(&self) -> String {
        match &self.address {
            Address::Tcp(address) if self.tls.is_some() => format!("https://{address}"),
            Address::Tcp(address) => format!("http://{address}"),
            Address::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    /// Lets clients connect; they are answered from [`run`](crate::server::run) on.
    pub fn listen(self) -> Result<Listening> {
        let Self { socket, address, tls, .. } = self;
        let listening = socket.listen(BACKLOG);
        match address {
            Address::Tcp(address) => {
                listening.map_err(|err| cannot_listen(&address.ip().to_string(), address.port(), &err))?;
                Ok(Listening::Tcp { socket: socket.into(), address, tls })
            }
            Address::Unix(path) => {
                listening.map_err(|err| {
                    let sentence = format!("The server cannot listen on {}: {err}.", path.display());
                    Error::new(ErrorKind::Machine, sentence)
                })?;
                Ok(Listening::Unix { socket: OwnedFd::from(socket).into(), path })
            }
        }
    }
}

impl Listening {
    /// Where it is, for people.
    pub fn name(&self) -> String {
        match self {
            Self::Tcp { address, .. } => address.to_string(),
            Self::Unix { path, .. } => path.display().to_string(),
        }
    }
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
    Error::new(ErrorKind::Machine, sentence)
}

#[cfg(test)]
mod tests;
