//! What scoring requests share, and the request of the score route, field for field.
//!
//! Invariant: a request that was read breaks no rule of a single field; rules between fields are `scoring`'s.

use super::fields::{self, Fields, Issues};
use super::words::{self, Words};
use crate::prompt::TruncationSide;
use crate::server::http::error::{ApiError, ErrorForm};
use serde_json::{Map, Value};
use std::fmt::Display;

/// What the rerank and the score requests have in common. Unknown fields are ignored, as vLLM does.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Common {
    /// The client's name of the request.
    pub request_id: Option<String>,
    /// Among waiting requests, lower values go first.
    pub priority: i64,
    /// Whether scores are probabilities (the default) or margins.
    pub use_activation: Option<bool>,
    /// Total tokens of a prompt; -1 is the model length.
    pub truncate_prompt_tokens: Option<i64>,
    /// Which end is kept when that is exceeded.
    pub truncation_side: TruncationSide,
    /// Tokens of the query, 0 for no limit.
    pub max_tokens_per_query: i64,
    /// Tokens of a document, 0 for no limit.
    pub max_tokens_per_doc: i64,
    /// The instruction of this request, wherever it was written.
    pub instruction: Option<String>,
    /// Variables for an operator's template: `chat_template_kwargs`, and `instruction` unless it is among them.
    pub template_kwargs: Map<String, Value>,
    /// Keys of `chat_template_kwargs` that a request may not set.
    pub reserved_kwargs: Vec<&'static str>,
    /// Accepted without effect: what requests share changes no score.
    pub cache_salt: Option<String>,
    /// Whether options for the preprocessing of images were given, which text models have no use for.
    pub has_mm_processor_kwargs: bool,
}

/// A text of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Text {
    /// A string, or the `text` of an object.
    Plain(String),
    /// An object with `content`, which text models have no use for.
    Parts,
}

impl Text {
    /// The text, unless it came in parts.
    pub fn plain(&self) -> Option<&str> {
        match self {
            Self::Plain(text) => Some(text),
            Self::Parts => None,
        }
    }
}

/// What a body calls a text, or a list of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Names of fields, with dots between them.
    pub name: &'static str,
    /// Whether there is a list of them.
    pub is_list: bool,
}

impl Place {
    /// What the body calls text number `index`.
    pub fn of(self, index: usize) -> String {
        if self.is_list { format!("{}[{index}]", self.name) } else { self.name.to_owned() }
    }
}

/// A request that asks for scores of pairs.
pub trait PairRequest: Sized + Send + 'static {
    /// Reads a body.
    fn read(body: &Map<String, Value>) -> Result<Self, ApiError>;
    /// The fields that all such requests have.
    fn common(&self) -> &Common;
    /// The two sides, not yet paired.
    fn sides(&self) -> (&[Text], &[Text]);
    /// What the body calls them.
    fn places(&self) -> [Place; 2];
    /// How the client of such a body reads errors.
    fn error_form(_: &Map<String, Value>) -> ErrorForm {
        ErrorForm::Object
    }
}

/// `POST /score`.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreRequest {
    common: Common,
    queries: Vec<Text>,
    documents: Vec<Text>,
    places: [Place; 2],
}

/// The names of the two sides in the four shapes of a score body, in vLLM's order of preference.
const SCORE_SHAPES: [(&str, &str); 4] =
    [("queries", "documents"), ("queries", "items"), ("data_1", "data_2"), ("text_1", "text_2")];

impl PairRequest for ScoreRequest {
    fn read(body: &Map<String, Value>) -> Result<Self, ApiError> {
        let mut issues = Issues::default();
        for (left, right) in SCORE_SHAPES {
            let mut fields = Fields::new(body);
            let common = common(&mut fields);
            let queries = fields.required(left).and_then(|value| texts(&mut fields, left, value));
            let documents = fields.required(right).and_then(|value| texts(&mut fields, right, value));
            let place = |name| Place { name, is_list: fields.any(name).is_some_and(Value::is_array) };
            let places = [place(left), place(right)];
            match (queries, documents, fields.into_issues()) {
                (Some(queries), Some(documents), found) if found.is_empty() => {
                    return Ok(Self { common, queries, documents, places });
                }
                (_, _, found) => issues.extend(found),
            }
        }
        Err(fields::refuse(issues))
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn sides(&self) -> (&[Text], &[Text]) {
        (&self.queries, &self.documents)
    }

    fn places(&self) -> [Place; 2] {
        self.places
    }
}

/// Reads the fields that all scoring requests share.
pub fn common(fields: &mut Fields<'_>) -> Common {
    // Which one it is has been looked up by who handed the body on.
    fields.string("model");
    fields.unused_string("user");
    let truncate_prompt_tokens = fields.integer_from("truncate_prompt_tokens", -1);
    let words = Words::of(fields);
    let truncation_side = match fields.choice("truncation_side", &["left", "right"]) {
        Some("left") => TruncationSide::Left,
        None if words.keeps_end => TruncationSide::Left,
        _ => TruncationSide::Right,
    };
    // Padding would only spoil the score of the last token.
    fields.choice("padding", &["max_length", "do_not_pad"]);
    let request_id = fields.string("request_id");
    let priority = fields.integer("priority").unwrap_or(0);
    let has_mm_processor_kwargs = fields.object("mm_processor_kwargs").is_some_and(|map| !map.is_empty());
    let cache_salt = fields.string("cache_salt");
    let use_activation = fields.boolean("use_activation");
    let max_tokens_per_query = fields.integer("max_tokens_per_query").unwrap_or(0);
    let max_tokens_per_doc = fields.integer("max_tokens_per_doc").unwrap_or(0);
    let (instruction, template_kwargs) = instructions(fields);
    Common {
        request_id,
        priority,
        use_activation: use_activation.or(words.use_activation),
        truncate_prompt_tokens: truncate_prompt_tokens.or(words.truncates.then_some(-1)),
        truncation_side,
        max_tokens_per_query,
        max_tokens_per_doc,
        reserved_kwargs: reserved(&template_kwargs),
        template_kwargs,
        instruction,
        cache_salt,
        has_mm_processor_kwargs,
    }
}

fn reserved(kwargs: &Map<String, Value>) -> Vec<&'static str> {
    ["chat_template", "tools", "tokenize"].into_iter().filter(|key| kwargs.contains_key(*key)).collect()
}

