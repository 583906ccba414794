//! The HTTP server: one builder of the application, used by `main` and by tests, and its life from bind to stop.
//!
//! Invariants: every path goes through `answer`, so that keys, methods, error bodies and metrics have one place;
//! every error is JSON; nothing redirects. When a client closes its connection the request's future is dropped, and
//! with it the engine's work. Imports engine and the leaves prompt, options and error; called by `main`.

mod access;
mod activity;
mod aside;
mod body;
mod budget;
mod classify;
mod connections;
mod cors;
mod encoding;
pub mod error;
mod fields;
mod frames;
mod halves;
mod info;
mod input;
mod intake;
mod invocations;
mod listen;
pub mod metrics;
mod names;
mod openapi;
mod pooling;
mod request_id;
mod request_log;
mod rerank;
mod route;
mod run;
mod score;
mod scoring;
mod stream;
mod tls;
mod tokenize;
mod wire;
mod words;

pub use listen::{Listening, Reserved, reserve, reserve_unix};
pub use run::{Lifecycle, run};
pub use tls::{Renewal, follow, hang_ups};

use crate::checkpoint::Activation;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::options::{Cors, Overflow, Pooling};
use crate::prompt::PromptEncoder;
use crate::threads::{self, Threads};
use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::header::{ALLOW, CONTENT_LENGTH, HeaderName, HeaderValue};
use actix_web::http::{ConnectionType, Method};
use actix_web::{App, HttpRequest, HttpResponse, web};
use budget::Budget;
use error::{ApiError, Refusal};
use intake::Body;
use metrics::{Exchange, Metrics};
use request_log::Record;
use rerank::Documents;
use route::Resource;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Threads that read JSON and make tokens.
const TEXT_THREADS: usize = 4;
/// The one that has the model.
const ENGINE_THREADS: usize = 1;
/// Threads that a server takes beside those that compute.
pub const THREADS: usize = TEXT_THREADS + run::HTTP_THREADS + ENGINE_THREADS;

/// How long the connection stays for the next request.
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
/// Most characters of what a client wrote that an answer or a log line repeats.
const MOST_SHOWN: usize = 200;

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
    fn model_name(&self) -> &str {
        self.served_model_names.first().map_or("", String::as_str)
    }

    /// What answers about the model say of its weights: nothing where they are a model's.
    fn load_format(&self) -> Option<&'static str> {
        self.dummy.then_some("dummy")
    }

    /// Whether the operator wants this resource to be there.
    fn has(&self, resource: &Resource) -> bool {
        match resource {
            Resource::ServerInfo => self.server_info.is_some(),
            Resource::TokenizerInfo => self.tokenizer_info.is_some(),
            Resource::OpenApi | Resource::Docs => self.docs,
            _ => true,
        }
    }

    /// `path` without the proxy's prefix; a path without it is taken as it is.
    fn local_path<'a>(&self, path: &'a str) -> &'a str {
        match path.strip_prefix(self.root_path.as_str()) {
            Some(local) if local.is_empty() || local.starts_with('/') => local,
            _ => path,
        }
    }

    /// Accepts what means a served name, and no name at all; a refusal lists the names.
    fn check_model(&self, name: &str) -> std::result::Result<(), ApiError> {
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
    settings: Settings,
    engine: Engine,
    encoder: Arc<PromptEncoder>,
    metrics: Metrics,
    /// They read JSON and make tokens.
    threads: Threads,
    /// Requests at work.
    at_work: AtomicUsize,
    /// What the log was told of requests.
    told: request_log::Told,
    /// The memory that requests share.
    budget: Budget,
    /// Whether the server was told to stop: it is not well any more, and every answer ends its connection.
    stopping: AtomicBool,
    /// Seconds since 1970 when the server started.
    started: u64,
}

