//! `ironrank score`: the pairs of a file, scored without a server.
//!
//! ```text
//! source (a thread: rows -> prompts) -> flight (the engine's queue, in order) -> output (scores, rejected rows)
//! ```
//!
//! Invariants: memory is bounded by the window of tokens and rows in flight and by `ITEMS` of the longest rows, never
//! by the file; rows are written in the order of the input, as soon as they and all before them are done. Every pair is a
//! request of its own, so that the engine fills its batches in that order and what neighbours share is computed once.
//! Called by `main`.

mod flight;
mod input;
mod lines;
mod output;
mod pairs;
mod progress;
mod record;
mod row;
mod source;
mod table;
mod texts;

pub(crate) use pairs::{Pair, Pairs};

use crate::checkpoint::Activation;
use crate::engine::{Engine, QueueLimits};
use crate::error::{Error, ErrorKind, Result};
use crate::options::{EngineOptions, Overflow, ScoreOptions};
use crate::prompt::{PromptEncoder, PromptOptions, Template, tokenizer_json};
use crate::rerank;
use crate::signals::{Signals, Stop};
use crate::startup::{self, Loaded, Prompts, Reranker};
use crate::task::Task;
use crate::threads;
use flight::{Flight, Landed};
use output::{Begun, Output};
use progress::{Progress, TICK};
use record::{ISA, Job, PRECISION};
use row::{RejectedRow, ScoredRow};
use serde_json::json;
use source::{Item, Reader, Source};
use std::future::Future;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};
use xxhash_rust::xxh3::xxh3_128;

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
    /// Rows that this run scored.
    pub scored: u64,
    /// Rows that cannot be scored, those that an earlier run set aside included.
    pub rejected: u64,
    /// What ended it before the end of the input, if something did.
    pub stopped: Option<Stop>,
}

/// The files of a command, open and not changed yet.
pub struct Files {
    source: Source,
    output: Output,
}

impl Files {
    /// Opens them, so that what is wrong there is said before a model is loaded.
    pub fn open(options: &ScoreOptions) -> Result<Self> {
        Ok(Self { source: Source(input::open(options.input.as_deref())?), output: Output::open(options)? })
    }
}

/// A model with the rules of a command.
pub struct Scorer<'a> {
    options: &'a ScoreOptions,
    engine: Engine,
    encoder: Arc<PromptEncoder>,
    activation: Option<Activation>,
    job: Job,
}

/// Scores what `options` ask for, until the end of the input or a signal. Until the model is there, one ends the process.
pub fn run(options: &ScoreOptions, signals: &Signals) -> Result<Outcome> {
    let files = Files::open(options)?;
    let scorer = Scorer::load(options)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|err| Error::new(ErrorKind::Internal, format!("No event loop can be had: {err}.")))?;
    let outcome = runtime.block_on(async { scorer.score(files, signals.orderly()).await });
    // A reader that waits for standard input is not waited for.
    runtime.shutdown_background();
    outcome
}

impl<'a> Scorer<'a> {
    /// Loads the model.
    pub fn load(options: &'a ScoreOptions) -> Result<Self> {
        let template = options.chat_template.as_deref().map(Template::parse).transpose()?;
        let prompts = Prompts { template, instruction: options.instruction.clone(), ..Prompts::default() };
        let loaded = startup::load(&options.engine, prompts, QueueLimits::default(), Some(Task::Rerank))?;
        let tokenizer = tokenizer(&options.engine)?;
        let mut job = job(options, &loaded, &tokenizer);
        let Reranker { encoder, activation } = loaded.serves.reranker(&options.engine.model_name())?;
        if activation != Activation::Sigmoid {
            job.insert("activation".to_owned(), activation.to_string().into());
        }
        let activation = options.pooling.use_activation.then_some(activation);
        Ok(Self { options, engine: loaded.engine, encoder, activation, job })
    }

