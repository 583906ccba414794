//! `ironrank bench`: how fast this machine scores or embeds, beside what its cores and its memory could do at most.
//!
//! The engine runs in this process, as it does under the server; what is left out is HTTP. The limits are measured
//! right before and after, since the clock of most machines drifts. Called by `main`.

mod measured;
mod ragflow;
mod report;
mod workload;

pub(crate) use measured::{Measured, measure};
pub use ragflow::Ragflow;
pub use report::{Limits, Passages, Report};

use crate::busy::{Busy, Counts};
use crate::engine::{Engine, QueueLimits};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::Resident;
use crate::model;
use crate::options::{BenchOptions, EngineOptions, Workload};
use crate::precision::Precision;
use crate::prompt::{Prompt, PromptEncoder, PromptOptions, TextOptions};
use crate::serves::Serves;
use crate::startup::{self, Loaded, Prompts, Wanted};
use std::time::{Duration, Instant};
use workload::{Request, Requests};

/// Passages of the question that everybody has, and the tokens of each.
pub(crate) const PASSAGES: usize = 64;
pub(crate) const PASSAGE_TOKENS: usize = 512;

/// The answer is measured when it is likely to take no longer than this, in seconds, and computed otherwise.
const PATIENCE: f64 = 60.0;

/// Loads the model, runs the workload and says what was measured.
pub fn run(options: &BenchOptions) -> Result<Report> {
    let &BenchOptions { engine: ref options, workload, requests, .. } = options;
    let before = limits(options)?;
    let counts = Counts::now();
    let start = Instant::now();
    let wanted = workload.map_or(Wanted::Any, |workload| Wanted::Task(workload.task()));
    let loaded = startup::load(options, Prompts::default(), QueueLimits::default(), wanted)?;
    let Loaded { engine, serves, config, runs_on, .. } = loaded;
    let task = serves.task();
    let workload = workload.unwrap_or_else(|| Workload::usual(task));
    let ready = start.elapsed();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|err| Error::new(ErrorKind::Internal, format!("No timer can be had: {err}.")))?;

    let mut source = Requests::new(1);
    let mut next = || made(&serves, workload, &source.next_of(workload));
    let warm_up = next()?;
    let timed = (0..requests.unwrap_or(workload.requests())).map(|_| next());
    let timed: Vec<Vec<Prompt>> = timed.collect::<Result<_>>()?;
    let measured = runtime.block_on(async {
        // One document is enough to touch every weight.
        engine.answers(warm_up[..1].to_vec(), 0).await?;
        measure(&engine, &timed, workload.name()).await
    })?;
    let passages = match &serves {
        Serves::Rerank(reranker) => Some(passages(&engine, &reranker.encoder, &measured, &mut source, &runtime)?),
        // They are what has been measured.
        Serves::Embed(_) => None,
    };
    let (memory, busy) = (Resident::of_this_process(), Busy::since(counts));
    let limits = before.or_better(limits(options)?);
    let cost = model::cost(&config);

    Ok(Report {
        version: env!("CARGO_PKG_VERSION"),
        model: options.model.name(),
        task,
        runs_on,
        workload: workload.name(),
        documents: workload.documents(),
        words: workload.words(),
        pairs: timed.iter().map(Vec::len).sum(),
        tokens: measured.work.tokens,
        computed_tokens: measured.work.computed_tokens,
        flop: measured.work.flop,
        naive_flop: timed.iter().flatten().map(|prompt| cost.alone(prompt.len())).sum(),
        latencies: measured.latencies,
        ready,
        limits,
        memory,
        passages,
        busy,
    })
}

/// The prompts of a request.
fn made(serves: &Serves, workload: Workload, request: &Request) -> Result<Vec<Prompt>> {
    let documents: Vec<&str> = request.documents.iter().map(String::as_str).collect();
    match serves {
        Serves::Rerank(reranker) => {
            Ok(reranker.encoder.encode_many(&request.query, &documents, &PromptOptions::default())?.prompts)
        }
        Serves::Embed(embedder) => {
            let cut = TextOptions { truncate_prompt_tokens: Some(workload.words()), ..TextOptions::default() };
            let mut behind = embedder.encoder.behind("", &cut)?;
            documents.iter().map(|text| Ok(behind.prompt(text)?.0)).collect()
        }
    }
}

/// What this machine can do at most, on the threads, with the instruction set and in the precision that were asked for.
fn limits(options: &EngineOptions) -> Result<Limits> {
    let cpu = startup::cpu(&options.machine)?;
    let precision = options.model.precision.on(cpu.isa());
    // What the compiler made of portable code has no peak of its own.
    let peak = |precision: Precision| (cpu.isa().name() != "portable").then(|| cpu.peak(precision.storage(false)));
    let fma = peak(Precision::Exact);
    let product = if precision == Precision::Exact { fma } else { peak(precision) };
    Ok(Limits { fma, product, gigabytes_per_s: cpu.read_bandwidth() })
}

/// How long [`PASSAGES`] passages of [`PASSAGE_TOKENS`] tokens take.
fn passages(
    engine: &Engine,
    encoder: &PromptEncoder,
    measured: &Measured,
    source: &mut Requests,
    runtime: &tokio::runtime::Runtime,
) -> Result<Passages> {
    let rate = measured.work.computed_tokens as f64 / measured.latencies.iter().sum::<Duration>().as_secs_f64();
    let estimate = (PASSAGES * PASSAGE_TOKENS) as f64 / rate;
    if estimate > PATIENCE {
        return Ok(Passages { count: PASSAGES, tokens: PASSAGE_TOKENS, seconds: estimate, measured: false });
    }
    let query = source.text(12);
    // A word has at least one token.
    let texts: Vec<String> = (0..PASSAGES).map(|_| source.text(PASSAGE_TOKENS)).collect();
    let documents: Vec<&str> = texts.iter().map(String::as_str).collect();
    let cut = PromptOptions { max_tokens_per_doc: PASSAGE_TOKENS, ..PromptOptions::default() };
    let request = encoder.encode_many(&query, &documents, &cut)?.prompts;
    let measured = runtime.block_on(measure(engine, &[request], "64 passages"))?;
    let seconds = measured.latencies.iter().sum::<Duration>().as_secs_f64();
    Ok(Passages { count: PASSAGES, tokens: PASSAGE_TOKENS, seconds, measured: true })
}
