//! The model card's prompt, and pairs that clients have already formatted as one.
//!
//! Invariant: only the start and the end of the prompt have control tokens; all between them is plain text. A pair
//! counts as formatted when its query begins as a chat with a system message does and its document ends with the
//! assistant's turn; it is then not wrapped again, under an operator's template neither. Called by the prompt encoder.

use super::encoder::{PREFIX, PromptEncoder, SUFFIX};
use super::options::{Limit, PromptOptions, TruncationSide};
use super::token_ids::Prompt;
use crate::error::Result;
use std::sync::Arc;

/// The model card's instruction for web search.
pub const INSTRUCTION: &str = "Given a web search query, retrieve relevant passages that answer the query";
/// What stands before the query, inside the content.
const QUERY_MARK: &str = "<Query>: ";
/// What stands before the document, inside the content. See `PlainText::separable` for the cut before its space.
const DOCUMENT_MARK: &str = "<Document>:";
/// How a chat begins, and where the user's turn does after that.
const SYSTEM_TURN: &str = "<|im_start|>system\n";
const USER_TURN: &str = "<|im_end|>\n<|im_start|>user\n";

/// Tokens of a prompt around its document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Around {
    /// Before it, the query's included.
    pub before: usize,
    /// Behind it.
    pub behind: usize,
}

/// A pair that is a prompt already.
#[derive(Clone, Copy)]
pub(super) struct Formatted<'t> {
    /// The system message and the beginning of the user's turn, with control tokens.
    start: &'t str,
    /// What the query holds after that.
    content: &'t str,
    /// The document without the prompt's end.
    document: &'t str,
}

/// All that precedes the document, as text and as tokens.
pub(super) struct Head {
    start: Arc<[u32]>,
    /// What stands behind the start.
    text: String,
    /// The start's tokens and the text's.
    ids: Arc<[u32]>,
    /// The start's tokens and those of the text's first so many bytes, where the document may change the others.
    beginning: (usize, Arc<[u32]>),
    /// Whether the query was shortened.
    cut: bool,
}

impl Head {
    /// Tokens of the text.
    fn len(&self) -> usize {
        self.ids.len() - self.start.len()
    }
}

/// The heads that a query has had until now.
#[derive(Default)]
pub(super) struct Heads {
    wrapped: Option<Head>,
    formatted: Option<Head>,
    /// Of a formatted pair without the model card's mark before its document.
    unmarked: Option<Head>,
}

/// The pair's parts, if it is a prompt already.
///
/// White space behind `</think>` does not matter: clients that trim the end of texts still mean the whole prompt, and
/// wrapping it again would spoil the score.
pub(super) fn formatted<'t>(query: &'t str, document: &'t str) -> Option<Formatted<'t>> {
    let message = query.strip_prefix(SYSTEM_TURN)?;
    let end = message.find(USER_TURN).filter(|&end| !message[..end].contains("<|im_"))?;
    let (start, content) = query.split_at(SYSTEM_TURN.len() + end + USER_TURN.len());
    let document = document.trim_end().strip_suffix(SUFFIX.trim_end())?;
    Some(Formatted { start, content, document })
}

impl PromptEncoder {
    /// What the model card's prompt has around the documents of `query`, whatever an operator's template makes of it.
    pub fn around(&self, query: &str) -> Result<Around> {
        let limit = Limit { tokens: u32::MAX as usize, truncate: false, query_too: false, requested: false };
        let head = self.wrapped_head(query, &PromptOptions::default(), limit)?;
        Ok(Around { before: head.ids.len(), behind: self.suffix.len() })
    }

    /// The prompt of a pair, and whether something was shortened.
    pub(super) fn wrapped(
        &self,
        query: &str,
        document: &str,
        heads: &mut Heads,
        options: &PromptOptions,
        limit: Limit,
    ) -> Result<(Prompt, bool)> {
        let head = once(&mut heads.wrapped, || self.wrapped_head(query, options, limit))?;
        self.behind(head, " ", document, options, limit)
    }

    /// All before the document in the model card's prompt.
    fn wrapped_head(&self, query: &str, options: &PromptOptions, limit: Limit) -> Result<Head> {
        let instruction = options.instruction.as_deref().filter(|i| !i.is_empty()).unwrap_or(INSTRUCTION);
        let query = self.vocabulary.plain.cut(query, options.max_tokens_per_query)?;
        let text = |query: &str| format!("<Instruct>: {instruction}\n{QUERY_MARK}{query}\n{DOCUMENT_MARK}");
        self.fitting_head(self.prefix.clone(), query, text, limit)
    }

    /// The prompt of a formatted pair, and whether something was shortened.
    pub(super) fn formatted(
        &self,
        pair: Formatted<'_>,
        heads: &mut Heads,
        options: &PromptOptions,
        limit: Limit,
    ) -> Result<(Prompt, bool)> {
        match pair.document.strip_prefix(DOCUMENT_MARK).and_then(|document| document.strip_prefix(' ')) {
            Some(document) => {
                let head = once(&mut heads.formatted, || self.formatted_head(pair, options, limit))?;
                self.behind(head, " ", document, options, limit)
            }
            // A prompt of the user's own making between our start and end: kept as it is.
            None => {
                let head = once(&mut heads.unmarked, || {
                    let head = self.head(self.start(pair.start, limit)?, pair.content.to_owned(), limit)?;
                    head.ok_or_else(|| self.vocabulary.no_room(limit))
                })?;
                self.behind(head, "", pair.document, options, limit)
            }
        }
    }

