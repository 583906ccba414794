//! TEI's words (text-embeddings-inference): `inputs` in, bare lists of numbers out.

use super::dialect::Dialect;
use crate::embed;
use crate::prompt::TruncationSide;
use crate::server::describe::schema::{
    Request, choice, described, list, nullable_boolean, nullable_integer, nullable_string, object, request, string,
};
use crate::server::http::error::{ApiError, ErrorForm, Refusal};
use crate::server::scoring::rows::{Answered, Written};
use crate::server::wire::embed::{EmbedRequest, PromptName, Size};
use crate::server::wire::encoding::{Row, RowForm};
use crate::server::wire::fields::{self, Fields};
use crate::server::wire::input::{self, Input, InputRequest};
use crate::server::wire::pairs::{Common, Place};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::time::Duration;
use utoipa::ToSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{AnyOfBuilder, Schema};

/// A body of `/embed`.
pub struct Embed(EmbedRequest);

impl Dialect for Embed {
    fn read(body: &Map<String, Value>) -> Result<Self, ApiError> {
        let mut fields = Fields::new(body);
        let common = common(&mut fields);
        let normalize = fields.boolean("normalize").unwrap_or(true);
        let size = fields.integer("dimensions").map_or(Size::All, Size::Texts);
        let prompt = prompt(&mut fields);
        let input = fields.required("inputs").and_then(|value| input::input(&mut fields, "inputs", value));
        let Some(input) = input.filter(|_| fields.is_clean()) else {
            return Err(fields::refuse(fields.into_issues()));
        };
        let is_empty = match &input {
            Input::Texts(texts) => texts.is_empty() || texts.iter().any(String::is_empty),
            Input::TokenIds(lists) => lists.iter().any(Vec::is_empty),
            Input::Messages(_) => false,
        };
        if is_empty {
            return Err(ApiError::new(Refusal::NoText, "`inputs` cannot be empty"));
        }
        let common = Common { use_activation: Some(normalize), ..common };
        let place = Place { name: "inputs", is_list: input::is_list(fields.any("inputs")) };
        Ok(Self(EmbedRequest { size, prompt, ..EmbedRequest::of(InputRequest::of(common, input, place)) }))
    }

    fn request(&self) -> &EmbedRequest {
        &self.0
    }

    fn error_form(_: &Map<String, Value>) -> ErrorForm {
        ErrorForm::Tei
    }

    fn write(&self, answered: &Answered<'_>) -> Result<Written, ApiError> {
        let rows = answered.rows().map(|row| Row::new(row, RowForm::Numbers)).collect();
        Ok(answered.json(&EmbedResponse(rows))?.with(measured(answered, &self.0)))
    }
}

/// A body of `/similarity`: one text, and those that it is compared with.
pub struct Similarity(EmbedRequest);

impl Dialect for Similarity {
    fn read(body: &Map<String, Value>) -> Result<Self, ApiError> {
        let mut fields = Fields::within(body, &["inputs", "parameters"]);
        let common = common(&mut fields);
        let prompt = prompt(&mut fields);
        let source = fields.required_string("source_sentence");
        let sentences = fields.required("sentences").and_then(|value| input::strings(&mut fields, "sentences", value));
        let (Some(source), Some(sentences), true) = (source, sentences, fields.is_clean()) else {
            return Err(fields::refuse(fields.into_issues()));
        };
        if sentences.is_empty() {
            return Err(ApiError::new(Refusal::NoText, "`inputs.sentences` cannot be empty"));
        }
        let texts = std::iter::once(source).chain(sentences).collect();
        // The first is the source, so that the numbers of the others are one too high; texts of a pair have no place.
        let place = Place { name: "inputs", is_list: false };
        let input = InputRequest::of(common, Input::Texts(texts), place);
        Ok(Self(EmbedRequest { prompt, ..EmbedRequest::of(input) }))
    }

    fn request(&self) -> &EmbedRequest {
        &self.0
    }

    fn error_form(_: &Map<String, Value>) -> ErrorForm {
        ErrorForm::Tei
    }

