//! A file of rows through the engine: all that the commands share that do that.
//!
//! ```text
//! source (a thread: rows -> prompts) -> flight (the engine's queue, in order) -> output (answered, rejected rows)
//! ```
//!
//! What a row asks for and how its answer is written are the command's: an `Ask` and a function that fills `Output`.
//! Invariants: memory is bounded by the window of tokens and rows in flight and by `ITEMS` of the longest rows, never
//! by the file; rows are written in the order of the input, as soon as they and all before them are done. Every prompt is
//! a request of its own, so that the engine fills its batches in that order and what neighbours share is computed once.
//! Called by `score` and `vectors`; its rows are read by `compare` too.

mod array;
mod columns;
mod flight;
mod form;
mod input;
mod job;
mod lines;
mod output;
mod progress;
mod record;
mod row;
mod sheet;
mod source;
mod table;
mod texts;

pub(crate) use form::Form;
pub(crate) use input::Input;
pub(crate) use job::{Job, hash, job};
pub(crate) use output::{Layout, Output};
pub(crate) use row::{Ask, Asked, id, parse};
pub(crate) use source::each;
pub(crate) use texts::{Text, Texts};

use crate::engine::{Answer, Engine};
use crate::error::{Error, ErrorKind, Result};
use crate::options::CorpusOptions;
use crate::signals::Stop;
use crate::threads;
use flight::{Flight, Landed};
use output::Begun;
use progress::{Progress, TICK};
use row::RejectedRow;
use serde_json::value::RawValue;
use source::{Item, Reader};
use std::future::Future;
use std::io::{self, IsTerminal};
use std::pin::pin;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};

/// Batches' worth of tokens in flight. What prompts share is not computed again, so that a batch takes in many more
/// tokens than it computes: ten times as many where 10 tokens of 90 differ.
const WINDOW_BATCHES: usize = 16;
/// Items between the reader and the flight.
const ITEMS: usize = 16;
/// How long a process that is asked to end waits for whoever reads its output and takes nothing.
const GRACE: Duration = Duration::from_secs(2);

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Rows that this run has done.
    pub done: u64,
    /// Rows that were rejected, those that an earlier run set aside included.
    pub rejected: u64,
    /// What ended it before the end of the input, if something did.
    pub stopped: Option<Stop>,
}

/// The files of a command, open and not changed yet.
pub struct Files {
    form: Form,
    input: Input,
    output: Output,
}

impl Files {
    /// Opens them, so that what is wrong there is said before a model is loaded.
    pub(crate) fn open(options: &CorpusOptions, form: Form, layout: Layout) -> Result<Self> {
        let input = Input::open(options.input.as_deref(), &form)?;
        Ok(Self { form, input, output: Output::open(options, layout)? })
    }
}

/// A row that is done.
pub(crate) struct Done {
    /// The line of the input in which it begins, counted from 1.
    pub line: u64,
    pub id: Option<Box<RawValue>>,
    /// Whether it has a list of texts.
    pub many: bool,
    /// Texts that were shortened to fit.
    pub shortened: usize,
    /// As many as its prompts, in their order.
    pub answers: Vec<Answer>,
}

/// A command at work.
pub(crate) struct Corpus<'a> {
    pub options: &'a CorpusOptions,
    pub engine: Engine,
    /// Of the engine's batches, in tokens.
    pub batch: usize,
    /// Numbers in a vector, if any are made.
    pub width: usize,
    pub job: Job,
}

