//! `ironrank compare`: how far the scores of a precision are from exact ones on a user's own model and texts, and how much
//! faster they come.
//!
//! Invariants: both runs score the same prompts, under the same options; the model of one is gone before that of the next
//! is loaded. Called by `main`.

mod agreement;
mod questions;
mod report;

pub use agreement::{Agreement, Margins};
pub use report::Report;

use crate::bench::{Measured, measure};
use crate::busy::{Busy, Counts};
use crate::checkpoint::Activation;
use crate::engine::QueueLimits;
use crate::error::{Error, ErrorKind, Result};
use crate::options::{CompareOptions, EngineOptions, Overflow};
use crate::precision::Asked;
use crate::prompt::{PromptOptions, Template};
use crate::rerank;
use crate::serves::Reranker;
use crate::startup::{self, Loaded, Prompts, RunsOn, Wanted};
use crate::task::Task;
use questions::Questions;
use std::time::Duration;

/// What a run gave.
struct Run {
    /// Of all documents, one question after the other.
    margins: Vec<f32>,
    tokens: u64,
    seconds: f64,
    runs_on: RunsOn,
    activation: Activation,
}

/// Scores the pairs exactly and as `options` ask, and says how well both agree.
pub fn run(options: &CompareOptions) -> Result<Report> {
    let questions = Questions::read(&options.compared)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|err| Error::new(ErrorKind::Internal, format!("No timer can be had: {err}.")))?;
    let counts = Counts::now();
    let mut exactly = options.engine.clone();
    exactly.model.precision = Asked::EXACT;
    let exact = runtime.block_on(score(options, &exactly, &questions))?;
    let other = runtime.block_on(score(options, &options.engine, &questions))?;
    let busy = Busy::since(counts);
    let activation = options.pooling.use_activation.then_some(exact.activation);
    let mut margins = exact.margins.iter().zip(&other.margins);
    let of = |question: &questions::Question| {
        let (exact, other) = margins.by_ref().take(question.documents.len()).unzip();
        Margins { exact, other }
    };
    let margins: Vec<Margins> = questions.questions.iter().map(of).collect();
    Ok(Report {
        version: env!("CARGO_PKG_VERSION"),
        model: options.engine.model.name(),
        runs_on: other.runs_on,
        input: questions.name,
        queries: margins.len(),
        pairs: exact.margins.len(),
        tokens: exact.tokens,
        exact_seconds: exact.seconds,
        seconds: other.seconds,
        agreement: Agreement::of(&margins, |margin| rerank::score(margin, &options.pooling, activation)),
        busy,
    })
}

/// Scores the pairs on a model of their own.
async fn score(options: &CompareOptions, engine: &EngineOptions, questions: &Questions) -> Result<Run> {
    let template = options.chat_template.as_deref().map(Template::parse).transpose()?;
    let prompts = Prompts { template, instruction: options.instruction.clone(), ..Prompts::default() };
    let name = engine.model.name();
    let loaded = startup::load(engine, prompts, QueueLimits::default(), Wanted::Task(Task::Rerank))?;
    let Loaded { engine, serves, runs_on, .. } = loaded;
    let Reranker { encoder, activation } = serves.reranker(&name)?;
    let shorten = options.overflow == Overflow::Truncate;
    let prompts = questions.prompts(&encoder, &PromptOptions { shorten, ..PromptOptions::default() })?;
    drop(encoder);
    // One document is enough to touch every weight.
    engine.answers(prompts[..1].to_vec(), 0).await?;
    let Measured { latencies, work, answers } = measure(&engine, &[prompts], runs_on.precision.described()).await?;
    engine.end().await;
    let margins = answers.iter().map(rerank::margin).collect();
    Ok(Run {
        margins,
        tokens: work.tokens,
        seconds: latencies.iter().sum::<Duration>().as_secs_f64(),
        runs_on,
        activation,
    })
}