    /// Scores the rows of `files` that are not done yet. After `stop` only the batch that runs is finished.
    pub async fn score(&self, files: Files, stop: impl Future<Output = Stop>) -> Result<Outcome> {
        let Files { source, mut output } = files;
        let begun = output.begin(self.job.clone())?;
        if begun.line > 0 {
            let Begun { line, scored, rejected, .. } = begun;
            tracing::info!("going on after line {line}: {scored} rows are scored and {rejected} rejected already");
        }
        let size = source.0.bytes;
        if self.options.output.is_none() && io::stdout().is_terminal() {
            // The scores would end up in the line of the bar.
            crate::progress::hide();
        }
        let mut progress = Progress::new(self.engine.clone(), size, self.options.rejected.is_none());
        // All that was received stands in this beginning of the input.
        let mut mark = begun.input.clone();
        let mut items = self.read(source, &begun)?;
        let mut flight = Flight::new(self.engine.clone());
        let window = WINDOW_BATCHES.saturating_mul(self.options.engine.max_num_batched_tokens);
        let (mut stop, mut stopped, mut short, mut reading) = (pin!(stop), None, false, true);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            while let Some(landed) = flight.land().await? {
                self.write(landed, &mut output, &mut progress);
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
                    return Ok(Outcome { scored: progress.scored, rejected: begun.rejected + progress.rejected, stopped });
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
        output.finish(&mark).await?;
        progress.end();
        let again = match (stopped, output.can_be_continued()) {
            (Some(_), true) => "; the same command goes on from here",
            (Some(_), false) => "; stopped before the end",
            (None, _) => "",
        };
        tracing::info!("{}{again}", progress.sum());
        Ok(Outcome { scored: progress.scored, rejected: begun.rejected + progress.rejected, stopped })
    }

    /// Starts to read; what comes of the input arrives in its order.
    fn read(&self, source: Source, begun: &Begun) -> Result<mpsc::Receiver<Result<Item>>> {
        let shorten = self.options.overflow == Overflow::Truncate;
        let reader = Reader {
            source,
            encoder: Arc::clone(&self.encoder),
            options: PromptOptions { shorten, ..PromptOptions::default() },
            shard: self.options.shard,
            done: begun.line,
            known: begun.input.clone(),
        };
        let (sender, items) = mpsc::channel(ITEMS);
        threads::spawn("reader", move || reader.run(&sender))?;
        Ok(items)
    }

    fn write(&self, landed: Landed, output: &mut Output, progress: &mut Progress) {
        let pooling = &self.options.pooling;
        match landed {
            Landed::Scored { place, id, many, truncated, answers } => {
                let mut scores = answers
                    .iter()
                    .map(|answer| f64::from(rerank::score(rerank::margin(answer), pooling, self.activation)));
                let (score, scores) = match many {
                    true => (None, Some(scores.collect())),
                    false => (scores.next(), None),
                };
                output.score(&ScoredRow { line: place.line, id: id.as_deref(), score, scores, truncated });
                progress.score(&place, truncated);
            }
            Landed::Rejected { place, reason, row } => {
                output.reject(&RejectedRow { line: place.line, reason: &reason, row: &row });
                progress.reject(&place, reason);
            }
        }
    }
}

/// What `tokenizer.json` holds, as a hash.
fn tokenizer(options: &EngineOptions) -> Result<String> {
    let Some(dir) = options.tokenizer_dir() else {
        return Ok("built-in".to_owned());
    };
    Ok(format!("{:032x}", xxh3_128(&tokenizer_json(dir)?)))
}

/// Where rejected rows go, if not beside the output, whose files may be moved together.
fn rejected(options: &ScoreOptions) -> Option<String> {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let beside = options.output.as_deref().map(|output| absolute(&ScoreOptions::beside(output)));
    let rejected = options.rejected.as_deref().map(absolute).filter(|path| Some(path) != beside.as_ref());
    rejected.map(|path| path.display().to_string())
}

/// What the scores of a command depend on, and where the rows go that have none.
fn job(options: &ScoreOptions, loaded: &Loaded, tokenizer: &str) -> Job {
    let pooling = options.pooling;
    let job = json!({
        "model": loaded.digest,
        ISA: loaded.runs_on.same_bits,
        PRECISION: loaded.runs_on.precision.name(),
        "tokenizer": tokenizer,
        "max_model_len": loaded.max_model_len,
        "instruction": options.instruction,
        "chat_template": options.chat_template.as_ref().map(|text| format!("{:032x}", xxh3_128(text.as_bytes()))),
        "overflow": match options.overflow { Overflow::Error => "error", Overflow::Truncate => "truncate" },
        "use_activation": pooling.use_activation,
        // As texts, which come back from the file as they were.
        "logit_mean": pooling.logit_mean.to_string(),
        "logit_sigma": pooling.logit_sigma.to_string(),
        "shard": format!("{}/{}", options.shard.index, options.shard.count),
        // So that what another run set aside is not taken for what this one did, and cut.
        "rejected": rejected(options),
    });
    job.as_object().cloned().unwrap_or_default()
}
