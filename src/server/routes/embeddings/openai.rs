//! OpenAI's words, which are vLLM's: `input` in, a list of vectors out. Jina's, Xinference's and LocalAI's clients say them
//! too, with a few of their own.
//!
//! Invariant: a body that vLLM takes means here what it means there.

use super::dialect::Dialect;
use crate::server::describe::schema::{
    COMMON, Request, choice, described, nullable_boolean, nullable_integer, nullable_string, object, prompts, request,
};
use crate::server::http::error::ApiError;
use crate::server::scoring::rows::{Answered, Written};
use crate::server::wire::embed::{EmbedRequest, PromptName, Size};
use crate::server::wire::encoding::{Form, NumberFormat, Row, RowForm};
use crate::server::wire::fields::{self, Fields};
use crate::server::wire::input::{self, Input, InputRequest};
use crate::server::wire::listing::{Listed, Listing};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa::openapi::Ref;
use utoipa::openapi::schema::{AllOfBuilder, Schema};

/// A body of `/v1/embeddings`.
pub struct OpenAi {
    request: EmbedRequest,
    form: Form,
}

impl Dialect for OpenAi {
    fn read(body: &Map<String, Value>) -> Result<Self, ApiError> {
        input::refuse_removed(body)?;
        let mut fields = Fields::new(body);
        let form = form(&mut fields);
        let size = fields.integer("dimensions").map_or(Size::All, Size::Exactly);
        let input = InputRequest::from_fields(&mut fields, body)?;
        let Some(mut input) = input.filter(|_| fields.is_clean()) else {
            return Err(fields::refuse(fields.into_issues()));
        };
        refuse_what_changes_vectors(&fields)?;
        let normalized = fields.boolean_if_any("normalized");
        input.common.use_activation = input.common.use_activation.or(normalized);
        if matches!(&input.input, Input::Texts(texts) if texts.is_empty()) {
            return Err(ApiError::invalid("You must pass at least one prompt"));
        }
        let as_bits = matches!(form, Form::Json(RowForm::Binary | RowForm::Ubinary));
        let request = EmbedRequest { size, prompt: prompt(&fields), as_bits, ..EmbedRequest::of(input) };
        Ok(Self { request, form })
    }

    fn request(&self) -> &EmbedRequest {
        &self.request
    }

    fn write(&self, answered: &Answered<'_>) -> Result<Written, ApiError> {
        let id = answered.id(EmbeddingDatum::PREFIX, &self.request.input.common);
        match self.form {
            Form::Json(form) => {
                let datum =
                    |(index, row)| EmbeddingDatum { index, object: "embedding", embedding: Row::new(row, form) };
                answered.list(id, answered.rows().enumerate().map(datum).collect())
            }
            Form::Bytes { numbers, described } => answered.bytes(id, numbers, described),
        }
    }
}

/// `encoding_format`, or Jina's `embedding_type`, which vLLM does not know.
fn form(fields: &mut Fields<'_>) -> Form {
    let form = Form::from_fields(fields);
    match fields.any("embedding_type").filter(|_| !fields.has("encoding_format")).and_then(Value::as_str) {
        Some("base64") => Form::Json(RowForm::Base64(NumberFormat::from_fields(fields))),
        Some("binary") => Form::Json(RowForm::Binary),
        Some("ubinary") => Form::Json(RowForm::Ubinary),
        _ => form,
    }
}

/// The prompt that others' words choose. vLLM knows none of them and takes whatever they hold.
fn prompt(fields: &Fields<'_>) -> Option<PromptName> {
    ["input_type", "prompt_name", "task"]
        .into_iter()
        .find_map(|field| PromptName::known(field, fields.any(field)?.as_str()?))
}

