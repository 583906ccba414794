//! The request of the routes that score whole prompts, `/classify` and `/pooling`: `input` or `messages`.
//!
//! Invariant: `input` is the prompt as it stands, `messages` are put into the prompt of pairs. Called by `classify`,
//! `pooling`, `tokenize` and `invocations`.

use super::fields::{self, Fields};
use super::pairs::{self, Common, Place};
use crate::prompt::Message;
use crate::server::http::error::ApiError;
use serde_json::{Map, Value};
use std::fmt::Display;

/// A body with `input` or `messages`.
#[derive(Debug, Clone, PartialEq)]
pub struct InputRequest {
    /// The fields that all scoring requests have.
    pub common: Common,
    /// What becomes prompts.
    pub input: Input,
    /// What the body calls it.
    pub place: Place,
}

/// The whole prompts of a body, each as it stands, or messages for the prompt of pairs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Texts.
    Texts(Vec<String>),
    /// Token ids.
    TokenIds(Vec<Vec<u32>>),
    /// The messages of one prompt.
    Messages(Vec<Message>),
}

impl InputRequest {
    /// Reads a body.
    pub fn read(body: &Map<String, Value>) -> Result<Self, ApiError> {
        refuse_removed(body)?;
        let mut fields = Fields::new(body);
        match Self::from_fields(&mut fields, body)? {
            Some(request) => Ok(request),
            None => Err(fields::refuse(fields.into_issues())),
        }
    }

    /// The request, or nothing if `fields` have noted what is wrong with it.
    pub fn from_fields(fields: &mut Fields<'_>, body: &Map<String, Value>) -> Result<Option<Self>, ApiError> {
        let common = pairs::common(fields);
        fields.boolean("add_special_tokens");
        let input = if fields.has("input") || !fields.has("messages") {
            let input = fields.required("input").and_then(|value| input(fields, value));
            if !body.contains_key("input") {
                fields.required("messages");
            }
            input
        } else {
            chat_options(fields, body)?;
            messages(fields).map(Input::Messages)
        };
        // A list of token ids is one prompt.
        let is_list =
            |value: &Value| value.as_array().and_then(|items| items.first()).is_some_and(|one| !one.is_number());
        let place = Place { name: "input", is_list: fields.any("input").is_some_and(is_list) };
        Ok(input.filter(|_| fields.is_clean()).map(|input| Self { common, input, place }))
    }
}

/// Fields that vLLM has removed, of which clients shall learn what took their place.
pub fn refuse_removed(body: &Map<String, Value>) -> Result<(), ApiError> {
    if body.contains_key("normalize") {
        let sentence = "Parameter `normalize` was removed; use `use_activation` instead. (parameter=normalize)";
        return Err(ApiError::invalid(sentence).with_param("normalize"));
    }
    let instead = match body.get("task").and_then(Value::as_str) {
        Some("score") => "`score` task was removed; use `classify` instead. (parameter=task)",
        Some("encode") => "`encode` task was removed; use `token_embed` or `token_classify` instead. (parameter=task)",
        _ => return Ok(()),
    };
    Err(ApiError::invalid(instead).with_param("task"))
}

/// The options of a chat template, which the prompt of pairs has no use for; what would change its text is refused.
pub fn chat_options(fields: &mut Fields<'_>, body: &Map<String, Value>) -> Result<(), ApiError> {
    let add = fields.boolean("add_generation_prompt").unwrap_or(false);
    let go_on = fields.boolean("continue_final_message").unwrap_or(false);
    if add && go_on {
        let sentence = "Cannot set both `continue_final_message` and `add_generation_prompt` to True.";
        return Err(ApiError::invalid(sentence));
    }
    let kwargs = body.get("chat_template_kwargs").and_then(Value::as_object);
    if fields.string("chat_template").is_some() || kwargs.is_some_and(|kwargs| kwargs.contains_key("chat_template")) {
        let sentence = "A chat template in the request is refused: the server's own template counts, see \
                        --chat-template. (parameter=chat_template)";
        return Err(ApiError::invalid(sentence).with_param("chat_template"));
    }
    Ok(())
}

