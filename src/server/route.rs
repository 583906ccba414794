//! A row of the table of routes: which paths mean it, who may ask, what is counted, what answers and how it is described.
//!
//! Clients glue paths together in many ways, so empty segments count nothing. Invariant: never a redirect, because a
//! redirected POST becomes a GET in common clients. Filled in by each file of `routes`, read by `app` and `openapi`.

use super::describe::Description;
use super::http::error::{ApiError, Refusal};
use super::http::intake::{self, Body};
use super::http::request_id;
use super::http::shown::shown;
use super::state::State;
use super::wire::body;
use actix_web::http::Method;
use actix_web::http::header::ACCEPT;
use actix_web::{HttpRequest, HttpResponse, web};
use percent_encoding::percent_decode_str;
use std::cmp::Reverse;
use std::future::Future;
use std::pin::Pin;

/// What a server is for, where a path means nothing.
const RANKS_AND_EMBEDS: &str =
    "this server only ranks and embeds, with POST /v1/rerank, POST /v1/score and POST /v1/embeddings";

/// All routes of a server.
pub type Table = &'static [&'static Route];

/// A resource of the API.
#[derive(Clone, Copy)]
pub struct Route {
    /// Paths that mean it, where it is described and by which metrics call it: a request's own if it is among these,
    /// else the first. `{id}` at the end is one segment or more.
    pub paths: &'static [&'static str],
    /// Paths that mean it as well; `**/x` is every path that ends in `x` and has no other meaning, `**/x/y` counting more
    /// than `**/y`.
    pub also: &'static [&'static str],
    /// Whether it is open to all, also when a key is configured: what tells nothing of anybody's texts and is asked by
    /// programs that know no key, such as a browser at the description of the API.
    pub open: bool,
    /// Whether metrics and log count it; vLLM leaves out what asks whether the server is well.
    pub counted: bool,
    /// Where not every server has it.
    pub switch: Option<Switch>,
    /// What answers a browser that asks for a page by one of `paths`, where the server has it.
    pub page: Option<&'static Route>,
    /// What it does, by the method.
    pub operations: &'static [Operation],
}

/// What an operator turns on or off.
#[derive(Clone, Copy)]
pub struct Switch {
    /// Whether it is on.
    pub is_on: fn(&State) -> bool,
    /// What is said where it is off.
    pub otherwise: &'static str,
}

/// One method of a route.
#[derive(Clone, Copy)]
pub struct Operation {
    /// Its method.
    pub verb: Verb,
    /// Whether it is work for the engine, which `/load` counts.
    pub is_work: bool,
    /// What answers.
    pub handler: Handler,
    /// How it is described, if it is.
    pub description: Option<Description>,
}

/// A method that a route may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// GET, and HEAD.
    Get,
    /// POST.
    Post,
    /// OPTIONS, where it is no preflight.
    Options,
}

/// What answers a request.
#[derive(Clone, Copy)]
pub enum Handler {
    /// Says what is known.
    Tells(fn(&Call<'_>) -> Result<HttpResponse, ApiError>),
    /// Reads a body, or waits for something else.
    Works(for<'a> fn(Call<'a>) -> Working<'a>),
}

/// An answer on its way.
pub type Working<'a> = Pin<Box<dyn Future<Output = Result<HttpResponse, ApiError>> + 'a>>;

/// A request that has found its route.
pub struct Call<'a> {
    /// What the server has.
    pub state: &'a web::Data<State>,
    /// The head of the request.
    pub request: &'a HttpRequest,
    /// Its body, still to come.
    pub payload: web::Payload,
    /// What the path has in the place of `{id}`.
    pub id: &'a str,
    /// The route.
    pub route: &'static Route,
    /// All routes.
    pub table: Table,
}

/// What a path means.
pub struct Found {
    /// The route.
    pub route: &'static Route,
    /// What stands in the place of `{id}`, decoded.
    pub id: String,
}

impl Route {
    /// A route that needs a key, is counted and always there.
    pub const fn at(paths: &'static [&'static str], operations: &'static [Operation]) -> Self {
        Self { paths, also: &[], open: false, counted: true, switch: None, page: None, operations }
    }

    /// Whether the server has it.
    pub fn is_on(&self, state: &State) -> bool {
        self.switch.is_none_or(|switch| (switch.is_on)(state))
    }

    /// What answers a request of this head by this path: itself, or its page.
    pub fn as_asked(&'static self, path: &str, request: &HttpRequest, state: &State) -> &'static Self {
        let path = segments(path);
        let is_for_people = || self.paths.iter().any(|own| segments(own) == path) && asks_for_a_page(request);
        self.page.filter(|page| page.is_on(state) && is_for_people()).unwrap_or(self)
    }

    /// What it does with `method`.
    pub fn operation(&self, method: &Method) -> Option<&'static Operation> {
        self.operations.iter().find(|operation| operation.verb.methods().contains(&method.as_str()))
    }

    /// Its methods, as in an `Allow` header.
    pub fn allow(&self) -> String {
        self.operations.iter().flat_map(|operation| operation.verb.methods()).copied().collect::<Vec<_>>().join(", ")
    }

