//! `POST /tokenize` and `/detokenize`: the tokenizer by itself, for texts that are far longer than a prompt.
//!
//! A prompt is read as raw text, control tokens included; messages become the prompt of pairs.

use crate::error::ErrorKind;
use crate::prompt::{Message, NO_TEMPLATE, PromptOptions};
use crate::server::describe::schema::{
    MESSAGE, Request, described, integer, list, list_of, nullable_boolean, nullable_string, object, request, string,
};
use crate::server::describe::{Content, Description, shape};
use crate::server::http::aside::on_a_thread;
use crate::server::http::budget::Charged;
use crate::server::http::error::ApiError;
use crate::server::http::intake::Body;
use crate::server::models::Model;
use crate::server::route::{Operation, Route};
use crate::server::state::State;
use crate::server::wire::fields::{self, Fields};
use crate::server::wire::{body, input, pairs};
use crate::serves::Serves;
use actix_web::{HttpResponse, web};
use serde::Serialize;
use serde_json::json;
use serde_json::{Map, Value};
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{AnyOfBuilder, Schema};

/// Tokens of an answer at most: a few megabytes of text, and a second or two of work.
const MOST_TOKENS: usize = 1 << 20;
/// Bytes that a token takes in an answer, alone and with its text.
const TOKEN: usize = 32;
const TOKEN_AND_STRING: usize = 128;

/// Text to tokens.
pub static TOKENIZE: Route = Route::at(
    &["/tokenize"],
    &[Operation::post(
        |call| {
            let state = call.state;
            Box::pin(async move { tokenize(state, call.json().await?).await })
        },
        Description::reads("Tokens", "Text to tokens", described_text, Content::Json(&[shape::<TokenizeResponse>])),
    )],
);

/// Tokens to text.
pub static DETOKENIZE: Route = Route::at(
    &["/detokenize"],
    &[Operation::post(
        |call| {
            let state = call.state;
            Box::pin(async move { detokenize(state, call.json().await?).await })
        },
        Description::reads("Tokens", "Tokens to text", described_tokens, Content::Json(&[shape::<DetokenizeResponse>])),
    )],
);

/// What becomes tokens.
enum Subject {
    Prompt(String),
    Messages(Vec<Message>),
}

/// Answers `POST /tokenize`.
pub async fn tokenize(state: &web::Data<State>, body: Body) -> Result<HttpResponse, ApiError> {
    let (blocking, share) = (state.clone(), body.share.clone());
    let response = on_a_thread(&state.threads, body.len(), move |_| tokens(&blocking, &body)).await?;
    Ok(Charged::json(HttpResponse::Ok(), share, &response))
}

/// Answers `POST /detokenize`.
pub async fn detokenize(state: &web::Data<State>, body: Body) -> Result<HttpResponse, ApiError> {
    let (blocking, share) = (state.clone(), body.share.clone());
    let response = on_a_thread(&state.threads, body.len(), move |_| text(&blocking, &body)).await?;
    Ok(Charged::json(HttpResponse::Ok(), share, &response))
}

fn tokens(state: &State, request: &Body) -> Result<TokenizeResponse, ApiError> {
    let body = body::read(request)?;
    // The text, what it is without its control tokens, and where those are.
    request.share.grow(6 * request.len())?;
    let mut fields = Fields::new(&body);
    let model = fields.string("model");
    let special_tokens = fields.boolean("add_special_tokens").unwrap_or(true);
    let with_strings = fields.boolean("return_token_strs").unwrap_or(false);
    let (instruction, template_kwargs) = pairs::instructions(&mut fields);
    let subject = subject(&mut fields, &body)?;
    let Some(subject) = subject.filter(|_| fields.is_clean()) else {
        return Err(fields::refuse(fields.into_issues()));
    };
    let model = find(state, model.as_deref())?;
    let (serves, vocabulary) = (&model.serves, model.serves.vocabulary());
    let tokens = match (subject, serves) {
        (Subject::Prompt(text), Serves::Rerank(_)) => vocabulary.tokens(&text, MOST_TOKENS)?,
        (Subject::Prompt(text), Serves::Embed(embedder)) => {
            let mut tokens = vocabulary.tokens(&text, MOST_TOKENS)?;
            tokens.extend_from_slice(if special_tokens { embedder.encoder.end() } else { &[] });
            tokens
        }
        (Subject::Messages(_), Serves::Embed(_)) => return Err(ApiError::invalid(NO_TEMPLATE)),
        (Subject::Messages(messages), Serves::Rerank(reranker)) => {
            let encoder = &reranker.encoder;
            let options = PromptOptions { instruction, template_kwargs, ..PromptOptions::default() };
            let [query, document] = Message::pair(&messages);
            request.share.grow(encoder.template_bytes(query, document))?;
            match encoder.messages_of_at_most(MOST_TOKENS, &messages, &options) {
                Err(err) if err.kind() == ErrorKind::TooLong => return Err(too_many()),
                made => made?.token_ids().into_owned(),
            }
        }
    };
    if tokens.len() > MOST_TOKENS {
        return Err(too_many());
    }
    request.share.grow(tokens.len() * if with_strings { TOKEN_AND_STRING } else { TOKEN })?;
    Ok(TokenizeResponse {
        count: tokens.len(),
        max_model_len: model.served.max_model_len,
        token_strs: with_strings.then(|| vocabulary.token_strings(&tokens)),
        tokens,
    })
}

