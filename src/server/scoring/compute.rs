//! From a body to the rows of its prompts.
//!
//! Invariant: work on the CPU (JSON, tokens) runs aside and stops at the next prompt when the request is dropped; then the
//! engine's future is all that is waited for.

use super::making::{Made, Making, PromptRequest, Wanted};
use super::rules::{check_cache_salt, prompt_options};
use crate::embed;
use crate::options::Pooling;
use crate::prompt::{Encoded, Prompt};
use crate::server::http::aside::{Client, on_a_thread};
use crate::server::http::budget::Share;
use crate::server::http::error::{ApiError, ErrorForm, Refusal};
use crate::server::http::intake::Body;
use crate::server::http::{request_id, request_log};
use crate::server::metrics::Sequence;
use crate::server::models::{Found, Model};
use crate::server::state::State;
use crate::server::wire::body;
use crate::server::wire::pairs::Common;
use crate::serves::Serves;
use actix_web::http::header::HeaderName;
use actix_web::{HttpResponse, HttpResponseBuilder, web};
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Copies of the texts of a body: the request's and two in the answer.
const TEXTS: usize = 3;
/// Copies of the variables of a template.
const KWARGS: usize = 4;

/// The header that says how many documents were shortened to fit.
pub const SHORTENED: HeaderName = HeaderName::from_static("x-ironrank-truncated");

/// The rows of a request's prompts, and what they took.
pub struct Computed {
    /// What made them.
    pub model: Arc<Model>,
    /// What the request takes of the memory that all share.
    pub share: Arc<Share>,
    /// One row of numbers per prompt, in order, as the engine gave them.
    pub rows: Vec<Box<[f32]>>,
    /// Tokens of all prompts.
    pub prompt_tokens: usize,
    /// Documents that were shortened to fit.
    pub shortened: usize,
    /// How long they took.
    pub took: Took,
    /// What is wanted of each row.
    pub wanted: Wanted,
}

/// How long the rows of a request took.
#[derive(Debug, Clone, Copy)]
pub struct Took {
    /// Until its prompts were made.
    pub before: Duration,
    /// How long the last of them waited for a batch.
    pub queued: Duration,
    /// How long that batch took.
    pub computed: Duration,
}

impl Computed {
    /// A good answer, with a header if documents were shortened.
    pub fn ok(&self) -> HttpResponseBuilder {
        let mut response = HttpResponse::Ok();
        if self.shortened > 0 {
            response.insert_header((SHORTENED, self.shortened));
        }
        response
    }

    /// The same with rows as answers hold them: vectors, or scores.
    pub fn meant(mut self, pooling: &Pooling, use_activation: Option<bool>) -> Self {
        for row in &mut self.rows {
            *row = match &self.model.serves {
                Serves::Embed(embedder) => {
                    let normalize = use_activation.or(pooling.normalize).unwrap_or(embedder.normalize);
                    embed::vector(row, self.wanted.dimensions, normalize).into()
                }
                Serves::Rerank(reranker) => [reranker.score(row[0], pooling, use_activation)].into(),
            };
        }
        self
    }
}

struct Prepared<R> {
    model: Arc<Model>,
    request: R,
    made: Made,
    error_form: ErrorForm,
}

/// Reads `body` as an `R` and runs its prompts through the model that it is for.
pub async fn compute<R: PromptRequest>(state: &web::Data<State>, body: Body) -> Result<(R, Computed), ApiError> {
    let started = Instant::now();
    let (blocking, share) = (state.clone(), body.share.clone());
    let Prepared { model, request, made, error_form } =
        on_a_thread(&state.threads, body.len(), move |client| prepare::<R>(&blocking, body, client)).await?;
    let Made { encoded: Encoded { prompts, shortened }, admission, wanted } = made;

    let lengths: Vec<usize> = prompts.iter().map(Prompt::len).collect();
    let named = state.models.all().len() > 1;
    request_log::note(|work| {
        work.model = named.then(|| model.name().to_owned());
        (work.documents, work.tokens) = (lengths.len(), lengths.iter().sum());
    });
    let sequences = model.pairs.sequences_begin(lengths.len());
    let priority = request.common().priority;
    let before = started.elapsed();
    let answers = model.engine.answers_to(admission, prompts, priority).await.map_err(|err| {
        sequences.failed();
        ApiError::from(err).in_form(error_form)
    })?;
    let last = answers.iter().max_by_key(|answer| answer.queued);
    let [queued, computed] = last.map_or([Duration::ZERO; 2], |last| [last.queued, last.computed]);
    request_log::note(|work| work.queued = last.map(|last| last.queued));
    sequences.finished(lengths.iter().zip(&answers).map(|(&tokens, answer)| Sequence { tokens, before, answer }));
    drop(sequences);
    let rows = answers.into_iter().map(|answer| answer.row).collect();
    let took = Took { before, queued, computed };
    Ok((request, Computed { model, share, rows, prompt_tokens: lengths.iter().sum(), shortened, took, wanted }))
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
        let task = R::task(&object);
        let found = state.models.find(named, task);
        // What is wrong with a body is told of before a model that is not here.
        let served = found.as_ref().map_or(&state.models.first(task).served, |found| &found.model.served);
        let request = R::read(&object, served)?;
        check_cache_salt(request.common().cache_salt.as_deref())?;
        let Found { model, prompt } = found?;
        if let Some(sentence) = request.refuses(model.served.task) {
            return Err(ApiError::new(Refusal::Unsupported, sentence));
        }
        if !request.common().template_kwargs.is_empty() {
            share.grow(KWARGS * object.bytes())?;
        }
        let options = prompt_options(state, model, request.common())?;
        // The texts that are needed have been copied.
        drop((object, body));
        let mut making = Making::new(model, prompt, &options, &share, client);
        request.prompts(&mut making)?;
        Ok((model.clone(), request, making.finish()?))
    };
    let (model, request, made) = read().map_err(|err: ApiError| err.in_form(error_form))?;
    let Encoded { prompts, shortened } = &made.encoded;
    if *shortened > 0 {
        model.pairs.shortened(*shortened);
        if state.told.admits(Instant::now()) {
            tracing::warn!("{shortened} of {} documents were shortened to fit the limit of tokens", prompts.len());
        }
    }
    Ok(Prepared { model, request, made, error_form })
}
