//! Whole texts in requests, which a reranker takes for prompts and an embedding model for texts: `input` or `messages`.
//!
//! Invariant: `input` is a text as it stands, `messages` are put into the prompt of pairs. Called by `classify`, `pooling`,
//! `tokenize`, `invocations` and the dialects of `embeddings`.

use super::fields::{self, Fields};
use super::halves;
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
    /// Whether texts get the tokens that the tokenizer puts around them.
    pub special_tokens: bool,
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
    /// A request that was read in other words.
    pub fn of(common: Common, input: Input, place: Place) -> Self {
        Self { common, input, place, special_tokens: true }
    }

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
        let special_tokens = fields.boolean("add_special_tokens").unwrap_or(true);
        let input = if fields.has("input") || !fields.has("messages") {
            let input = fields.required("input").and_then(|value| input(fields, "input", value));
            if !body.contains_key("input") {
                fields.required("messages");
            }
            input
        } else {
            chat_options(fields, body)?;
            messages(fields).map(Input::Messages)
        };
        let place = Place { name: "input", is_list: is_list(fields.any("input")) };
        Ok(input.filter(|_| fields.is_clean()).map(|input| Self { common, input, place, special_tokens }))
    }
}

/// Whether a field holds several texts: a list of token ids is one.
pub fn is_list(value: Option<&Value>) -> bool {
    value.and_then(Value::as_array).and_then(|items| items.first()).is_some_and(|one| !one.is_number())
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

/// A text, texts, token ids, or lists of them; texts may be objects with a `text`, as Jina's.
pub fn input(fields: &mut Fields<'_>, name: &str, value: &Value) -> Option<Input> {
    let Value::Array(items) = value else {
        return match value {
            Value::String(text) => Some(Input::Texts(vec![text.clone()])),
            _ => {
                fields.note("list_type", name, "Input should be a valid list", value);
                None
            }
        };
    };
    match items.first() {
        Some(Value::Array(_)) if items.iter().all(is_of_numbers) => {
            let lists = items.iter().filter_map(Value::as_array).enumerate();
            lists
                .map(|(i, ids)| token_ids(fields, format_args!("{name}.{i}"), ids))
                .collect::<Option<_>>()
                .map(Input::TokenIds)
        }
        Some(Value::Number(_)) if is_of_numbers(value) => {
            token_ids(fields, name, items).map(|ids| Input::TokenIds(vec![ids]))
        }
        _ => match items.iter().map(text_of).collect::<Option<_>>() {
            Some(texts) => Some(Input::Texts(texts)),
            None => {
                refuse_item(fields, name, items);
                None
            }
        },
    }
}

fn is_of_numbers(value: &Value) -> bool {
    value.as_array().is_some_and(|items| items.iter().all(Value::is_number))
}

fn text_of(item: &Value) -> Option<String> {
    item.as_str().or_else(|| item.get("text")?.as_str()).map(str::to_owned)
}

/// Notes a mistake in a list that is none of texts. vLLM takes it for token ids first; where a text is none because it is half
/// a character, that is the mistake.
fn refuse_item(fields: &mut Fields<'_>, name: &str, items: &[Value]) {
    let half = items.iter().position(|item| halves::place(item).is_some());
    let Some(at) = half.or_else(|| items.iter().position(|item| !item.is_number())) else { return };
    let (loc, item) = (format_args!("{name}.{at}"), &items[at]);
    match item {
        Value::String(_) => {
            let msg = "Input should be a valid integer, unable to parse string as an integer";
            fields.note("int_parsing", loc, msg, item);
        }
        _ => fields.note("int_type", loc, "Input should be a valid integer", item),
    }
}

/// A list of strings.
pub fn strings(fields: &mut Fields<'_>, name: &str, value: &Value) -> Option<Vec<String>> {
    let Value::Array(items) = value else {
        fields.note("list_type", name, "Input should be a valid list", value);
        return None;
    };
    for (i, item) in items.iter().enumerate().filter(|(_, item)| !item.is_string()) {
        fields.note("string_type", format_args!("{name}.{i}"), "Input should be a valid string", item);
    }
    items.iter().map(|item| item.as_str().map(str::to_owned)).collect()
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
