//! Template and tokenizer: a query-document pair becomes a [`Prompt`].
//!
//! The model card's prompt is the default, a pair that already is a prompt is kept as it is (`model_card`), an operator's
//! [`Template`] takes the model card's place (`templated`). This is the only place that shortens anything. Invariants:
//! the template and its suffix are never cut, only the document is, and the query where the server says so; text of
//! the user never yields a special token; no prompt is longer than the model length. Called by the server for every
//! pair, from any thread.

mod control;
mod described;
mod examine;
mod model_card;
mod plain_text;
mod raw;
mod template;
mod templated;

pub use described::described;
pub use model_card::{Around, INSTRUCTION};
pub use raw::Message;
pub use template::{Template, Variables};

use crate::error::{Error, ErrorKind, Result};
use crate::file;
use crate::file::directory::{self, TOKENIZER};
use control::{ControlTokens, Marked};
use flate2::read::GzDecoder;
use model_card::{Heads, PREFIX, SUFFIX, formatted};
use plain_text::PlainText;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use templated::Templated;
use tokenizers::models::bpe::BPE;
use tokenizers::{
    DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, Tokenizer, TokenizerImpl,
};

/// The tokenizer of every Qwen3 model, for start-up without a model directory.
static BUILTIN_TOKENIZER: &[u8] = include_bytes!("../../assets/tokenizer.json.gz");
/// A tokenizer file larger than this is not one: Qwen3's has 11 MB.
const MAX_TOKENIZER_BYTES: u64 = 256 << 20;

/// Token ids of one query-document pair, template included. The prompts of a query share what precedes the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    head: Arc<[u32]>,
    tail: Box<[u32]>,
}

impl Prompt {
    /// `head`, which other prompts begin with too, and what comes behind it; one of them may be empty.
    pub fn new(head: Arc<[u32]>, tail: impl Into<Box<[u32]>>) -> Self {
        Self { head, tail: tail.into() }
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many tokens come before the last and before the document: other prompts are likely to begin with them too.
    pub fn prefix(&self) -> usize {
        self.head.len().min(self.len().saturating_sub(1))
    }

    /// Whether both have their head between them.
    pub fn shares_head(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.head, &other.head)
    }

    /// Tokens that are this prompt's alone.
    pub fn own(&self) -> usize {
        self.tail.len()
    }

    /// Token ids, first to last.
    pub fn token_ids(&self) -> Cow<'_, [u32]> {
        match (&*self.head, &*self.tail) {
            ([], tail) => tail.into(),
            (head, []) => head.into(),
            (head, tail) => [head, tail].concat().into(),
        }
    }
}

impl From<Vec<u32>> for Prompt {
    /// A prompt that shares nothing.
    fn from(token_ids: Vec<u32>) -> Self {
        Self::new(Arc::default(), token_ids)
    }
}

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

/// The prompts of some documents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoded {
    /// One a document, in order.
    pub prompts: Vec<Prompt>,
    /// For how many of them something was cut off to keep within a limit of the whole prompt.
    pub shortened: usize,
}

/// Makes prompts; cheap to share between threads behind an `Arc`.
pub struct PromptEncoder {
    plain: PlainText,
    control: ControlTokens,
    template: Option<Template>,
    instruction: Option<String>,
    prefix: Arc<[u32]>,
    suffix: Vec<u32>,
    max_model_len: usize,
}

/// Makes the prompts of one query: what precedes the document is encoded once, and shared by all of them.
pub struct ForQuery<'e> {
    encoder: &'e PromptEncoder,
    query: &'e str,
    options: Cow<'e, PromptOptions>,
    limit: Limit,
    heads: Heads,
    templated: Option<Templated<'e>>,
}

/// How many tokens a prompt may have, and whether its document is cut to reach that.
#[derive(Clone, Copy)]
struct Limit {
    tokens: usize,
    truncate: bool,
    /// Whether the query is cut too when it does not fit by itself.
    query_too: bool,
    /// Whether it is the request's own.
    requested: bool,
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

    /// The same with an operator's template in the place of the model card's prompt; an error if the tokenizer's control
    /// tokens are of a kind that templates can't be encoded with.
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

    /// The same with an operator's instruction for texts that bring none: in the place of the model card's, and as the
    /// variable of a template.
    #[must_use]
    pub fn with_instruction(self, instruction: String) -> Self {
        Self { instruction: Some(instruction), ..self }
    }

