//! The description of the API, made from the types that are sent and the readers' fields, and a page that shows it.
//!
//! Invariant: every status that a route answers stands in its description. Nothing is fetched from elsewhere: the page
//! is part of the program and asks this server only. Called by `server`.

mod requests;

use super::classify::ClassifyResponse;
use super::info::{ClusterAuth, Info, Load, ModelCard, ModelList, Version};
use super::pooling::PoolingResponse;
use super::rerank::{DataResponse, OutputResponse, RerankResponse, TextRanks};
use super::tokenize::{DetokenizeResponse, TokenizeResponse};
use crate::error::ErrorKind;
use crate::server::http::error::{self, ErrorBody, Refusal, Row, TextsErrorBody, UnauthorizedBody};
use crate::server::route::Resource;
use crate::server::state::Settings;
use crate::server::wire::pairs::ScoreResponse;
use actix_web::HttpResponse;
use actix_web::http::header::CONTENT_SECURITY_POLICY;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, PathItem, PathsBuilder};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{AnyOfBuilder, ObjectBuilder, Schema, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Required, ResponseBuilder};
use utoipa::{PartialSchema, ToSchema};

/// The page, which reads `openapi.json` beside it.
const PAGE: &str = include_str!("../../../../assets/docs.html");
/// The page runs its own script and talks to this server; nothing else is let in.
const PAGE_POLICY: &str =
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'";
/// Name of the security scheme.
const KEY: &str = "ApiKey";

/// What a successful answer holds.
enum Answer {
    /// Nothing.
    Empty,
    /// A JSON value of one of these schemas.
    Json(&'static [&'static str]),
    /// JSON or bytes.
    JsonOrBytes(&'static str),
    /// JSON of no fixed form.
    Object,
    /// Prometheus' text format.
    Metrics,
}

/// A route, for one method.
struct Route {
    method: HttpMethod,
    path: &'static str,
    tag: &'static str,
    summary: &'static str,
    request: Option<&'static str>,
    answer: Answer,
    /// Besides those of every route: no key, no such method.
    refusals: &'static [Refusal],
}

const UNKNOWN: Refusal = Refusal::Kind(ErrorKind::UnknownModel);
const FAULT: Refusal = Refusal::Kind(ErrorKind::Internal);
const UNWELL: Refusal = Refusal::Kind(ErrorKind::Busy);

/// Answers to a rerank request, by the words of its body.
const RANKS: &[&str] = &["RerankResponse", "DataResponse", "TextRanks", "OutputResponse"];

