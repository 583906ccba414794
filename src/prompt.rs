//! Template and tokenizer: a query-document pair becomes a [`Prompt`].

use crate::error::Result;
use std::path::Path;

/// Token ids of one query-document pair, template included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// Token ids, first to last.
    pub token_ids: Vec<u32>,
}

/// What a request may say about how its pairs become prompts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PromptOptions {
    /// Task instruction in place of the model card's; empty counts as absent.
    pub instruction: Option<String>,
    /// At most this many tokens in the whole prompt: the document is shortened to fit.
    pub truncate_prompt_tokens: Option<usize>,
    /// At most this many tokens of the document; 0 is no limit.
    pub max_tokens_per_doc: usize,
    /// At most this many tokens of the query; 0 is no limit.
    pub max_tokens_per_query: usize,
}

/// Makes prompts; cheap to share between threads behind an `Arc`.
pub struct PromptEncoder {}

impl PromptEncoder {
    /// Reads `tokenizer.json` of a model directory; prompts longer than `max_model_len` tokens are errors.
    pub fn open(_dir: &Path, _max_model_len: usize) -> Result<Self> {
        Ok(Self {})
    }

    /// The tokenizer that the binary carries (compressed), for `--load-format dummy` without a directory.
    pub fn builtin(_max_model_len: usize) -> Result<Self> {
        Ok(Self {})
    }

    /// The id of a token that is in the vocabulary as a whole, such as `yes`.
    pub fn token_id(&self, _token: &str) -> Option<u32> {
        None
    }

    /// The model card's prompt of one pair. Control-token strings in the user's texts stay plain text.
    /// Errors: [`crate::error::ErrorKind::TooLong`], [`crate::error::ErrorKind::InvalidRequest`].
    pub fn encode(&self, query: &str, document: &str, _options: &PromptOptions) -> Result<Prompt> {
        Ok(Prompt { token_ids: query.bytes().chain(document.bytes()).map(u32::from).collect() })
    }
}
