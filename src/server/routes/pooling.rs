//! `POST /pooling`: whole prompts in, scores out as numbers, base64 or bytes.

use crate::python_json::{self, NonAscii};
use crate::server::describe::schema::{COMMON, Request, choice, described as field, object, prompts, request};
use crate::server::describe::{Content, Description, shape};
use crate::server::http::budget::{Charged, unwritable};
use crate::server::http::error::ApiError;
use crate::server::http::intake::Body;
use crate::server::route::{Operation, Route};
use crate::server::scoring::{self, Making, PromptRequest, Scored};
use crate::server::served::Served;
use crate::server::state::{State, unix_time};
use crate::server::wire::encoding::{EncodingFormat, NumberFormat};
use crate::server::wire::fields::{self, Fields};
use crate::server::wire::input::{self, InputRequest};
use crate::server::wire::listing::{Listed, Listing, RerankUsage};
use crate::server::wire::pairs::Common;
use actix_web::http::header::HeaderName;
use actix_web::{HttpResponse, web};
use serde::Serialize;
use serde_json::json;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa::openapi::Ref;
use utoipa::openapi::schema::{AllOfBuilder, Schema};

/// Where the description of a body of bytes stands.
const METADATA: HeaderName = HeaderName::from_static("metadata");
/// vLLM's tasks of pooling models.
const TASKS: [&str; 6] = ["embed", "classify", "token_embed", "token_classify", "plugin", "embed&token_classify"];

