//! Ollama's words: `input` or `prompt` in, vectors and durations out.

use super::dialect::Dialect;
use crate::server::describe::schema::{
    Request, described, list, nullable_boolean, nullable_integer, nullable_string, object, request, string,
};
use crate::server::http::error::{ApiError, ErrorForm};
use crate::server::scoring::rows::{Answered, Written};
use crate::server::wire::embed::{EmbedRequest, Size};
use crate::server::wire::encoding::{Row, RowForm};
use crate::server::wire::fields::{self, Fields};
use crate::server::wire::input::{Input, InputRequest};
use crate::server::wire::pairs::{Common, Place};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{AnyOfBuilder, Schema};

/// A body of `/api/embed`.
pub struct Embed {
    request: EmbedRequest,
    /// The name that the client calls the model by.
    model: Option<String>,
}

impl Dialect for Embed {
    fn read(body: &Map<String, Value>) -> Result<Self, ApiError> {
        let mut fields = Fields::new(body);
        let model = fields.string("model");
        let truncates = fields.boolean("truncate") != Some(false);
        let size = fields.integer("dimensions").map_or(Size::All, Size::AtMost);
        let texts = match fields.any("input") {
            None => Some(Vec::new()),
            Some(Value::String(text)) if text.is_empty() => Some(Vec::new()),
            Some(Value::String(text)) => Some(vec![text.clone()]),
            Some(Value::Array(texts)) => texts.iter().map(|text| text.as_str().map(str::to_owned)).collect(),
            Some(_) => None,
        };
        if !fields.is_clean() {
            return Err(fields::refuse(fields.into_issues()));
        }
        let texts = texts.ok_or_else(|| ApiError::invalid("invalid input type"))?;
        let common =
            Common { use_activation: Some(true), truncate_prompt_tokens: truncates.then_some(-1), ..Common::default() };
        let place = Place { name: "input", is_list: fields.any("input").is_some_and(Value::is_array) };
        let input = InputRequest::of(common, Input::Texts(texts), place);
        Ok(Self { request: EmbedRequest { size, ..EmbedRequest::of(input) }, model })
    }

    fn request(&self) -> &EmbedRequest {
        &self.request
    }

    fn error_form(_: &Map<String, Value>) -> ErrorForm {
        ErrorForm::Texts
    }

    fn write(&self, answered: &Answered<'_>) -> Result<Written, ApiError> {
        answered.json(&OllamaEmbeddings {
            model: self.model.as_deref().filter(|name| !name.is_empty()).unwrap_or(answered.model),
            embeddings: answered.rows().map(|row| Row::new(row, RowForm::Numbers)).collect(),
            total_duration: answered.origin.began.elapsed().as_nanos() as u64,
            load_duration: 0,
            prompt_eval_count: answered.prompt_tokens,
        })
    }
}

/// A body of `/api/embeddings`.
pub struct Embedding(EmbedRequest);

impl Dialect for Embedding {
    fn read(body: &Map<String, Value>) -> Result<Self, ApiError> {
        let mut fields = Fields::new(body);
        fields.string("model");
        let prompt = fields.string("prompt").unwrap_or_default();
        if !fields.is_clean() {
            return Err(fields::refuse(fields.into_issues()));
        }
        let texts = if prompt.is_empty() { Vec::new() } else { vec![prompt] };
        let common = Common { use_activation: Some(false), truncate_prompt_tokens: Some(-1), ..Common::default() };
        let place = Place { name: "prompt", is_list: false };
        let input = InputRequest::of(common, Input::Texts(texts), place);
        Ok(Self(EmbedRequest::of(input)))
    }

    fn request(&self) -> &EmbedRequest {
        &self.0
    }

    fn error_form(_: &Map<String, Value>) -> ErrorForm {
        ErrorForm::Texts
    }

    fn write(&self, answered: &Answered<'_>) -> Result<Written, ApiError> {
        let row = answered.rows().next().unwrap_or_default();
        answered.json(&OllamaEmbedding { embedding: Row::new(row, RowForm::Numbers) })
    }
}

/// Answer of `POST /api/embed`.
#[derive(Debug, Serialize, ToSchema)]
pub struct OllamaEmbeddings<'a> {
    /// As the request calls it.
    model: &'a str,
    /// A vector for each text.
    embeddings: Vec<Row<'a>>,
    /// Nanoseconds.
    total_duration: u64,
    /// 0: the model is there.
    load_duration: u64,
    /// Tokens of all texts.
    prompt_eval_count: usize,
}

/// Answer of `POST /api/embeddings`.
#[derive(Debug, Serialize, ToSchema)]
pub struct OllamaEmbedding<'a> {
    /// The vector, of whatever length; empty for an empty prompt.
    embedding: Row<'a>,
}

/// What clients should send to `/api/embed`.
pub fn described_embed() -> Request {
    let input = AnyOfBuilder::new().item(string()).item(list(string().build())).build();
    let own = object([
        ("model", nullable_string().into()),
        ("input", RefOr::T(Schema::AnyOf(input))),
        ("truncate", described(nullable_boolean(), "false for an error where a text is too long.")),
        ("dimensions", described(nullable_integer(), "Numbers of a vector, the first ones.")),
    ]);
    request("OllamaEmbedRequest", own.into(), json!({"input": ["The Danube flows through Vienna."]}))
}

/// What clients should send to `/api/embeddings`.
pub fn described_embedding() -> Request {
    let own = object([("model", nullable_string().into()), ("prompt", nullable_string().into())]);
    request("OllamaEmbeddingRequest", own.into(), json!({"prompt": "The Danube flows through Vienna."}))
}
