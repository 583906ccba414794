//! `ironrank embed`: the texts of a file as vectors, without a server. What a row's text asks for and how its vector is
//! written stand here, all else in `corpus`. Called by `main`.
//!
//! Invariant: a vector is the one that the server gives for the same text.

mod row;

use crate::checkpoint::Dimensions;
use crate::corpus::{Ask, Corpus, Done, Files, Layout, Outcome, Output, block_on, hash, job};
use crate::embed;
use crate::engine::QueueLimits;
use crate::error::{Error, ErrorKind, Result};
use crate::options::{EmbedOptions, Overflow};
use crate::prompt::{TextEncoder, TextOptions};
use crate::serves::Embedder;
use crate::signals::{Signals, Stop};
use crate::startup::{self, Prompts, Wanted};
use row::EmbeddedRow;
use serde_json::json;
use std::future::Future;
use std::sync::Arc;

/// Opens the files of a command.
pub fn open(options: &EmbedOptions) -> Result<Files> {
    let layout = Layout::of_vectors(options.corpus.output.as_deref());
    Files::open(&options.corpus, row::form(options.field.as_deref()), layout)
}

/// A model with the rules of a command.
pub struct Vectoriser<'a> {
    options: &'a EmbedOptions,
    encoder: Arc<TextEncoder>,
    prompt: String,
    normalize: bool,
    corpus: Corpus<'a>,
}

/// Makes the vectors that `options` ask for, until the end of the input or a signal. Until the model is there, one ends the
/// process.
pub fn run(options: &EmbedOptions, signals: &Signals) -> Result<Outcome> {
    let files = open(options)?;
    let vectoriser = Vectoriser::load(options)?;
    block_on(async { vectoriser.embed(files, signals.orderly()).await })
}

impl<'a> Vectoriser<'a> {
    /// Loads the model.
    pub fn load(options: &'a EmbedOptions) -> Result<Self> {
        let prompts = Prompts { named: options.prompts.clone(), ..Prompts::default() };
        // Once before the weights are packed, to refuse what the model does not have, and once for what it has.
        let rules = |embedder: &Embedder| {
            let width = width(options.dimensions, &embedder.dimensions, embedder.width)?;
            Ok((width, prompt(&options.prompt_name, &embedder.encoder)?.to_owned()))
        };
        let granted = |embedder: &Embedder| rules(embedder).map(|_| ());
        let loaded = startup::load(&options.engine, prompts, QueueLimits::default(), Wanted::Embedders(&granted))?;
        let mut job = job(&options.corpus, &options.engine, options.overflow, &loaded)?;
        let embedder = loaded.serves.embedder(&options.engine.model.name())?;
        let (width, prompt) = rules(&embedder)?;
        let Embedder { encoder, normalize, .. } = embedder;
        let normalize = normalize && !options.raw;
        let own = [
            ("prompt", json!(hash(prompt.as_bytes()))),
            ("field", json!(options.field)),
            ("dimensions", json!(width)),
            ("normalize", json!(normalize)),
            ("layout", json!(Layout::of_vectors(options.corpus.output.as_deref()).name())),
        ];
        job.extend(own.map(|(part, value)| (part.to_owned(), value)));
        let batch = options.engine.machine.max_num_batched_tokens;
        let corpus = Corpus { options: &options.corpus, engine: loaded.engine, batch, width, job };
        Ok(Self { options, encoder, prompt, normalize, corpus })
    }

    /// Makes the vectors of the rows of `files` that are not done yet. After `stop` only the batch that runs is finished.
    pub async fn embed(&self, files: Files, stop: impl Future<Output = Stop>) -> Result<Outcome> {
        let options = TextOptions { shorten: self.options.overflow == Overflow::Truncate, ..TextOptions::default() };
        let (encoder, prompt, field) = (Arc::clone(&self.encoder), self.prompt.clone(), self.options.field.clone());
        let ask: Ask = Arc::new(move |row| row::ask(row, field.as_deref(), &encoder, &prompt, &options));
        self.corpus.run(files, ask, |done, output| self.write(done, output), stop).await
    }

    fn write(&self, done: &Done, output: &mut Output) {
        let &Done { line, ref id, shortened: truncated, ref answers, .. } = done;
        let vector = embed::vector(&answers[0].row, Some(self.corpus.width), self.normalize);
        let embedding = if output.take_vector(&vector) { None } else { Some(&*vector) };
        output.answer(line, &EmbeddedRow { line, id: id.as_deref(), embedding, truncated });
    }
}

/// How many numbers a vector has, if so many are asked for.
fn width(asked: Option<usize>, dimensions: &Dimensions, hidden: usize) -> Result<usize> {
    let Some(asked) = asked else { return Ok(hidden) };
    let those = match dimensions {
        _ if dimensions.allow(asked) => return Ok(asked),
        Dimensions::Fixed if asked == hidden => return Ok(asked),
        Dimensions::Any(most) => format!("the first 1 to {most} may be asked for"),
        Dimensions::List(sizes) => format!("the first {sizes:?} may be asked for"),
        Dimensions::Fixed => "all belong together".to_owned(),
    };
    let what = format!("--dimensions {asked}: the model's vectors have {hidden} numbers, of which {those}.");
    Err(Error::new(ErrorKind::Options, what))
}

/// What stands before every text.
fn prompt<'e>(name: &str, encoder: &'e TextEncoder) -> Result<&'e str> {
    let prompts = encoder.prompts();
    prompts.get(name).map(String::as_str).ok_or_else(|| {
        let known: Vec<&str> = prompts.keys().map(String::as_str).collect();
        let what = format!("--prompt-name {name}: the model has no such prompt; it has {}.", known.join(", "));
        Error::new(ErrorKind::Options, what)
    })
}
