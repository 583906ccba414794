//! What the scoring routes share: from a body to the scores of its pairs.
//!
//! Invariant: work on the CPU (JSON, tokens) runs aside and stops at the next pair when the request is dropped; then the
//! engine's future is all that is waited for. Called by `rerank`, `score`, `classify`, `pooling`, `invocations`, `root`.

mod input;
mod making;
mod pairs;

pub use making::{Making, PromptRequest};

use super::http::aside::{Client, on_a_thread};
use super::http::budget::{Charged, Share};
use super::http::error::{ApiError, ErrorForm};
use super::http::intake::Body;
use super::http::{request_id, request_log};
use super::metrics::Sequence;
use super::models::Model;
use super::state::State;
use super::wire::body;
use super::wire::listing::{Listed, Listing};
use super::wire::pairs::Common;
use crate::engine::Admission;
use crate::options::Overflow;
use crate::prompt::{Encoded, Prompt, PromptOptions};
use crate::rerank;
use actix_web::{HttpResponse, HttpResponseBuilder, web};
use serde_json::Value;
use std::sync::Arc;
use std::time::Instant;

/// Copies of the texts of a body: the request's and two in the answer.
const TEXTS: usize = 3;
/// Copies of the variables of a template.
const KWARGS: usize = 4;

/// The header that says how many documents were shortened to fit.
const SHORTENED: &str = "x-ironrank-truncated";

/// The scores of a request, and what they took.
pub struct Scored {
    /// What made them.
    pub model: Arc<Model>,
    /// What the request takes of the memory that all share.
    pub share: Arc<Share>,
    /// One score per pair, in order.
    pub scores: Vec<f32>,
    /// What the scores were made of, which tells apart what the sigmoid rounds to one number.
    pub margins: Vec<f32>,
    /// Tokens of all pairs.
    pub prompt_tokens: usize,
    /// Documents that were shortened to fit.
    pub shortened: usize,
}

impl Scored {
    /// A good answer, with a header if documents were shortened.
    pub fn ok(&self) -> HttpResponseBuilder {
        let mut response = HttpResponse::Ok();
        if self.shortened > 0 {
            response.insert_header((SHORTENED, self.shortened));
        }
        response
    }

    /// The answer `id` that lists `data`, one for each prompt.
    pub fn list<T: Listed>(self, id: String, data: Vec<T>) -> HttpResponse {
        let listing = Listing::new(id, self.model.name(), data, self.prompt_tokens);
        Charged::json(self.ok(), self.share, &listing)
    }
}

struct Prepared<R> {
    model: Arc<Model>,
    request: R,
    encoded: Encoded,
    admission: Admission,
    error_form: ErrorForm,
}

/// Reads `body` as an `R` and scores its pairs with the model that it is for.
pub async fn score<R: PromptRequest>(state: &web::Data<State>, body: Body) -> Result<(R, Scored), ApiError> {
    let started = Instant::now();
    let (blocking, share) = (state.clone(), body.share.clone());
    let Prepared { model, request, encoded: Encoded { prompts, shortened }, admission, error_form } =
        on_a_thread(&state.threads, body.len(), move |client| prepare::<R>(&blocking, body, client)).await?;

    let lengths: Vec<usize> = prompts.iter().map(Prompt::len).collect();
    request_log::note(|work| (work.documents, work.tokens) = (lengths.len(), lengths.iter().sum()));
    let sequences = model.pairs.sequences_begin(lengths.len());
    let priority = request.common().priority;
    let before = started.elapsed();
    let answers = model.engine.answers_to(admission, prompts, priority).await.map_err(|err| {
        sequences.failed();
        ApiError::from(err).in_form(error_form)
    })?;
    request_log::note(|work| work.queued = answers.iter().map(|answer| answer.queued).max());
    sequences.finished(lengths.iter().zip(&answers).map(|(&tokens, answer)| Sequence { tokens, before, answer }));
    let pooling = &state.options.pooling;
    let use_activation = request.common().use_activation.unwrap_or(pooling.use_activation);
    let activation = use_activation.then_some(model.served.activation);
    let margins: Vec<f32> = answers.iter().map(rerank::margin).collect();
    let scores = margins.iter().map(|&margin| rerank::score(margin, pooling, activation)).collect();
    drop(sequences);
    let scored = Scored { model, share, scores, margins, prompt_tokens: lengths.iter().sum(), shortened };
    Ok((request, scored))
}

/// The id of an answer: the header's name of the request, else the body's, else 16 random hexadecimal digits.
pub fn answer_id(prefix: &str, header: Option<&str>, common: &Common) -> String {
    match header.or(common.request_id.as_deref()) {
        // As long as a header's may be, wherever it stands.
        Some(name) if !name.is_empty() => {
            prefix.chars().chain(['-']).chain(name.chars().take(request_id::LONGEST)).collect()
        }
        _ => format!("{prefix}-{:016x}", rand::random::<u64>()),
    }
}

