//! The prompts of a request while they are made.
//!
//! Invariant: what takes memory is charged before it is made, and nothing is made for a client that has left. Called by
//! what makes prompts of a request: `pairs`, `input` and `texts`.

use crate::engine::Admission;
use crate::error::{Error, ErrorKind};
use crate::prompt::{Encoded, Prompt, PromptEncoder, PromptOptions, TextOptions};
use crate::server::http::aside::Client;
use crate::server::http::budget::{Loan, Share};
use crate::server::http::error::{ApiError, ErrorForm};
use crate::server::http::intake::Body;
use crate::server::models::Model;
use crate::server::served::Served;
use crate::server::wire::pairs::Common;
use crate::serves::Serves;
use crate::task::Task;
use serde_json::{Map, Value};
use std::sync::Arc;

/// Bytes that a pair takes besides its texts and tokens at most: in the lists of the request, of the engine, of the answer.
const PAIR: usize = 512;

/// A request that becomes prompts.
pub trait PromptRequest: Sized + Send + 'static {
    /// What such a body is for: where it names no model, the first of these answers, else the first of all.
    fn task(_: &Map<String, Value>) -> Option<Task> {
        None
    }
    /// Reads a body as a request to the model that is `served`.
    fn read(body: &Map<String, Value>, served: &Served) -> Result<Self, ApiError>;
    /// The fields that all such requests have.
    fn common(&self) -> &Common;
    /// What is said where a model of this task has no answer to such a request.
    fn refuses(&self, _: Task) -> Option<&'static str> {
        None
    }
    /// How many of its prompts are queries, where an embedding model makes prompts of both sides.
    fn queries(&self) -> usize {
        0
    }
    /// How the client of such a body reads errors.
    fn error_form(_: &Map<String, Value>) -> ErrorForm {
        ErrorForm::Object
    }
    /// What is said of a body that is no JSON object, for which `refused` says why: it is not for what the body takes.
    fn no_object(_body: &Body, refused: ApiError) -> ApiError {
        refused
    }
    /// Makes its prompts, in order.
    fn prompts(&self, making: &mut Making<'_>) -> Result<(), ApiError>;
}

/// What is wanted of each row.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted {
    /// So many numbers of it, the first ones; `None` is all.
    pub dimensions: Option<usize>,
    /// Bytes that the answer has at most, where it holds rows.
    pub bytes: usize,
}

/// The prompts of a request, with their place in the queue.
pub struct Made {
    pub encoded: Encoded,
    pub admission: Admission,
    pub wanted: Wanted,
}

/// The prompts of a request while they are made: each is charged, has its place in the queue, and is the last when the
/// client has left.
pub struct Making<'a> {
    /// How the request wants them.
    pub options: &'a PromptOptions,
    model: &'a Model,
    prompt: Option<&'static str>,
    share: &'a Arc<Share>,
    client: &'a Client,
    admission: Option<Admission>,
    encoded: Encoded,
    wanted: Wanted,
}

impl<'a> Making<'a> {
    /// Nothing is made yet for `model`, of which the request's name of it chooses `prompt`; what will be is charged to
    /// `share`, and for `client`.
    pub fn new(
        model: &'a Model,
        prompt: Option<&'static str>,
        options: &'a PromptOptions,
        share: &'a Arc<Share>,
        client: &'a Client,
    ) -> Self {
        let (encoded, wanted) = (Encoded::default(), Wanted::default());
        Self { options, model, prompt, share, client, admission: None, encoded, wanted }
    }

    /// What makes them.
    pub fn serves(&self) -> &'a Serves {
        &self.model.serves
    }

    /// The first name of the model.
    pub fn name(&self) -> &'a str {
        self.model.name()
    }

    /// The model's prompt that the request's name of the model chooses.
    pub fn prompt(&self) -> Option<&'static str> {
        self.prompt
    }

    /// How the request wants prompts of texts; `bare` is without what the tokenizer appends.
    pub fn of_texts(&self, bare: bool) -> TextOptions {
        let PromptOptions { truncate_prompt_tokens, truncation_side, shorten, .. } = *self.options;
        TextOptions { truncate_prompt_tokens, truncation_side, shorten, bare }
    }

    /// Charges the answer, which has so many bytes for each of `prompts`, and says how many numbers of a row are in it.
    pub fn wants(&mut self, dimensions: Option<usize>, prompts: usize, bytes: usize) -> Result<(), ApiError> {
        let bytes = prompts.saturating_mul(bytes.saturating_add(PAIR));
        self.wanted = Wanted { dimensions, bytes };
        self.share.grow(bytes)
    }

    /// What they are made for.
    pub fn served(&self) -> &Served {
        &self.model.served
    }

    /// Says how many pairs there will be, before the first is made.
    pub fn begin(&mut self, pairs: usize) -> Result<(), ApiError> {
        let row = match self.serves() {
            Serves::Rerank(_) => 0,
            Serves::Embed(embedder) => size_of::<f32>() * embedder.width,
        };
        self.share.grow(pairs.saturating_mul(PAIR + row))?;
        self.encoded.prompts.reserve_exact(pairs);
        let refused = |err: Error| {
            self.model.pairs.sequences_begin(pairs).failed();
            ApiError::from(err)
        };
        self.admission = Some(self.model.engine.admit(pairs).map_err(refused)?);
        Ok(())
    }

    /// Charges what an operator's template may make of a pair, until that is done.
    pub fn render(&self, encoder: &PromptEncoder, query: &str, document: &str) -> Result<Option<Loan>, ApiError> {
        let bytes = encoder.template_bytes(query, document);
        (bytes > 0).then(|| self.share.lend(bytes)).transpose()
    }

    /// Adds what [`ForQuery::prompt`](crate::prompt::ForQuery::prompt) made; an error if it was for nobody.
    pub fn add(&mut self, made: (Prompt, bool)) -> Result<(), ApiError> {
        self.client.is_there()?;
        let prompt = &made.0;
        // The head of the prompts before is theirs as well.
        let shared = self.encoded.prompts.last().is_some_and(|last| last.shares_head(prompt));
        self.share.grow(size_of::<u32>() * if shared { prompt.own() } else { prompt.len() })?;
        if let Some(admission) = &mut self.admission {
            admission.add(prompt);
        }
        self.encoded.push(made);
        Ok(())
    }

    /// Those that have been made.
    pub fn prompts(&self) -> &[Prompt] {
        &self.encoded.prompts
    }

    /// How many have been made.
    pub fn made(&self) -> usize {
        self.encoded.prompts.len()
    }

    /// All of them, with their place in the queue; an error if nothing was begun.
    pub fn finish(self) -> Result<Made, ApiError> {
        let admission = self.admission.ok_or_else(|| ApiError::invalid("You must pass at least one prompt"))?;
        Ok(Made { encoded: self.encoded, admission, wanted: self.wanted })
    }
}

/// Why a prompt could not be made, with the place of the text that is to blame.
pub fn at(err: Error, place: &str) -> ApiError {
    let sentence = match err.kind() {
        _ if is_too_long(&err) => format!("{place} is too long."),
        ErrorKind::InvalidRequest => format!("({place})"),
        _ => return err.into(),
    };
    ApiError::from(err).and(&sentence)
}

/// Whether a prompt could not be made for its length.
pub fn is_too_long(err: &Error) -> bool {
    err.kind() == ErrorKind::TooLong || err.param() == Some("truncate_prompt_tokens")
}
