//! The description of the API, made from the rows of the table of routes, and a page that shows it.
//!
//! Invariant: nothing is fetched from elsewhere: the page
//! is part of the program and asks this server only.

use crate::error::ErrorKind;
use crate::server::describe::schema::{self, Request};
use crate::server::describe::{Content, Description, Schemas, shape};
use crate::server::http::error::{self, ErrorBody, ErrorForm, Refusal, Row, TextsErrorBody, UnauthorizedBody};
use crate::server::http::request_id;
use crate::server::route::{Operation, Route, Switch, Table, Verb};
use crate::server::scoring::SHORTENED;
use crate::server::state::State;
use crate::server::wire::metadata::METADATA;
use actix_web::HttpResponse;
use actix_web::http::header::{ALLOW, CONTENT_SECURITY_POLICY, HeaderName, RETRY_AFTER};
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, PathItem, PathsBuilder};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{AnyOfBuilder, ObjectBuilder, Schema, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, Header, HeaderBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Required,
    ResponseBuilder,
};

/// The page, which reads `openapi.json` beside it.
const HTML: &str = include_str!("../../../assets/docs.html");
/// The page runs its own script and talks to this server; nothing else is let in.
const PAGE_POLICY: &str =
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'";
/// Name of the security scheme.
const KEY: &str = "ApiKey";

/// The description of the API.
pub static DOCUMENT: Route = Route {
    open: true,
    switch: Some(SWITCH),
    ..Route::at(
        &["/openapi.json"],
        &[Operation::undescribed(|call| Ok(HttpResponse::Ok().json(api(call.table, call.state))))],
    )
};

/// The page that shows it.
pub static PAGE: Route = Route {
    also: &["/redoc"],
    open: true,
    switch: Some(SWITCH),
    ..Route::at(&["/docs"], &[Operation::undescribed(|_| Ok(page()))])
};

/// Of what people look at in a browser.
pub const SWITCH: Switch =
    Switch { is_on: |state| state.options.docs, otherwise: "--disable-fastapi-docs has turned it off" };

fn page() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((CONTENT_SECURITY_POLICY, PAGE_POLICY))
        .body(HTML)
}

fn api(table: Table, state: &State) -> OpenApi {
    let mut schemas = schema::parts();
    shape::<ErrorBody<'_>>(&mut schemas);
    shape::<TextsErrorBody<'_>>(&mut schemas);
    shape::<UnauthorizedBody<'_>>(&mut schemas);
    let mut paths = PathsBuilder::new();
    for route in table.iter().filter(|route| route.is_on(state)) {
        for (of, description) in route.operations.iter().filter_map(|one| Some((one, one.description?))) {
            let needs_key = !state.options.api_keys.keys.is_empty() && !route.is_open(of.verb);
            for &path in route.paths {
                let operation = operation(path, of, &description, needs_key, &mut schemas);
                let mut item = PathItem::new(method(of.verb), operation.operation_id(Some(id(route, path, of.verb))));
                if state.options.request_id_headers {
                    name_requests(&mut item);
                }
                paths = paths.path(path, item);
            }
        }
    }
    let mut components = ComponentsBuilder::new().schemas_from_iter(schemas);
    if !state.options.api_keys.keys.is_empty() {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components = components.security_scheme(KEY, SecurityScheme::Http(bearer));
    }
    let about = "Scores of query-document pairs by a Qwen3 reranker and vectors of texts by a Qwen3 embedding model, over the \
                 routes of vLLM.";
    let info = InfoBuilder::new().title("ironrank").version(env!("CARGO_PKG_VERSION")).description(Some(about));
    OpenApiBuilder::new().info(info).paths(paths).components(Some(components.build())).build()
}

fn method(verb: Verb) -> HttpMethod {
    match verb {
        Verb::Get => HttpMethod::Get,
        Verb::Post => HttpMethod::Post,
        Verb::Options => HttpMethod::Options,
    }
}

/// A path's own words, such as `v1_rerank`; behind those of a route's other methods the method, as in `ping_post`.
fn id(route: &Route, path: &str, verb: Verb) -> String {
    let words: Vec<&str> = path.split(['/', '{', '}']).filter(|word| !word.is_empty()).collect();
    let path = if words.is_empty() { "root".to_owned() } else { words.join("_") };
    match route.operations.first() {
        Some(first) if first.verb != verb => format!("{path}_{}", verb.methods()[0].to_lowercase()),
        _ => path,
    }
}

/// Every answer names its request.
fn name_requests(item: &mut PathItem) {
    for operation in [&mut item.get, &mut item.post, &mut item.options].into_iter().flatten() {
        for response in operation.responses.responses.values_mut() {
            if let RefOr::T(response) = response {
                let (name, header) = text_header(request_id::HEADER, "The request's name, or one that was made for it");
                response.headers.insert(name, header);
            }
        }
    }
}

/// A header of an answer.
fn header(name: HeaderName, kind: Type, about: &str) -> (String, Header) {
    let schema = ObjectBuilder::new().schema_type(kind);
    (name.to_string(), HeaderBuilder::new().schema(schema).description(Some(about)).build())
}

fn text_header(name: HeaderName, about: &str) -> (String, Header) {
    header(name, Type::String, about)
}

