//! Cohere's words, which are vLLM's at `/v2/embed`: `texts` in, vectors by type out.

use super::dialect::Dialect;
use crate::prompt::{NO_TEMPLATE, TruncationSide};
use crate::server::describe::schema::{
    Request, choice, described, list, nullable_integer, nullable_string, object, request, string,
};
use crate::server::http::error::{ApiError, Refusal};
use crate::server::scoring::rows::{Answered, Written};
use crate::server::wire::embed::{EmbedRequest, PromptName, Size};
use crate::server::wire::encoding::{NumberFormat, Row, RowForm};
use crate::server::wire::fields::{self, Fields, Issue};
use crate::server::wire::input::{self, Input, InputRequest};
use crate::server::wire::pairs::{Common, Place};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{Array, ArrayBuilder, Schema};

/// The ways in which vectors are returned.
const TYPES: [&str; 4] = ["float", "binary", "ubinary", "base64"];

/// A body of `/v2/embed` or `/v1/embed`.
pub struct Embed {
    request: EmbedRequest,
    /// The types that were asked for, if any were.
    types: Option<Types>,
}

/// The types of vectors in an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Types {
    float: bool,
    binary: bool,
    ubinary: bool,
    base64: bool,
}

impl Dialect for Embed {
    fn read(body: &Map<String, Value>) -> Result<Self, ApiError> {
        let mut fields = Fields::new(body);
        fields.string("model");
        let request_id = fields.string("request_id");
        let priority = fields.integer("priority").unwrap_or(0);
        let size = fields.integer("output_dimension").map_or(Size::All, Size::Exactly);
        let max_tokens = fields.integer("max_tokens");
        let truncate = fields.choice("truncate", &["NONE", "START", "END"]);
        let prompt = fields.string("input_type").map(|said| PromptName::said("input_type", &said));
        let types = types(&mut fields);
        let texts = fields.any("texts").and_then(|value| input::strings(&mut fields, "texts", value));
        if !fields.is_clean() {
            return Err(fields::refuse(fields.into_issues()));
        }
        let texts = one_of_three(body, texts.unwrap_or_default())?;
        let cuts = truncate != Some("NONE");
        let common = Common {
            request_id,
            priority,
            truncate_prompt_tokens: cuts.then(|| max_tokens.unwrap_or(-1)),
            truncation_side: if truncate == Some("START") { TruncationSide::Left } else { TruncationSide::Right },
            ..Common::default()
        };
        let most_tokens = max_tokens.filter(|_| !cuts).and_then(|most| usize::try_from(most).ok());
        let input = InputRequest::of(common, Input::Texts(texts), Place { name: "texts", is_list: true });
        let as_bits = types.is_some_and(|types| types.binary || types.ubinary);
        let request = EmbedRequest { size, prompt, most_tokens, as_bits, ..EmbedRequest::of(input) };
        // Base64 and bits take a third of what numbers take.
        let number_bytes = 2 * request.number_bytes;
        Ok(Self { request: EmbedRequest { number_bytes, ..request }, types })
    }

    fn request(&self) -> &EmbedRequest {
        &self.request
    }

    fn write(&self, answered: &Answered<'_>) -> Result<Written, ApiError> {
        let Input::Texts(texts) = &self.request.input.input else { unreachable!("texts were read") };
        let rows = |form| answered.rows().map(|row| Row::new(row, form)).collect::<Vec<_>>();
        let by_type = |Types { float, binary, ubinary, base64 }| {
            Vectors::ByType(ByType {
                float: float.then(|| rows(RowForm::Numbers)),
                binary: binary.then(|| rows(RowForm::Binary)),
                ubinary: ubinary.then(|| rows(RowForm::Ubinary)),
                base64: base64.then(|| rows(RowForm::Base64(NumberFormat::LITTLE))),
            })
        };
        // The first version of the API has a list where nobody asks for types.
        let (version, embeddings) = match (answered.origin.path.trim_end_matches('/').ends_with("v2/embed"), self.types)
        {
            (true, types) => ("2", by_type(types.unwrap_or(Types { float: true, ..Types::default() }))),
            (false, Some(types)) => ("1", by_type(types)),
            (false, None) => ("1", Vectors::List(rows(RowForm::Numbers))),
        };
        answered.json(&CohereEmbeddings {
            id: answered.id("embd", &self.request.input.common),
            response_type: match embeddings {
                Vectors::ByType(_) => "embeddings_by_type",
                Vectors::List(_) => "embeddings_floats",
            },
            embeddings,
            texts,
            meta: Meta {
                api_version: ApiVersion { version },
                billed_units: BilledUnits { input_tokens: answered.prompt_tokens, image_tokens: 0 },
            },
        })
    }
}

