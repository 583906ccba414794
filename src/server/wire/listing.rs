//! vLLM's frame around an answer that is a list, and the tokens that answers count; the order of fields is the order on
//! the wire.
//!
//! Called by the resources whose answers have one item for each prompt, and by the description of the API.

use crate::server::state::unix_time;
use serde::Serialize;
use serde_json::{Value, json};
use std::borrow::Cow;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, RefBuilder, Schema, Type};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

/// What stands in a list, once for each prompt.
pub trait Listed: Serialize + ToSchema {
    /// What the name of an answer begins with.
    const PREFIX: &'static str;
    /// Name of the list's schema.
    const SCHEMA: &'static str;
    /// What the description of the API says of the list.
    const ABOUT: &'static str;
    /// One of them, for the description of the API.
    fn example() -> Value;
}

/// A list of results in the order of the request.
#[derive(Debug, Serialize)]
pub struct Listing<'a, T> {
    id: String,
    object: &'static str,
    created: u64,
    model: &'a str,
    data: Vec<T>,
    usage: ScoreUsage,
}

impl<'a, T: Listed> Listing<'a, T> {
    /// The answer named `id` of the model `model`, made now; its prompts have so many tokens.
    pub fn new(id: String, model: &'a str, data: Vec<T>, prompt_tokens: usize) -> Self {
        Self { id, object: "list", created: unix_time(), model, data, usage: ScoreUsage::of(prompt_tokens) }
    }
}

impl<T: Listed> ToSchema for Listing<'_, T> {
    fn name() -> Cow<'static, str> {
        T::SCHEMA.into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas
            .extend([(T::name().into_owned(), T::schema()), (ScoreUsage::name().into_owned(), ScoreUsage::schema())]);
        T::schemas(schemas);
        ScoreUsage::schemas(schemas);
    }
}

/// By hand, because a derived schema of a generic type has one name for all of them.
impl<T: Listed> PartialSchema for Listing<'_, T> {
    fn schema() -> RefOr<Schema> {
        let usage = RefBuilder::new()
            .ref_location_from_schema_name(ScoreUsage::name())
            .description(Some("Tokens of all prompts."))
            .build();
        let text = |about: &str| ObjectBuilder::new().schema_type(Type::String).description(Some(about));
        let seconds = match u64::schema() {
            RefOr::T(Schema::Object(number)) => ObjectBuilder::from(number).description(Some("Seconds since 1970.")),
            _ => ObjectBuilder::new().schema_type(Type::Integer),
        };
        let items = ArrayBuilder::new()
            .items(Ref::from_schema_name(T::name()))
            .description(Some("One for each prompt, in the order of the request."));
        ObjectBuilder::new()
            .description(Some(T::ABOUT))
            .property("id", text(&format!("`{}-` and the request's name.", T::PREFIX)))
            .property("object", text("`list`."))
            .property("created", seconds)
            .property("model", text("The first served name."))
            .property("data", items)
            .property("usage", usage)
            .required("id")
            .required("object")
            .required("created")
            .required("model")
            .required("data")
            .required("usage")
            .examples([json!({
                "id": format!("{}-8b1f6a0c52d94e7f", T::PREFIX), "object": "list", "created": 1_800_000_000,
                "model": "qwen3", "data": [T::example()],
                "usage": {
                    "prompt_tokens": 82, "total_tokens": 82, "completion_tokens": 0,
                    "prompt_tokens_details": null, "completion_tokens_details": null,
                },
            })])
            .into()
    }
}

/// Tokens of a request whose answer is a list: vLLM's usage of a model that may generate.
#[derive(Debug, Serialize, ToSchema)]
pub struct ScoreUsage {
    /// Tokens of all prompts.
    prompt_tokens: usize,
    /// As many: nothing is generated.
    total_tokens: usize,
    /// 0: nothing is generated.
    completion_tokens: usize,
    /// Always null.
    #[schema(value_type = Option<Object>)]
    prompt_tokens_details: Option<()>,
    /// Always null.
    #[schema(value_type = Option<Object>)]
    completion_tokens_details: Option<()>,
}

impl ScoreUsage {
    fn of(prompt_tokens: usize) -> Self {
        Self {
            prompt_tokens,
            total_tokens: prompt_tokens,
            completion_tokens: 0,
            prompt_tokens_details: None,
            completion_tokens_details: None,
        }
    }
}

/// Tokens of a request, as vLLM counts them where nothing can be generated.
#[derive(Debug, Serialize, ToSchema)]
pub struct RerankUsage {
    /// Tokens of all prompts.
    prompt_tokens: usize,
    /// As many: nothing is generated.
    total_tokens: usize,
}

impl RerankUsage {
    /// The usage of a request whose prompts have so many tokens.
    pub fn of(prompt_tokens: usize) -> Self {
        Self { prompt_tokens, total_tokens: prompt_tokens }
    }
}
