//! The options of `embed`: its files, those of the engine, and what becomes of a text. Called by `options::parse`.

use super::corpus::{CorpusArgs, CorpusOptions};
use super::embedding::{EmbeddingArgs, NamedPrompts};
use super::engine::{self, AnswerCacheArgs, EngineArgs, EngineOptions};
use super::environment::Environment;
use super::log::{self, LogFormatArgs, LogOptions};
use super::model::ModelArgs;
use super::scoring::{Overflow, overflow};
use clap::{Args, Command};

/// A file of texts to make vectors of.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbedOptions {
    /// Which model, and how it runs.
    pub engine: EngineOptions,
    /// What is logged.
    pub log: LogOptions,
    /// Its files, and which of the rows are done.
    pub corpus: CorpusOptions,
    /// In place of the prompts of the model's files.
    pub prompts: NamedPrompts,
    /// Which of them stands before every text.
    pub prompt_name: String,
    /// Where a row's text stands; `None` is one of the usual fields.
    pub field: Option<String>,
    /// Numbers of a vector; `None` is all of them.
    pub dimensions: Option<usize>,
    /// Whether vectors keep the length that they come with.
    pub raw: bool,
    /// What becomes of a text that is too long.
    pub overflow: Overflow,
}

/// The arguments of `embed`, still without defaults.
#[derive(Debug, Args)]
pub struct EmbedArgs {
    #[command(flatten)]
    pub corpus: CorpusArgs,
    /// The field of a row that holds its text [default: text, input or inputs]
    #[arg(long, value_name = "NAME", help_heading = "Files")]
    pub field: Option<String>,
    /// Which of the model's prompts stands before every text: query, document, or another name that its files have
    /// [default: document]
    #[arg(long, value_name = "NAME", alias = "input-type", help_heading = "Embeddings")]
    pub prompt_name: Option<String>,
    /// The first N numbers of every vector [default: all]
    #[arg(long, value_name = "N", help_heading = "Embeddings")]
    pub dimensions: Option<usize>,
    /// Leave vectors as long as they come, in place of length 1
    #[arg(long, help_heading = "Embeddings")]
    pub no_normalize: bool,
    /// What becomes of a text longer than --max-model-len: error (its row is rejected) or truncate [default: error]
    #[arg(long, value_name = "error|truncate", value_parser = overflow, help_heading = "Embeddings")]
    pub overflow: Option<Overflow>,
    #[command(flatten)]
    pub embedding: EmbeddingArgs,
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
A row has a text, and perhaps an id. By the ending of OUTPUT it is answered by a line of JSON with its vector; in .npy by a row \
of a float32 array, with line and id in OUTPUT.rows.jsonl; in .parquet by line, id, truncated and embedding, in a file that is \
made of OUTPUT.rows.jsonl and OUTPUT.vectors.npy when the input has ended.\n\n\
A killed or stopped run goes on where it was when it is started again with the same options: nothing that was written is \
lost, nothing is computed twice. OUTPUT.job says what the file belongs to; other rows or options are refused. With --output - \
there is no going on. Standard input has to bring the same rows again.\n\n\
Exit codes: 0 all rows have vectors; 1 a file, the model or the machine was at fault; 2 the command line was; 3 all rows are \
done, some of them were rejected; 130 and 143 stopped by SIGINT and SIGTERM, after the batch that ran.\n\n\
Example:\n  ironrank embed /models/qwen3-embedding-0.6b --input texts.jsonl --output vectors.npy";

/// The command.
pub fn command() -> Command {
    EmbedArgs::augment_args(Command::new("embed"))
        .about("Make vectors of a file of texts, without a server")
        .after_help(RULES)
        .args_override_self(true)
        .infer_long_args(true)
}

/// The options of `embed`.
pub fn options(args: EmbedArgs, env: Environment) -> Result<EmbedOptions, String> {
    let EmbedArgs { corpus, field, prompt_name, dimensions, no_normalize, overflow, .. } = args;
    let corpus = corpus.options();
    args.model.needed_by("embed")?;
    let mut notices = Vec::new();
    let engine = engine::options(args.model, args.engine, args.answers.bytes(env)?, env, &mut notices)?;
    Ok(EmbedOptions {
        engine,
        log: log::options(args.log, env, notices),
        corpus,
        prompts: args.embedding.prompts(env),
        prompt_name: prompt_name.unwrap_or_else(|| "document".to_owned()),
        field,
        dimensions,
        raw: no_normalize,
        overflow: overflow.unwrap_or(Overflow::DEFAULT),
    })
}
