//! Answers that are rows of numbers: the vectors of an embedding model, the scores of a reranker as rows of one.
//!
//! Invariant: rows are written aside, straight from those that the engine gave: a large answer takes as long as reading a
//! large body. Called by the routes that answer with rows.

use super::compute::{Computed, Took, answer_id, compute};
use super::making::PromptRequest;
use crate::server::http::aside::on_a_thread;
use crate::server::http::budget::{Charged, unwritable};
use crate::server::http::error::ApiError;
use crate::server::http::intake::Body;
use crate::server::http::request_id;
use crate::server::state::State;
use crate::server::wire::encoding::NumberFormat;
use crate::server::wire::listing::{Listed, Listing};
use crate::server::wire::metadata::{METADATA, Metadata};
use crate::server::wire::pairs::Common;
use actix_web::http::header::HeaderName;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use std::time::Instant;

/// A request that is answered with rows.
pub trait RowRequest: PromptRequest {
    /// The answer.
    fn write(&self, answered: &Answered<'_>) -> Result<Written, ApiError>;
}

/// From where a request came, and how its client calls it.
#[derive(Debug)]
pub struct Origin {
    /// The path.
    pub path: String,
    /// When it began.
    pub began: Instant,
    /// The client's name of the request, if its head has one.
    request_id: Option<String>,
}

/// What an answer is made of.
pub struct Answered<'a> {
    /// The first name of the model.
    pub model: &'a str,
    /// From where it was asked.
    pub origin: &'a Origin,
    /// Tokens of all prompts.
    pub prompt_tokens: usize,
    /// How long the rows took.
    pub took: Took,
    rows: &'a [Box<[f32]>],
    /// Bytes that it will have at most.
    bytes: usize,
}

/// An answer as bytes.
pub struct Written {
    bytes: Vec<u8>,
    content_type: &'static str,
    /// Headers that describe it.
    headers: Vec<(HeaderName, String)>,
}

impl Origin {
    /// Of a request that begins now.
    pub fn of(request: &HttpRequest) -> Self {
        let request_id = request_id::of(request.headers()).map(str::to_owned);
        Self { path: request.path().to_owned(), began: Instant::now(), request_id }
    }

    /// The client's name of the request, if its head has one.
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }
}

impl Answered<'_> {
    /// The rows, in the order of the prompts.
    pub fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.rows.iter().map(AsRef::as_ref)
    }

    /// The id of the answer to a request with these fields.
    pub fn id(&self, prefix: &str, common: &Common) -> String {
        answer_id(prefix, self.origin.request_id(), common)
    }

    /// The answer in JSON.
    pub fn json(&self, value: &impl Serialize) -> Result<Written, ApiError> {
        let mut bytes = Vec::with_capacity(self.bytes);
        serde_json::to_writer(&mut bytes, value).map_err(unwritable)?;
        Ok(Written { bytes, content_type: "application/json", headers: Vec::new() })
    }

    /// The answer `id` that lists `data`, one for each prompt.
    pub fn list<T: Listed>(&self, id: String, data: Vec<T>) -> Result<Written, ApiError> {
        self.json(&Listing::new(id, self.model, data, self.prompt_tokens))
    }

    /// The answer `id` as bytes, perhaps with the header that describes them.
    pub fn bytes(&self, id: String, numbers: NumberFormat, described: bool) -> Result<Written, ApiError> {
        let width = self.rows.first().map_or(0, |row| row.len());
        let metadata = || Metadata::new(id, self.model, self.rows.len(), width, numbers, self.prompt_tokens).header();
        let metadata = described.then(metadata).transpose().map_err(unwritable)?;
        let headers = metadata.into_iter().map(|metadata| (METADATA, metadata)).collect();
        let bytes = self.rows().flat_map(|row| numbers.bytes(row)).collect();
        Ok(Written { bytes, content_type: "application/octet-stream", headers })
    }
}

impl Written {
    /// The same with headers that describe it.
    #[must_use]
    pub fn with(mut self, headers: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        self.headers.extend(headers.into_iter().map(|(name, value)| (HeaderName::from_static(name), value)));
        self
    }
}

/// Answers the body of a request from `origin`.
pub async fn answer<R: RowRequest>(
    state: &web::Data<State>,
    origin: Origin,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let (request, computed) = compute::<R>(state, body).await?;
    response(state, origin, request, computed).await
}

/// The answer to `request`.
pub async fn response<R: RowRequest>(
    state: &web::Data<State>,
    origin: Origin,
    request: R,
    computed: Computed,
) -> Result<HttpResponse, ApiError> {
    let (mut response, share, writing) = (computed.ok(), computed.share.clone(), state.clone());
    let size = computed.wanted.bytes;
    let write = move |_: &_| {
        let use_activation = request.common().use_activation;
        let Computed { model, rows, prompt_tokens, took, wanted, .. } =
            computed.meant(&writing.options.pooling, use_activation);
        request.write(&Answered {
            model: model.name(),
            origin: &origin,
            prompt_tokens,
            took,
            rows: &rows,
            bytes: wanted.bytes,
        })
    };
    let Written { bytes, content_type, headers } = on_a_thread(&state.threads, size, write).await?;
    for header in headers {
        response.insert_header(header);
    }
    Ok(Charged::bytes(response.content_type(content_type), share, bytes))
}
