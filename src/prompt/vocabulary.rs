//! The tokenizer, its control tokens and the model length: what all prompts are made with.
//!
//! Invariant: a text is encoded hardly further than its limit asks, and no id leaves here that the model has no embedding
//! for. Which prompts there are is not known here. One model has one of these; its encoder owns it.

use super::control::{ControlTokens, Marked};
use super::options::{Limit, TruncationSide};
use super::plain_text::PlainText;
use super::token_ids::Prompt;
use super::tokenizer::{builtin_tokenizer, tokenizer_json};
use crate::error::{Error, ErrorKind, Result};
use crate::file::directory::TOKENIZER;
use std::ops::Range;
use std::path::Path;
use tokenizers::models::bpe::BPE;
use tokenizers::{
    DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, Tokenizer, TokenizerImpl,
};

/// Texts to token ids, and back.
pub struct Vocabulary {
    /// How errors call the file.
    name: String,
    pub(super) plain: PlainText,
    pub(super) control: ControlTokens,
    pub(super) max_model_len: usize,
}

impl Vocabulary {
    /// Reads `tokenizer.json` of a model directory; prompts longer than `max_model_len` tokens are errors.
    pub fn open(dir: &Path, max_model_len: usize) -> Result<Self> {
        let name = dir.join(TOKENIZER).display().to_string();
        Self::from_bytes(&tokenizer_json(dir)?, name, max_model_len)
    }

    /// The tokenizer that the binary carries (compressed), for `--load-format dummy` without a directory.
    pub fn builtin(max_model_len: usize) -> Result<Self> {
        Self::from_bytes(&builtin_tokenizer()?, "the built-in tokenizer.json".to_owned(), max_model_len)
    }

    fn from_bytes(json: &[u8], name: String, max_model_len: usize) -> Result<Self> {
        let refuse = |what: String| Error::new(ErrorKind::Checkpoint, format!("{name} {what}."));
        let one_line = |e: tokenizers::Error| e.to_string().replace(['\n', '\r'], " ");
        // The type of the model is named here: `Tokenizer::from_bytes` finds it out first, and takes 1.6 times as long.
        let read: TokenizerImpl<BPE, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper> =
            serde_json::from_slice(json)
                .map_err(|e| refuse(format!("is not a BPE tokenizer: {}", one_line(e.into()))))?;
        let mut tokenizer = Tokenizer::from(read);
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|e| refuse(one_line(e)))?;
        let control = ControlTokens::of(&tokenizer)?;
        Ok(Self { control, plain: PlainText::new(tokenizer), name, max_model_len })
    }

    /// An error about the tokenizer's file; `what` goes on after its name.
    pub(super) fn refuse(&self, what: &str) -> Error {
        Error::new(ErrorKind::Checkpoint, format!("{} {what}.", self.name))
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
    pub fn size(&self) -> usize {
        self.plain.vocab_size()
    }

    /// The tokens of `text`, control tokens parsed, if they are at most `limit`; else at least the first `limit + 1`.
    pub fn tokens(&self, text: &str, limit: usize) -> Result<Vec<u32>> {
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

    /// The tokens that the file has the tokenizer put behind every text.
    pub(super) fn appended(&self) -> Result<Vec<u32>> {
        let tokenizer = self.plain.tokenizer();
        let behind = |text: &str| {
            let ids = |special| Some(tokenizer.encode_fast(text, special).ok()?.get_ids().to_vec());
            Some(ids(true)?.strip_prefix(ids(false)?.as_slice())?.to_vec())
        };
        let (empty, text) = (behind(""), behind("a text"));
        match empty.filter(|end| text.as_ref() == Some(end)) {
            Some(end) if end.iter().all(|&id| (id as usize) < self.size()) => Ok(end),
            Some(end) => Err(self.refuse(&format!(
                "has a post_processor that appends tokens {end:?}, expected some of its {} tokens",
                self.size()
            ))),
            None => Err(self.refuse(
                "has a post_processor that does more with a text than to append tokens, expected one that appends the \
                 same tokens to every text",
            )),
        }
    }

    /// What a request leaves for the length of a prompt, in vLLM's words: it may have `truncate` tokens at most, and with
    /// `shorten` is cut to the model length.
    pub(super) fn limit(&self, truncate: Option<usize>, shorten: bool) -> Result<Limit> {
        let max = self.max_model_len;
        let invalid = |message: &str| Err(Error::new(ErrorKind::InvalidRequest, message));
        match truncate {
            None => Ok(Limit { tokens: max, truncate: shorten, query_too: shorten, requested: false }),
            Some(0) => invalid("The decoder prompt cannot be empty"),
            Some(n) if n > max => invalid(
                "truncate_prompt_tokens value is greater than max_model_len. Please request a smaller truncation size.",
            ),
            Some(n) => Ok(Limit { tokens: n, truncate: true, query_too: shorten && n == max, requested: true }),
        }
    }

    /// The prompt that consists of these tokens, and whether some were cut off.
    pub(super) fn prompt_of(&self, ids: &[u32], side: TruncationSide, limit: Limit) -> Result<(Prompt, bool)> {
        if let Some(id) = ids.iter().find(|id| **id as usize >= self.size()) {
            let sentence = format!("Token id {id} is out of vocabulary");
            return Err(Error::new(ErrorKind::InvalidRequest, sentence));
        }
        if ids.is_empty() {
            return Err(empty());
        }
        if ids.len() > limit.tokens && !limit.truncate {
            return Err(self.no_room(limit));
        }
        let kept = side.keep(ids, limit.tokens);
        Ok((kept.to_vec().into(), kept.len() < ids.len()))
    }

    /// Why a prompt can't be served within `limit`.
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

    /// The text of `ids`; ids that the vocabulary lacks are nothing.
    pub fn text(&self, ids: &[u32]) -> Result<String> {
        self.plain.tokenizer().decode(ids, false).map_err(|err| {
            Error::new(
                ErrorKind::Internal,
                format!("The tokens cannot be decoded: {}.", err.to_string().replace('\n', " ")),
            )
        })
    }

    /// Bytes that the vocabulary's entries of `ids` have together.
    pub fn text_bytes(&self, ids: &[u32]) -> usize {
        ids.iter().map(|id| self.plain.tokenizer().id_to_token(*id).map_or(0, |token| token.len())).sum()
    }

    /// The vocabulary's entries of `ids`, which write each byte as a character.
    pub fn token_strings(&self, ids: &[u32]) -> Vec<String> {
        ids.iter().map(|id| self.plain.tokenizer().id_to_token(*id).unwrap_or_default()).collect()
    }
}

/// What vLLM says to a prompt without a token.
pub(super) fn empty() -> Error {
    Error::new(ErrorKind::InvalidRequest, "The decoder prompt cannot be empty")
}