impl Corpus<'_> {
    /// Asks for the rows of `files` that are not done yet and writes what `answer` makes of them. After `stop` only the
    /// batch that runs is finished.
    pub async fn run(
        &self,
        files: Files,
        ask: Ask,
        answer: impl Fn(&Done, &mut Output),
        stop: impl Future<Output = Stop>,
    ) -> Result<Outcome> {
        let Files { form, input, mut output } = files;
        let begun = output.begin(self.job.clone(), self.width)?;
        if begun.line > 0 {
            let Begun { line, done, rejected, .. } = begun;
            tracing::info!("going on after line {line}: {done} rows are {} and {rejected} rejected already", form.done);
        }
        if self.options.output.is_none() && io::stdout().is_terminal() {
            // The rows would end up in the line of the bar.
            crate::progress::hide();
        }
        let mut progress = Progress::new(&form, self.engine.clone(), input.bytes, self.options.rejected.is_none());
        // All that was received stands in this beginning of the input.
        let mut mark = begun.input.clone();
        let mut items = self.read(input, ask, &begun)?;
        let mut flight = Flight::new(self.engine.clone());
        let window = WINDOW_BATCHES.saturating_mul(self.batch);
        let (mut stop, mut stopped, mut short, mut reading) = (pin!(stop), None, false, true);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            while let Some(landed) = flight.land().await? {
                match landed {
                    Landed::Done { place, id, many, truncated, answers } => {
                        answer(&Done { line: place.line, id, many, shortened: truncated, answers }, &mut output);
                        progress.done(&place, truncated);
                    }
                    Landed::Rejected { place, reason, row } => {
                        output.reject(&RejectedRow { line: place.line, reason: &reason, row: &row });
                        progress.reject(&place, reason);
                    }
                }
            }
            let given_up = async {
                if stopped.is_none() {
                    stopped = Some((&mut stop).await);
                }
                sleep(GRACE).await;
            };
            tokio::select! {
                biased;
                done = output.flush(&mark) => done?,
                () = given_up => {
                    progress.end();
                    tracing::warn!("nobody takes the output: its last rows are lost");
                    return Ok(Outcome { done: progress.done, rejected: begun.rejected + progress.rejected, stopped });
                }
            }
            progress.say();
            if stopped.is_some() && !short {
                tracing::info!("stopping: the batch that runs is finished");
                (short, reading) = (true, false);
                items.close();
                flight.cut_short();
            }
            if !reading && flight.is_empty() {
                break;
            }
            tokio::select! {
                biased;
                signal = &mut stop, if stopped.is_none() => stopped = Some(signal),
                _ = ticks.tick() => progress.tick(),
                item = items.recv(), if reading && !flight.fills(window) => match item.transpose()? {
                    Some(item) => {
                        if let Item::Row { place, .. } | Item::Rejected { place, .. } = &item {
                            mark = place.mark.clone();
                        }
                        progress.begin();
                        flight.take(item);
                    }
                    None => reading = false,
                },
                done = flight.wait() => done?,
            }
        }
        output.finish(&mark, stopped.is_none()).await?;
        progress.end();
        let again = match (stopped, output.can_be_continued()) {
            (Some(_), true) => "; the same command goes on from here",
            (Some(_), false) => "; stopped before the end",
            (None, _) => "",
        };
        tracing::info!("{}{again}", progress.sum());
        Ok(Outcome { done: progress.done, rejected: begun.rejected + progress.rejected, stopped })
    }

    /// Starts to read; what comes of the input arrives in its order.
    fn read(&self, input: Input, ask: Ask, begun: &Begun) -> Result<mpsc::Receiver<Result<Item>>> {
        let reader = Reader { input, ask, shard: self.options.shard, done: begun.line, known: begun.input.clone() };
        let (sender, items) = mpsc::channel(ITEMS);
        threads::spawn("reader", move || reader.run(&sender))?;
        Ok(items)
    }
}

/// Runs a command to its end.
pub(crate) fn block_on(work: impl Future<Output = Result<Outcome>>) -> Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|err| Error::new(ErrorKind::Internal, format!("No event loop can be had: {err}.")))?;
    let outcome = runtime.block_on(work);
    // A reader that waits for standard input is not waited for.
    runtime.shutdown_background();
    outcome
}

#[cfg(test)]
mod tests {
    use super::Form;

    /// Rows of a query and a document, for the tests of this room.
    pub(super) fn pairs() -> Form {
        let fits = |row: &[u8]| {
            let row: serde_json::Value = serde_json::from_slice(row).expect("JSON");
            let has = |names: [&str; 3]| names.iter().filter(|name| row.get(name).is_some()).count() == 1;
            has(["query", "text_1", "queries"]) && has(["document", "text_2", "documents"])
        };
        Form {
            example: "{\"query\": \"...\", \"document\": \"...\"}".to_owned(),
            of_arrays: "{query: .[0], document: .[1]}".to_owned(),
            columns: "query and document".to_owned(),
            header: "query and document, each once".to_owned(),
            fits: Box::new(fits),
            done: "scored",
            texts: "documents",
            prompts: "pairs",
        }
    }
}
