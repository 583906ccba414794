//! What answers requests: the application, and what is done around every answer.
//!
//! Invariants: every path goes through `answer`, so that keys, methods, error bodies and metrics have one place;
//! every error is JSON; nothing redirects. When a client closes its connection the request's future is dropped, and
//! with it the engine's work. Called by `life` and by tests.

use super::http::error::{ApiError, Refusal};
use super::http::intake::{self, Body};
use super::http::request_log::Record;
use super::http::shown::shown;
use super::http::{access, connections, cors, request_id};
use super::metrics::Exchange;
use super::route::Resource;
use super::routes::rerank::{self, Documents};
use super::routes::{classify, info, invocations, openapi, pooling, score, tokenize};
use super::state::State;
use super::wire::{body, fields};
use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::header::{ALLOW, CONTENT_LENGTH, HeaderName, HeaderValue};
use actix_web::http::{ConnectionType, Method};
use actix_web::{App, HttpRequest, HttpResponse, web};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long the connection stays for the next request.
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

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

/// What every path is answered with.
pub fn routes(state: web::Data<State>) -> impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static {
    move |app| {
        app.app_data(state.clone()).default_service(web::to(serve));
    }
}

async fn serve(request: HttpRequest, payload: web::Payload, state: web::Data<State>) -> HttpResponse {
    let record = Record::begin(&request, &state.told, &state.stopping);
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
            let body = intake::body(state.limits(), request, payload).await?;
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
    intake::body(state.limits(), request, payload).await
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