/// Adds the schemas of a request and of all that it refers to.
fn add(request: Request, schemas: &mut Schemas) {
    schemas.push((request.name.to_owned(), RefOr::T(request.schema)));
    request.parts.into_iter().for_each(|part| add(part, schemas));
}

fn operation(
    path: &str,
    of: &Operation,
    description: &Description,
    needs_key: bool,
    schemas: &mut Schemas,
) -> OperationBuilder {
    let mut operation = OperationBuilder::new().tag(description.tag).summary(Some(description.summary));
    operation = operation.description(description.about);
    if let Some(request) = description.request.map(|request| request()) {
        let content = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name(request.name)))
            .example(Some(request.example.clone()));
        let body =
            RequestBodyBuilder::new().content("application/json", content.build()).required(Some(Required::True));
        operation = operation.request_body(Some(body.build()));
        add(request, schemas);
    }
    if path.contains("{id}") {
        let id = ParameterBuilder::new()
            .name("id")
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .schema(Some(ObjectBuilder::new().schema_type(Type::String).min_length(Some(1))));
        operation = operation.parameter(id);
    }
    if of.is_work {
        let name = ParameterBuilder::new()
            .name(request_id::HEADER.as_str())
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some("The client's name of the request, which answer and log carry"))
            .schema(Some(ObjectBuilder::new().schema_type(Type::String).max_length(Some(request_id::LONGEST))));
        operation = operation.parameter(name);
    }
    operation = operation.response("200", success(of, description.answer, schemas));
    for &refusal in description.refusals {
        match refusal {
            // Of every route below, whatever it reads.
            Refusal::Unauthorized | Refusal::Method => {}
            _ => operation = refused(operation, refusal, description.error_forms),
        }
    }
    operation = refused(operation, Refusal::Method, &[ErrorForm::Object]);
    if needs_key {
        operation = refused(operation, Refusal::Unauthorized, &[ErrorForm::Object])
            .security(SecurityRequirement::new(KEY, std::iter::empty::<String>()));
    }
    operation
}

fn success(of: &Operation, answer: Content, schemas: &mut Schemas) -> ResponseBuilder {
    let json = |schema: RefOr<Schema>| ContentBuilder::new().schema(Some(schema)).build();
    let mut response = ResponseBuilder::new().description("As asked for");
    if of.is_work {
        let (name, header) = header(SHORTENED, Type::Integer, "Documents that were shortened to fit, if any were");
        response = response.header(name, header);
    }
    match answer {
        Content::Empty => {
            let well = response.description("Yes");
            match of.verb {
                Verb::Options => allowing(well),
                Verb::Get | Verb::Post => well,
            }
        }
        Content::Json(shapes) | Content::JsonOrBytes(shapes) => {
            let schema: RefOr<Schema> = match shapes {
                [one] => Ref::from_schema_name(one(schemas)).into(),
                shapes => {
                    let names = shapes.iter().map(|shape| shape(schemas));
                    let any = names.fold(AnyOfBuilder::new(), |any, name| any.item(Ref::from_schema_name(name)));
                    RefOr::T(Schema::AnyOf(any.build()))
                }
            };
            let response = response.content("application/json", json(schema));
            match answer {
                Content::JsonOrBytes(_) => {
                    let about = "Of an answer of bytes: its names, and where in the bytes each row stands, as JSON";
                    let (name, header) = text_header(METADATA, about);
                    response.content("application/octet-stream", ContentBuilder::new().build()).header(name, header)
                }
                _ => response,
            }
        }
        Content::Object => {
            response.content("application/json", json(ObjectBuilder::new().schema_type(Type::Object).into()))
        }
        Content::Metrics => response.content("text/plain", ContentBuilder::new().build()),
    }
}

fn allowing(response: ResponseBuilder) -> ResponseBuilder {
    let (name, header) = text_header(ALLOW, "The methods that there are");
    response.header(name, header)
}

/// `forms` are those in which the clients that may be refused read errors.
fn refused(operation: OperationBuilder, refusal: Refusal, forms: &[ErrorForm]) -> OperationBuilder {
    let schema = if refusal == Refusal::Unauthorized { "UnauthorizedBody" } else { "ErrorBody" };
    let schema: RefOr<Schema> = match forms {
        [ErrorForm::Object] => Ref::from_schema_name(schema).into(),
        _ => {
            let both =
                AnyOfBuilder::new().item(Ref::from_schema_name(schema)).item(Ref::from_schema_name("TextsErrorBody"));
            RefOr::T(Schema::AnyOf(both.build()))
        }
    };
    let content = ContentBuilder::new().schema(Some(schema)).build();
    forms.iter().fold(operation, |operation, &form| {
        let Row { status, what, .. } = error::row(refusal, form);
        let mut response = ResponseBuilder::new().description(what).content("application/json", content.clone());
        match refusal {
            Refusal::Method => response = allowing(response),
            Refusal::Kind(ErrorKind::Busy) => {
                let (name, header) = header(RETRY_AFTER, Type::Integer, "Seconds after which to ask again");
                response = response.header(name, header);
            }
            _ => {}
        }
        operation.response(status.as_u16().to_string(), response)
    })
}
