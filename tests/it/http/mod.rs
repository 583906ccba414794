//! The HTTP contract, in process through the server's own application builder, over the synthetic `tiny` model that
//! the exchanges with vLLM were recorded with.

mod access;
mod clients;
mod connection;
mod contract;
mod cors;
mod embedding_clients;
mod failing;
mod metrics;
mod openapi;
mod operator;
mod places;
mod prompts;
mod replay;
mod several;
mod stopping;
mod transport;
mod ui;
mod words;

use crate::support;
use actix_web::web::Data;
use ironrank::checkpoint::{Activation, Checkpoint, Dimensions, Embedding, Head, Overrides, Said};
use ironrank::engine::{BatchLimits, Engine, QueueLimits, Turns};
use ironrank::model;
use ironrank::options::ServerOptions;
use ironrank::precision::{Dtype, Precision};
use ironrank::prompt::{PromptEncoder, Template, TextEncoder};
use ironrank::server::{Model, Served, State};
use ironrank::serves::{Embedder, Reranker, Serves};
use ironrank::task::Task;
use ironrank_kernels::{Cpu, Isa, Pool};
use serde_json::Map;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The names of the server that was recorded.
const NAMES: [&str; 2] = ["tiny", "tiny-alias"];
/// Longest prompt of the server that was recorded.
const MAX_MODEL_LEN: usize = 512;

/// The server as it was recorded, with these API keys.
pub fn subject(api_keys: &[&str]) -> Data<State> {
    subject_with(|options| options.api_keys.keys = api_keys.iter().map(|key| (*key).to_owned()).collect())
}

/// The server as it was recorded, with other options.
pub fn subject_with(change: impl FnOnce(&mut ServerOptions)) -> Data<State> {
    subject_serving(|options, _| change(options))
}

/// The server as it was recorded, with other options or another model.
pub fn subject_serving(change: impl FnOnce(&mut ServerOptions, &mut Served)) -> Data<State> {
    Data::new(state_serving(&NAMES, shared(), change))
}

/// The server as it was recorded, with these names and other options.
pub fn subject_called(names: &[&str], change: impl FnOnce(&mut ServerOptions)) -> Data<State> {
    Data::new(state_serving(names, shared(), |options, _| change(options)))
}

/// The same with vLLM's score template, as `template` and `api-key` were recorded.
pub fn subject_with_template(template: &str, change: impl FnOnce(&mut ServerOptions)) -> Data<State> {
    let template = Template::parse(template).expect("the template is one");
    subject_with_encoder(|encoder| encoder.with_template(template).expect("the tokenizer takes templates"), change)
}

/// The server as it was recorded, with other prompts.
pub fn subject_with_encoder(
    encoder: impl FnOnce(PromptEncoder) -> PromptEncoder,
    change: impl FnOnce(&mut ServerOptions),
) -> Data<State> {
    static SHARED: OnceLock<Engine> = OnceLock::new();
    let engine = SHARED.get_or_init(|| engine(QueueLimits::default()).0).clone();
    let builtin = PromptEncoder::builtin(MAX_MODEL_LEN).expect("the tokenizer opens");
    subject_over((engine, reranker(encoder(builtin), Activation::Sigmoid)), change)
}

/// The server as it was recorded, of a model with another activation.
pub fn subject_activated(activation: Activation) -> Data<State> {
    let (engine, serves) = shared();
    let Serves::Rerank(Reranker { encoder, .. }) = serves else { unreachable!("a reranker was made") };
    subject_over((engine, Serves::Rerank(Reranker { encoder, activation })), |_| {})
}

/// The embedding model as it was recorded, whose vectors may be cut so.
pub fn embedder(dimensions: Dimensions) -> Data<State> {
    let (engine, embedder) = shared_embedder();
    Data::new(state_serving(&NAMES, (engine, Serves::Embed(Embedder { dimensions, ..embedder })), |_, _| {}))
}

/// The embedding model as it was recorded, with these names.
pub fn embedder_called(names: &[&str]) -> Data<State> {
    embedder_with(names, |_| {})
}

/// The same with other options.
pub fn embedder_with(names: &[&str], change: impl FnOnce(&mut ServerOptions)) -> Data<State> {
    let (engine, embedder) = shared_embedder();
    Data::new(state_serving(names, (engine, Serves::Embed(embedder)), |options, _| change(options)))
}

/// Both of them in one server, the reranker first, as `tiny` and as `embedder`.
pub fn both() -> Data<State> {
    let (engine, embedder) = shared_embedder();
    let second = model_called(&["embedder"], (engine, Serves::Embed(embedder)), |_| {});
    Data::new(state_beside(&NAMES, shared(), |_, _| {}, vec![second]))
}

/// The server as it was recorded, with an engine that no other test uses.
pub fn subject_alone() -> Data<State> {
    subject_over(engine(QueueLimits::default()), |_| {})
}

/// The same with an engine that keeps answers.
pub fn subject_that_keeps_answers() -> Data<State> {
    subject_over(engine_that_keeps(1 << 20, QueueLimits::default()), |_| {})
}

/// The server as it was recorded, with an engine whose queue has no place left.
pub fn subject_that_is_full() -> Data<State> {
    subject_over(engine(QueueLimits { sequences: 0, ..QueueLimits::default() }), |_| {})
}