/// What a request says about the words of its prompt: the model card's instruction, an operator's template's variables.
pub fn instructions(fields: &mut Fields<'_>) -> (Option<String>, Map<String, Value>) {
    let field = fields.string("instruction");
    let kwargs = fields.object("chat_template_kwargs");
    let instruction = the_instruction(field.clone(), kwargs);
    let mut variables = template_kwargs(field.as_deref(), kwargs);
    match (instruction, words::instruct(fields)) {
        (None, Some(instruct)) => {
            variables.entry("instruction").or_insert_with(|| instruct.clone().into());
            (Some(instruct), variables)
        }
        (instruction, _) => (instruction, variables),
    }
}

/// An `instruction` within `chat_template_kwargs` hides the field, whatever it is.
fn template_kwargs(instruction: Option<&str>, kwargs: Option<&Map<String, Value>>) -> Map<String, Value> {
    let mut all = kwargs.cloned().unwrap_or_default();
    if let Some(instruction) = instruction {
        all.entry("instruction").or_insert_with(|| instruction.into());
    }
    all
}

/// `chat_template_kwargs.instruction` hides `instruction`, also when it is empty; then comes
/// `chat_template_kwargs.instruct`. Empty counts as absent at each step.
fn the_instruction(field: Option<String>, kwargs: Option<&Map<String, Value>>) -> Option<String> {
    let kwarg = |name: &str| {
        kwargs.and_then(|kwargs| kwargs.get(name)).map(|value| match value {
            Value::String(text) => text.clone(),
            Value::Null | Value::Bool(false) => String::new(),
            other => other.to_string(),
        })
    };
    let first = kwarg("instruction").or(field).filter(|text| !text.is_empty());
    first.or_else(|| kwarg("instruct").filter(|text| !text.is_empty()))
}

/// A string, `{"text": string}`, or an object with `content`.
pub fn one_text(fields: &mut Fields<'_>, loc: impl Display, value: &Value) -> Option<Text> {
    match value {
        Value::String(text) => return Some(Text::Plain(text.clone())),
        Value::Object(map) => {
            if let Some(Value::String(text)) = map.get("text") {
                return Some(Text::Plain(text.clone()));
            }
            if map.contains_key("content") {
                return Some(Text::Parts);
            }
        }
        _ => {}
    }
    fields.note("string_type", &loc, "Input should be a valid string", value);
    if value.is_object() {
        fields.note("missing", format_args!("{loc}.ScoreMultiModalParam.content"), "Field required", value);
    } else {
        let msg = "Input should be a valid dictionary";
        fields.note("dict_type", format_args!("{loc}.ScoreMultiModalParam"), msg, value);
    }
    None
}

/// One text or a list of them.
pub fn texts(fields: &mut Fields<'_>, loc: &str, value: &Value) -> Option<Vec<Text>> {
    let Value::Array(items) = value else {
        return one_text(fields, loc, value).map(|text| vec![text]);
    };
    if items.iter().all(is_text) {
        return items.iter().enumerate().map(|(i, item)| one_text(fields, format_args!("{loc}.{i}"), item)).collect();
    }
    // vLLM complains about the list as a whole first, and names the list as the parameter.
    one_text(fields, loc, value);
    for (i, item) in items.iter().enumerate().filter(|(_, item)| !is_text(item)) {
        one_text(fields, format_args!("{loc}.{i}"), item);
    }
    None
}

fn is_text(value: &Value) -> bool {
    match value {
        Value::String(_) => true,
        Value::Object(map) => map.get("text").is_some_and(Value::is_string) || map.contains_key("content"),
        _ => false,
    }
}