    /// Whether `verb` needs no key: OPTIONS never does.
    pub fn is_open(&self, verb: Verb) -> bool {
        self.open || verb == Verb::Options
    }

    /// The `handler` label of the HTTP metrics, from a bounded set whatever paths clients invent; `None` is not counted.
    pub fn label(&self, path: &str) -> Option<&'static str> {
        let own = self.paths.iter().find(|own| **own == path);
        own.or(self.paths.first()).copied().filter(|_| self.counted)
    }
}

impl Operation {
    /// A GET that tells of the server.
    pub const fn get(tells: fn(&Call<'_>) -> Result<HttpResponse, ApiError>, description: Description) -> Self {
        let (handler, description) = (Handler::Tells(tells), Some(description));
        Self { verb: Verb::Get, is_work: false, handler, description }
    }

    /// The same of what is no part of the API.
    pub const fn undescribed(tells: fn(&Call<'_>) -> Result<HttpResponse, ApiError>) -> Self {
        Self { verb: Verb::Get, is_work: false, handler: Handler::Tells(tells), description: None }
    }

    /// A POST that reads a body.
    pub const fn post(works: for<'a> fn(Call<'a>) -> Working<'a>, description: Description) -> Self {
        let (handler, description) = (Handler::Works(works), Some(description));
        Self { verb: Verb::Post, is_work: false, handler, description }
    }

    /// An operation that is work for the engine.
    #[must_use]
    pub const fn of_the_engine(self) -> Self {
        Self { is_work: true, ..self }
    }
}

impl Verb {
    /// The names of its methods.
    pub fn methods(self) -> &'static [&'static str] {
        match self {
            Self::Get => &["GET", "HEAD"],
            Self::Post => &["POST"],
            Self::Options => &["OPTIONS"],
        }
    }
}

impl<'a> Call<'a> {
    /// The client's name of the request, if its head has one.
    pub fn request_id(&self) -> Option<&'a str> {
        request_id::of(self.request.headers())
    }

    /// The body, if the head says that it is JSON or says nothing.
    pub async fn json(self) -> Result<Body, ApiError> {
        body::check_content_type(self.request.headers())?;
        self.body().await
    }

    /// The body, whatever it is.
    pub async fn body(self) -> Result<Body, ApiError> {
        intake::body(self.state.limits(), self.request, self.payload).await
    }
}

/// What `path` (percent-encoded, without the query string) means.
pub fn meant(table: Table, path: &str) -> Option<Found> {
    let segments = segments(path);
    let meanings = table.iter().flat_map(|&route| {
        let patterns = route.paths.iter().chain(route.also);
        patterns.filter_map(|pattern| meaning(pattern, &segments)).map(move |meaning| (meaning, route))
    });
    let (meaning, route) = meanings.min_by_key(|(meaning, _)| *meaning)?;
    let id = match meaning {
        Meaning::Under(head) => percent_decode_str(&segments[head..].join("/")).decode_utf8_lossy().into_owned(),
        Meaning::Itself | Meaning::EndsIn(_) => String::new(),
    };
    Some(Found { route, id })
}

/// The refusal where a path means nothing.
pub fn no_route(table: Table, request: &HttpRequest) -> ApiError {
    let path = request.path();
    let is_here = |route: &&Route| route.paths.iter().chain(route.also).any(|own| *own == path);
    let switch = table.iter().copied().filter(is_here).find_map(|route| route.switch);
    let why = switch.map_or(RANKS_AND_EMBEDS, |off| off.otherwise);
    let sentence = format!("There is no {} {} here: {why}.", shown(request.method().as_str()), shown(path));
    ApiError::new(Refusal::NoRoute, sentence).with_detail("Not Found")
}

/// Whether a browser asks for what it will show: other programs accept anything, or the type that they read.
fn asks_for_a_page(request: &HttpRequest) -> bool {
    let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let accepts_html =
        accept.split(',').any(|kind| kind.split(';').next().is_some_and(|kind| kind.trim() == "text/html"));
    accepts_html && [Method::GET, Method::HEAD].contains(request.method())
}

/// How a path means a route; the first counts most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Meaning {
    /// It is the route's path.
    Itself,
    /// It goes on after so many segments of the route's, with the `{id}`.
    Under(usize),
    /// Its last segments are the route's, so many.
    EndsIn(Reverse<usize>),
}

fn meaning(pattern: &str, path: &[&str]) -> Option<Meaning> {
    if let Some(tail) = pattern.strip_prefix("**/") {
        let tail = segments(tail);
        return path.ends_with(&tail).then_some(Meaning::EndsIn(Reverse(tail.len())));
    }
    if let Some(head) = pattern.strip_suffix("{id}") {
        let head = segments(head);
        return (path.len() > head.len() && path.starts_with(&head)).then_some(Meaning::Under(head.len()));
    }
    (segments(pattern) == path).then_some(Meaning::Itself)
}

fn segments(path: &str) -> Vec<&str> {
    path.split('/').filter(|segment| !segment.is_empty()).collect()
}
