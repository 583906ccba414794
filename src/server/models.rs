//! The models of a server, each with its names, its engine and what makes its prompts; which of them a request means.
//!
//! Invariant: there is one at least, and every name means one model alone. Made by `serve`; a part of `state`.

use super::http::error::ApiError;
use super::http::shown::shown;
use super::metrics::{Pairs, Told};
use super::served::Served;
use super::wire::names;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::serves::Serves;
use crate::task::Task;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;

/// A model that is ready, and what a request to it needs.
pub struct Model {
    /// Names that requests may use, never empty; answers carry the first.
    names: Vec<String>,
    /// What answers tell of it.
    pub(super) served: Served,
    /// Runs it.
    pub(super) engine: Engine,
    /// Makes its prompts, and knows what its numbers mean.
    pub(super) serves: Serves,
    /// How its pairs began and ended.
    pub(super) pairs: Pairs,
}

impl Model {
    /// The model of `engine`, under these `names`; an error if nothing can be counted of it.
    pub fn new(names: Vec<String>, served: Served, engine: Engine, serves: Serves) -> Result<Self> {
        let pairs = Pairs::new(served.max_model_len)
            .map_err(|err| Error::new(ErrorKind::Internal, format!("The metrics cannot be set up: {err}.")))?;
        Ok(Self { names, served, engine, serves, pairs })
    }

    /// The name that answers carry.
    pub fn name(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }

    /// It, for the metrics.
    pub(super) fn told(&self) -> Told<'_> {
        Told { name: self.name(), served: &self.served, engine: &self.engine, pairs: &self.pairs }
    }

    /// All names that requests may use.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }
}

/// What a request's name of a model means.
pub struct Found<'a> {
    /// The model.
    pub model: &'a Arc<Model>,
    /// The prompt of the model that the name chooses.
    pub prompt: Option<&'static str>,
}

/// An error if a name of one model means another one, which can be told before any is loaded.
pub fn distinct(models: &[&[String]]) -> Result<()> {
    let named = || models.iter().enumerate().flat_map(|(at, names)| names.iter().map(move |name| (at, name)));
    for (at, name) in named() {
        if let Some((_, other)) = named().find(|(other, taken)| *other > at && names::same(name, taken)) {
            let sentence = format!(
                "Two models are called {name} and {other}, which a request cannot tell apart: give one of them another name, \
                 with --served-model-name or --also DIR=NAME."
            );
            return Err(Error::new(ErrorKind::Options, sentence));
        }
    }
    Ok(())
}

/// All models of a server.
pub struct Models {
    all: Vec<Arc<Model>>,
    /// Whether a request may name any model.
    any_name: bool,
}

impl Models {
    /// `all` of them, in the order in which they answer requests that name none; their names are [`distinct`].
    pub(super) fn new(all: Vec<Model>, any_name: bool) -> Self {
        Self { all: all.into_iter().map(Arc::new).collect(), any_name }
    }

    /// All of them.
    pub(super) fn all(&self) -> &[Arc<Model>] {
        &self.all
    }

    /// Whether one is for `task`.
    pub(super) fn has(&self, task: Task) -> bool {
        self.all.iter().any(|model| model.served.task == task)
    }

    /// The first for `task`, or the first of all: it answers where nothing says which.
    pub(super) fn first(&self, task: Option<Task>) -> &Arc<Model> {
        self.all.iter().find(|model| Some(model.served.task) == task).unwrap_or(&self.all[0])
    }

    /// The model that `name` means, that which answers for `task` if it is empty; a refusal lists the names. An embedding model
    /// has each name twice more, for its prompts.
    pub(super) fn find(&self, name: &str, task: Option<Task>) -> std::result::Result<Found<'_>, ApiError> {
        let named = || self.all.iter().flat_map(|model| model.names.iter().map(move |name| (name.as_str(), model)));
        let whole = |model| Found { model, prompt: None };
        if name.is_empty() {
            return Ok(whole(self.first(task)));
        }
        let behind = || {
            let (name, prompt) = names::prompt(name)?;
            let model = names::meant(name, named).filter(|model| model.served.task == Task::Embed)?;
            Some(Found { model, prompt: Some(prompt) })
        };
        match names::meant(name, named).map(whole).or_else(behind) {
            Some(found) => Ok(found),
            None if self.any_name => Ok(whole(self.first(task))),
            None => {
                let served = named().map(|(name, _)| name).collect::<Vec<_>>().join(", ");
                let sentence = format!("The model `{}` does not exist. Valid aliases: {served}.", shown(name));
                Err(Error::new(ErrorKind::UnknownModel, sentence).into())
            }
        }
    }

    /// Why a fault ended an engine, if one did.
    pub(super) fn failure(&self) -> Option<Error> {
        self.all.iter().find_map(|model| model.engine.failure())
    }

    /// Waits until a fault ends an engine, and says why.
    pub(super) async fn failed(&self) -> Error {
        let mut engines: Vec<_> = self.all.iter().map(|model| Box::pin(model.engine.failed())).collect();
        poll_fn(|context| {
            let failed = engines.iter_mut().map(|engine| engine.as_mut().poll(context)).find(Poll::is_ready);
            failed.unwrap_or(Poll::Pending)
        })
        .await
    }
}