/// One path.
pub static ROUTE: Route = Route::at(
    &["/pooling"],
    &[Operation::post(
        |call| {
            let (state, request_id) = (call.state, call.request_id());
            Box::pin(async move { answer(state, request_id, call.json().await?).await })
        },
        Description::reads(
            "Scores",
            "Score whole prompts, as numbers or bytes",
            described,
            Content::JsonOrBytes(&[shape::<PoolingResponse<'static>>]),
        ),
    )
    .of_the_engine()],
);

/// A body of `/pooling`.
pub struct PoolingRequest {
    input: InputRequest,
    format: EncodingFormat,
    numbers: NumberFormat,
}

impl PromptRequest for PoolingRequest {
    fn read(body: &Map<String, Value>, served: &Served) -> Result<Self, ApiError> {
        input::refuse_removed(body)?;
        let mut fields = Fields::new(body);
        let format = EncodingFormat::from_fields(&mut fields);
        let numbers = NumberFormat::from_fields(&mut fields);
        let task = fields.choice("task", &TASKS);
        let dimensions = fields.integer("dimensions");
        let is_plugin = task == Some("plugin") || !has_prompts(body) && fields::given(body, "data").is_some();
        // Then the mistake is the task, whatever else is missing.
        let input = if is_plugin { None } else { InputRequest::from_fields(&mut fields, body)? };
        if !fields.is_clean() {
            return Err(fields::refuse(fields.into_issues()));
        }
        if dimensions.is_some() {
            let sentence = "dimensions is currently not supported (parameter=dimensions)";
            return Err(ApiError::invalid(sentence).with_param("dimensions"));
        }
        check_task(task, is_plugin, served)?;
        let input = input.ok_or_else(|| ApiError::invalid("You must pass at least one prompt"))?;
        Ok(Self { input, format, numbers })
    }

    fn common(&self) -> &Common {
        self.input.common()
    }

    fn prompts(&self, making: &mut Making<'_>) -> Result<(), ApiError> {
        self.input.prompts(making)
    }
}

fn has_prompts(body: &Map<String, Value>) -> bool {
    ["input", "messages"].into_iter().any(|name| fields::given(body, name).is_some())
}

/// Refuses every task but the one that is served.
fn check_task(task: Option<&str>, is_plugin: bool, served: &Served) -> Result<(), ApiError> {
    let [other, own] = served.pooling_tasks();
    let sentence = match task {
        _ if is_plugin => {
            "No IOProcessor plugin installed. Send prompts as input or messages. (parameter=task)".to_owned()
        }
        None => return Ok(()),
        Some(task) if task == own => return Ok(()),
        Some(task) if task == other => {
            format!("Try switching the model's pooling_task via --pooler-config.task {other}. (parameter=task)")
        }
        Some(task) => format!("Unsupported task: '{task}' Supported tasks: ['{other}', '{own}'] (parameter=task)"),
    };
    Err(ApiError::invalid(sentence).with_param("task"))
}

/// Answers a pooling request; `request_id` is the client's header, if it sent one.
pub async fn answer(state: &web::Data<State>, request_id: Option<&str>, body: Body) -> Result<HttpResponse, ApiError> {
    let (request, scored) = scoring::score(state, body).await?;
    response(request_id, &request, scored)
}

/// The answer to `request`.
pub fn response(request_id: Option<&str>, request: &PoolingRequest, scored: Scored) -> Result<HttpResponse, ApiError> {
    let &PoolingRequest { format, numbers, .. } = request;
    let id = scoring::answer_id(PoolingDatum::PREFIX, request_id, request.common());
    let pooled = |score: f32| match format {
        EncodingFormat::Base64 => Pooled::Base64(numbers.base64(score)),
        _ => Pooled::Numbers([f64::from(score)]),
    };
    if let EncodingFormat::Float | EncodingFormat::Base64 = format {
        let datum = |(index, &score)| PoolingDatum { index, object: "pooling", data: pooled(score) };
        let data = scored.scores.iter().enumerate().map(datum).collect();
        return Ok(scored.list(id, data));
    }
    let mut response = scored.ok();
    if format == EncodingFormat::Bytes {
        let data = (0..scored.scores.len()).map(|index| ScoreBytes::of(index, numbers)).collect();
        let (created, model) = (unix_time(), scored.model.name());
        let metadata = Metadata { id, created, model, data, usage: RerankUsage::of(scored.prompt_tokens) };
        let metadata = python_json::to_string(&metadata, NonAscii::Escaped).map_err(unwritable)?;
        response.insert_header((METADATA, metadata));
    }
    let bytes: Vec<u8> = scored.scores.into_iter().flat_map(|score| numbers.bytes(score)).collect();
    Ok(Charged::bytes(response.content_type("application/octet-stream"), scored.share, bytes))
}

/// Answer of `POST /pooling`, unless bytes were asked for.
pub type PoolingResponse<'a> = Listing<'a, PoolingDatum>;

impl Listed for PoolingDatum {
    const PREFIX: &'static str = "pooling";
    const SCHEMA: &'static str = "PoolingResponse";
    const ABOUT: &'static str = "Answer of `POST /pooling`, unless bytes were asked for.";
}

/// The result of one prompt.
#[derive(Debug, Serialize, ToSchema)]
pub struct PoolingDatum {
    /// The prompt's place.
    pub index: usize,
    /// `pooling`.
    pub object: &'static str,
    /// Its score.
    pub data: Pooled,
}

/// A score as it was asked for.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Pooled {
    /// A float32 widened to float64.
    Numbers([f64; 1]),
    /// Its bytes in base64.
    Base64(String),
}

/// What the header says about a body of bytes.
#[derive(Serialize)]
struct Metadata<'a> {
    id: String,
    created: u64,
    model: &'a str,
    data: Vec<ScoreBytes>,
    usage: RerankUsage,
}

/// Where in the bytes a score stands.
#[derive(Serialize)]
struct ScoreBytes {
    index: usize,
    embed_dtype: &'static str,
    endianness: &'static str,
    start: usize,
    end: usize,
    shape: [usize; 1],
}

impl ScoreBytes {
    fn of(index: usize, numbers: NumberFormat) -> Self {
        let (width, embed_dtype, endianness) = (numbers.width(), numbers.dtype_name(), numbers.endianness_name());
        Self { index, embed_dtype, endianness, start: index * width, end: (index + 1) * width, shape: [1] }
    }
}

/// What clients should send.
pub fn described() -> Request {
    let own = object([
        ("task", field(choice(&["classify"]), "The only one that a reranker has.")),
        ("encoding_format", field(choice(&["float", "base64", "bytes", "bytes_only"]), "Form of the answer.")),
        (
            "embed_dtype",
            field(choice(&["float32", "float16", "bfloat16", "fp8_e4m3", "fp8_e5m2"]), "Numbers in base64 and bytes."),
        ),
        ("endianness", field(choice(&["native", "big", "little"]), "Their byte order.")),
    ]);
    let all = AllOfBuilder::new().item(Ref::from_schema_name(COMMON)).item(prompts()).item(own);
    let example = json!({"input": ["The Danube flows through Vienna."], "encoding_format": "float"});
    request("PoolingRequest", Schema::AllOf(all.build()), example)
}
