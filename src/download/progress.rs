//! How far a file is: a bar on a terminal, now and then a line of the log elsewhere.

use crate::progress;
use indicatif::{DecimalBytes, ProgressBar};
use std::fmt::Display;
use std::time::{Duration, Instant};

/// Between two lines of the log.
const INTERVAL: Duration = Duration::from_secs(10);

/// The bytes of one file on their way.
pub(super) struct Progress {
    bar: ProgressBar,
    /// What is done with which file.
    what: String,
    /// What was there when it began, which says nothing of the speed.
    from: u64,
    start: Instant,
    last_line: Instant,
}

impl Progress {
    /// `verb` is what is done with the file.
    pub fn new(verb: &str, name: &str, size: u64) -> Self {
        let what = format!("{verb} {name}");
        let template = "{msg} {wide_bar} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}, {eta} left";
        let bar = progress::bar(Some(size), template);
        bar.set_message(what.clone());
        let now = Instant::now();
        Self { bar, what, from: 0, start: now, last_line: now }
    }

    /// `done` bytes are there from before.
    pub fn begin_at(&mut self, done: u64) {
        self.bar.reset();
        self.bar.set_position(done);
        self.bar.reset_eta();
        (self.from, self.start) = (done, Instant::now());
    }

    /// `done` bytes are there.
    pub fn set(&mut self, done: u64) {
        self.bar.set_position(done);
        if self.bar.is_hidden() && self.last_line.elapsed() > INTERVAL {
            self.last_line = Instant::now();
            let (all, rate) = (self.bar.length().unwrap_or(done).max(1), self.rate(done));
            tracing::info!("{}: {} % of {}, {rate}", self.what, done * 100 / all, size(all));
        }
    }

    /// Says what is to be known.
    pub fn note(&self, what: impl Display) {
        tracing::info!("{}: {what}", self.what);
    }

    /// Says what went wrong.
    pub fn warn(&self, what: impl Display) {
        tracing::warn!("{}: {what}", self.what);
    }

    /// All `done` bytes are there, and right.
    pub fn finish(self, done: u64) {
        self.bar.finish_and_clear();
        match done.saturating_sub(self.from) {
            0 => tracing::info!("{}: all {} were fetched before", self.what, size(done)),
            new => tracing::info!("{}: {} of {}, {}", self.what, size(new), size(done), self.rate(done)),
        }
    }

    fn rate(&self, done: u64) -> String {
        let seconds = self.start.elapsed().as_secs_f64().max(1e-3);
        format!("{}/s", size((done.saturating_sub(self.from) as f64 / seconds) as u64))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Bytes as people read them, as the bar has them.
pub(super) fn size(bytes: u64) -> String {
    DecimalBytes(bytes).to_string()
}
