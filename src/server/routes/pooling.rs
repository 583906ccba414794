//! `POST /pooling`: whole prompts in, scores out as numbers, base64 or bytes; from an embedding model, vectors of texts.

use crate::server::describe::schema::{COMMON, Request, choice, described as field, object, prompts, request};
use crate::server::describe::{Content, Description, shape};
use crate::server::http::error::ApiError;
use crate::server::route::{Operation, Route};
use crate::server::scoring::rows::{self, Answered, Origin, RowRequest, Written};
use crate::server::scoring::{Making, PromptRequest};
use crate::server::served::Served;
use crate::server::wire::encoding::{Form, Row};
use crate::server::wire::fields::{self, Fields};
use crate::server::wire::input::{self, InputRequest};
use crate::server::wire::listing::{Listed, Listing};
use crate::server::wire::pairs::Common;
use serde::Serialize;
use serde_json::json;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa::openapi::Ref;
use utoipa::openapi::schema::{AllOfBuilder, Schema};

/// vLLM's tasks of pooling models.
const TASKS: [&str; 6] = ["embed", "classify", "token_embed", "token_classify", "plugin", "embed&token_classify"];

/// One path.
pub static ROUTE: Route = Route::at(
    &["/pooling"],
    &[Operation::post(
        |call| {
            let (state, origin) = (call.state, Origin::of(call.request));
            Box::pin(async move { rows::answer::<PoolingRequest>(state, origin, call.json().await?).await })
        },
        Description::reads(
            "Scores",
            "Scores of whole prompts or vectors of texts, as numbers or bytes",
            described,
            Content::JsonOrBytes(&[shape::<PoolingResponse<'static>>]),
        ),
    )
    .of_the_engine()],
);

/// A body of `/pooling`.
pub struct PoolingRequest {
    input: InputRequest,
    form: Form,
}

impl PromptRequest for PoolingRequest {
    fn read(body: &Map<String, Value>, served: &Served) -> Result<Self, ApiError> {
        input::refuse_removed(body)?;
        let mut fields = Fields::new(body);
        let form = Form::from_fields(&mut fields);
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
        Ok(Self { input, form })
    }

    fn common(&self) -> &Common {
        self.input.common()
    }

    fn prompts(&self, making: &mut Making<'_>) -> Result<(), ApiError> {
        self.input.prompts(making)
    }
}

impl RowRequest for PoolingRequest {
    fn write(&self, answered: &Answered<'_>) -> Result<Written, ApiError> {
        let id = answered.id(PoolingDatum::PREFIX, self.common());
        match self.form {
            Form::Json(form) => {
                let datum = |(index, row)| PoolingDatum { index, object: "pooling", data: Row::new(row, form) };
                answered.list(id, answered.rows().enumerate().map(datum).collect())
            }
            Form::Bytes { numbers, described } => answered.bytes(id, numbers, described),
        }
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

/// Answer of `POST /pooling`, unless bytes were asked for.
pub type PoolingResponse<'a> = Listing<'a, PoolingDatum<'a>>;

impl Listed for PoolingDatum<'_> {
    const PREFIX: &'static str = "pooling";
    const SCHEMA: &'static str = "PoolingResponse";
    const ABOUT: &'static str = "Answer of `POST /pooling`, unless bytes were asked for.";

    fn example() -> Value {
        json!({"index": 0, "object": "pooling", "data": [0.98]})
    }
}

/// The result of one prompt.
#[derive(Debug, Serialize, ToSchema)]
pub struct PoolingDatum<'a> {
    /// The prompt's place.
    pub index: usize,
    /// `pooling`.
    pub object: &'static str,
    /// Its numbers.
    pub data: Row<'a>,
}

/// What clients should send.
pub fn described() -> Request {
    let own = object([
        ("task", field(choice(&["classify", "embed"]), "classify of a reranker, embed of an embedding model.")),
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
