//! What all prompts are made with: the tokenizer, what the operator has given for every prompt, and the model length.
//!
//! Invariant: a text is encoded hardly further than its limit asks. Which prompts there are is not known here: `model_card`,
//! `templated` and `raw` make them, and `query` chooses.

use super::control::{ControlTokens, Marked};
use super::options::{Limit, PromptOptions};
use super::plain_text::PlainText;
use super::template::{self, Template};
use super::tokenizer::{builtin_tokenizer, tokenizer_json};
use crate::error::{Error, ErrorKind, Result};
use crate::file::directory::TOKENIZER;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use tokenizers::models::bpe::BPE;
use tokenizers::{
    DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, Tokenizer, TokenizerImpl,
};

/// Start of the model card's prompt; its control tokens are parsed.
pub(super) const PREFIX: &str = "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the \
                                 Instruct provided. Note that the answer can only be \"yes\" or \"no\".<|im_end|>\n<|im_start|>user\n";
/// End of the model card's prompt; its control tokens are parsed.
pub(super) const SUFFIX: &str = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n";

/// Makes prompts; cheap to share between threads behind an `Arc`.
pub struct PromptEncoder {
    pub(super) plain: PlainText,
    pub(super) control: ControlTokens,
    pub(super) template: Option<Template>,
    pub(super) instruction: Option<String>,
    pub(super) prefix: Arc<[u32]>,
    pub(super) suffix: Vec<u32>,
    pub(super) max_model_len: usize,
}

impl PromptEncoder {
    /// Reads `tokenizer.json` of a model directory; prompts longer than `max_model_len` tokens are errors.
    pub fn open(dir: &Path, max_model_len: usize) -> Result<Self> {
        let name = dir.join(TOKENIZER).display().to_string();
        Self::from_bytes(&tokenizer_json(dir)?, &name, max_model_len)
    }

    /// The tokenizer that the binary carries (compressed), for `--load-format dummy` without a directory.
    pub fn builtin(max_model_len: usize) -> Result<Self> {
        Self::from_bytes(&builtin_tokenizer()?, "the built-in tokenizer.json", max_model_len)
    }

