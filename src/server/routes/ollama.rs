//! What Ollama's clients ask before they embed: which models there are, what they are for, and which version this is.

use super::embeddings::SWITCH;
use crate::server::describe::schema::{Request, nullable_string, object, request};
use crate::server::describe::{Content, Description, shape};
use crate::server::http::budget::Charged;
use crate::server::http::error::{ApiError, ErrorForm};
use crate::server::models::Model;
use crate::server::route::{Call, Operation, Route};
use crate::server::wire::body;
use crate::server::wire::fields::{self, Fields};
use crate::task::Task;
use actix_web::HttpResponse;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

/// The models.
pub static TAGS: Route = Route {
    switch: Some(SWITCH),
    ..Route::at(
        &["/api/tags"],
        &[Operation::get(
            |call| Ok(tags(call)),
            Description::tells("The models, as Ollama lists them", Content::Json(&[shape::<Tags<'static>>]), &[]),
        )],
    )
};

/// One of them.
pub static SHOW: Route = Route {
    switch: Some(SWITCH),
    ..Route::at(
        &["/api/show"],
        &[Operation::post(
            |call| Box::pin(show(call)),
            Description {
                error_forms: &[ErrorForm::Object, ErrorForm::Texts],
                ..Description::reads(
                    "Server",
                    "One model, as Ollama tells of it",
                    described,
                    Content::Json(&[shape::<Shown<'static>>]),
                )
            },
        )],
    )
};

/// The version.
pub static VERSION: Route = Route {
    switch: Some(SWITCH),
    counted: false,
    ..Route::at(
        &["/api/version"],
        &[Operation::get(
            |_| Ok(super::info::version()),
            Description::tells("Version of this program", Content::Json(&[shape::<super::info::Version>]), &[]),
        )],
    )
};

fn tags(call: &Call<'_>) -> HttpResponse {
    let models = call.state.models.all().iter().flat_map(|model| model.names().iter().map(|name| Tag::of(model, name)));
    HttpResponse::Ok().json(Tags { models: models.collect() })
}

async fn show(call: Call<'_>) -> Result<HttpResponse, ApiError> {
    let state = call.state;
    let body = call.body().await?;
    let in_form = |refused: ApiError| refused.in_form(ErrorForm::Texts);
    let object = body::read(&body).map_err(in_form)?;
    let mut fields = Fields::new(&object);
    let name = fields.string("model").or_else(|| fields.string("name")).unwrap_or_default();
    if !fields.is_clean() {
        return Err(in_form(fields::refuse(fields.into_issues())));
    }
    let found = state.models.find(&name, Some(Task::Embed)).map_err(in_form)?;
    Ok(Charged::json(HttpResponse::Ok(), body.share.clone(), &Shown::of(found.model)))
}

/// Answer of `GET /api/tags`.
#[derive(Serialize, ToSchema)]
struct Tags<'a> {
    models: Vec<Tag<'a>>,
}

/// A name of a model.
#[derive(Serialize, ToSchema)]
struct Tag<'a> {
    name: &'a str,
    model: &'a str,
    details: Details,
}

/// Answer of `POST /api/show`.
#[derive(Serialize, ToSchema)]
struct Shown<'a> {
    model: &'a str,
    details: Details,
    /// `embedding` of an embedding model, nothing of a reranker.
    capabilities: Vec<&'static str>,
}

#[derive(Serialize, ToSchema)]
struct Details {
    format: &'static str,
    family: &'static str,
    families: [&'static str; 1],
    quantization_level: &'static str,
}

impl<'a> Tag<'a> {
    fn of(model: &Model, name: &'a str) -> Self {
        Self { name, model: name, details: Details::of(model) }
    }
}

impl<'a> Shown<'a> {
    fn of(model: &'a Model) -> Self {
        let capabilities = (model.served.task == Task::Embed).then_some("embedding").into_iter().collect();
        Self { model: model.name(), details: Details::of(model), capabilities }
    }
}

impl Details {
    fn of(model: &Model) -> Self {
        let quantization_level = model.served.precision.name();
        Self { format: "safetensors", family: "qwen3", families: ["qwen3"], quantization_level }
    }
}

fn described() -> Request {
    request("OllamaShowRequest", object([("model", nullable_string().into())]).into(), json!({}))
}
