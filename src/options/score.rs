//! The options of `score`: its files, those of the engine and those of scores. Called by `options::parse`.

use super::corpus::{CorpusArgs, CorpusOptions};
use super::engine::{self, AnswerCacheArgs, EngineArgs, EngineOptions};
use super::environment::Environment;
use super::log::{self, LogFormatArgs, LogOptions};
use super::model::ModelArgs;
use super::pooler::Pooling;
use super::scoring::{Overflow, ScoringArgs};
use clap::{Args, Command};

/// A file of pairs to score.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreOptions {
    /// Which model, and how it runs.
    pub engine: EngineOptions,
    /// What is logged.
    pub log: LogOptions,
    /// Its files, and which of the rows are scored.
    pub corpus: CorpusOptions,
    /// The instruction of rows that bring none; `None` is the model card's.
    pub instruction: Option<String>,
    /// Text of a Jinja template; `None` is the model card's prompt.
    pub chat_template: Option<String>,
    /// What becomes of a pair that is too long.
    pub overflow: Overflow,
    /// How a logit becomes a score.
    pub pooling: Pooling,
}

/// The arguments of `score`, still without defaults.
#[derive(Debug, Args)]
pub struct ScoreArgs {
    #[command(flatten)]
    pub corpus: CorpusArgs,
    #[command(flatten)]
    pub scoring: ScoringArgs,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub answers: AnswerCacheArgs,
    #[command(flatten)]
    pub log: LogFormatArgs,
}

const RULES: &str = "\
A row has a query, a document or a list of documents, and perhaps an id and an instruction. It is answered by a line with its \
scores.\n\n\
A killed or stopped run goes on where it was when it is started again with the same options: nothing that was written is \
lost, nothing is scored twice. OUTPUT.job says what the file belongs to; other rows or options are refused. With --output - \
there is no going on. Standard input has to bring the same rows again.\n\n\
Exit codes: 0 all rows were scored; 1 a file, the model or the machine was at fault; 2 the command line was; 3 all rows \
are done, some of them were rejected; 130 and 143 stopped by SIGINT and SIGTERM, after the batch that ran.\n\n\
Example:\n  ironrank score /models/qwen3-reranker-0.6b --input pairs.jsonl --output scores.jsonl";

/// The command.
pub fn command() -> Command {
    ScoreArgs::augment_args(Command::new("score"))
        .about("Score a file of query-document pairs, without a server")
        .after_help(RULES)
        .args_override_self(true)
        .infer_long_args(true)
}

/// The options of `score`.
pub fn options(args: ScoreArgs, env: Environment) -> Result<ScoreOptions, String> {
    let ScoreArgs { corpus, scoring, model, engine, answers, log } = args;
    let corpus = corpus.options();
    model.needed_by("score")?;
    let mut notices = Vec::new();
    let pooling = scoring.pooling(&mut notices)?;
    let engine = engine::options(model, engine, answers.bytes(env)?, env, &mut notices)?;
    Ok(ScoreOptions {
        engine,
        log: log::options(log, env, notices),
        corpus,
        instruction: scoring.instruction(env),
        chat_template: scoring.template()?,
        overflow: scoring.overflow.unwrap_or(Overflow::DEFAULT),
        pooling,
    })
}
