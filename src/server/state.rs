//! What the operator decided, and everything else that a request needs.
//!
//! Called by what answers requests, which finds here what it does not make itself.

use super::http::budget::Budget;
use super::http::error::ApiError;
use super::http::intake::Limits;
use super::http::request_log;
use super::http::run::HTTP_THREADS;
use super::http::shown::shown;
use super::metrics::Metrics;
use super::wire::names;
use crate::checkpoint::Activation;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::options::{Cors, Overflow, Pooling};
use crate::prompt::PromptEncoder;
use crate::threads::{self, Threads};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Threads that read JSON and make tokens.
const TEXT_THREADS: usize = 4;
/// The one that has the model.
const ENGINE_THREADS: usize = 1;
/// Threads that a server takes beside those that compute.
pub const THREADS: usize = TEXT_THREADS + HTTP_THREADS + ENGINE_THREADS;

/// What the operator decided about the server.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Names that requests may use, never empty; answers carry the first.
    pub served_model_names: Vec<String>,
    /// Where the model came from, as the model cards say it.
    pub root: String,
    /// Whether the weights are made up, so that scores carry no meaning.
    pub dummy: bool,
    /// Longest prompt in tokens.
    pub max_model_len: usize,
    /// Keys that open the API; empty leaves it open to all.
    pub api_keys: Vec<String>,
    /// Whether a request may name any model.
    pub skip_model_name_validation: bool,
    /// Largest request body in bytes, after decompression.
    pub max_body_bytes: usize,
    /// How long a request's body may take to come; one that is long gets more.
    pub receive_timeout: Duration,
    /// Prefix that a proxy puts before every path; empty or without a `/` at the end.
    pub root_path: String,
    /// Which web pages of other origins may call the API.
    pub cors: Cors,
    /// What becomes of a pair that is too long.
    pub overflow: Overflow,
    /// How a logit becomes a score.
    pub pooling: Pooling,
    /// The function that makes a score of it, unless a request asks for the logit itself.
    pub activation: Activation,
    /// Whether each request is a line in the log.
    pub log_requests: bool,
    /// Whether answers name their request in `X-Request-Id`.
    pub request_id_headers: bool,
    /// Whether the API is described at `/openapi.json` and `/docs`.
    pub docs: bool,
    /// What the model calls its one class.
    pub label: String,
    /// What `/tokenizer_info` tells, and that there is such a route.
    pub tokenizer_info: Option<Map<String, Value>>,
    /// What `/server_info` tells developers, and that there is such a route; it must hold no secret.
    pub server_info: Option<ServerInfo>,
}

/// What `/server_info` tells.
#[derive(Debug, Clone, Default)]
pub struct ServerInfo {
    /// The server's options.
    pub config: Map<String, Value>,
    /// Its environment variables.
    pub environment: Map<String, Value>,
}

impl Settings {
    /// The name that answers carry.
    pub fn model_name(&self) -> &str {
        self.served_model_names.first().map_or("", String::as_str)
    }

    /// What answers about the model say of its weights: nothing where they are a model's.
    pub fn load_format(&self) -> Option<&'static str> {
        self.dummy.then_some("dummy")
    }

    /// `path` without the proxy's prefix; a path without it is taken as it is.
    pub fn local_path<'a>(&self, path: &'a str) -> &'a str {
        match path.strip_prefix(self.root_path.as_str()) {
            Some(local) if local.is_empty() || local.starts_with('/') => local,
            _ => path,
        }
    }

    /// Accepts what means a served name, and no name at all; a refusal lists the names.
    pub fn check_model(&self, name: &str) -> std::result::Result<(), ApiError> {
        if name.is_empty() || self.skip_model_name_validation || names::means_one_of(&self.served_model_names, name) {
            return Ok(());
        }
        let served = self.served_model_names.join(", ");
        let sentence = format!("The model `{}` does not exist. Valid aliases: {served}.", shown(name));
        Err(Error::new(ErrorKind::UnknownModel, sentence).into())
    }
}

/// Everything a request needs.
pub struct State {
    pub(super) settings: Settings,
    pub(super) engine: Engine,
    pub(super) encoder: Arc<PromptEncoder>,
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
    /// The state of a server; an error if the metrics cannot be labelled with the served name, or if the system refuses
    /// the threads that a server takes, those of HTTP among them.
    pub fn new(settings: Settings, engine: Engine, encoder: Arc<PromptEncoder>) -> Result<Self> {
        let metrics = Metrics::new(settings.model_name(), settings.max_model_len)
            .map_err(|err| Error::new(ErrorKind::Internal, format!("The metrics cannot be set up: {err}.")))?;
        let (at_work, stopping) = (AtomicUsize::new(0), AtomicBool::new(false));
        let (budget, told) = (Budget::new(settings.max_body_bytes), request_log::Told::new(settings.log_requests));
        let threads = Threads::start("texts", TEXT_THREADS)?;
        threads::check_room("http", HTTP_THREADS)?;
        Ok(Self { settings, engine, encoder, metrics, threads, at_work, told, budget, stopping, started: unix_time() })
    }

    /// What a body may take.
    pub fn limits(&self) -> Limits<'_> {
        let Settings { max_body_bytes, receive_timeout, .. } = self.settings;
        Limits { bytes: max_body_bytes, time: receive_timeout, budget: &self.budget, threads: &self.threads }
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
