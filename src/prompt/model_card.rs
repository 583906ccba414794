//! The model card's prompt, and pairs that clients have already formatted as one.
//!
//! Invariant: only the start and the end of the prompt have control tokens; all between them is plain text. A pair
//! counts as formatted when its query begins as a chat with a system message does and its document ends with the
//! assistant's turn; it is then not wrapped again, under an operator's template neither. Called by the prompt encoder.

use super::{Limit, Prompt, PromptEncoder, PromptOptions, TruncationSide};
use crate::error::Result;
use std::borrow::Cow;

/// Start of the model card's prompt; its control tokens are parsed.
pub(super) const PREFIX: &str = "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the \
                                 Instruct provided. Note that the answer can only be \"yes\" or \"no\".<|im_end|>\n<|im_start|>user\n";
/// End of the model card's prompt; its control tokens are parsed.
pub(super) const SUFFIX: &str = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n";
/// The model card's instruction for web search.
const INSTRUCTION: &str = "Given a web search query, retrieve relevant passages that answer the query";
/// What stands before the query, inside the content.
const QUERY_MARK: &str = "<Query>: ";
/// What stands before the document, inside the content. See `PlainText::separable` for the cut before its space.
const DOCUMENT_MARK: &str = "<Document>:";
/// How a chat begins, and where the user's turn does after that.
const SYSTEM_TURN: &str = "<|im_start|>system\n";
const USER_TURN: &str = "<|im_end|>\n<|im_start|>user\n";

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
    start: Vec<u32>,
    text: String,
    ids: Vec<u32>,
    /// Whether the query was shortened.
    cut: bool,
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
    /// All before the document in the model card's prompt.
    pub(super) fn wrapped_head(&self, query: &str, options: &PromptOptions, limit: Limit) -> Result<Head> {
        let instruction = options.instruction.as_deref().filter(|i| !i.is_empty()).unwrap_or(INSTRUCTION);
        let query = self.plain.cut(query, options.max_tokens_per_query)?;
        let text = |query: &str| format!("<Instruct>: {instruction}\n{QUERY_MARK}{query}\n{DOCUMENT_MARK}");
        self.fitting_head(self.prefix.clone(), query, text, limit)
    }

    /// The prompt of a document behind `head`, and whether something was shortened.
    pub(super) fn wrapped(
        &self,
        head: &Head,
        document: &str,
        options: &PromptOptions,
        limit: Limit,
    ) -> Result<(Prompt, bool)> {
        self.behind(head, " ", document, options, limit)
    }

    /// The prompt of a formatted pair, and whether something was shortened. `known` keeps the head for other documents
    /// of the same query.
    pub(super) fn formatted(
        &self,
        pair: Formatted<'_>,
        known: &mut Option<Head>,
        options: &PromptOptions,
        limit: Limit,
    ) -> Result<(Prompt, bool)> {
        match pair.document.strip_prefix(DOCUMENT_MARK).and_then(|document| document.strip_prefix(' ')) {
            Some(document) => {
                let head = super::once(known, || self.formatted_head(pair, options, limit))?;
                self.behind(head, " ", document, options, limit)
            }
            // A prompt of the user's own making between our start and end: kept as it is.
            None => {
                let head = self.head(self.start(pair.start, limit)?, pair.content.to_owned(), limit)?;
                self.behind(&head.ok_or_else(|| self.no_room(limit))?, "", pair.document, options, limit)
            }
        }
    }

    /// The pair brings its own instruction.
    fn formatted_head(&self, pair: Formatted<'_>, options: &PromptOptions, limit: Limit) -> Result<Head> {
        let start = self.start(pair.start, limit)?;
        let Some((before, rest)) = pair.content.split_once(QUERY_MARK) else {
            let head = self.head(start, format!("{}{DOCUMENT_MARK}", pair.content), limit)?;
            return head.ok_or_else(|| self.no_room(limit));
        };
        let query = rest.strip_suffix('\n').unwrap_or(rest);
        let end = &rest[query.len()..];
        let query = self.plain.cut(query, options.max_tokens_per_query)?;
        let text = |query: &str| format!("{before}{QUERY_MARK}{query}{end}{DOCUMENT_MARK}");
        self.fitting_head(start, query, text, limit)
    }

    fn start(&self, text: &str, limit: Limit) -> Result<Vec<u32>> {
        if text == PREFIX {
            return Ok(self.prefix.clone());
        }
        self.encode_parsed(text, limit.tokens)
    }

    /// The head that `text` makes of `query`, which is shortened where that is asked for and nothing else helps.
    fn fitting_head(&self, start: Vec<u32>, query: &str, text: impl Fn(&str) -> String, limit: Limit) -> Result<Head> {
        if let Some(head) = self.head(start.clone(), text(query), limit)? {
            return Ok(head);
        }
        let empty = match limit.query_too {
            true => self.head(start.clone(), text(""), limit)?,
            false => None,
        };
        let empty = empty.ok_or_else(|| self.no_room(limit))?;
        let mut tokens = self.room(&empty.start, limit) - empty.ids.len();
        while tokens > 0 {
            if let Some(head) = self.head(start.clone(), text(self.plain.cut(query, tokens)?), limit)? {
                return Ok(Head { cut: true, ..head });
            }
            tokens -= 1;
        }
        Ok(Head { cut: true, ..empty })
    }

    /// Encodes what precedes the document, unless it leaves no room for at least one token after it.
    fn head(&self, start: Vec<u32>, text: String, limit: Limit) -> Result<Option<Head>> {
        let room = self.room(&start, limit);
        if self.plain.surely_exceeds(&text, room) {
            return Ok(None);
        }
        let ids = self.plain.encode(&text, room)?;
        Ok((ids.len() < room).then_some(Head { start, text, ids, cut: false }))
    }

    /// Tokens that may stand between the start and the end of the prompt.
    fn room(&self, start: &[u32], limit: Limit) -> usize {
        limit.tokens.saturating_sub(start.len() + self.suffix.len())
    }

    /// The whole prompt: start, head, `border` and document, end; the document is cut to fit where that is asked for.
    fn behind(
        &self,
        head: &Head,
        border: &str,
        document: &str,
        options: &PromptOptions,
        limit: Limit,
    ) -> Result<(Prompt, bool)> {
        let document = self.plain.cut(document, options.max_tokens_per_doc)?;
        // `head` made sure that the template fits and that `room` holds the head and one token.
        let room = self.room(&head.start, limit);
        if !limit.truncate && self.plain.surely_exceeds(document, room) {
            return Err(self.no_room(limit));
        }
        // A head that ends in `>:` and a rest that starts with a space may be encoded apart: see `separable`.
        let apart = border == " " && self.plain.separable();
        let (known, rest): (&[u32], Cow<str>) = match apart {
            true => (&head.ids, [border, document].concat().into()),
            false => (&[], [&head.text, border, document].concat().into()),
        };
        // The end of a document is only known once all of it is encoded.
        let from_left = limit.truncate && options.truncation_side == TruncationSide::Left;
        let rest = self.plain.encode(&rest, if from_left { usize::MAX } else { room - known.len() })?;
        let content = known.len() + rest.len();
        if content > room && !limit.truncate {
            return Err(self.no_room(limit));
        }
        // Where head and document were encoded as one, the head's tokens stay as well, whichever side is cut.
        let (first, tail) = rest.split_at(rest.len().min(head.ids.len() - known.len()));
        let kept = options.truncation_side.keep(tail, room - head.ids.len());
        let token_ids = [&head.start, known, first, kept, &self.suffix].concat();
        let prompt = Prompt { token_ids, prefix: head.start.len() + known.len() };
        Ok((prompt, head.cut || kept.len() < tail.len()))
    }
}