    /// `options`, with the operator's instruction if they have none.
    fn instructed<'o>(&self, options: &'o PromptOptions) -> Cow<'o, PromptOptions> {
        match &self.instruction {
            Some(instruction) if options.instruction.as_deref().is_none_or(str::is_empty) => {
                let mut options = options.clone();
                options.template_kwargs.insert("instruction".to_owned(), instruction.clone().into());
                options.instruction = Some(instruction.clone());
                Cow::Owned(options)
            }
            _ => Cow::Borrowed(options),
        }
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

    /// The prompt of one pair, see [`ForQuery::prompt`].
    pub fn encode(&self, query: &str, document: &str, options: &PromptOptions) -> Result<Prompt> {
        Ok(self.for_query(query, options)?.prompt(document)?.0)
    }

    /// The prompts of one query and many documents, equal to [`Self::encode`] of each. The first document that does not
    /// fit fails the whole request, as with vLLM.
    pub fn encode_many(&self, query: &str, documents: &[&str], options: &PromptOptions) -> Result<Encoded> {
        let mut made = self.for_query(query, options)?;
        let mut encoded = Encoded::default();
        documents.iter().try_for_each(|document| made.prompt(document).map(|prompt| encoded.push(prompt)))?;
        Ok(encoded)
    }

    /// Begins the prompts of `query`.
    pub fn for_query<'e>(&'e self, query: &'e str, options: &'e PromptOptions) -> Result<ForQuery<'e>> {
        Ok(self.for_query_within(self.limit(options)?, query, options))
    }

    fn for_query_within<'e>(&'e self, limit: Limit, query: &'e str, options: &'e PromptOptions) -> ForQuery<'e> {
        let options = self.instructed(options);
        ForQuery { encoder: self, query, options, limit, heads: Heads::default(), templated: None }
    }

    /// Bytes that an operator's template may take while it makes the prompt of a pair, for the texts of that pair.
    pub fn template_bytes(&self, query: &str, document: &str) -> usize {
        self.template.as_ref().map_or(0, |_| template::BYTES_PER_BYTE.saturating_mul(query.len() + document.len()))
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
    fn encode_parsed(&self, text: &str, limit: usize) -> Result<Vec<u32>> {
        let text = self.plain.start(text, limit);
        let guard = ControlTokens::guard_for(&ControlTokens::guards_for(&[]), text)?;
        let marked = self.control.parse(text, guard);
        self.encode_marked(&marked, 0..marked.text.len(), limit)
    }

    /// The tokens of these bytes of `marked`, the same.
    fn encode_marked(&self, marked: &Marked, bytes: Range<usize>, limit: usize) -> Result<Vec<u32>> {
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
    fn no_room(&self, limit: Limit) -> Error {
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

impl ForQuery<'_> {
    /// The prompt of the query and `document`, and whether something was cut off to keep within a limit of the whole.
    /// Control-token strings in the user's texts stay plain text.
    ///
    /// A pair that already is the whole prompt (the query starts with a system message and the document ends with the
    /// assistant's turn) is not wrapped again; white space after its end is brought to the model card's two newlines.
    /// Errors: [`ErrorKind::TooLong`], [`ErrorKind::InvalidRequest`].
    pub fn prompt(&mut self, document: &str) -> Result<(Prompt, bool)> {
        let Self { encoder, query, options, limit, heads, templated } = self;
        match (formatted(query, document), &encoder.template) {
            (Some(pair), _) => encoder.formatted(pair, heads, options, *limit),
            (None, Some(template)) => {
                once(templated, || Templated::new(encoder, template, query, options, *limit))?.prompt(document)
            }
            (None, None) => encoder.wrapped(query, document, heads, options, *limit),
        }
    }
}

impl Encoded {
    /// Adds what [`ForQuery::prompt`] made.
    pub fn push(&mut self, (prompt, shortened): (Prompt, bool)) {
        self.prompts.push(prompt);
        self.shortened += usize::from(shortened);
    }
}

/// What `tokenizer.json` of a model directory holds.
pub fn tokenizer_json(dir: &Path) -> Result<Vec<u8>> {
    let path = dir.join(TOKENIZER);
    let refuse = |path: &Path, what: String| Error::new(ErrorKind::Checkpoint, format!("{} {what}.", path.display()));
    directory::check(dir).map_err(|fault| refuse(dir, fault.to_string()))?;
    file::read_json(&path, MAX_TOKENIZER_BYTES).map_err(|fault| match fault.is_missing() {
        true => refuse(dir, directory::without(dir, TOKENIZER)),
        false => refuse(&path, fault.to_string()),
    })
}

/// The `tokenizer.json` that the binary carries.
fn builtin_tokenizer() -> Result<Vec<u8>> {
    let mut json = Vec::new();
    GzDecoder::new(BUILTIN_TOKENIZER)
        .read_to_end(&mut json)
        .map_err(|e| Error::new(ErrorKind::Internal, format!("The built-in tokenizer does not unpack: {e}.")))?;
    Ok(json)
}

/// The value in `slot`, made on first use.
fn once<T>(slot: &mut Option<T>, make: impl FnOnce() -> Result<T>) -> Result<&mut T> {
    let value = match slot.take() {
        Some(value) => value,
        None => make()?,
    };
    Ok(slot.insert(value))
}
