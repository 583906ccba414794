//! `POST /tokenize` and `/detokenize`: the tokenizer by itself, without any limit but the body's.
//!
//! A prompt is read as raw text, control tokens included; messages become the prompt of pairs.

use super::error::ApiError;
use super::fields::{self, Fields};
use super::input;
use super::scoring::on_a_thread;
use super::{State, body, wire};
use crate::prompt::{Message, PromptOptions};
use actix_web::{HttpResponse, web};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

enum Source {
    Prompt(String),
    Messages(Vec<Message>),
}

/// Answers `POST /tokenize`.
pub async fn tokenize(state: &web::Data<State>, bytes: web::Bytes) -> Result<HttpResponse, ApiError> {
    let blocking = state.clone();
    let response = on_a_thread(state, move || tokens(&blocking, &bytes)).await?;
    Ok(HttpResponse::Ok().json(response))
}

/// Answers `POST /detokenize`.
pub async fn detokenize(state: &web::Data<State>, bytes: web::Bytes) -> Result<HttpResponse, ApiError> {
    let blocking = state.clone();
    let response = on_a_thread(state, move || text(&blocking, &bytes)).await?;
    Ok(HttpResponse::Ok().json(response))
}

fn tokens(state: &State, bytes: &[u8]) -> Result<TokenizeResponse, ApiError> {
    let body = body::object(bytes)?;
    let mut fields = Fields::new(&body);
    let model = fields.string("model");
    fields.boolean("add_special_tokens");
    let with_strings = fields.boolean("return_token_strs").unwrap_or(false);
    let (instruction, template_kwargs) = wire::instructions(&mut fields);
    let source = source(&mut fields, &body)?;
    let Some(source) = source.filter(|_| fields.is_clean()) else {
        return Err(fields::refuse(fields.into_issues()));
    };
    check_model(state, model.as_deref())?;
    let tokens = match source {
        Source::Prompt(text) => state.encoder.tokens(&text)?,
        Source::Messages(messages) => {
            let options = PromptOptions { instruction, template_kwargs, ..PromptOptions::default() };
            state.encoder.messages_of_any_length(&messages, &options)?.token_ids().into_owned()
        }
    };
    Ok(TokenizeResponse {
        count: tokens.len(),
        max_model_len: state.settings.max_model_len,
        token_strs: with_strings.then(|| state.encoder.token_strings(&tokens)),
        tokens,
    })
}

fn source(fields: &mut Fields<'_>, body: &Map<String, Value>) -> Result<Option<Source>, ApiError> {
    let has_messages_alone = fields.has("messages") && !fields.has("prompt");
    if body.contains_key("prompt") && !has_messages_alone {
        return Ok(fields.required_string("prompt").map(Source::Prompt));
    }
    if body.contains_key("messages") {
        input::chat_options(fields, body)?;
        return Ok(input::messages(fields).map(Source::Messages));
    }
    fields.required("prompt");
    fields.required("messages");
    Ok(None)
}

fn text(state: &State, bytes: &[u8]) -> Result<DetokenizeResponse, ApiError> {
    let body = body::object(bytes)?;
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
    check_model(state, model.as_deref())?;
    Ok(DetokenizeResponse { prompt: state.encoder.text(&ids)? })
}

/// As on the scoring routes, but vLLM names the parameter here.
fn check_model(state: &State, model: Option<&str>) -> Result<(), ApiError> {
    state.settings.check_model(model.unwrap_or("")).map_err(|refused| refused.with_param("model"))
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
