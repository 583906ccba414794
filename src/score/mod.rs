//! `ironrank score`: the pairs of a file, scored without a server. What a row of pairs asks for and how its scores are
//! written stand here, all else in `corpus`. Called by `main`.

mod pairs;
mod row;

pub(crate) use pairs::{Pair, Pairs};

use crate::checkpoint::Activation;
use crate::corpus::{Ask, Corpus, Done, Files, Layout, Outcome, Output, block_on, hash, job};
use crate::engine::QueueLimits;
use crate::error::Result;
use crate::options::{Overflow, ScoreOptions};
use crate::prompt::{PromptOptions, Template};
use crate::rerank;
use crate::serves::Reranker;
use crate::signals::{Signals, Stop};
use crate::startup::{self, Prompts, Wanted};
use crate::task::Task;
use row::ScoredRow;
use serde_json::json;
use std::future::Future;
use std::sync::Arc;

/// Opens the files of a command.
pub fn open(options: &ScoreOptions) -> Result<Files> {
    Files::open(&options.corpus, row::form(), Layout::Lines)
}

/// A model with the rules of a command.
pub struct Scorer<'a> {
    options: &'a ScoreOptions,
    reranker: Reranker,
    corpus: Corpus<'a>,
}

/// Scores what `options` ask for, until the end of the input or a signal. Until the model is there, one ends the process.
pub fn run(options: &ScoreOptions, signals: &Signals) -> Result<Outcome> {
    let files = open(options)?;
    let scorer = Scorer::load(options)?;
    block_on(async { scorer.score(files, signals.orderly()).await })
}

impl<'a> Scorer<'a> {
    /// Loads the model.
    pub fn load(options: &'a ScoreOptions) -> Result<Self> {
        let template = options.chat_template.as_deref().map(Template::parse).transpose()?;
        let prompts = Prompts { template, instruction: options.instruction.clone(), ..Prompts::default() };
        let loaded = startup::load(&options.engine, prompts, QueueLimits::default(), Wanted::Task(Task::Rerank))?;
        let mut job = job(&options.corpus, &options.engine, options.overflow, &loaded)?;
        let reranker = loaded.serves.reranker(&options.engine.model.name())?;
        let pooling = options.pooling;
        let own = [
            ("instruction", json!(options.instruction)),
            ("chat_template", json!(options.chat_template.as_ref().map(|text| hash(text.as_bytes())))),
            ("use_activation", json!(pooling.use_activation)),
            // As texts, which come back from the file as they were.
            ("logit_mean", json!(pooling.logit_mean.to_string())),
            ("logit_sigma", json!(pooling.logit_sigma.to_string())),
        ];
        job.extend(own.map(|(part, value)| (part.to_owned(), value)));
        if reranker.activation != Activation::Sigmoid {
            job.insert("activation".to_owned(), reranker.activation.to_string().into());
        }
        let batch = options.engine.machine.max_num_batched_tokens;
        let corpus = Corpus { options: &options.corpus, engine: loaded.engine, batch, width: 0, job };
        Ok(Self { options, reranker, corpus })
    }

    /// Scores the rows of `files` that are not done yet. After `stop` only the batch that runs is finished.
    pub async fn score(&self, files: Files, stop: impl Future<Output = Stop>) -> Result<Outcome> {
        let shorten = self.options.overflow == Overflow::Truncate;
        let (encoder, options) =
            (Arc::clone(&self.reranker.encoder), PromptOptions { shorten, ..PromptOptions::default() });
        let ask: Ask = Arc::new(move |row| row::ask(row, &encoder, &options));
        self.corpus.run(files, ask, |done, output| self.write(done, output), stop).await
    }

    fn write(&self, done: &Done, output: &mut Output) {
        let pooling = &self.options.pooling;
        let score = |answer| f64::from(self.reranker.score(rerank::margin(answer), pooling, None));
        let mut scores = done.answers.iter().map(score);
        let (score, scores) = match done.many {
            true => (None, Some(scores.collect())),
            false => (scores.next(), None),
        };
        let &Done { line, ref id, shortened: truncated, .. } = done;
        output.answer(line, &ScoredRow { line, id: id.as_deref(), score, scores, truncated });
    }
}
