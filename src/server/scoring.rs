//! What the scoring routes share: from a body to the scores of its pairs.
//!
//! Invariant: work on the CPU (JSON, tokens) runs on blocking threads and stops at the next pair when the request is
//! dropped; then the engine's future is all that is waited for. Called by `rerank` and `score`.

use super::State;
use super::body;
use super::error::{ApiError, Refusal};
use super::metrics::Pair;
use super::wire::{Common, PairRequest, Text};
use crate::engine::sigmoid;
use crate::error::ErrorKind;
use crate::options::Overflow;
use crate::prompt::{Prompt, PromptOptions};
use actix_web::{HttpResponse, HttpResponseBuilder, web};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Documents that are tokenised before looking again whether the client still waits: some milliseconds' worth.
const DOCUMENTS_AT_A_TIME: usize = 16;

/// The header that says how many documents were shortened to fit.
const SHORTENED: &str = "x-ironrank-truncated";

/// A request with its scores.
pub struct Scored<R> {
    /// The request as it was read.
    pub request: R,
    /// One score per pair, in order.
    pub scores: Vec<f32>,
    /// Tokens of all pairs.
    pub prompt_tokens: usize,
    /// Documents that were shortened to fit.
    pub shortened: usize,
}

struct Prepared<R> {
    request: R,
    prompts: Vec<Prompt>,
    shortened: usize,
}

/// Reads `bytes` as an `R` and scores its pairs.
pub async fn score<R: PairRequest>(state: &web::Data<State>, bytes: web::Bytes) -> Result<Scored<R>, ApiError> {
    let started = Instant::now();
    let on_drop = AbandonOnDrop(Arc::new(AtomicBool::new(false)));
    let Prepared { request, prompts, shortened } = web::block({
        let (state, abandoned) = (state.clone(), on_drop.0.clone());
        move || prepare::<R>(&state, &bytes, &abandoned)
    })
    .await
    .map_err(|_| stopping())??;

    let lengths: Vec<usize> = prompts.iter().map(|prompt| prompt.token_ids.len()).collect();
    let pairs = state.metrics.pairs_begin(lengths.len());
    let priority = request.common().priority;
    let before = started.elapsed();
    let answers = state.engine.answers(prompts, priority).await.inspect_err(|_| pairs.failed())?;
    pairs.finished(lengths.iter().zip(&answers).map(|(&tokens, &answer)| Pair { tokens, before, answer }));
    let pooling = &state.settings.pooling;
    let use_activation = request.common().use_activation.unwrap_or(pooling.use_activation);
    let scores = answers
        .into_iter()
        .map(|answer| (answer.margin - pooling.logit_mean) / pooling.logit_sigma)
        .map(|logit| if use_activation { sigmoid(logit) } else { logit })
        .collect();
    Ok(Scored { request, scores, prompt_tokens: lengths.iter().sum(), shortened })
}

/// A good answer, with a header if `shortened` documents were cut.
pub fn ok(shortened: usize) -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    if shortened > 0 {
        response.insert_header((SHORTENED, shortened));
    }
    response
}

/// The id of an answer: the header's name of the request, else the body's, else 16 random hexadecimal digits.
pub fn answer_id(header: Option<&str>, common: &Common) -> String {
    match header.or(common.request_id.as_deref()) {
        Some(name) if !name.is_empty() => format!("score-{name}"),
        _ => format!("score-{:016x}", rand::random::<u64>()),
    }
}

fn prepare<R: PairRequest>(state: &State, bytes: &[u8], abandoned: &AtomicBool) -> Result<Prepared<R>, ApiError> {
    let request = R::read(&body::object(bytes)?)?;
    let options = prompt_options(state, request.common())?;
    let (queries, documents) = request.sides();
    let pairs = pair(queries, documents)?;
    let mut prompts = Vec::with_capacity(pairs.len());
    let mut shortened = 0;
    // Neighbours with one query share the work on the prompt's head; a few at a time, to notice when the client leaves.
    for same_query in pairs.chunk_by(|(a, _), (b, _)| a == b) {
        for pairs in same_query.chunks(DOCUMENTS_AT_A_TIME) {
            if abandoned.load(Ordering::Relaxed) {
                return Err(ApiError::new(Refusal::Kind(ErrorKind::Unavailable), "The client has left."));
            }
            let documents: Vec<&str> = pairs.iter().map(|(_, document)| *document).collect();
            let encoded = state.encoder.encode_many(pairs[0].0, &documents, &options)?;
            prompts.extend(encoded.prompts);
            shortened += encoded.shortened;
        }
    }
    if shortened > 0 {
        state.metrics.shortened(shortened);
        tracing::warn!("{shortened} of {} documents were shortened to fit the limit of tokens", prompts.len());
    }
    Ok(Prepared { request, prompts, shortened })
}

/// The rules that tie a request's fields to the server's settings.
fn prompt_options(state: &State, common: &Common) -> Result<PromptOptions, ApiError> {
    if common.cache_salt.as_deref() == Some("") {
        let sentence = "Parameter 'cache_salt' must be a non-empty string if provided. (parameter=cache_salt)";
        return Err(ApiError::invalid(sentence).with_param("cache_salt"));
    }
    state.settings.check_model(common.model.as_deref().unwrap_or(""))?;
    let limit = state.settings.max_model_len;
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
                return Err(ApiError::invalid(format!(
                    "truncate_prompt_tokens value is greater than max_model_len. Please request a smaller truncation \
                     size. ({tokens} tokens were asked for, max_model_len is {limit}.)"
                )));
            }
            Ok(tokens) => Some(tokens),
            Err(_) => Some(limit),
        },
    };
    Ok(PromptOptions {
        instruction: common.instruction.clone(),
        template_kwargs: common.template_kwargs.clone(),
        shorten: state.settings.overflow == Overflow::Truncate,
        truncate_prompt_tokens,
        max_tokens_per_doc,
        max_tokens_per_query,
    })
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

/// 1:N is broadcast, N:N goes element by element, anything else is refused.
fn pair<'a>(queries: &'a [Text], documents: &'a [Text]) -> Result<Vec<(&'a str, &'a str)>, ApiError> {
    if queries.iter().chain(documents).any(|text| *text == Text::Parts) {
        return Err(ApiError::invalid("MultiModalParam is not supported for Qwen3ForSequenceClassification"));
    }
    match (queries.len(), documents.len()) {
        (0, _) => return Err(ApiError::invalid("At least one text element must be given")),
        (_, 0) => return Err(ApiError::invalid("At least one text_pair element must be given")),
        (1, _) => {}
        (n, m) if n == m => {}
        _ => return Err(ApiError::invalid("Input lengths must be either 1:1, 1:N or N:N")),
    }
    let queries = queries.iter().cycle();
    Ok(queries.zip(documents).filter_map(|(query, document)| Some((query.plain()?, document.plain()?))).collect())
}

impl Text {
    /// The text, unless it came in parts.
    pub fn plain(&self) -> Option<&str> {
        match self {
            Self::Plain(text) => Some(text),
            Self::Parts => None,
        }
    }
}

pub(super) fn stopping() -> ApiError {
    ApiError::new(Refusal::Kind(ErrorKind::Unavailable), "The server is stopping; try again in a moment.")
}

/// Tells the blocking thread that nobody waits for it any more.
struct AbandonOnDrop(Arc<AtomicBool>);

impl Drop for AbandonOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
