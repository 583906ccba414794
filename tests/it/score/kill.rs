//! The real program, killed, stopped and cut off; a later run must make what an undisturbed one makes.
//!
//! A rejected row is reported only after all rows before it are written: the tests wait for that line, not for a time.

use super::tables::mixed_table;
use super::{Place, json_lines, mixed_rows, model_args, score};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStderr, ChildStdin, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_ironrank"))
}

/// The program at work on what the test writes to its standard input.
struct Fed {
    child: Child,
    input: ChildStdin,
    log: BufReader<ChildStderr>,
}

impl Fed {
    fn new(place: &Place) -> Self {
        let mut child = program()
            .args(place.args(&["--input", "-"]))
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let (input, log) = (child.stdin.take().expect("a pipe"), child.stderr.take().expect("a pipe"));
        Self { child, input, log: BufReader::new(log) }
    }

    /// Reads the log up to a line with `words`.
    fn wait_for(&mut self, words: &str) {
        let mut line = String::new();
        while !line.contains(words) {
            line.clear();
            assert_ne!(self.log.read_line(&mut line).expect("the log can be read"), 0, "no line has '{words}'");
        }
    }
}

/// Goes on to the end from a file; the answer is the log.
fn go_on(place: &Place, code: i32) -> String {
    let Output { status, stderr, .. } = program().args(place.args(&[])).output().expect("the program runs");
    let log = String::from_utf8(stderr).expect("the log is a text");
    assert_eq!(status.code(), Some(code), "{log}");
    log
}

fn whole_rows(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[test]
fn a_killed_run_loses_nothing_it_wrote_and_the_next_repeats_nothing() {
    let rows: Vec<String> = mixed_rows(100).split_inclusive('\n').map(str::to_owned).collect();
    for (header, rows) in [(0, rows), (1, mixed_table(100))] {
        let input = rows.concat();
        let undisturbed = Place::with(&input);
        score(&undisturbed.options(&[])).expect("it ends well");
        // Fed up to the middle of what follows the first row and killed when the second is reported: everything before
        // that is written.
        for (fed, reported) in [(10, 10), (37, 30), (100, 10), (100, 60)] {
            let place = Place::with(&input);
            let mut run = Fed::new(&place);
            let next = rows.get(header + fed).map_or("", |row| &row[..row.len() / 2]);
            let text = rows[..header + fed].concat() + next;
            run.input.write_all(text.as_bytes()).expect("it reads");
            let line = 1 + rows[..header + reported - 1].concat().matches('\n').count();
            run.wait_for(&format!("line {line} is rejected"));
            run.child.kill().expect("it can be killed");
            run.child.wait().expect("it ends");

            let (scores, rejected) = place.results();
            let (written, aside) = (whole_rows(&scores), whole_rows(&rejected));
            let reported = reported as u64;
            assert!(written >= reported / 10 * 9 && aside >= reported / 10, "{written} rows, {aside} rejected");
            assert!(undisturbed.results().0.starts_with(&scores), "what is there is the beginning of the whole");
            if fed == 10 {
                assert_eq!((written, aside), (9, 1));
            }
            let log = go_on(&place, 3);
            assert!(log.contains(&format!(" {} rows scored", 90 - written)), "nothing is scored twice: {log}");
            assert_eq!(place.results(), undisturbed.results(), "fed {fed}, killed at {reported}");

            let log = go_on(&place, 3);
            assert!(log.contains(" 0 rows scored") && log.contains("90 rows are scored"), "{log}");
            assert_eq!(place.results(), undisturbed.results());
        }
    }
}

#[test]
fn a_stopped_run_writes_what_it_has_and_says_so_with_its_exit_code() {
    let input = mixed_rows(100);
    let undisturbed = Place::with(&input);
    score(&undisturbed.options(&[])).expect("it ends well");
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let place = Place::with(&input);
        let mut run = Fed::new(&place);
        run.input.write_all(input.as_bytes()).expect("it reads");
        run.wait_for("line 10 is rejected");
        let kill = format!("kill -{signal} {}", run.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().expect("sh runs").success());
        // Its standard input is still open: it does not wait for that.
        assert_eq!(run.child.wait().expect("it ends").code(), Some(code));
        let mut log = String::new();
        run.log.read_to_string(&mut log).expect("the log can be read");
        assert!(log.contains("the same command goes on from here"), "{log}");
        json_lines(&place.results().0);
        go_on(&place, 3);
        assert_eq!(place.results(), undisturbed.results());
    }
}

#[test]
fn a_run_whose_output_nobody_takes_can_be_stopped() {
    // More than a pipe holds, in one row without a pair.
    let long = "x".repeat(1 << 20);
    let place = Place::with(format!("{{\"query\": \"q\", \"documents\": [], \"id\": \"{long}\"}}\n"));
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let mut child = program()
            .args(place.args(&["--output", "-"]))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program runs");
        let mut stdout = child.stdout.take().expect("a pipe");
        stdout.read_exact(&mut [0]).expect("it has begun to write");
        let kill = format!("kill -{signal} {}", child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().expect("sh runs").success());
        let start = Instant::now();
        let status = loop {
            match child.try_wait().expect("it can be asked") {
                Some(status) => break status,
                None if start.elapsed() > Duration::from_secs(60) => {
                    child.kill().expect("it can be killed");
                    panic!("{signal} does not end it");
                }
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        assert_eq!(status.code(), Some(code));
    }
}

#[test]
fn a_full_disk_is_a_sentence_and_the_work_goes_on_when_there_is_room() {
    let input = mixed_rows(100);
    let undisturbed = Place::with(&input);
    score(&undisturbed.options(&[])).expect("it ends well");
    let place = Place::with(&input);
    // A limit of the size of files, in blocks of 1,024 bytes, cuts a write in two as a full disk does.
    let limited = "trap '' XFSZ; ulimit -f 3; exec \"$0\" \"$@\"";
    let output = Command::new("bash")
        .args(["-c", limited, env!("CARGO_BIN_EXE_ironrank")])
        .args(place.args(&[]))
        .output()
        .expect("bash runs");
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.contains("Cannot write") && log.contains("scores.jsonl: File too large"), "{log}");
    assert!(undisturbed.results().0.starts_with(&place.results().0));
    go_on(&place, 3);
    assert_eq!(place.results(), undisturbed.results());
}

#[test]
fn standard_input_goes_to_standard_output_and_bad_rows_to_the_log() {
    let input = mixed_rows(30);
    let place = Place::with(&input);
    score(&place.options(&[])).expect("it ends well");
    let mut child = program()
        .args(model_args())
        .args(["--input", "-", "--output", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    let Output { status, stdout, stderr } = child.wait_with_output().expect("it ends");
    let log = String::from_utf8_lossy(&stderr);
    assert_eq!((status.code(), &stdout), (Some(3), &place.results().0), "{log}");
    for line in [10, 20, 30] {
        assert!(log.contains(&format!("line {line} is rejected: It is not JSON: EOF while parsing")), "{log}");
    }

    let full = std::fs::File::options().write(true).open("/dev/full").expect("Linux has it");
    let mut child = program()
        .args(model_args())
        .args(["--input", "-", "--output", "-"])
        .stdin(Stdio::piped())
        .stdout(full)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    let Output { status, stderr, .. } = child.wait_with_output().expect("it ends");
    let log = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("Cannot write standard output: No space left on device"), "{log}");
}