fn subject_over(engine: (Engine, Serves), change: impl FnOnce(&mut ServerOptions)) -> Data<State> {
    Data::new(state_over(engine, change))
}

/// The server as it was recorded, with an engine that no other test uses, not yet shared between threads.
pub fn state_alone_with(change: impl FnOnce(&mut ServerOptions)) -> State {
    state_over(engine(QueueLimits::default()), change)
}

/// The same with other options, over an engine that several tests use.
pub fn state_with(change: impl FnOnce(&mut ServerOptions)) -> State {
    state_over(shared(), change)
}

/// The reranker that several tests use.
fn shared() -> (Engine, Serves) {
    static SHARED: OnceLock<(Engine, Serves)> = OnceLock::new();
    SHARED.get_or_init(|| engine(QueueLimits::default())).clone()
}

/// The embedding model that several tests use.
fn shared_embedder() -> (Engine, Embedder) {
    static SHARED: OnceLock<(Engine, Embedder)> = OnceLock::new();
    let make = || {
        let (engine, checkpoint) = engine_of(Task::Embed, 0, QueueLimits::default());
        let Head::Vector(Embedding { normalize, dimensions, prompts }) = checkpoint.head().clone() else {
            unreachable!("an embedding model was asked for")
        };
        let encoder = TextEncoder::builtin(MAX_MODEL_LEN, prompts).expect("the tokenizer opens");
        let width = checkpoint.config().hidden_size;
        (engine, Embedder { encoder: Arc::new(encoder), normalize, width, dimensions })
    };
    SHARED.get_or_init(make).clone()
}

fn state_over(engine: (Engine, Serves), change: impl FnOnce(&mut ServerOptions)) -> State {
    state_serving(&NAMES, engine, |options, _| change(options))
}

fn state_serving(
    names: &[&str],
    first: (Engine, Serves),
    change: impl FnOnce(&mut ServerOptions, &mut Served),
) -> State {
    state_beside(names, first, change, Vec::new())
}

/// The state of a server of the first model as it was recorded, and of others.
fn state_beside(
    names: &[&str],
    (engine, serves): (Engine, Serves),
    change: impl FnOnce(&mut ServerOptions, &mut Served),
    others: Vec<Model>,
) -> State {
    let minute = Duration::from_secs(60);
    let mut options = ServerOptions {
        max_body_bytes: 1 << 20,
        max_connections: 100,
        receive_timeout: minute,
        shutdown_timeout: minute,
        ..ServerOptions::default()
    };
    let mut served = served(serves.task());
    change(&mut options, &mut served);
    let model = model_called(names, (engine, serves), |own| *own = served);
    let models = std::iter::once(model).chain(others).collect();
    State::new(options, models).expect("the metrics can be set up")
}

/// One of several models of a server.
fn model_called(names: &[&str], (engine, serves): (Engine, Serves), change: impl FnOnce(&mut Served)) -> Model {
    let mut served = served(serves.task());
    change(&mut served);
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    Model::new(names, served, engine, serves).expect("it can be counted")
}

/// What was learned of a model for `task`.
fn served(task: Task) -> Served {
    Served {
        task,
        root: "/models/tiny".to_owned(),
        dummy: false,
        max_model_len: MAX_MODEL_LEN,
        isa: Isa::best().name(),
        threads: 1,
        precision: Precision::Exact,
        dtype: Dtype::Float32,
        label: "LABEL_0".to_owned(),
        tokenizer_info: None,
        config: Map::new(),
    }
}

fn reranker(encoder: PromptEncoder, activation: Activation) -> Serves {
    Serves::Rerank(Reranker { encoder: Arc::new(encoder), activation })
}

/// Tests ask for the same again to see it computed: answers are not kept unless they are what is looked at.
fn engine(queue: QueueLimits) -> (Engine, Serves) {
    engine_that_keeps(0, queue)
}

fn engine_that_keeps(answer_cache_bytes: usize, queue: QueueLimits) -> (Engine, Serves) {
    let (engine, _) = engine_of(Task::Rerank, answer_cache_bytes, queue);
    let encoder = PromptEncoder::builtin(MAX_MODEL_LEN).expect("the tokenizer opens");
    (engine, reranker(encoder, Activation::Sigmoid))
}

/// The engine of the recorded model, made for `task`.
fn engine_of(task: Task, answer_cache_bytes: usize, queue: QueueLimits) -> (Engine, Checkpoint) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(dir.path().join("config.json"), support::config("tiny").to_string()).expect("written");
    let said = Said { overrides: &Overrides::new(), task: Some(task) };
    let checkpoint = Checkpoint::dummy(Some(dir.path()), said).expect("the configuration is good");
    let cpu = Cpu::new(Isa::best(), Pool::new(Some(1), false).unwrap());
    let (head, precision) = match task {
        Task::Rerank => (support::head(&checkpoint), support::precision()),
        Task::Embed => (model::Head::State, Precision::Exact),
    };
    let packed = model::pack(&cpu, &checkpoint, precision, None).expect("the weights are packed");
    let model = model::load(cpu, &checkpoint, packed, head, MAX_MODEL_LEN).expect("the model loads");
    let batch = BatchLimits { tokens: 2048, sequences: 128, prefix_cache_bytes: 1 << 20, answer_cache_bytes };
    (Engine::start(model, &Turns::default(), batch, queue).unwrap(), checkpoint)
}
