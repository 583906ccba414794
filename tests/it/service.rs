//! The real program as a service of `Type=notify`: what the service manager is told, and when.

use crate::support::process::{Process, ironrank, server, text};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

/// The news of one datagram.
fn news(socket: &UnixDatagram) -> String {
    let mut bytes = [0; 4096];
    let length = socket.recv(&mut bytes).expect("there are news");
    String::from_utf8(bytes[..length].to_vec()).expect("text")
}

#[test]
fn the_service_manager_is_told_when_a_server_is_ready_and_when_it_stops() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    // The files of a model, from a server that is told nothing of a manager.
    drop(server(dir.path(), &[]));
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("bound");
    socket.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
    let credentials = dir.path().join("credentials");
    std::fs::create_dir(&credentials).expect("made");
    std::fs::write(credentials.join("ironrank.api-key"), "of-a-credential\n").expect("written");

    let mut command = ironrank(&["serve", text(dir.path()), "--host", "127.0.0.1", "--port", "0", "--threads", "1"]);
    command.args(["--load-format", "dummy", "--weight-cache", "off", "--max-model-len", "512"]);
    command.args(["--served-model-name", "a", "--drain-delay", "1"]);
    command.env("NOTIFY_SOCKET", &path).env("CREDENTIALS_DIRECTORY", &credentials);
    let mut process = Process::start(&mut command);
    assert_eq!(news(&socket), "STATUS=loading a");
    let ready = news(&socket);
    let (_, port) = ready.rsplit_once(':').expect("an address");
    assert!(ready.starts_with("READY=1\nSTATUS=serving a (made-up weights"), "{ready}");
    // It answers from that moment on, to those who have the credential's key.
    for (key, status) in [("of-a-credential", "200"), ("another", "401")] {
        let mut stream = TcpStream::connect(format!("127.0.0.1:{}", port.trim())).expect("connects");
        let head = format!("Host: x\r\nConnection: close\r\nAuthorization: Bearer {key}");
        stream.write_all(format!("GET /v1/models HTTP/1.1\r\n{head}\r\n\r\n").as_bytes()).expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    process.wait_for("1 in force, from the credential ironrank.api-key");
    process.send(Signal::TERM);
    assert!(news(&socket).starts_with("STOPPING=1\nSTATUS="));
    process.wait_for("stopped");
    assert_eq!(process.code(), Some(0));
}