    fn write(&self, answered: &Answered<'_>) -> Result<Written, ApiError> {
        let mut vectors = answered.rows();
        let source = vectors.next().unwrap_or_default();
        let cosines = vectors.map(|row| embed::cosine(source, row).into()).collect();
        Ok(answered.json(&SimilarityResponse(cosines))?.with(measured(answered, &self.0)))
    }
}

/// Which texts are cut, and where.
fn common(fields: &mut Fields<'_>) -> Common {
    let truncates = fields.boolean("truncate") == Some(true);
    let side = fields.choice("truncation_direction", &["left", "right", "Left", "Right"]);
    Common {
        truncate_prompt_tokens: truncates.then_some(-1),
        truncation_side: match side {
            Some("left" | "Left") => TruncationSide::Left,
            _ => TruncationSide::Right,
        },
        ..Common::default()
    }
}

/// TEI's headers of what a request took: milliseconds, characters and tokens. Where it averages over the texts, here stands
/// the one that waited longest.
fn measured(answered: &Answered<'_>, request: &EmbedRequest) -> [(&'static str, String); 8] {
    let milliseconds = |time: Duration| time.as_millis().to_string();
    let characters: usize = match &request.input.input {
        Input::Texts(texts) => texts.iter().map(|text| text.chars().count()).sum(),
        Input::TokenIds(lists) => lists.iter().map(Vec::len).sum(),
        Input::Messages(_) => 0,
    };
    let (total, took) = (answered.origin.began.elapsed(), answered.took);
    [
        ("x-compute-type", "cpu".to_owned()),
        ("x-compute-time", milliseconds(total)),
        ("x-compute-characters", characters.to_string()),
        ("x-compute-tokens", answered.prompt_tokens.to_string()),
        ("x-total-time", milliseconds(total)),
        ("x-tokenization-time", milliseconds(took.before)),
        ("x-queue-time", milliseconds(took.queued)),
        ("x-inference-time", milliseconds(took.computed)),
    ]
}

fn prompt(fields: &mut Fields<'_>) -> Option<PromptName> {
    fields.string("prompt_name").map(|name| PromptName { field: "prompt_name", name })
}

/// Answer of `POST /embed`: a vector for each text, also where there is one only.
#[derive(Debug, Serialize, ToSchema)]
pub struct EmbedResponse<'a>(Vec<Row<'a>>);

/// Answer of `POST /similarity`: the cosine of each sentence.
#[derive(Debug, Serialize, ToSchema)]
pub struct SimilarityResponse(Vec<f64>);

/// What clients should send to `/embed`.
pub fn described_embed() -> Request {
    let inputs = AnyOfBuilder::new().item(string()).item(list(string().build())).build();
    let own = object([
        ("inputs", RefOr::T(Schema::AnyOf(inputs))),
        ("normalize", described(nullable_boolean(), "Whether vectors have length 1; true unless said otherwise.")),
        ("dimensions", described(nullable_integer().minimum(Some(1)), "Numbers of a vector, the first ones.")),
        ("prompt_name", described(nullable_string(), "The model's prompt that texts get, such as query.")),
        ("truncate", described(nullable_boolean(), "true for texts that may be cut.")),
        ("truncation_direction", described(choice(&["left", "right"]), "Which end is cut off; Left and Right, too.")),
    ]);
    request("EmbedRequest", own.required("inputs").into(), json!({"inputs": ["The Danube flows through Vienna."]}))
}

/// What clients should send to `/similarity`.
pub fn described_similarity() -> Request {
    let sentences = list(string().build());
    let inputs = object([("source_sentence", string().into()), ("sentences", RefOr::T(Schema::Array(sentences)))]);
    let inputs = inputs.required("source_sentence").required("sentences");
    let own = object([("inputs", inputs.into())]).required("inputs");
    let example = json!({"inputs": {"source_sentence": "Vienna", "sentences": ["The Danube flows through Vienna."]}});
    request("SimilarityRequest", own.into(), example)
}