    /// The pair brings its own instruction.
    fn formatted_head(&self, pair: Formatted<'_>, options: &PromptOptions, limit: Limit) -> Result<Head> {
        let start = self.start(pair.start, limit)?;
        let Some((before, rest)) = pair.content.split_once(QUERY_MARK) else {
            let head = self.head(start, format!("{}{DOCUMENT_MARK}", pair.content), limit)?;
            return head.ok_or_else(|| self.vocabulary.no_room(limit));
        };
        let query = rest.strip_suffix('\n').unwrap_or(rest);
        let end = &rest[query.len()..];
        let query = self.vocabulary.plain.cut(query, options.max_tokens_per_query)?;
        let text = |query: &str| format!("{before}{QUERY_MARK}{query}{end}{DOCUMENT_MARK}");
        self.fitting_head(start, query, text, limit)
    }

    fn start(&self, text: &str, limit: Limit) -> Result<Arc<[u32]>> {
        if text == PREFIX {
            return Ok(self.prefix.clone());
        }
        Ok(self.vocabulary.tokens(text, limit.tokens)?.into())
    }

    /// The head that `text` makes of `query`, which is shortened where that is asked for and nothing else helps.
    fn fitting_head(
        &self,
        start: Arc<[u32]>,
        query: &str,
        text: impl Fn(&str) -> String,
        limit: Limit,
    ) -> Result<Head> {
        if let Some(head) = self.head(start.clone(), text(query), limit)? {
            return Ok(head);
        }
        let empty = match limit.query_too {
            true => self.head(start.clone(), text(""), limit)?,
            false => None,
        };
        let empty = empty.ok_or_else(|| self.vocabulary.no_room(limit))?;
        let mut tokens = self.room(&empty.start, limit) - empty.len();
        while tokens > 0 {
            if let Some(head) = self.head(start.clone(), text(self.vocabulary.plain.cut(query, tokens)?), limit)? {
                return Ok(Head { cut: true, ..head });
            }
            tokens -= 1;
        }
        Ok(Head { cut: true, ..empty })
    }

    /// Encodes what precedes the document, unless it leaves no room for at least one token after it.
    fn head(&self, start: Arc<[u32]>, text: String, limit: Limit) -> Result<Option<Head>> {
        let room = self.room(&start, limit);
        if self.vocabulary.plain.surely_exceeds(&text, room) {
            return Ok(None);
        }
        let ids = self.vocabulary.plain.encode(&text, room)?;
        Ok((ids.len() < room).then(|| {
            let ids = [&*start, &ids].concat().into();
            Head { beginning: (0, start.clone()), start, text, ids, cut: false }
        }))
    }

    /// Tokens that may stand between the start and the end of the prompt.
    fn room(&self, start: &[u32], limit: Limit) -> usize {
        limit.tokens.saturating_sub(start.len() + self.suffix.len())
    }

    /// The whole prompt: start, head, `border` and document, end; the document is cut to fit where that is asked for.
    fn behind(
        &self,
        head: &mut Head,
        border: &str,
        document: &str,
        options: &PromptOptions,
        limit: Limit,
    ) -> Result<(Prompt, bool)> {
        let document = self.vocabulary.plain.cut(document, options.max_tokens_per_doc)?;
        // `head` made sure that the template fits and that `room` holds the head and one token.
        let room = self.room(&head.start, limit);
        if !limit.truncate && self.vocabulary.plain.surely_exceeds(document, room) {
            return Err(self.vocabulary.no_room(limit));
        }
        let side = options.truncation_side;
        let from_left = limit.truncate && side == TruncationSide::Left;
        // A head that ends in `>:` and a rest that starts with a space may be encoded apart: see `separable`.
        let apart = border == " " && self.vocabulary.plain.separable();
        let (shared, rest) = if apart {
            // The end of a document is only known once all of it is encoded, but not what is cut off before that.
            let end = if from_left { self.vocabulary.plain.end(document, room - head.len()) } else { document };
            let border = if end.len() == document.len() { border } else { "" };
            (head.ids.clone(), [border, end].concat())
        } else {
            let mut text = [&head.text, border, document].concat();
            let at = self.vocabulary.plain.last_border(&text, 0, head.text.len()).unwrap_or(0);
            if head.beginning.0 != at {
                let ids = self.vocabulary.plain.encode(&text[..at], room)?;
                head.beginning = (at, [&*head.start, &ids].concat().into());
            }
            text.drain(..at);
            (head.beginning.1.clone(), text)
        };
        let known = shared.len() - head.start.len();
        let rest = self.vocabulary.plain.encode(&rest, if from_left { usize::MAX } else { room - known })?;
        if known + rest.len() > room && !limit.truncate {
            return Err(self.vocabulary.no_room(limit));
        }
        // Where head and document were encoded as one, the head's tokens stay as well, whichever side is cut.
        let (first, tail) = rest.split_at(rest.len().min(head.len().saturating_sub(known)));
        let kept = side.keep(tail, room - head.len());
        let prompt = Prompt::new(shared, [first, kept, &self.suffix].concat());
        Ok((prompt, head.cut || kept.len() < tail.len()))
    }
}

/// The value in `slot`, made on first use.
pub(super) fn once<T>(slot: &mut Option<T>, make: impl FnOnce() -> Result<T>) -> Result<&mut T> {
    let value = match slot.take() {
        Some(value) => value,
        None => make()?,
    };
    Ok(slot.insert(value))
}