fn prepare<R: PromptRequest>(state: &State, body: Body, client: &Client) -> Result<Prepared<R>, ApiError> {
    let share = body.share.clone();
    let object = body::read(&body).map_err(|refused| match refused.is_about_memory() {
        true => refused,
        false => R::no_object(&body, refused),
    })?;
    let error_form = R::error_form(&object);
    let read = || {
        share.grow(TEXTS * body.len())?;
        let named = object.get("model").and_then(Value::as_str).unwrap_or_default();
        let found = state.models.find(named);
        // What is wrong with a body is told of before a model that is not here.
        let request = R::read(&object, &found.as_ref().unwrap_or(&state.models.first()).served)?;
        check_cache_salt(request.common().cache_salt.as_deref())?;
        let model = found?;
        if !request.common().template_kwargs.is_empty() {
            share.grow(KWARGS * object.bytes())?;
        }
        let options = prompt_options(state, model, request.common())?;
        // The texts that are needed have been copied.
        drop((object, body));
        let mut making = Making::new(model, &options, &share, client);
        request.prompts(&mut making)?;
        let (encoded, admission) = making.finish()?;
        Ok((model.clone(), request, encoded, admission))
    };
    let (model, request, encoded, admission) = read().map_err(|err: ApiError| err.in_form(error_form))?;
    let Encoded { prompts, shortened } = &encoded;
    if *shortened > 0 {
        model.pairs.shortened(*shortened);
        if state.told.admits(Instant::now()) {
            tracing::warn!("{shortened} of {} documents were shortened to fit the limit of tokens", prompts.len());
        }
    }
    Ok(Prepared { model, request, encoded, admission, error_form })
}

/// The rules that tie a request's fields to the server's settings and the model.
fn prompt_options(state: &State, model: &Model, common: &Common) -> Result<PromptOptions, ApiError> {
    if common.has_mm_processor_kwargs {
        let sentence = model.served.refuses_mm_processor_kwargs();
        return Err(ApiError::invalid(sentence).with_param("mm_processor_kwargs"));
    }
    let limit = model.served.max_model_len;
    let max_tokens_per_query = text_limit("max_tokens_per_query", common.max_tokens_per_query, limit)?;
    let max_tokens_per_doc = text_limit("max_tokens_per_doc", common.max_tokens_per_doc, limit)?;
    if !common.reserved_kwargs.is_empty() {
        let keys = common.reserved_kwargs.iter().map(|key| format!("'{key}'")).collect::<Vec<_>>().join(", ");
        return Err(ApiError::invalid(format!(
            "chat_template_kwargs contains reserved keys that conflict with fixed scorer arguments: {{{keys}}}"
        )));
    }
    let truncate_prompt_tokens = match common.truncate_prompt_tokens {
        None => None,
        Some(0) => return Err(ApiError::invalid("The decoder prompt cannot be empty")),
        Some(tokens) => match usize::try_from(tokens) {
            Ok(tokens) if tokens > limit => {
                return Err(ApiError::invalid(
                    "truncate_prompt_tokens value is greater than max_model_len. Please request a smaller truncation \
                     size.",
                ));
            }
            Ok(tokens) => Some(tokens),
            Err(_) => Some(limit),
        },
    };
    Ok(PromptOptions {
        instruction: common.instruction.clone(),
        template_kwargs: common.template_kwargs.clone(),
        shorten: state.options.overflow == Overflow::Truncate,
        truncate_prompt_tokens,
        truncation_side: common.truncation_side,
        max_tokens_per_doc,
        max_tokens_per_query,
    })
}

/// The salt has no effect, for what requests share changes no score; vLLM's rules for it hold all the same.
fn check_cache_salt(salt: Option<&str>) -> Result<(), ApiError> {
    const MAX_CHARS: usize = 128;
    let sentence = match salt {
        Some("") => "Parameter 'cache_salt' must be a non-empty string if provided. (parameter=cache_salt)".to_owned(),
        Some(salt) if salt.chars().count() > MAX_CHARS => {
            format!("Parameter 'cache_salt' must have at most {MAX_CHARS} characters. (parameter=cache_salt)")
        }
        Some(salt) if salt.contains(['@', '/', '\\', '\0']) => {
            "Parameter 'cache_salt' must not contain '@', '/', '\\' or NUL. (parameter=cache_salt)".to_owned()
        }
        _ => return Ok(()),
    };
    Err(ApiError::invalid(sentence).with_param("cache_salt"))
}

fn text_limit(name: &str, value: i64, max_model_len: usize) -> Result<usize, ApiError> {
    match usize::try_from(value) {
        Err(_) => Err(ApiError::invalid(format!("{name} must be a non-negative integer"))),
        Ok(tokens) if tokens >= max_model_len => {
            Err(ApiError::invalid(format!("{name} ({tokens}) must be less than max_model_len ({max_model_len}).")))
        }
        Ok(tokens) => Ok(tokens),
    }
}