fn routes(settings: &Settings) -> Vec<Route> {
    let post = |path, tag, summary, request, answer| Route {
        method: HttpMethod::Post,
        path,
        tag,
        summary,
        request: Some(request),
        answer,
        // What reads a body may refuse it for everything.
        refusals: &error::EVERY,
    };
    let get = |path, tag, summary, answer, refusals| Route {
        method: HttpMethod::Get,
        path,
        tag,
        summary,
        request: None,
        answer,
        refusals,
    };
    let rerank =
        |path| post(path, "Scores", "Rank documents for a query, best first", "AnyRerankRequest", Answer::Json(RANKS));
    let score =
        |path| post(path, "Scores", "Score pairs of texts, in order", "ScoreRequest", Answer::Json(&["ScoreResponse"]));
    let health = "Whether the model can score";
    let well = |method, path| Route { method, ..get(path, "Server", health, Answer::Empty, &[UNWELL]) };
    let any = &[
        "ClassifyResponse",
        "RerankResponse",
        "DataResponse",
        "TextRanks",
        "OutputResponse",
        "ScoreResponse",
        "PoolingResponse",
    ];
    let mut routes = vec![
        rerank("/rerank"),
        rerank("/v1/rerank"),
        rerank("/v2/rerank"),
        score("/score"),
        score("/v1/score"),
        post("/classify", "Scores", "Score whole prompts", "InputRequest", Answer::Json(&["ClassifyResponse"])),
        post(
            "/pooling",
            "Scores",
            "Score whole prompts, as numbers or bytes",
            "PoolingRequest",
            Answer::JsonOrBytes("PoolingResponse"),
        ),
        post("/invocations", "Scores", "Any of these, by the body (SageMaker)", "InvocationRequest", Answer::Json(any)),
        post("/", "Scores", "Rank documents, for clients that add no path", "AnyRerankRequest", Answer::Json(RANKS)),
        post("/tokenize", "Tokens", "Text to tokens", "TokenizeRequest", Answer::Json(&["TokenizeResponse"])),
        post("/detokenize", "Tokens", "Tokens to text", "DetokenizeRequest", Answer::Json(&["DetokenizeResponse"])),
        get("/v1/models", "Server", "The served names", Answer::Json(&["ModelList"]), &[]),
        get("/v1/models/{id}", "Server", "One served name", Answer::Json(&["ModelCard"]), &[UNKNOWN]),
        well(HttpMethod::Get, "/health"),
        well(HttpMethod::Get, "/ping"),
        well(HttpMethod::Post, "/ping"),
        well(HttpMethod::Get, "/"),
        well(HttpMethod::Options, "/"),
        get("/version", "Server", "Version of this program", Answer::Json(&["Version"]), &[]),
        get("/info", "Server", "What is served, as text-embeddings-inference says it", Answer::Json(&["Info"]), &[]),
        get(
            "/v1/cluster/auth",
            "Server",
            "Whether users log in, for Xinference's clients",
            Answer::Json(&["ClusterAuth"]),
            &[],
        ),
        get("/metrics", "Server", "Prometheus metrics", Answer::Metrics, &[FAULT]),
        get("/load", "Server", "Requests at work", Answer::Json(&["Load"]), &[]),
        get("/kv_event_sources", "Server", "Sources of cache events: none", Answer::Object, &[]),
    ];
    if settings.tokenizer_info.is_some() {
        routes.push(get("/tokenizer_info", "Tokens", "The tokenizer's configuration", Answer::Object, &[]));
    }
    if settings.server_info.is_some() {
        routes.push(get("/server_info", "Server", "Options and environment, for developers", Answer::Object, &[]));
    }
    routes
}

/// `GET /openapi.json`.
pub fn document(settings: &Settings) -> HttpResponse {
    HttpResponse::Ok().json(api(settings))
}

/// `GET /docs`.
pub fn page() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((CONTENT_SECURITY_POLICY, PAGE_POLICY))
        .body(PAGE)
}

fn api(settings: &Settings) -> OpenApi {
    let mut schemas = requests::parts();
    add::<RerankResponse<'_>>(&mut schemas);
    add::<DataResponse<'_>>(&mut schemas);
    add::<TextRanks<'_>>(&mut schemas);
    add::<OutputResponse<'_>>(&mut schemas);
    add::<ScoreResponse<'_>>(&mut schemas);
    add::<ClassifyResponse<'_>>(&mut schemas);
    add::<PoolingResponse<'_>>(&mut schemas);
    add::<TokenizeResponse>(&mut schemas);
    add::<DetokenizeResponse>(&mut schemas);
    add::<ModelList<'_>>(&mut schemas);
    add::<ModelCard<'_>>(&mut schemas);
    add::<Version>(&mut schemas);
    add::<Info<'_>>(&mut schemas);
    add::<ClusterAuth>(&mut schemas);
    add::<Load>(&mut schemas);
    add::<ErrorBody<'_>>(&mut schemas);
    add::<TextsErrorBody<'_>>(&mut schemas);
    add::<UnauthorizedBody<'_>>(&mut schemas);
    let requests = requests::all();
    let mut components = ComponentsBuilder::new().schemas_from_iter(schemas);
    for request in &requests {
        components = components.schema(request.name, request.schema.clone());
    }
    if !settings.api_keys.is_empty() {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components = components.security_scheme(KEY, SecurityScheme::Http(bearer));
    }
    let mut paths = PathsBuilder::new();
    for route in routes(settings) {
        let request = requests.iter().find(|request| Some(request.name) == route.request);
        let operation = operation(&route, request, settings);
        paths = paths.path(route.path, PathItem::new(route.method, operation));
    }
    let info = InfoBuilder::new()
        .title("ironrank")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("Scores of query-document pairs by a Qwen3 reranker, over the routes of vLLM."));
    OpenApiBuilder::new().info(info).paths(paths).components(Some(components.build())).build()
}

