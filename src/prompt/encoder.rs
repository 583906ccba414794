//! What all prompts of a reranker are made with: the tokenizer, and what the operator has given for every prompt.
//!
//! Invariant: the tokenizer has the tokens that the model card's prompt needs. Which prompts there are is not known here:
//! `model_card`, `templated` and `raw` make them, and `query` chooses.

use super::options::{Limit, PromptOptions};
use super::template::{self, Template};
use super::vocabulary::Vocabulary;
use crate::error::{Error, ErrorKind, Result};
use std::path::Path;
use std::sync::Arc;

/// Start of the model card's prompt; its control tokens are parsed.
pub(super) const PREFIX: &str = "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the \
                                 Instruct provided. Note that the answer can only be \"yes\" or \"no\".<|im_end|>\n<|im_start|>user\n";
/// End of the model card's prompt; its control tokens are parsed.
pub(super) const SUFFIX: &str = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n";

/// Makes prompts of pairs; cheap to share between threads behind an `Arc`.
pub struct PromptEncoder {
    pub(super) vocabulary: Vocabulary,
    pub(super) template: Option<Template>,
    pub(super) instruction: Option<String>,
    pub(super) prefix: Arc<[u32]>,
    pub(super) suffix: Vec<u32>,
}

impl PromptEncoder {
    /// Reads `tokenizer.json` of a model directory; prompts longer than `max_model_len` tokens are errors.
    pub fn open(dir: &Path, max_model_len: usize) -> Result<Self> {
        Self::of(Vocabulary::open(dir, max_model_len)?)
    }

    /// With the tokenizer that the binary carries, for `--load-format dummy` without a directory.
    pub fn builtin(max_model_len: usize) -> Result<Self> {
        Self::of(Vocabulary::builtin(max_model_len)?)
    }

    fn of(vocabulary: Vocabulary) -> Result<Self> {
        for token in ["<|im_start|>", "<|im_end|>", "<think>", "</think>"] {
            if vocabulary.token_id(token).is_none() {
                return Err(
                    vocabulary.refuse(&format!("has no token {token}, which the prompt of Qwen3 rerankers needs"))
                );
            }
        }
        let prefix = vocabulary.tokens(PREFIX, usize::MAX)?.into();
        let suffix = vocabulary.tokens(SUFFIX, usize::MAX)?;
        Ok(Self { vocabulary, template: None, instruction: None, prefix, suffix })
    }

    /// The tokenizer.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// Takes an operator's template in the place of the model card's prompt; an error if the tokenizer's control tokens are
    /// of a kind that templates can't be encoded with.
    pub fn with_template(mut self, template: Template) -> Result<Self> {
        if let Some(token) = self.vocabulary.control.unruly() {
            return Err(Error::new(
                ErrorKind::Checkpoint,
                format!(
                    "--chat-template cannot be used with this tokenizer: its token {token} takes in the white space \
                     around it or is looked for after normalisation, which Qwen3's tokens do not."
                ),
            ));
        }
        self.template = Some(template);
        Ok(self)
    }

    /// Takes an operator's instruction for texts that bring none: in the place of the model card's, and as the
    /// variable of a template.
    #[must_use]
    pub fn with_instruction(self, instruction: String) -> Self {
        Self { instruction: Some(instruction), ..self }
    }

    /// Bytes that an operator's template may take while it makes the prompt of a pair, for the texts of that pair.
    pub fn template_bytes(&self, query: &str, document: &str) -> usize {
        self.template.as_ref().map_or(0, |_| template::BYTES_PER_BYTE.saturating_mul(query.len() + document.len()))
    }

    /// Checks the limits of a request against the model length, in vLLM's words.
    pub(super) fn limit(&self, options: &PromptOptions) -> Result<Limit> {
        let invalid = |message: String| Err(Error::new(ErrorKind::InvalidRequest, message));
        let max = self.vocabulary.max_model_len;
        for (name, value) in
            [("max_tokens_per_query", options.max_tokens_per_query), ("max_tokens_per_doc", options.max_tokens_per_doc)]
        {
            if value > 0 && value >= max {
                return invalid(format!("{name} ({value}) must be less than max_model_len ({max})."));
            }
        }
        self.vocabulary.limit(options.truncate_prompt_tokens, options.shorten)
    }
}
