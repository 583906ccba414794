//! What the operator decided, the models, and everything else that a request needs.
//!
//! Called by what answers requests, which finds here what it does not make itself.

use super::http::budget::Budget;
use super::http::intake::Limits;
use super::http::request_log;
use super::http::run::HTTP_THREADS;
use super::metrics::Metrics;
use super::models::{Model, Models};
use crate::error::{Error, ErrorKind, Result};
use crate::options::ServerOptions;
use crate::threads::{self, Threads};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Threads that read JSON and make tokens.
const TEXT_THREADS: usize = 4;
/// The one that has the model.
const ENGINE_THREADS: usize = 1;
/// Threads that a server takes beside those that compute.
pub const THREADS: usize = TEXT_THREADS + HTTP_THREADS + ENGINE_THREADS;

/// Everything a request needs.
pub struct State {
    pub(super) options: Arc<ServerOptions>,
    pub(super) models: Models,
    pub(super) metrics: Metrics,
    /// They read JSON and make tokens.
    pub(super) threads: Threads,
    /// Requests at work.
    pub(super) at_work: AtomicUsize,
    /// What the log was told of requests.
    pub(super) told: request_log::Told,
    /// The memory that requests share.
    pub(super) budget: Budget,
    /// Whether the server was told to stop: it is not well any more, and every answer ends its connection.
    pub(super) stopping: AtomicBool,
    /// Seconds since 1970 when the server started.
    pub(super) started: u64,
}

impl State {
    /// The state of a server of `models`, of which the first answers where a request names none; an error if the system
    /// refuses the threads that a server takes, those of HTTP among them.
    pub fn new(options: impl Into<Arc<ServerOptions>>, models: Vec<Model>) -> Result<Self> {
        let options = options.into();
        let models = Models::new(models, options.skip_model_name_validation);
        let metrics = Metrics::new()
            .map_err(|err| Error::new(ErrorKind::Internal, format!("The metrics cannot be set up: {err}.")))?;
        let threads = Threads::start("texts", TEXT_THREADS)?;
        threads::check_room("http", HTTP_THREADS)?;
        Ok(Self {
            budget: Budget::new(options.max_body_bytes),
            told: request_log::Told::new(options.log_requests),
            options,
            models,
            metrics,
            threads,
            at_work: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            started: unix_time(),
        })
    }

    /// What a body may take.
    pub fn limits(&self) -> Limits<'_> {
        let ServerOptions { max_body_bytes, receive_timeout, .. } = *self.options;
        Limits { bytes: max_body_bytes, time: receive_timeout, budget: &self.budget, threads: &self.threads }
    }

    /// `path` without the proxy's prefix; a path without it is taken as it is.
    pub fn local_path<'a>(&self, path: &'a str) -> &'a str {
        match path.strip_prefix(self.options.root_path.as_str()) {
            Some(local) if local.is_empty() || local.starts_with('/') => local,
            _ => path,
        }
    }

    /// Whether the server was told to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

/// Seconds since 1970.
pub fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
