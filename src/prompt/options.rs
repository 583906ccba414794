//! What a request may say about its prompts, and what that leaves for their length.
//!
//! Called by the server, which fills the options, and by all that makes prompts.

use serde_json::{Map, Value};

/// What a request may say about how its pairs become prompts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PromptOptions {
    /// Task instruction in place of the model card's; empty counts as absent.
    pub instruction: Option<String>,
    /// Variables of an operator's template, the instruction among them.
    pub template_kwargs: Map<String, Value>,
    /// Whether a prompt that is longer than the model length has its document shortened, in place of an error; and its
    /// query, if that alone is too long.
    pub shorten: bool,
    /// At most this many tokens in the whole prompt: the document is shortened to fit.
    pub truncate_prompt_tokens: Option<usize>,
    /// Which end of what is shortened stays.
    pub truncation_side: TruncationSide,
    /// At most this many tokens of the document; 0 is no limit.
    pub max_tokens_per_doc: usize,
    /// At most this many tokens of the query; 0 is no limit.
    pub max_tokens_per_query: usize,
}

impl PromptOptions {
    /// The same with an instruction, which is a variable of templates too.
    #[must_use]
    pub fn instructed(mut self, instruction: &str) -> Self {
        self.template_kwargs.insert("instruction".to_owned(), instruction.into());
        self.instruction = Some(instruction.to_owned());
        self
    }
}

/// Which end of a text is cut off when it has too many tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TruncationSide {
    /// The start is kept, as Qwen's tokenizers do.
    #[default]
    Right,
    /// The end is kept.
    Left,
}

impl TruncationSide {
    /// `ids`, or so many of them that `max` are left.
    pub(super) fn keep(self, ids: &[u32], max: usize) -> &[u32] {
        let excess = ids.len().saturating_sub(max);
        match self {
            Self::Right => &ids[..ids.len() - excess],
            Self::Left => &ids[excess..],
        }
    }
}

/// How many tokens a prompt may have, and whether its document is cut to reach that.
#[derive(Clone, Copy)]
pub(super) struct Limit {
    pub tokens: usize,
    pub truncate: bool,
    /// Whether the query is cut too when it does not fit by itself.
    pub query_too: bool,
    /// Whether it is the request's own.
    pub requested: bool,
}
