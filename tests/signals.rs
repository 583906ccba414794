//! The real program and Ctrl-C: at once while it gets ready, in order while it serves, at once the second time.

mod support;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

/// A process and its log; it does not outlive the test.
struct Process {
    child: Child,
    log: BufReader<ChildStderr>,
}

impl Process {
    fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("starts");
        let log = BufReader::new(child.stderr.take().expect("piped"));
        Self { child, log }
    }

    /// Reads the log up to a line with `words`.
    fn wait_for(&mut self, words: &str) -> String {
        let mut line = String::new();
        while !line.contains(words) {
            line.clear();
            assert_ne!(self.log.read_line(&mut line).expect("the log can be read"), 0, "no line has '{words}'");
        }
        line
    }

    fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is there");
    }

    fn code(&mut self) -> Option<i32> {
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ironrank(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ironrank"));
    command.args(args).env_remove("RUST_LOG").env_remove("HF_HUB_OFFLINE");
    command
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

#[test]
fn while_a_command_gets_ready_the_first_signal_ends_it_at_once() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    // Who opens it waits until somebody writes, for ever.
    let pipe = dir.path().join("pipe.pem");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let hub = format!("http://{}", silent.local_addr().expect("an address"));
    let (pipe, model) = (text(&pipe), text(dir.path()));
    for args in [
        &["serve", model, "--port", "0", "--ssl-certfile", pipe][..],
        &["score", model, "--input", pipe, "--output", "-"],
        &["download", "a/b", "--dir", model],
    ] {
        for (signal, code, name) in [(Signal::INT, 130, "SIGINT"), (Signal::TERM, 143, "SIGTERM")] {
            let mut process = Process::start(ironrank(args).env("HF_ENDPOINT", &hub));
            process.wait_for("ironrank 0.");
            process.send(signal);
            process.wait_for(&format!("ended at once by {name}"));
            assert_eq!(process.code(), Some(code), "{args:?}");
        }
    }
}

#[test]
fn a_server_stops_in_order_at_the_first_signal_and_at_once_at_a_second_ctrl_c() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(dir.path().join("config.json"), support::config("tiny").to_string()).expect("written");
    std::fs::write(dir.path().join("tokenizer.json"), support::tokenizer_json()).expect("written");
    let server = |delay: &str| {
        let rules = ["--load-format", "dummy", "--weight-cache", "off", "--threads", "1", "--max-model-len", "512"];
        let place = ["--host", "127.0.0.1", "--port", "0", "--drain-delay", delay];
        let mut server = Process::start(ironrank(&["serve", text(dir.path())]).args(rules).args(place));
        server.wait_for("ready: ");
        server
    };
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