fn types(fields: &mut Fields<'_>) -> Option<Types> {
    let value = fields.any("embedding_types")?;
    let Value::Array(items) = value else {
        fields.note("list_type", "embedding_types", "Input should be a valid list", value);
        return None;
    };
    let mut types = Types::default();
    for (i, item) in items.iter().enumerate() {
        match item.as_str() {
            Some("float") => types.float = true,
            Some("binary") => types.binary = true,
            Some("ubinary") => types.ubinary = true,
            Some("base64") => types.base64 = true,
            _ => {
                let msg = "Input should be 'float', 'binary', 'ubinary' or 'base64'";
                fields.note("literal_error", format_args!("embedding_types.{i}"), msg, item);
            }
        }
    }
    (types != Types::default()).then_some(types)
}

/// `texts`, if there are any and nothing besides them; images are nothing for a model of texts.
fn one_of_three(body: &Map<String, Value>, texts: Vec<String>) -> Result<Vec<String>, ApiError> {
    let list = |name: &str| body.get(name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let (images, inputs) = (list("images"), list("inputs"));
    match (texts.is_empty(), images.is_empty(), inputs.is_empty()) {
        (false, true, true) => Ok(texts),
        (true, false, true) => {
            let is_data = |image: &Value| image.as_str().is_some_and(|url| url.contains(";base64,"));
            let sentence = match images.iter().all(is_data) {
                true => "The model reads texts only: send texts in place of images.",
                false => {
                    "Only base64 data URLs are supported for now. The model reads texts only: send texts in place of images."
                }
            };
            Err(ApiError::new(Refusal::Unsupported, sentence))
        }
        (true, true, false) => Err(ApiError::invalid(NO_TEMPLATE).and("(Send texts in place of inputs.)")),
        _ => {
            let sentence = "Exactly one of texts, images, or inputs must be provided, and it must be non-empty";
            Err(fields::refuse(Issue::of_the_whole(sentence, body)))
        }
    }
}

/// Answer of `POST /v2/embed` and `/v1/embed` to `texts`.
#[derive(Debug, Serialize, ToSchema)]
pub struct CohereEmbeddings<'a> {
    /// `embd-` and the request's name.
    id: String,
    /// The vectors.
    embeddings: Vectors<'a>,
    /// The texts, as they came.
    texts: &'a [String],
    meta: Meta,
    /// `embeddings_by_type`, or `embeddings_floats` for a list.
    response_type: &'static str,
}

/// Vectors in the order of the texts.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum Vectors<'a> {
    /// Of each type that was asked for.
    ByType(ByType<'a>),
    /// As numbers.
    List(Vec<Row<'a>>),
}

/// Vectors by type.
#[derive(Debug, Serialize, ToSchema)]
struct ByType<'a> {
    /// Numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    float: Option<Vec<Row<'a>>>,
    /// Signs, eight to a byte of -128 to 127.
    #[serde(skip_serializing_if = "Option::is_none")]
    binary: Option<Vec<Row<'a>>>,
    /// Signs, eight to a byte of 0 to 255.
    #[serde(skip_serializing_if = "Option::is_none")]
    ubinary: Option<Vec<Row<'a>>>,
    /// Their bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<Vec<Row<'a>>>,
}

/// What Cohere says besides.
#[derive(Debug, Serialize, ToSchema)]
struct Meta {
    api_version: ApiVersion,
    billed_units: BilledUnits,
}

/// The version of the API.
#[derive(Debug, Serialize, ToSchema)]
struct ApiVersion {
    version: &'static str,
}

/// Tokens of all texts.
#[derive(Debug, Serialize, ToSchema)]
struct BilledUnits {
    input_tokens: usize,
    image_tokens: usize,
}

/// What clients should send.
pub fn described_request() -> Request {
    let types = ArrayBuilder::from(list(string().enum_values(Some(TYPES)).build())).build();
    let texts: Array = ArrayBuilder::from(list(string().build())).min_items(Some(1)).build();
    let own = object([
        ("model", nullable_string().into()),
        ("texts", RefOr::T(Schema::Array(texts))),
        ("input_type", described(nullable_string(), "query or document: the model's prompt that texts get.")),
        ("embedding_types", RefOr::T(Schema::Array(types))),
        ("output_dimension", described(nullable_integer().minimum(Some(1)), "Numbers of a vector, the first ones.")),
        (
            "truncate",
            described(choice(&["NONE", "START", "END"]), "Which end of a long text is cut off; END by default."),
        ),
        ("max_tokens", described(nullable_integer().minimum(Some(1)), "Longest text in tokens.")),
    ]);
    let example = json!({"texts": ["The Danube flows through Vienna."], "input_type": "document"});
    request("CohereEmbedRequest", own.required("texts").into(), example)
}
