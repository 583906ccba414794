//! What clients of other servers call the fields that all scoring requests share: TEI, Voyage, Infinity, DashScope,
//! Xinference.
//!
//! Invariants: these words mean the same on every route and in every dialect; vLLM's own field stands over them. vLLM
//! knows none of them and takes whatever they hold, so what makes no sense is passed over. Called by `pairs`.

use super::fields::Fields;
use super::halves;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// What a body says in such words of what vLLM has fields for.
pub struct Words {
    /// Whether scores are probabilities.
    pub use_activation: Option<bool>,
    /// Whether a prompt is cut to as many tokens as the model has.
    pub truncates: bool,
    /// Whether its end is kept then.
    pub keeps_end: bool,
}

impl Words {
    /// Reads them, the instruction aside.
    pub fn of(fields: &Fields<'_>) -> Self {
        let side = fields.any("truncation_direction").filter(|_| !fields.has("truncation_side"));
        Self {
            use_activation: fields.boolean_if_any("raw_scores").map(|raw| !raw),
            truncates: ["truncate", "truncation"].into_iter().any(|word| fields.boolean_if_any(word) == Some(true)),
            keeps_end: side.and_then(Value::as_str).is_some_and(|side| side.eq_ignore_ascii_case("left")),
        }
    }
}

/// Bytes of `kwargs` that are read as JSON within a string: an instruction, and no tree that nobody has charged.
const MOST_KWARGS: usize = 64 << 10;

/// The instruction: DashScope's `instruct`, or what Xinference's clients put into `kwargs`, as an object or as its text.
pub fn instruct(fields: &mut Fields<'_>) -> Option<String> {
    if let Some(half) = fields.any("instruct").filter(|value| halves::place(value).as_deref() == Some("")) {
        fields.note("string_type", "instruct", "Input should be a valid string", half);
    }
    let kwargs: Option<Cow<'_, Map<String, Value>>> = match fields.any("kwargs") {
        Some(Value::Object(kwargs)) => Some(Cow::Borrowed(kwargs)),
        Some(Value::String(text)) if text.len() <= MOST_KWARGS => serde_json::from_str(text).ok().map(Cow::Owned),
        _ => None,
    };
    let kwarg = |word: &str| kwargs.as_ref()?.get(word);
    let said = [fields.any("instruct"), kwarg("instruction"), kwarg("instruct")];
    let said = said.into_iter().flatten().filter_map(Value::as_str).find(|text| !text.is_empty());
    said.map(str::to_owned)
}
