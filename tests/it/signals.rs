//! The real program and Ctrl-C: at once while it gets ready, in order while it serves, at once the second time.

use crate::support::process::{Process, ironrank, server, text};
use rustix::process::Signal;
use std::net::TcpListener;
use std::process::Stdio;

#[test]
fn while_a_command_gets_ready_the_first_signal_ends_it_at_once() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let hub = format!("http://{}", silent.local_addr().expect("an address"));
    let model = text(dir.path());
    // Both wait for ever: for the end of a pipe, and for an answer.
    for args in
        [&["serve", model, "--port", "0", "--ssl-certfile", "/dev/stdin"][..], &["download", "a/b", "--dir", model]]
    {
        for (signal, code, name) in [(Signal::INT, 130, "SIGINT"), (Signal::TERM, 143, "SIGTERM")] {
            let mut process = Process::start(ironrank(args).env("HF_ENDPOINT", &hub).stdin(Stdio::piped()));
            process.wait_for("ironrank 0.");
            process.send(signal);
            process.wait_for(&format!("ended at once by {name}"));
            assert_eq!(process.code(), Some(code), "{args:?}");
        }
    }
}

#[test]
fn a_hang_up_ends_no_server_and_has_renewed_certificates_read() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let both = dir.path().join("both.pem");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    std::fs::write(&both, made.cert.pem() + &made.signing_key.serialize_pem()).expect("written");
    let encrypted = ["--ssl-certfile", text(&both)];
    for (options, line) in [
        (&[][..], "SIGHUP changes nothing here"),
        (&encrypted[..], "SIGHUP changes nothing here"),
        (&["--enable-ssl-refresh", encrypted[0], encrypted[1]], "new connections get the certificate"),
    ] {
        let mut server = server(dir.path(), options).0;
        for _ in 0..2 {
            server.send(Signal::HUP);
            server.wait_for(line);
        }
        server.send(Signal::TERM);
        server.wait_for("stopped");
        assert_eq!(server.code(), Some(0), "{options:?}");
    }
}

#[test]
fn a_server_stops_in_order_at_the_first_signal_and_at_once_at_a_second_ctrl_c() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let server = |delay: &str| server(dir.path(), &["--drain-delay", delay]).0;
    for (signal, hint) in [(Signal::INT, true), (Signal::TERM, false)] {
        let mut orderly = server("0");
        orderly.send(signal);
        let line = orderly.wait_for("stopping: ");
        assert_eq!(line.contains("once more ends it at once"), hint, "{line}");
        orderly.wait_for("stopped");
        assert_eq!(orderly.code(), Some(0));
    }
    for first in [Signal::INT, Signal::TERM] {
        // Without the second signal it would go on for ten minutes.
        let mut impatient = server("600");
        impatient.send(first);
        impatient.wait_for("stopping: ");
        impatient.send(Signal::TERM);
        impatient.send(Signal::INT);
        impatient.wait_for("ended at once by SIGINT");
        assert_eq!(impatient.code(), Some(130));
    }
}