impl State {
    /// The state of a server; an error if the metrics cannot be labelled with the served name, or if the system refuses
    /// the threads that a server takes, those of HTTP among them.
    pub fn new(settings: Settings, engine: Engine, encoder: Arc<PromptEncoder>) -> Result<Self> {
        let metrics = Metrics::new(settings.model_name(), settings.max_model_len)
            .map_err(|err| Error::new(ErrorKind::Internal, format!("The metrics cannot be set up: {err}.")))?;
        let (at_work, stopping) = (AtomicUsize::new(0), AtomicBool::new(false));
        let (budget, told) = (Budget::new(settings.max_body_bytes), request_log::Told::default());
        let threads = Threads::start("texts", TEXT_THREADS)?;
        threads::check_room("http", run::HTTP_THREADS)?;
        Ok(Self { settings, engine, encoder, metrics, threads, at_work, told, budget, stopping, started: unix_time() })
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

/// The application: all routes over `state`.
pub fn app(
    state: web::Data<State>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    App::new().configure(routes(state))
}

fn routes(state: web::Data<State>) -> impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static {
    move |app| {
        app.app_data(state.clone()).default_service(web::to(serve));
    }
}

async fn serve(request: HttpRequest, payload: web::Payload, state: web::Data<State>) -> HttpResponse {
    let record = Record::begin(&request, &state);
    let busy = connections::Busy::begin(request.conn_data());
    if let Some(preflight) = cors::preflight(&state.settings.cors, request.method(), request.headers()) {
        busy.answered(bytes(&preflight));
        record.answered(preflight.status(), None, false);
        return finished(&state, &request, preflight);
    }
    let path = state.settings.local_path(request.path());
    let resource = Resource::at(path).filter(|resource| state.settings.has(resource));
    let (mut response, refused) = match record.of(answer(&request, resource.as_ref(), payload, &state)).await {
        Ok(response) => (response, None),
        Err(refused) => (refused.response(), Some(refused)),
    };
    // Also to who has no key, as vLLM does not: without these a page cannot even read that it needs one.
    cors::apply(&state.settings.cors, request.headers(), response.headers_mut());
    let handler = resource.as_ref().map_or(Some("none"), |resource| resource.label(path));
    if let Some(handler) = handler {
        state.metrics.http(exchange(handler, &request, &response, record.elapsed()));
    }
    // What asks whether the server is well asks every few seconds, which is no news.
    record.answered(response.status(), refused.as_ref(), handler.is_some());
    busy.answered(bytes(&response));
    finished(&state, &request, response)
}

/// Names the request in the answer, if that was asked for; and tells how long the connection stays, or the clients of a
/// stopping server to connect elsewhere for what is next.
fn finished(state: &State, request: &HttpRequest, mut response: HttpResponse) -> HttpResponse {
    if state.is_stopping() {
        response.head_mut().set_connection_type(ConnectionType::Close);
    } else if request.head().connection_type() == ConnectionType::KeepAlive && !intake::is_unread(request) {
        let connection = request.conn_data::<Arc<connections::Connection>>();
        if let Some(stays) = connection.and_then(|connection| connection.keep_alive()) {
            response.headers_mut().insert(KEEP_ALIVE, stays);
        }
    }
    if state.settings.request_id_headers
        && let Some(id) = request_id::sent_back(request.headers())
    {
        response.headers_mut().insert(request_id::HEADER, id);
    }
    response
}

async fn answer(
    request: &HttpRequest,
    resource: Option<&Resource>,
    payload: web::Payload,
    state: &web::Data<State>,
) -> std::result::Result<HttpResponse, ApiError> {
    if !resource.is_some_and(Resource::is_open) && request.method() != Method::OPTIONS {
        access::check(&state.settings.api_keys, request.headers())?;
    }
    let Some(resource) = resource else {
        return Err(no_route(request));
    };
    if !resource.allows(request.method()) {
        let (path, method) = (shown(request.path()), shown(request.method().as_str()));
        let sentence = format!("{path} takes {}, not {method}.", resource.methods());
        return Err(ApiError::new(Refusal::Method(resource.methods()), sentence).with_detail("Method Not Allowed"));
    }
    let request_id = request_id::of(request.headers());
    let _at_work = (resource.is_work() && request.method() == Method::POST).then(|| AtWork::begin(state));
    match resource {
        Resource::Rerank => {
            let ollama = request.path().trim_end_matches('/').ends_with("/api/rerank");
            let documents = if ollama { Documents::LeftOut } else { Documents::Returned };
            rerank::answer(state, request_id, documents, read_json(state, request, payload).await?).await
        }
        Resource::Score => score::answer(state, request_id, read_json(state, request, payload).await?).await,
        Resource::Classify => classify::answer(state, request_id, read_json(state, request, payload).await?).await,
        Resource::Pooling => pooling::answer(state, request_id, read_json(state, request, payload).await?).await,
        Resource::Invocations => {
            let body = read_json(state, request, payload).await?;
            invocations::answer(state, request.headers(), request_id, body).await
        }
        Resource::Tokenize => tokenize::tokenize(state, read_json(state, request, payload).await?).await,
        Resource::Detokenize => tokenize::detokenize(state, read_json(state, request, payload).await?).await,
        Resource::Root if request.method() == Method::POST => {
            let body = intake::body(state, request, payload).await?;
            match body::read(&body) {
                Ok(map) if ["query", "input"].into_iter().any(|name| fields::given(&map, name).is_some()) => {
                    rerank::answer(state, request_id, Documents::Returned, body).await
                }
                _ => Err(no_route(request)),
            }
        }
        Resource::Models => Ok(info::models(state)),
        Resource::Model(id) => info::model(state, id),
        // HAProxy's plain `option httpchk`.
        Resource::Root if request.method() == Method::OPTIONS => {
            let mut well = info::health(state)?;
            well.headers_mut().insert(ALLOW, HeaderValue::from_static(resource.methods()));
            Ok(well)
        }
        Resource::Health | Resource::Ping | Resource::Root => info::health(state),
        Resource::Version => Ok(info::version()),
        Resource::Info => Ok(info::info(state)),
        Resource::ClusterAuth => Ok(info::cluster_auth(state)),
        Resource::Metrics => info::metrics(state),
        Resource::Load => Ok(info::load(state.at_work.load(Ordering::Relaxed))),
        Resource::KvEventSources => Ok(info::kv_event_sources()),
        Resource::OpenApi => Ok(openapi::document(&state.settings)),
        Resource::Docs => Ok(openapi::page()),
        Resource::TokenizerInfo => Ok(info::tokenizer_info(state)),
        Resource::ServerInfo => Ok(info::server_info(state, request.query_string())),
    }
}

/// Counts a request as at work while it lives, however it ends.
struct AtWork(web::Data<State>);

impl AtWork {
    fn begin(state: &web::Data<State>) -> Self {
        state.at_work.fetch_add(1, Ordering::Relaxed);
        Self(state.clone())
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.at_work.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn read_json(
    state: &web::Data<State>,
    request: &HttpRequest,
    payload: web::Payload,
) -> std::result::Result<Body, ApiError> {
    body::check_content_type(request.headers())?;
    intake::body(state, request, payload).await
}

fn no_route(request: &HttpRequest) -> ApiError {
    let why = match request.path() {
        "/tokenizer_info" => "--enable-tokenizer-info-endpoint adds it",
        "/server_info" => "VLLM_SERVER_DEV_MODE=1 adds it",
        "/docs" | "/redoc" | "/openapi.json" => "--disable-fastapi-docs has turned it off",
        _ => "this server only reranks, with POST /v1/rerank and POST /v1/score",
    };
    let (method, path) = (shown(request.method().as_str()), shown(request.path()));
    let sentence = format!("There is no {method} {path} here: {why}.");
    ApiError::new(Refusal::NoRoute, sentence).with_detail("Not Found")
}

/// The beginning of what a client wrote.
fn shown(text: &str) -> Cow<'_, str> {
    beginning(text, MOST_SHOWN)
}

/// At most so many characters of `text`.
fn beginning(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        None => text.into(),
        Some((end, _)) => format!("{}…", &text[..end]).into(),
    }
}

/// What the metrics count of an answered request.
fn exchange<'a>(
    handler: &'a str,
    request: &'a HttpRequest,
    response: &HttpResponse,
    elapsed: Duration,
) -> Exchange<'a> {
    let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    Exchange {
        handler,
        method: known_method(request.method()),
        status: response.status().as_u16(),
        elapsed,
        request_bytes: length.and_then(|length| length.parse().ok()).unwrap_or(0),
        response_bytes: bytes(response),
    }
}

fn bytes(response: &HttpResponse) -> u64 {
    match response.body().size() {
        BodySize::Sized(bytes) => bytes,
        BodySize::None | BodySize::Stream => 0,
    }
}

/// Methods are a label of the metrics, so clients may not invent them.
fn known_method(method: &Method) -> &str {
    match *method {
        Method::GET | Method::POST | Method::PUT | Method::DELETE | Method::HEAD | Method::OPTIONS | Method::PATCH => {
            method.as_str()
        }
        _ => "other",
    }
}

fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
