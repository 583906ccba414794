//! Tells the service manager how the server is, in the words of sd_notify(3): a datagram to the socket that
//! `NOTIFY_SOCKET` names, which systemd sets for a service of `Type=notify`.
//!
//! Invariant: without the variable nothing is done and nothing is said. What cannot be told ends nothing: it is a line of
//! the log. Called by `serve`.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The variable.
const VARIABLE: &str = "NOTIFY_SOCKET";

/// The service manager that waits for news, if there is one.
pub struct ServiceManager(Option<(UnixDatagram, SocketAddr)>);

impl ServiceManager {
    /// The one that has started this process.
    pub fn of_this_process() -> Self {
        Self::at(std::env::var_os(VARIABLE).as_deref())
    }

    /// The one that listens at `socket`: a path, or `@` and the name of an abstract socket; nobody where it is empty.
    fn at(socket: Option<&OsStr>) -> Self {
        let Some(socket) = socket.filter(|socket| !socket.is_empty()) else { return Self(None) };
        match address(socket).and_then(|address| Ok((UnixDatagram::unbound()?, address))) {
            Ok(both) => Self(Some(both)),
            Err(err) => {
                tracing::warn!("the service manager at {VARIABLE}={} cannot be told: {err}", socket.display());
                Self(None)
            }
        }
    }

    /// What the server is busy with before it answers anybody.
    pub fn doing(&self, status: &str) {
        self.tell(&format!("STATUS={}", one_line(status)));
    }

    /// Requests are answered from now on.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={}", one_line(status)));
    }

    /// The server ends in order from now on.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=finishing what is running");
    }

    fn tell(&self, news: &str) {
        if let Some((socket, address)) = &self.0
            && let Err(err) = socket.send_to_addr(news.as_bytes(), address)
        {
            tracing::warn!("the service manager could not be told: {err}");
        }
    }
}

/// A line break would begin another assignment.
fn one_line(status: &str) -> String {
    status.replace('\n', " ")
}

fn address(socket: &OsStr) -> io::Result<SocketAddr> {
    match socket.as_bytes() {
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(socket),
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, "neither a path nor an abstract socket")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What somebody at a socket is told of.
    fn told(socket: &UnixDatagram) -> String {
        let mut news = [0; 256];
        socket.set_nonblocking(true).expect("set");
        let length = socket.recv(&mut news).expect("there is something");
        String::from_utf8(news[..length].to_vec()).expect("text")
    }

    #[test]
    fn a_socket_is_a_path_or_an_abstract_name() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("notify");
        let at_path = UnixDatagram::bind(&path).expect("bound");
        let name = format!("ironrank-test-{}", std::process::id());
        let abstractly = address(format!("@{name}").as_ref()).expect("an address");
        let abstractly = UnixDatagram::bind_addr(&abstractly).expect("bound");
        for (socket, address) in [(at_path, path.into_os_string()), (abstractly, format!("@{name}").into())] {
            let manager = ServiceManager::at(Some(&address));
            manager.ready("serving a\nMAINPID=1");
            assert_eq!(told(&socket), "READY=1\nSTATUS=serving a MAINPID=1");
            manager.stopping();
            assert!(told(&socket).starts_with("STOPPING=1\n"));
        }
    }

    #[test]
    fn who_is_not_there_is_not_told() {
        for socket in [None, Some(""), Some("notify"), Some("vsock:2:1234"), Some("/nowhere/notify")] {
            ServiceManager::at(socket.map(OsStr::new)).ready("well");
        }
    }
}