/// Jina's words for vectors that this model has not.
fn refuse_what_changes_vectors(fields: &Fields<'_>) -> Result<(), ApiError> {
    for (field, what) in [
        ("late_chunking", "the inputs are embedded one by one, not as one document; leave it out or send false"),
        ("return_multivector", "there is one vector a text, not one a token; leave it out or send false"),
    ] {
        if fields.boolean_if_any(field) == Some(true) {
            let sentence = format!("`{field}` is not supported: {what}. (parameter={field})");
            return Err(ApiError::invalid(sentence).with_param(field));
        }
    }
    Ok(())
}

/// Answer of `POST /v1/embeddings`, unless bytes were asked for.
pub type EmbeddingResponse<'a> = Listing<'a, EmbeddingDatum<'a>>;

impl Listed for EmbeddingDatum<'_> {
    const PREFIX: &'static str = "embd";
    const SCHEMA: &'static str = "EmbeddingResponse";
    const ABOUT: &'static str = "Answer of `POST /v1/embeddings`, unless bytes were asked for.";

    fn example() -> Value {
        json!({"index": 0, "object": "embedding", "embedding": [0.6, -0.8]})
    }
}

/// The vector of one text.
#[derive(Debug, Serialize, ToSchema)]
pub struct EmbeddingDatum<'a> {
    /// The text's place.
    index: usize,
    /// `embedding`.
    object: &'static str,
    /// Its vector.
    embedding: Row<'a>,
}

/// What clients should send.
pub fn described_request() -> Request {
    let own = object([
        ("dimensions", described(nullable_integer().minimum(Some(1)), "Numbers of a vector, the first ones.")),
        ("encoding_format", described(choice(&["float", "base64", "bytes", "bytes_only"]), "Form of the answer.")),
        (
            "embed_dtype",
            described(
                choice(&["float32", "float16", "bfloat16", "fp8_e4m3", "fp8_e5m2"]),
                "Numbers in base64 and bytes.",
            ),
        ),
        ("endianness", described(choice(&["native", "big", "little"]), "Their byte order.")),
        ("input_type", described(nullable_string(), "query or document: the model's prompt that texts get.")),
        ("normalized", described(nullable_boolean(), "As use_activation, in Jina's words.")),
    ]);
    let all = AllOfBuilder::new().item(Ref::from_schema_name(COMMON)).item(prompts()).item(own);
    let example = json!({"input": ["The Danube flows through Vienna."], "encoding_format": "float"});
    request("EmbeddingRequest", Schema::AllOf(all.build()), example)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: Value) -> Result<OpenAi, String> {
        OpenAi::read(body.as_object().expect("an object")).map_err(|refused| refused.message().to_owned())
    }

    #[test]
    fn null_is_the_default_and_other_servers_words_are_heard() {
        let plain = read(json!({"input": "a", "encoding_format": null, "dimensions": null})).expect("taken");
        assert_eq!(plain.form, Form::Json(RowForm::Numbers));
        assert_eq!((plain.request.size, plain.request.prompt), (Size::All, None));
        let jina = read(json!({
            "input": [{"text": "a"}, {"text": "b"}], "task": "retrieval.query", "normalized": false,
            "embedding_type": "ubinary", "dimensions": "32", "late_chunking": false, "truncate": true
        }))
        .expect("taken");
        assert_eq!(jina.request.input.input, Input::Texts(vec!["a".into(), "b".into()]));
        assert_eq!(jina.request.prompt, Some(PromptName { field: "task", name: "query".into() }));
        assert_eq!(jina.request.input.common.use_activation, Some(false));
        assert_eq!((jina.request.size, jina.form), (Size::Exactly(32), Form::Json(RowForm::Ubinary)));
        assert_eq!(jina.request.input.common.truncate_prompt_tokens, Some(-1));
        assert!(
            read(json!({"input": "a", "task": "embed", "input_type": "nonsense"}))
                .expect("taken")
                .request
                .prompt
                .is_none()
        );
    }

    #[test]
    fn what_would_be_other_vectors_is_refused() {
        for (field, said) in [("late_chunking", "one by one"), ("return_multivector", "one vector a text")] {
            let refused = read(json!({"input": "a", field: true})).err().expect("refused");
            assert!(refused.contains(said), "{refused}");
        }
    }
}
