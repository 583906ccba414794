//! What stands on stderr: lines for people with colours on a terminal, or JSON, and bars that leave the lines whole.

use crate::support;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

const ROWS: usize = 200;

fn ironrank() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ironrank"));
    command.env_clear().env("TERM", "xterm").stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// A command that scores a file in which every other row is rejected.
fn score(dir: &Path) -> Command {
    std::fs::write(dir.join("config.json"), support::config("tiny").to_string()).expect("written");
    std::fs::write(dir.join("tokenizer.json"), support::tokenizer_json()).expect("written");
    let rows: String = (0..ROWS / 2).map(|i| format!("{{\"query\":\"{i}\",\"document\":\"d\"}}\n{{}}\n")).collect();
    std::fs::write(dir.join("pairs.jsonl"), rows).expect("written");
    let mut command = ironrank();
    command.current_dir(dir).args(["score", ".", "--load-format", "dummy", "--weight-cache", "off", "--threads", "1"]);
    command.args(["--max-model-len", "256", "--input", "pairs.jsonl", "--output", "-"]);
    command
}

/// What a command writes to a terminal that is its stderr, byte for byte.
fn on_a_terminal(command: Command) -> String {
    on_a_terminal_with(command, |_, _| {})
}

/// The same, the terminal being something else for the command as well.
fn on_a_terminal_with(mut command: Command, also: impl FnOnce(&mut Command, File)) -> String {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&ours).expect("granted");
    unlockpt(&ours).expect("unlocked");
    let name = ptsname(&ours, Vec::new()).expect("a name").into_string().expect("text");
    let theirs = OpenOptions::new().read(true).write(true).open(name).expect("opens");
    also(&mut command, theirs.try_clone().expect("opens"));
    command.stderr(theirs);
    let mut child = command.spawn().expect("starts");
    // Otherwise this process would hold the terminal open as well.
    drop(command);
    let (mut ours, mut written, mut some) = (File::from(ours), Vec::new(), [0; 4096]);
    // When the last who has it open is gone, reading is an error.
    while let Ok(n @ 1..) = ours.read(&mut some) {
        written.extend(&some[..n]);
    }
    child.wait().expect("ends");
    String::from_utf8(written).expect("text")
}

/// The lines that a terminal shows at last, as far as a bar of one line moves its cursor.
fn shown(written: &str) -> Vec<String> {
    let (mut lines, mut row, mut rest) = (vec![String::new()], 0, written);
    while let Some(next) = rest.chars().next() {
        let mut taken = next.len_utf8();
        match next {
            '\r' => {}
            '\n' => {
                row += 1;
                lines.resize(lines.len().max(row + 1), String::new());
            }
            '\x1b' => {
                let end = rest.find(|c: char| c.is_ascii_alphabetic()).expect("a sequence ends");
                match &rest[..=end] {
                    "\x1b[2K" => lines[row].clear(),
                    "\x1b[1A" => row = row.saturating_sub(1),
                    // Colours.
                    sequence => assert!(sequence.ends_with('m'), "what does {sequence:?} do?"),
                }
                taken = end + 1;
            }
            next => lines[row].push(next),
        }
        rest = &rest[taken..];
    }
    lines
}

#[test]
fn a_bar_and_the_lines_of_the_log_leave_each_other_whole() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let written = on_a_terminal(score(dir.path()));
    assert!(written.contains("rows scored") && written.contains("\x1b[2K"), "there was a bar: {written:?}");
    let shown = shown(&written);
    for row in (2..=ROWS).step_by(2) {
        let sentence = format!("line {row} is rejected: ");
        let lines: Vec<_> = shown.iter().filter(|line| line.contains(&sentence)).collect();
        assert_eq!(lines.len(), 1, "{sentence}: {shown:#?}");
        let (before, after) = lines[0].split_once(&sentence).expect("it is there");
        assert!(before.trim_end().ends_with("WARN") && before.starts_with("20") && after.ends_with('.'), "{lines:?}");
    }
    assert!(shown.iter().all(|line| !line.contains("tokens/s") || line.contains("INFO")), "no bar is left: {shown:#?}");
}

#[test]
fn scores_on_a_terminal_have_lines_of_their_own() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let written = on_a_terminal_with(score(dir.path()), |command, terminal| {
        command.stdout(terminal);
    });
    let whole = |line: &&String| serde_json::from_str::<Value>(line).is_ok_and(|row| row["score"].is_number());
    assert_eq!(shown(&written).iter().filter(whole).count(), ROWS / 2, "{written}");
    assert!(shown(&written).iter().filter(|line| line.contains("\"score\"")).all(|line| whole(&line)), "{written}");
}

#[test]
fn colours_are_for_terminals_whose_owner_wants_them() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let written = |name: &str, value: &str| {
        let mut command = score(dir.path());
        command.args(["--shard", "1/200"]).env(name, value);
        on_a_terminal(command)
    };
    // A colour is `ESC [ ... m`.
    let ends_with_m = |sequence: &str| sequence.trim_start_matches(|c: char| !c.is_ascii_alphabetic()).starts_with('m');
    let coloured = |written: &str| written.split('\x1b').skip(1).any(ends_with_m);
    for (name, value) in [("TERM", "xterm"), ("NO_COLOR", "")] {
        assert!(coloured(&written(name, value)), "{name}={value}");
    }
    for (name, value) in [("NO_COLOR", "1"), ("NO_COLOR", "0"), ("TERM", "dumb")] {
        let plain = written(name, value);
        assert!(!coloured(&plain) && plain.contains(" INFO "), "{name}={value}: {plain:?}");
    }
    let output = score(dir.path()).stderr(Stdio::piped()).output().expect("runs");
    assert!(!String::from_utf8_lossy(&output.stderr).contains('\x1b'));
}

#[test]
fn a_log_for_machines_is_json_and_nothing_else_also_on_a_terminal() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let good = || score(dir.path());
    let bad = |args: &[&str]| {
        let mut command = ironrank();
        command.current_dir(dir.path()).args(args);
        command
    };
    for (mut command, words) in [
        (good(), "ironrank 0."),
        (good(), "line 2 is rejected: "),
        (bad(&["serve", "nowhere", "--port", "0"]), "nowhere"),
        (bad(&["bench", "nowhere"]), "nowhere"),
        (bad(&["score", "nowhere", "--input", "pairs.jsonl", "--output", "-"]), "nowhere"),
        (bad(&["download", "a/b", "--dir", "m"]), "127.0.0.1:1 cannot be reached"),
        (bad(&["serve", ".", "--no-such-flag"]), "--no-such-flag"),
        (bad(&["serve", ".", "--hf-overrides", "{"]), "ends too early"),
        (bad(&["serev", "."]), "Did you mean"),
        (bad(&["cache", "list", "--weight-cache", "off"]), "no directory"),
    ] {
        command.args(["--log-format", "json"]);
        command.env("HF_ENDPOINT", "http://127.0.0.1:1");
        let written = on_a_terminal(command);
        let lines: Vec<Value> = written
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|err| panic!("{err}: {line} in {written}")))
            .collect();
        for field in ["timestamp", "level", "message"] {
            assert!(lines.iter().all(|line| line[field].is_string()), "{field}: {written}");
        }
        assert!(lines.iter().any(|line| line["message"].as_str().is_some_and(|it| it.contains(words))), "{written}");
    }
}
