//! ironrank serves Qwen3 rerankers and embedding models on ordinary CPUs, behind vLLM's score and rerank API.
//!
//! Four actors, each one deep module, every arrow one way:
//!
//! ```text
//! server (for whom) -> engine (when) -> model (what) -> ironrank_kernels::Cpu (how)
//! ```
//!
//! and three nouns that pass between them: a [`prompt::Prompt`] is the token ids of one query-document pair or text, a
//! [`batch::Batch`] packs the prompts of one forward pass, and [`model::Rows`] of numbers come back.
//!
//! - [`options`]: command line and environment, validated into one plain struct; every default.
//! - [`precision`]: how exactly a model is computed, as it was asked for and as this CPU does it.
//! - [`checkpoint`]: a model directory as typed tensors, checked when it is opened.
//! - [`prompt`]: template and tokenizer; the only place that truncates.
//! - [`batch`]: sequences as a tree, packed without padding, and where their keys and values go.
//! - [`head`]: what scores and vectors are made of; tokens that the checkpoint names, found in the tokenizer.
//! - [`prefix_cache`]: keys and values of prefixes that prompts share.
//! - [`model`]: the registry of architectures and their forward passes.
//! - [`engine`]: the thread that owns the model, and the async handle to it.
//! - [`rerank`], [`embed`]: what the numbers of a reranker mean, and those of an embedding model.
//! - [`memory`]: whether a model fits this machine, said before it is loaded.
//! - [`survey`]: a look at a model before anything of it is loaded.
//! - [`serves`]: what a model takes besides its engine: its prompts, and what its numbers mean.
//! - [`startup`]: from options to a model that is ready to score.
//! - [`corpus`]: a file of rows through the engine, without a server.
//! - [`mod@score`]: the pairs of a file, scored without a server.
//! - [`vectors`]: the texts of a file as vectors, without a server.
//! - [`serve`]: the life of a server as a command: place, model, answers, stop.
//! - [`notify`]: tells the service manager how the server is.
//! - [`server`]: HTTP; requests and answers field for field.
//! - [`check`]: whether a model will load here, what it will take, and what is wrong.
//! - [`compare`]: how far the scores of a precision are from exact ones.
//! - [`mod@file`]: what a person has brought, opened; what is wrong with it, said.
//! - [`cache`]: the packed weights that starts have left, and what of them is of no use.
//! - [`download`]: the files of a model, from the hub into a directory.
//! - [`health`]: asks a server whether it is well, for containers without a shell.
//! - [`mod@bench`]: how fast this machine scores, beside what it could do at most.
//! - [`logging`] and [`progress`]: lines and bars, which share stderr.
//! - `python_json`: JSON as Python spaces it.
//! - [`threads`]: those besides the kernels', all started at the start.
//! - [`signals`]: what asks the process to end, and when it does so at once.
//! - [`busy`]: whether the machine was busy with other things while it was measured.
//! - [`task`]: what a model is for.
//! - [`error`]: one error type, grouped by who can mend it.
//!
//! A request crosses each arrow once. The one async boundary is the channel into the engine's thread. There is no
//! `unsafe` outside the kernels crate.
#![forbid(unsafe_code)]

pub mod batch;
pub mod bench;
pub mod busy;
pub mod cache;
pub mod check;
pub mod checkpoint;
pub mod compare;
pub mod corpus;
pub mod download;
pub mod embed;
pub mod engine;
pub mod error;
pub mod file;
pub mod head;
pub mod health;
pub mod logging;
pub mod memory;
pub mod model;
pub mod notify;
pub mod options;
pub mod precision;
pub mod prefix_cache;
pub mod progress;
pub mod prompt;
mod python_json;
pub mod rerank;
pub mod score;
pub mod serve;
pub mod server;
pub mod serves;
pub mod signals;
pub mod startup;
pub mod survey;
pub mod task;
pub mod threads;
pub mod vectors;

/// The program's version, with the revision that it was built from where that is known: `0.1.0 (0123456789ab)`.
pub fn version() -> String {
    let version = env!("CARGO_PKG_VERSION");
    option_env!("IRONRANK_BUILT_FROM").map_or_else(|| version.to_owned(), |revision| format!("{version} ({revision})"))
}
