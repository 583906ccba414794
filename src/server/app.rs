//! What answers requests: the application, and what is done around every answer.
//!
//! Invariants: every path goes through `answer`, so that keys, methods, error bodies and metrics have one place;
//! every error is JSON; nothing redirects. When a client closes its connection the request's future is dropped, and
//! with it the engine's work. Called by `life` and by tests.

use super::http::error::{ApiError, Refusal};
use super::http::intake;
use super::http::request_log::Record;
use super::http::shown::shown;
use super::http::{access, connections, cors, request_id};
use super::metrics::Exchange;
use super::route::{Call, Found, Handler, meant, no_route};
use super::routes::ROUTES;
use super::state::State;
use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::header::{CONTENT_LENGTH, HeaderName};
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
    if let Some(preflight) = cors::preflight(&state.options.cors, request.method(), request.headers()) {
        busy.answered(bytes(&preflight));
        record.answered(preflight.status(), None, false);
        return finished(&state, &request, preflight);
    }
    let path = state.local_path(request.path());
    let found = meant(ROUTES, path).map(|found| Found { route: found.route.as_asked(path, &request, &state), ..found });
    let found = found.filter(|found| found.route.is_on(&state));
    let (mut response, refused) = match record.of(answer(&request, found.as_ref(), payload, &state)).await {
        Ok(response) => (response, None),
        Err(refused) => (refused.response(), Some(refused)),
    };
    // Also to who has no key, as vLLM does not: without these a page cannot even read that it needs one.
    cors::apply(&state.options.cors, request.headers(), response.headers_mut());
    let handler = found.as_ref().map_or(Some("none"), |found| found.route.label(path));
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
    if state.options.request_id_headers
        && let Some(id) = request_id::sent_back(request.headers())
    {
        response.headers_mut().insert(request_id::HEADER, id);
    }
    response
}

async fn answer(
    request: &HttpRequest,
    found: Option<&Found>,
    payload: web::Payload,
    state: &web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    if !found.is_some_and(|found| found.route.open) && request.method() != Method::OPTIONS {
        access::check(&state.options.api_keys.keys, request.headers())?;
    }
    let Some(Found { route, id }) = found else {
        return Err(no_route(ROUTES, request));
    };
    let Some(operation) = route.operation(request.method()) else {
        let (path, method, allow) = (shown(request.path()), shown(request.method().as_str()), route.allow());
        let sentence = format!("{path} takes {allow}, not {method}.");
        return Err(ApiError::new(Refusal::Method, sentence).with_detail("Method Not Allowed").allowing(allow));
    };
    let _at_work = operation.is_work.then(|| AtWork::begin(state));
    let call = Call { state, request, payload, id, route, table: ROUTES };
    match operation.handler {
        Handler::Tells(tells) => tells(&call),
        Handler::Works(works) => works(call).await,
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