    /// `tokenizer.json` as bytes; `name` is how errors call it.
    fn from_bytes(json: &[u8], name: &str, max_model_len: usize) -> Result<Self> {
        let refuse = |what: String| Error::new(ErrorKind::Checkpoint, format!("{name} {what}."));
        let one_line = |e: tokenizers::Error| e.to_string().replace(['\n', '\r'], " ");
        // The type of the model is named here: `Tokenizer::from_bytes` finds it out first, and takes 1.6 times as long.
        let read: TokenizerImpl<BPE, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper> =
            serde_json::from_slice(json)
                .map_err(|e| refuse(format!("is not a BPE tokenizer: {}", one_line(e.into()))))?;
        let mut tokenizer = Tokenizer::from(read);
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|e| refuse(one_line(e)))?;
        for token in ["<|im_start|>", "<|im_end|>", "<think>", "</think>"] {
            if tokenizer.token_to_id(token).is_none() {
                return Err(refuse(format!("has no token {token}, which the prompt of Qwen3 rerankers needs")));
            }
        }
        let control = ControlTokens::of(&tokenizer)?;
        let plain = PlainText::new(tokenizer);
        let (prefix, suffix) = (Arc::default(), Vec::new());
        let mut encoder = Self { plain, control, template: None, instruction: None, prefix, suffix, max_model_len };
        encoder.prefix = encoder.encode_parsed(PREFIX, usize::MAX)?.into();
        encoder.suffix = encoder.encode_parsed(SUFFIX, usize::MAX)?;
        Ok(encoder)
    }

    /// Takes an operator's template in the place of the model card's prompt; an error if the tokenizer's control tokens are
    /// of a kind that templates can't be encoded with.
    pub fn with_template(mut self, template: Template) -> Result<Self> {
        if let Some(token) = self.control.unruly() {
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

    /// The id of a token that is in the vocabulary as a whole, such as `yes`.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.plain.tokenizer().token_to_id(token)
    }

    /// The token of an id, as the vocabulary has it.
    pub fn token(&self, id: u32) -> Option<String> {
        self.plain.tokenizer().id_to_token(id)
    }

    /// One more than the largest token id that a prompt can hold; the embedding needs at least so many rows.
    pub fn vocab_size(&self) -> usize {
        self.plain.vocab_size()
    }

    /// Bytes that an operator's template may take while it makes the prompt of a pair, for the texts of that pair.
    pub fn template_bytes(&self, query: &str, document: &str) -> usize {
        self.template.as_ref().map_or(0, |_| template::BYTES_PER_BYTE.saturating_mul(query.len() + document.len()))
    }

    /// Checks the limits of a request against the model length, in vLLM's words.
    pub(super) fn limit(&self, options: &PromptOptions) -> Result<Limit> {
        let invalid = |message: String| Err(Error::new(ErrorKind::InvalidRequest, message));
        let max = self.max_model_len;
        for (name, value) in
            [("max_tokens_per_query", options.max_tokens_per_query), ("max_tokens_per_doc", options.max_tokens_per_doc)]
        {
            if value > 0 && value >= max {
                return invalid(format!("{name} ({value}) must be less than max_model_len ({max})."));
            }
        }
        match options.truncate_prompt_tokens {
            None => {
                let shorten = options.shorten;
                Ok(Limit { tokens: max, truncate: shorten, query_too: shorten, requested: false })
            }
            Some(0) => invalid("The decoder prompt cannot be empty".into()),
            Some(n) if n > max => invalid(
                "truncate_prompt_tokens value is greater than max_model_len. Please request a smaller truncation size."
                    .into(),
            ),
            Some(n) => Ok(Limit { tokens: n, truncate: true, query_too: options.shorten && n == max, requested: true }),
        }
    }

    /// The tokens of a text whose control tokens count, if they are at most `limit`; else at least the first `limit + 1`.
    pub(super) fn encode_parsed(&self, text: &str, limit: usize) -> Result<Vec<u32>> {
        let text = self.plain.start(text, limit);
        let guard = ControlTokens::guard_for(&ControlTokens::guards_for(&[]), text)?;
        let marked = self.control.parse(text, guard);
        self.encode_marked(&marked, 0..marked.text.len(), limit)
    }

    /// The tokens of these bytes of `marked`, if they are at most `limit`; else at least the first `limit + 1`.
    pub(super) fn encode_marked(&self, marked: &Marked, bytes: Range<usize>, limit: usize) -> Result<Vec<u32>> {
        let (mut at, mut ids) = (bytes.start, Vec::new());
        for (range, id) in &marked.controls {
            if range.start < at {
                continue;
            }
            if range.end > bytes.end {
                break;
            }
            ids.extend(self.plain.encode(&marked.text[at..range.start], limit.saturating_sub(ids.len()))?);
            if ids.len() > limit {
                return Ok(ids);
            }
            ids.push(*id);
            at = range.end;
        }
        ids.extend(self.plain.encode(&marked.text[at..bytes.end], limit.saturating_sub(ids.len()))?);
        Ok(ids)
    }

    /// Why a pair can't be served within `limit`.
    pub(super) fn no_room(&self, limit: Limit) -> Error {
        let Limit { tokens, requested, .. } = limit;
        if requested {
            return Error::new(
                ErrorKind::InvalidRequest,
                format!(
                    "truncate_prompt_tokens is {tokens}, but the prompt of this query takes more than that even with \
                     an empty document. Please request a larger truncation size or reduce the length of the query."
                ),
            )
            .with_param("truncate_prompt_tokens");
        }
        let excess = tokens.saturating_add(1);
        Error::new(
            ErrorKind::TooLong,
            format!(
                "This model's maximum context length is {tokens} tokens. However, your prompt contains at least \
                 {excess} input tokens, which exceeds this limit even without any output tokens. Please reduce the \
                 length of the input prompt. (parameter=input_tokens, value={excess})"
            ),
        )
        .with_param("input_tokens")
    }
}