fn too_many() -> ApiError {
    ApiError::invalid(format!("At most {MOST_TOKENS} tokens are listed at a time; send the text in parts."))
}

fn subject(fields: &mut Fields<'_>, body: &Map<String, Value>) -> Result<Option<Subject>, ApiError> {
    let has_messages_alone = fields.has("messages") && !fields.has("prompt");
    if body.contains_key("prompt") && !has_messages_alone {
        return Ok(fields.required_string("prompt").map(Subject::Prompt));
    }
    if body.contains_key("messages") {
        input::chat_options(fields, body)?;
        return Ok(input::messages(fields).map(Subject::Messages));
    }
    fields.required("prompt");
    fields.required("messages");
    Ok(None)
}

fn text(state: &State, request: &Body) -> Result<DetokenizeResponse, ApiError> {
    let body = body::read(request)?;
    request.share.grow(request.len())?;
    let mut fields = Fields::new(&body);
    let model = fields.string("model");
    let ids = match fields.required("tokens") {
        Some(Value::Array(items)) => input::token_ids(&mut fields, "tokens", items),
        Some(other) => {
            fields.note("list_type", "tokens", "Input should be a valid list", other);
            None
        }
        None => None,
    };
    let Some(ids) = ids.filter(|_| fields.is_clean()) else {
        return Err(fields::refuse(fields.into_issues()));
    };
    let model = find(state, model.as_deref())?;
    let vocabulary = model.serves.vocabulary();
    request.share.grow(6 * vocabulary.text_bytes(&ids) + 2 * TOKEN * ids.len())?;
    Ok(DetokenizeResponse { prompt: vocabulary.text(&ids)? })
}

/// The model that is asked for; of one that is not served vLLM names the parameter here, which it does not on the scoring
/// routes.
fn find<'a>(state: &'a State, model: Option<&str>) -> Result<&'a Arc<Model>, ApiError> {
    let found = state.models.find(model.unwrap_or(""), None);
    found.map(|found| found.model).map_err(|refused| refused.with_param("model"))
}

/// Answer of `POST /tokenize`.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenizeResponse {
    /// How many tokens there are.
    pub count: usize,
    /// How many a prompt may have.
    pub max_model_len: usize,
    /// Their ids.
    pub tokens: Vec<u32>,
    /// Their entries in the vocabulary, if they were asked for.
    pub token_strs: Option<Vec<String>>,
}

/// Answer of `POST /detokenize`.
#[derive(Debug, Serialize, ToSchema)]
pub struct DetokenizeResponse {
    /// The text of the tokens.
    pub prompt: String,
}

fn described_text() -> Request {
    let options = || {
        object([
            ("model", nullable_string().into()),
            (
                "add_special_tokens",
                described(
                    nullable_boolean(),
                    "Whether what an embedding model's tokenizer appends is listed; a reranker's appends nothing.",
                ),
            ),
            ("return_token_strs", described(nullable_boolean(), "Whether to return the vocabulary's entries.")),
        ])
    };
    let prompt = options().property("prompt", string()).required("prompt");
    let messages = options().property("messages", Schema::Array(list_of(MESSAGE))).required("messages");
    let schema = AnyOfBuilder::new().item(prompt).item(messages).build();
    request("TokenizeRequest", Schema::AnyOf(schema), json!({"prompt": "Hello, world!", "return_token_strs": true}))
}

fn described_tokens() -> Request {
    let ids = list(integer().minimum(Some(0)).build());
    let schema =
        object([("model", nullable_string().into()), ("tokens", RefOr::T(Schema::Array(ids)))]).required("tokens");
    request("DetokenizeRequest", schema.into(), json!({"tokens": [9707, 11, 1879, 0]}))
}
