//! Template and tokenizer: a query-document pair becomes a [`Prompt`].
//!
//! Owns the model card's prompt and is the only place that shortens anything. Invariants: the template and its suffix
//! are never cut, only the document is; text of the user never yields a special token; no prompt is longer than the
//! model length. Called by the server for every pair, from any thread.

mod plain_text;
mod raw;

use crate::error::{Error, ErrorKind, Result};
use flate2::read::GzDecoder;
use plain_text::PlainText;
pub use raw::Message;
use std::borrow::Cow;
use std::io::Read;
use std::path::Path;
use std::sync::OnceLock;
use tokenizers::Tokenizer;

/// Start of the model card's prompt; its control tokens are parsed.
const PREFIX: &str = "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the \
                      Instruct provided. Note that the answer can only be \"yes\" or \"no\".<|im_end|>\n<|im_start|>user\n";
/// End of the model card's prompt; its control tokens are parsed.
const SUFFIX: &str = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n";
/// The model card's instruction for web search.
const INSTRUCTION: &str = "Given a web search query, retrieve relevant passages that answer the query";
/// What stands before the query, inside the content.
const QUERY_MARK: &str = "<Query>: ";
/// What stands before the document, inside the content. See [`PlainText::separable`] for the cut before its space.
const DOCUMENT_MARK: &str = "<Document>:";

/// The tokenizer of every Qwen3 model, for start-up without a model directory.
static BUILTIN_TOKENIZER: &[u8] = include_bytes!("../assets/tokenizer.json.gz");
/// A tokenizer file larger than this is not one: Qwen3's has 11 MB.
const MAX_TOKENIZER_BYTES: u64 = 256 << 20;

/// Token ids of one query-document pair, template included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// Token ids, first to last.
    pub token_ids: Vec<u32>,
    /// How many of them come before the document: other prompts are likely to begin with them too.
    pub prefix: usize,
}

/// What a request may say about how its pairs become prompts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PromptOptions {
    /// Task instruction in place of the model card's; empty counts as absent.
    pub instruction: Option<String>,
    /// At most this many tokens in the whole prompt: the document is shortened to fit.
    pub truncate_prompt_tokens: Option<usize>,
    /// Which end of what is shortened stays.
    pub truncation_side: TruncationSide,
    /// At most this many tokens of the document; 0 is no limit.
    pub max_tokens_per_doc: usize,
    /// At most this many tokens of the query; 0 is no limit.
    pub max_tokens_per_query: usize,
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
    fn keep(self, ids: &[u32], max: usize) -> &[u32] {
        let excess = ids.len().saturating_sub(max);
        match self {
            Self::Right => &ids[..ids.len() - excess],
            Self::Left => &ids[excess..],
        }
    }
}

/// Makes prompts; cheap to share between threads behind an `Arc`.
pub struct PromptEncoder {
    plain: PlainText,
    /// For texts whose control tokens count; made when the first one comes, for it takes as much memory again.
    parsing: OnceLock<PlainText>,
    prefix: Vec<u32>,
    suffix: Vec<u32>,
    max_model_len: usize,
}

/// All that precedes the document in the content, as text and as tokens.
struct Head {
    text: String,
    ids: Vec<u32>,
}

/// How many tokens a prompt may have, and whether its document is cut to reach that.
#[derive(Clone, Copy)]
struct Limit {
    tokens: usize,
    truncate: bool,
}

impl PromptEncoder {
    /// Reads `tokenizer.json` of a model directory; prompts longer than `max_model_len` tokens are errors.
    pub fn open(dir: &Path, max_model_len: usize) -> Result<Self> {
        let path = dir.join("tokenizer.json");
        let name = path.display().to_string();
        let refuse = |what: String| Error::new(ErrorKind::Checkpoint, format!("Cannot read {name}: {what}."));
        let facts = std::fs::metadata(&path).map_err(|e| refuse(e.to_string()))?;
        if !facts.is_file() || facts.len() > MAX_TOKENIZER_BYTES {
            return Err(refuse(format!(
                "expected a regular file of at most {MAX_TOKENIZER_BYTES} bytes, found {} of {} bytes",
                if facts.is_dir() { "a directory" } else { "a file" },
                facts.len()
            )));
        }
        let json = std::fs::read(&path).map_err(|e| refuse(e.to_string()))?;
        Self::from_bytes(&json, &name, max_model_len)
    }