fn add<T: ToSchema + PartialSchema>(schemas: &mut Vec<(String, RefOr<Schema>)>) {
    T::schemas(schemas);
    schemas.push((T::name().into_owned(), T::schema()));
}

fn operation(route: &Route, request: Option<&requests::Request>, settings: &Settings) -> OperationBuilder {
    let mut operation = OperationBuilder::new().tag(route.tag).summary(Some(route.summary));
    if let Some(request) = request {
        let content = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name(request.name)))
            .example(Some(request.example.clone()));
        let body =
            RequestBodyBuilder::new().content("application/json", content.build()).required(Some(Required::True));
        operation = operation.request_body(Some(body.build()));
    }
    if route.path.contains("{id}") {
        let id = ParameterBuilder::new()
            .name("id")
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .schema(Some(ObjectBuilder::new().schema_type(Type::String).min_length(Some(1))));
        operation = operation.parameter(id);
    }
    operation = operation.response("200", success(&route.answer));
    let is_open =
        route.method == HttpMethod::Options || Resource::at(route.path).is_some_and(|resource| resource.is_open());
    let ranks = matches!(&route.answer, Answer::Json(names) if names.contains(&"TextRanks"));
    for &refusal in route.refusals {
        match refusal {
            // Of every route below, whatever it reads.
            Refusal::Unauthorized | Refusal::Method(_) => {}
            _ => operation = refused(operation, refusal, ranks),
        }
    }
    operation = refused(operation, Refusal::Method(""), false);
    if !settings.api_keys.is_empty() && !is_open {
        operation = refused(operation, Refusal::Unauthorized, false)
            .security(SecurityRequirement::new(KEY, std::iter::empty::<String>()));
    }
    operation
}

fn success(answer: &Answer) -> ResponseBuilder {
    let json = |schema: RefOr<Schema>| ContentBuilder::new().schema(Some(schema)).build();
    let named = |name: &str| RefOr::Ref(Ref::from_schema_name(name));
    let response = ResponseBuilder::new().description("As asked for");
    match answer {
        Answer::Empty => ResponseBuilder::new().description("Yes"),
        Answer::Json([name]) => response.content("application/json", json(named(name))),
        Answer::Json(names) => {
            let any = names.iter().fold(AnyOfBuilder::new(), |any, name| any.item(Ref::from_schema_name(*name)));
            let any = json(RefOr::T(Schema::AnyOf(any.build())));
            let response = response.content("application/json", any);
            match names.contains(&"PoolingResponse") {
                true => response.content("application/octet-stream", ContentBuilder::new().build()),
                false => response,
            }
        }
        Answer::JsonOrBytes(name) => response
            .content("application/json", json(named(name)))
            .content("application/octet-stream", ContentBuilder::new().build()),
        Answer::Object => {
            response.content("application/json", json(ObjectBuilder::new().schema_type(Type::Object).into()))
        }
        Answer::Metrics => response.content("text/plain", ContentBuilder::new().build()),
    }
}

/// `texts` is whether a client that sends `texts` may be the one that is refused.
fn refused(operation: OperationBuilder, refusal: Refusal, texts: bool) -> OperationBuilder {
    let Row { status, what, .. } = error::row(refusal);
    let schema = if refusal == Refusal::Unauthorized { "UnauthorizedBody" } else { "ErrorBody" };
    let schema: RefOr<Schema> = match texts {
        false => Ref::from_schema_name(schema).into(),
        true => {
            let both =
                AnyOfBuilder::new().item(Ref::from_schema_name(schema)).item(Ref::from_schema_name("TextsErrorBody"));
            RefOr::T(Schema::AnyOf(both.build()))
        }
    };
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let response = ResponseBuilder::new().description(what).content("application/json", content);
    operation.response(status.as_u16().to_string(), response)
}
