//! The real program as a process, with its log.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

/// A process and its log; it does not outlive the test.
pub struct Process {
    pub child: Child,
    log: BufReader<ChildStderr>,
}

impl Process {
    /// Starts it.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("starts");
        let log = BufReader::new(child.stderr.take().expect("piped"));
        Self { child, log }
    }

    /// Reads the log up to a line with `words`.
    pub fn wait_for(&mut self, words: &str) -> String {
        let mut others = String::new();
        loop {
            let mut line = String::new();
            let read = self.log.read_line(&mut line).expect("the log can be read");
            assert_ne!(read, 0, "no line has '{words}': {others}");
            if line.contains(words) {
                return line;
            }
            others.push_str(&line);
        }
    }

    /// The rest of the log, up to its end.
    pub fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).expect("the log can be read");
        rest
    }

    /// Sends it a signal.
    pub fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is there");
    }

    /// Waits for its end.
    pub fn code(&mut self) -> Option<i32> {
        // Waiting would close it.
        let _open = self.child.stdin.take();
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program with these arguments.
pub fn ironrank(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ironrank"));
    command.args(args).stdin(Stdio::null()).env_remove("RUST_LOG").env_remove("HF_HUB_OFFLINE");
    command
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

/// A server of made-up weights on a port of its own, ready, and the port; `dir` becomes the model.
pub fn server(dir: &Path, args: &[&str]) -> (Process, u16) {
    std::fs::write(dir.join("config.json"), super::config("tiny").to_string()).expect("written");
    std::fs::write(dir.join("tokenizer.json"), super::tokenizer_json()).expect("written");
    let rules = ["--load-format", "dummy", "--weight-cache", "off", "--threads", "1", "--max-model-len", "512"];
    let mut command = ironrank(&["serve", text(dir), "--host", "127.0.0.1", "--port", "0"]);
    let mut server = Process::start(command.args(rules).args(args));
    let ready = server.wait_for("ready: ");
    let (_, port) = ready.split_once("://127.0.0.1:").expect("an address");
    let digits = port.split(|c: char| !c.is_ascii_digit()).next().expect("a part");
    (server, digits.parse().expect("a port"))
}