    /// The tokenizer that the binary carries (compressed), for `--load-format dummy` without a directory.
    pub fn builtin(max_model_len: usize) -> Result<Self> {
        let mut json = Vec::new();
        GzDecoder::new(BUILTIN_TOKENIZER)
            .read_to_end(&mut json)
            .map_err(|e| Error::new(ErrorKind::Internal, format!("The built-in tokenizer does not unpack: {e}.")))?;
        Self::from_bytes(&json, "the built-in tokenizer.json", max_model_len)
    }

    /// `tokenizer.json` as bytes; `name` is how errors call it.
    fn from_bytes(json: &[u8], name: &str, max_model_len: usize) -> Result<Self> {
        let refuse = |what: String| Error::new(ErrorKind::Checkpoint, format!("{name} {what}."));
        let one_line = |e: tokenizers::Error| e.to_string().replace(['\n', '\r'], " ");
        let mut tokenizer =
            Tokenizer::from_bytes(json).map_err(|e| refuse(format!("is not a tokenizer: {}", one_line(e))))?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|e| refuse(one_line(e)))?;
        for token in ["<|im_start|>", "<|im_end|>", "<think>", "</think>"] {
            if tokenizer.token_to_id(token).is_none() {
                return Err(refuse(format!("has no token {token}, which the prompt of Qwen3 rerankers needs")));
            }
        }
        // The only two texts whose control tokens count are encoded here, before `PlainText` turns parsing off.
        let parsed = |text: &str| -> Result<Vec<u32>> {
            let encoding = tokenizer.encode_fast(text, false).map_err(|e| refuse(one_line(e)))?;
            Ok(encoding.get_ids().to_vec())
        };
        let (prefix, suffix) = (parsed(PREFIX)?, parsed(SUFFIX)?);
        Ok(Self { plain: PlainText::new(tokenizer), parsing: OnceLock::new(), prefix, suffix, max_model_len })
    }

    /// The id of a token that is in the vocabulary as a whole, such as `yes`.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.plain.tokenizer().token_to_id(token)
    }

    /// One more than the largest token id that a prompt can hold; the embedding needs at least so many rows.
    pub fn vocab_size(&self) -> usize {
        self.plain.vocab_size()
    }

    /// The model card's prompt of one pair. Control-token strings in the user's texts stay plain text.
    ///
    /// A pair that already is the whole prompt (the query starts with the template's start and the document ends with
    /// its end) is not wrapped again; white space after its end is brought to the template's two newlines.
    /// Errors: [`ErrorKind::TooLong`], [`ErrorKind::InvalidRequest`].
    pub fn encode(&self, query: &str, document: &str, options: &PromptOptions) -> Result<Prompt> {
        let mut prompts = self.encode_many(query, &[document], options)?;
        prompts.pop().ok_or_else(|| Error::new(ErrorKind::Internal, "One document gave no prompt."))
    }

    /// The prompts of one query and many documents, equal to [`Self::encode`] of each; the part before the document is
    /// encoded once. The first document that does not fit fails the whole request, as with vLLM.
    pub fn encode_many(&self, query: &str, documents: &[&str], options: &PromptOptions) -> Result<Vec<Prompt>> {
        self.encode_within(self.limit(options)?, query, documents, options)
    }

    fn encode_within(
        &self,
        limit: Limit,
        query: &str,
        documents: &[&str],
        options: &PromptOptions,
    ) -> Result<Vec<Prompt>> {
        let formatted_query = query.strip_prefix(PREFIX);
        let (mut wrapped, mut formatted) = (None, None);
        let mut prompts = Vec::with_capacity(documents.len());
        for document in documents {
            let inner = formatted_query.and_then(|q| Some((q, strip_end(document)?)));
            let prompt = match inner {
                None => {
                    let head = once(&mut wrapped, || self.wrapped_head(query, options, limit))?;
                    self.prompt(head, " ", document, options, limit)?
                }
                Some((q, d)) => match d.strip_prefix(DOCUMENT_MARK).and_then(|d| d.strip_prefix(' ')) {
                    Some(d) => {
                        let head = once(&mut formatted, || self.formatted_head(q, options, limit))?;
                        self.prompt(head, " ", d, options, limit)?
                    }
                    // A prompt of the user's own making between our start and end: kept as it is.
                    None => self.prompt(&self.head(q.to_owned(), limit)?, "", d, options, limit)?,
                },
            };
            prompts.push(prompt);
        }
        Ok(prompts)
    }

    /// Checks the limits of a request against the model length, in vLLM's words.
    fn limit(&self, options: &PromptOptions) -> Result<Limit> {
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
            None => Ok(Limit { tokens: max, truncate: false }),
            Some(0) => invalid("The decoder prompt cannot be empty".into()),
            Some(n) if n > max => invalid(
                "truncate_prompt_tokens value is greater than max_model_len. Please request a smaller truncation size."
                    .into(),
            ),
            Some(n) => Ok(Limit { tokens: n, truncate: true }),
        }
    }

    fn wrapped_head(&self, query: &str, options: &PromptOptions, limit: Limit) -> Result<Head> {
        let instruction = options.instruction.as_deref().filter(|i| !i.is_empty()).unwrap_or(INSTRUCTION);
        let query = self.plain.cut(query, options.max_tokens_per_query)?;
        self.head(format!("<Instruct>: {instruction}\n{QUERY_MARK}{query}\n{DOCUMENT_MARK}"), limit)
    }

    /// `content` is what a preformatted query holds after the template's start; it brings its own instruction.
    fn formatted_head(&self, content: &str, options: &PromptOptions, limit: Limit) -> Result<Head> {
        let mut content = Cow::Borrowed(content);
        if options.max_tokens_per_query > 0
            && let Some((before, query)) = content.split_once(QUERY_MARK)
        {
            let text = query.strip_suffix('\n').unwrap_or(query);
            let cut = self.plain.cut(text, options.max_tokens_per_query)?;
            content = Cow::Owned(format!("{before}{QUERY_MARK}{cut}{}", &query[text.len()..]));
        }
        self.head(format!("{content}{DOCUMENT_MARK}"), limit)
    }

    /// Encodes what precedes the document, which must leave room for at least one token after it.
    fn head(&self, text: String, limit: Limit) -> Result<Head> {
        let fixed = self.prefix.len() + self.suffix.len();
        let room = limit.tokens.saturating_sub(fixed);
        let ids = if self.plain.surely_exceeds(&text, room) { None } else { Some(self.plain.encode(&text, room)?) };
        match ids {
            Some(ids) if ids.len() < room => Ok(Head { text, ids }),
            _ => Err(self.no_room(limit)),
        }
    }

    /// The whole prompt: start, head, `border` and document, end; the document is cut to fit where that is asked for.
    fn prompt(
        &self,
        head: &Head,
        border: &str,
        document: &str,
        options: &PromptOptions,
        limit: Limit,
    ) -> Result<Prompt> {
        let document = self.plain.cut(document, options.max_tokens_per_doc)?;
        // `head` made sure that the template fits and that `room` holds the head and one token.
        let room = limit.tokens.saturating_sub(self.prefix.len() + self.suffix.len());
        if !limit.truncate && self.plain.surely_exceeds(document, room) {
            return Err(self.no_room(limit));
        }
        // A head that ends in `>:` and a rest that starts with a space may be encoded apart: see `separable`.
        let apart = border == " " && self.plain.separable();
        let (known, rest) = match apart {
            true => (head.ids.as_slice(), [border, document].concat()),
            false => (&[][..], [&head.text, border, document].concat()),
        };
        // The end of a document is only known once all of it is encoded.
        let from_left = limit.truncate && options.truncation_side == TruncationSide::Left;
        let rest = self.plain.encode(&rest, if from_left { usize::MAX } else { room - known.len() })?;
        let content = known.len() + rest.len();
        if content > room && !limit.truncate {
            return Err(self.no_room(limit));
        }
        // Where head and document were encoded as one, the head's tokens stay as well, whichever side is cut.
        let (start, tail) = rest.split_at(rest.len().min(head.ids.len() - known.len()));
        let kept = options.truncation_side.keep(tail, room - head.ids.len());
        let token_ids = [&self.prefix, known, start, kept, &self.suffix].concat();
        Ok(Prompt { token_ids, prefix: self.prefix.len() + known.len() })
    }

    /// Why a pair can't be served within `limit`.
    fn no_room(&self, limit: Limit) -> Error {
        let Limit { tokens, truncate } = limit;
        if truncate {
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

/// The document without the template's end, whatever white space follows `</think>`: clients that trim the end of
/// texts still mean the whole prompt, and wrapping it again would spoil the score.
fn strip_end(document: &str) -> Option<&str> {
    document.trim_end().strip_suffix(SUFFIX.trim_end())
}

/// The value in `slot`, made on first use.
fn once<T>(slot: &mut Option<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    let value = match slot.take() {
        Some(value) => value,
        None => make()?,
    };
    Ok(slot.insert(value))
}