/// `messages`, whose texts may come in parts.
pub fn messages(fields: &mut Fields<'_>) -> Option<Vec<Message>> {
    let value = fields.required("messages")?;
    let Value::Array(items) = value else {
        fields.note("list_type", "messages", "Input should be a valid list", value);
        return None;
    };
    let messages: Vec<Option<Message>> =
        items.iter().enumerate().map(|(i, item)| message(fields, format_args!("messages.{i}"), item)).collect();
    messages.into_iter().collect()
}

fn message(fields: &mut Fields<'_>, loc: impl Display, item: &Value) -> Option<Message> {
    let Value::Object(map) = item else {
        fields.note("dict_type", loc, "Input should be a valid dictionary", item);
        return None;
    };
    let Some(Value::String(role)) = map.get("role") else {
        fields.note("string_type", format_args!("{loc}.role"), "Input should be a valid string", item);
        return None;
    };
    let content = match map.get("content") {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let texts: Option<Vec<&str>> = parts.iter().map(|part| part.get("text")?.as_str()).collect();
            match texts {
                Some(texts) => texts.join("\n"),
                None => {
                    let msg = "Input should be a list of text parts";
                    fields.note("string_type", format_args!("{loc}.content"), msg, item);
                    return None;
                }
            }
        }
        Some(other) => {
            fields.note("string_type", format_args!("{loc}.content"), "Input should be a valid string", other);
            return None;
        }
    };
    Some(Message { role: role.clone(), content })
}

/// A text, texts, token ids, or lists of them; the first item says which.
fn input(fields: &mut Fields<'_>, value: &Value) -> Option<Input> {
    let Value::Array(items) = value else {
        return match value {
            Value::String(text) => Some(Input::Texts(vec![text.clone()])),
            _ => {
                let msg = "Input should be a valid string, a list of strings, a list of token ids or a list of those";
                fields.note("string_type", "input", msg, value);
                None
            }
        };
    };
    match items.first() {
        None => Some(Input::Texts(Vec::new())),
        Some(Value::Array(_)) => {
            let lists: Option<Vec<Vec<u32>>> = items
                .iter()
                .enumerate()
                .map(|(i, item)| match item {
                    Value::Array(ids) => token_ids(fields, format_args!("input.{i}"), ids),
                    _ => {
                        fields.note("list_type", format_args!("input.{i}"), "Input should be a valid list", item);
                        None
                    }
                })
                .collect();
            lists.map(Input::TokenIds)
        }
        Some(Value::Number(_)) => token_ids(fields, "input", items).map(|ids| Input::TokenIds(vec![ids])),
        Some(_) => match items.iter().enumerate().find(|(_, item)| !item.is_string()) {
            None => Some(Input::Texts(items.iter().filter_map(Value::as_str).map(str::to_owned).collect())),
            Some((i, item)) => {
                fields.note("string_type", format_args!("input.{i}"), "Input should be a valid string", item);
                None
            }
        },
    }
}

/// Token ids; one that no vocabulary of 32 bits can have becomes the largest, which none has either.
pub fn token_ids(fields: &mut Fields<'_>, loc: impl Display, items: &[Value]) -> Option<Vec<u32>> {
    let id = |item: &Value| match item.as_u64() {
        Some(id) => Some(u32::try_from(id).unwrap_or(u32::MAX)),
        None => item.as_f64().filter(|id| *id >= 0.0 && id.fract() == 0.0).map(|id| id as u32),
    };
    let ids: Vec<u32> = items.iter().map_while(id).collect();
    match items.get(ids.len()) {
        None => Some(ids),
        Some(wrong) => {
            let loc = format_args!("{loc}.{}", ids.len());
            match wrong.is_number() {
                true => {
                    let msg = "Input should be an integer greater than or equal to 0";
                    fields.note("greater_than_equal", loc, msg, wrong);
                }
                false => fields.note("int_type", loc, "Input should be a valid integer", wrong),
            }
            None
        }
    }
}
