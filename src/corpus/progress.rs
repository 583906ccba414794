//! What a person sees of the work: a bar with the time that is left on a terminal, a line in the log now and then
//! elsewhere, every rejected row, and the sum at the end. Called by [`super`].

use super::form::Form;
use super::source::Place;
use crate::engine::{Engine, Work};
use crate::progress;
use indicatif::{HumanCount, HumanDuration, ProgressBar};
use std::time::{Duration, Instant};

/// How often the bar moves.
pub(super) const TICK: Duration = Duration::from_millis(200);
/// How often the log says how far it is.
const LOG_INTERVAL: Duration = Duration::from_secs(30);
/// Rejected rows that are reported when they are also set aside in a file.
const REPORTED: u64 = 20;

/// Counts and shows them.
pub(super) struct Progress<'a> {
    form: &'a Form,
    bar: ProgressBar,
    engine: Engine,
    before: Work,
    started: Option<Instant>,
    logged: Instant,
    /// Size of the input, if it is known.
    size: Option<u64>,
    /// Where in it the first row of this run ended, and when: what is left is reckoned from there.
    from: Option<(u64, Instant)>,
    /// The end of the last row that is done.
    at: u64,
    pub done: u64,
    pub rejected: u64,
    pub truncated: u64,
    /// Whether rejected rows are nowhere but in the log.
    report_all: bool,
    /// Rejected rows that are not reported yet.
    unsaid: Vec<(u64, String)>,
}

impl<'a> Progress<'a> {
    /// Begins to count.
    pub fn new(form: &'a Form, engine: Engine, size: Option<u64>, report_all: bool) -> Self {
        let template = if size.is_some() { "{wide_bar} {msg}" } else { "{spinner} {msg}, {elapsed} so far" };
        let bar = progress::bar(size, template);
        let (before, now) = (engine.work(), Instant::now());
        Self {
            form,
            bar,
            engine,
            before,
            started: None,
            logged: now,
            size,
            from: None,
            at: 0,
            done: 0,
            rejected: 0,
            truncated: 0,
            report_all,
            unsaid: Vec::new(),
        }
    }

    /// A row is done, with so many texts shortened.
    pub fn done(&mut self, place: &Place, truncated: usize) {
        self.done += 1;
        self.truncated += truncated as u64;
        self.reach(place);
    }

    /// A row is rejected; it is reported when it is set aside.
    pub fn reject(&mut self, place: &Place, reason: String) {
        self.rejected += 1;
        self.reach(place);
        if self.report_all || self.rejected <= REPORTED {
            self.unsaid.push((place.line, reason));
        }
    }

    /// Something is there to be done; the time before, in which rows of earlier runs were passed over, does not count.
    pub fn begin(&mut self) {
        self.started.get_or_insert_with(Instant::now);
    }

    fn reach(&mut self, place: &Place) {
        self.at = place.bytes;
        if self.from.is_none() {
            self.from = Some((place.bytes, Instant::now()));
        }
    }

    /// Reports rows that have been set aside.
    pub fn say(&mut self) {
        if self.unsaid.is_empty() {
            return;
        }
        for (line, reason) in std::mem::take(&mut self.unsaid) {
            tracing::warn!("line {line} is rejected: {reason}");
        }
        if !self.report_all && self.rejected >= REPORTED {
            tracing::warn!("further rejected rows are only set aside");
        }
    }

    /// Moves the bar, or says how far it is.
    pub fn tick(&mut self) {
        let far = format!("{}, {}{}", self.rows(), self.rate(), self.left().unwrap_or_default());
        if self.bar.is_hidden() && self.logged.elapsed() >= LOG_INTERVAL {
            self.logged = Instant::now();
            tracing::info!("{far}");
        }
        self.bar.set_message(far);
        self.bar.set_position(self.at.min(self.size.unwrap_or(u64::MAX)));
    }

    /// Takes the bar away.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }

    /// What was done, in a sentence without its end.
    pub fn sum(&self) -> String {
        let work = self.engine.work().since(&self.before);
        let mut sum = self.rows();
        if self.truncated > 0 {
            sum += &format!(", {} {} shortened", HumanCount(self.truncated), self.form.texts);
        }
        if work.tokens > 0 {
            let share = 100.0 * work.computed_tokens as f64 / work.tokens as f64;
            let (tokens, seconds) = (HumanCount(work.tokens), self.seconds());
            sum += &format!(", {tokens} tokens in {seconds:.1} s: {}, {share:.0} % of them computed", self.rate());
        }
        if work.answer_hits > 0 {
            sum += &format!(", {} {} came again and were not", HumanCount(work.answer_hits), self.form.prompts);
        }
        sum
    }

    fn rows(&self) -> String {
        let rejected = match self.rejected {
            0 => String::new(),
            rejected => format!(", {} rejected", HumanCount(rejected)),
        };
        format!("{} rows {}{rejected}", HumanCount(self.done), self.form.done)
    }

    /// Since something was there to be done.
    fn seconds(&self) -> f64 {
        self.started.map_or(0.0, |started| started.elapsed().as_secs_f64())
    }

    fn rate(&self) -> String {
        let tokens = self.engine.work().since(&self.before).tokens;
        let rate = if tokens == 0 { 0.0 } else { tokens as f64 / self.seconds() };
        format!("{} tokens/s", HumanCount(rate as u64))
    }

    /// How much of the input is done and how long the rest will take.
    fn left(&self) -> Option<String> {
        let (size, (from, since)) = (self.size.filter(|size| *size > 0)?, self.from?);
        let percent = 100 * self.at.min(size) / size;
        let (done, rest) = (self.at.saturating_sub(from), size.saturating_sub(self.at));
        if done == 0 {
            return Some(format!(", {percent} % of the input"));
        }
        let left = since.elapsed().mul_f64(rest as f64 / done as f64);
        Some(format!(", {percent} % of the input, {} left", HumanDuration(left)))
    }
}
