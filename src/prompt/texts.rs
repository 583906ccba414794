//! Prompts of an embedding model: a text, perhaps behind one of the model's own prompts, and what the tokenizer appends.
//!
//! Invariants: what stands before a text and the text are encoded as the one string that they are; what the tokenizer appends
//! comes once, and is kept whatever is cut off, since the vector is that of the last token; control tokens in a text are
//! plain text. Ids that a client brings are taken as they are. Called by the server and by commands, from any thread.

use super::options::{Limit, TruncationSide};
use super::token_ids::Prompt;
use super::vocabulary::{Vocabulary, empty};
use crate::error::Result;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Ends every text of Qwen's embedding models.
const END: &str = "<|endoftext|>";

/// What a request may say about how its texts become prompts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextOptions {
    /// At most this many tokens in the whole prompt: the text is shortened to fit.
    pub truncate_prompt_tokens: Option<usize>,
    /// Which end of what is shortened stays.
    pub truncation_side: TruncationSide,
    /// Whether a text that is longer than the model length is shortened, in place of an error.
    pub shorten: bool,
    /// Whether what the tokenizer appends is left out.
    pub bare: bool,
}

/// Makes prompts of texts; cheap to share between threads behind an `Arc`.
pub struct TextEncoder {
    vocabulary: Vocabulary,
    end: Vec<u32>,
    prompts: BTreeMap<String, String>,
}

/// Makes prompts of texts behind one and the same beginning, which is encoded once.
pub struct Behind<'e> {
    vocabulary: &'e Vocabulary,
    prefix: &'e str,
    end: &'e [u32],
    limit: Limit,
    side: TruncationSide,
    /// Tokens of the prefix's first so many bytes, where a text may change the others.
    head: (usize, Arc<[u32]>),
}

impl TextEncoder {
    /// Reads `tokenizer.json` of a model directory; prompts longer than `max_model_len` tokens are errors. `prompts` may stand
    /// before a text, by name.
    pub fn open(dir: &Path, max_model_len: usize, prompts: BTreeMap<String, String>) -> Result<Self> {
        let vocabulary = Vocabulary::open(dir, max_model_len)?;
        Ok(Self { end: vocabulary.appended()?, vocabulary, prompts })
    }

    /// With the tokenizer that the binary carries, for `--load-format dummy` without a directory.
    pub fn builtin(max_model_len: usize, prompts: BTreeMap<String, String>) -> Result<Self> {
        let vocabulary = Vocabulary::builtin(max_model_len)?;
        Ok(Self { end: vocabulary.token_id(END).into_iter().collect(), vocabulary, prompts })
    }

    /// The tokenizer.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// What may stand before a text, by name; `query` and `document` are among the names.
    pub fn prompts(&self) -> &BTreeMap<String, String> {
        &self.prompts
    }

    /// What the tokenizer appends to every text.
    pub fn end(&self) -> &[u32] {
        &self.end
    }

    /// What the operator should know, in sentences.
    pub fn examine(&self) -> Vec<String> {
        let tells = format!(
            "The tokenizer appends nothing to a text (its post_processor), but the vector of a text is that of the last \
             token: if the model was trained with {END} at the end, as Qwen's are, its vectors are wrong. Take the \
             tokenizer.json of the model that it was trained from."
        );
        if self.end.is_empty() { vec![tells] } else { Vec::new() }
    }

    /// Begins the prompts of texts that stand behind `prefix`, which is one of [`Self::prompts`], the client's own or empty.
    pub fn behind<'e>(&'e self, prefix: &'e str, options: &TextOptions) -> Result<Behind<'e>> {
        let limit = self.vocabulary.limit(options.truncate_prompt_tokens, options.shorten)?;
        let end = if options.bare { &[][..] } else { &self.end };
        let (vocabulary, side) = (&self.vocabulary, options.truncation_side);
        Ok(Behind { vocabulary, prefix, end, limit, side, head: (0, Arc::default()) })
    }

    /// The prompt that consists of these tokens, without an end of ours, and whether some were cut off.
    pub fn ids(&self, ids: &[u32], options: &TextOptions) -> Result<(Prompt, bool)> {
        let limit = self.vocabulary.limit(options.truncate_prompt_tokens, options.shorten)?;
        self.vocabulary.prompt_of(ids, options.truncation_side, limit)
    }
}

impl Behind<'_> {
    /// The prompt of a text, and whether something was cut off. Errors: [`ErrorKind::TooLong`](crate::error::ErrorKind::TooLong),
    /// [`ErrorKind::InvalidRequest`](crate::error::ErrorKind::InvalidRequest).
    pub fn prompt(&mut self, text: &str) -> Result<(Prompt, bool)> {
        let (Vocabulary { plain, .. }, limit) = (self.vocabulary, self.limit);
        let no_room = || self.vocabulary.no_room(limit);
        let room = limit.tokens.checked_sub(self.end.len()).ok_or_else(no_room)?;
        let whole = if self.prefix.is_empty() { Cow::Borrowed(text) } else { [self.prefix, text].concat().into() };
        if !limit.truncate && plain.surely_exceeds(&whole, room) {
            return Err(no_room());
        }
        let at = plain.last_border(&whole, 0, self.prefix.len()).unwrap_or(0);
        let from_left = limit.truncate && self.side == TruncationSide::Left;
        if self.head.0 != at {
            self.head = (at, plain.encode(&whole[..at], if from_left { usize::MAX } else { room })?.into());
        }
        let (head, rest) = (&self.head.1, &whole[at..]);
        // The end of a text is only known once all of it is encoded, but not what is cut off before that.
        let part = if from_left { plain.end(rest, room) } else { rest };
        let ids = plain.encode(part, if from_left { usize::MAX } else { room.saturating_sub(head.len()) })?;
        if part.len() == rest.len() && head.len() + ids.len() <= room {
            return match head.is_empty() && ids.is_empty() && self.end.is_empty() {
                true => Err(empty()),
                false => Ok((Prompt::new(head.clone(), [&ids, self.end].concat()), false)),
            };
        }
        if !limit.truncate {
            return Err(no_room());
        }
        let ids = [head, ids.as_slice()].concat();
        Ok(([self.side.keep(&ids, room), self.end].concat().into(), true))
    }
}
