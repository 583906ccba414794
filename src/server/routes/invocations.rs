//! `POST /invocations`, SageMaker's one route for all: the body says which request it is.
//!
//! Invariant: a body is tried as a classification, a reranking, a scoring and a pooling request, in this order, and is
//! the first that it makes sense as.

use super::classify::ClassifyResponse;
use super::pooling::{PoolingRequest, PoolingResponse};
use super::rerank::{DataResponse, Documents, OutputResponse, RerankRequest, RerankResponse, TextRanks};
use super::score::ScoreResponse;
use super::{classify, pooling, rerank, score};
use crate::server::describe::schema::{Request, any};
use crate::server::describe::{Content, Description, shape};
use crate::server::http::aside::on_a_thread;
use crate::server::http::error::{ApiError, Refusal};
use crate::server::http::intake::Body;
use crate::server::route::{Operation, Route};
use crate::server::scoring::PromptRequest;
use crate::server::state::State;
use crate::server::wire::fields::given;
use crate::server::wire::input::{self, InputRequest};
use crate::server::wire::pairs::{PairRequest, ScoreRequest};
use crate::server::wire::{body, halves};
use actix_web::http::header::HeaderMap;
use actix_web::{HttpResponse, web};
use serde_json::{Map, Value};

/// SageMaker's name of the model, which stands over the body's.
const ADAPTER: &str = "x-amzn-sagemaker-adapter-identifier";

/// One path.
pub static ROUTE: Route = Route::at(
    &["/invocations"],
    &[Operation::post(
        |call| {
            let (state, headers, request_id) = (call.state, call.request.headers(), call.request_id());
            Box::pin(async move { answer(state, headers, request_id, call.json().await?).await })
        },
        Description {
            refuses_texts: true,
            ..Description::reads(
                "Scores",
                "Any of these, by the body (SageMaker)",
                described,
                Content::JsonOrBytes(&[
                    shape::<ClassifyResponse<'static>>,
                    shape::<RerankResponse<'static>>,
                    shape::<DataResponse<'static>>,
                    shape::<TextRanks<'static>>,
                    shape::<OutputResponse<'static>>,
                    shape::<ScoreResponse<'static>>,
                    shape::<PoolingResponse<'static>>,
                ]),
            )
        },
    )
    .of_the_engine()],
);

enum Target {
    Classify,
    Rerank,
    Score,
    Pooling,
}

/// Answers an invocation; `request_id` is the client's header, if it sent one.
pub async fn answer(
    state: &web::Data<State>,
    headers: &HeaderMap,
    request_id: Option<&str>,
    mut body: Body,
) -> Result<HttpResponse, ApiError> {
    body.model = headers.get(ADAPTER).map(|name| String::from_utf8_lossy(name.as_bytes()).into_owned());
    let (target, body) = on_a_thread(&state.threads, body.len(), move |_| Ok((target_of(&body)?, body))).await?;
    match target {
        Target::Classify => classify::answer(state, request_id, body).await,
        Target::Rerank => rerank::answer(state, request_id, Documents::Returned, body).await,
        Target::Score => score::answer(state, request_id, body).await,
        Target::Pooling => pooling::answer(state, request_id, body).await,
    }
}

fn target_of(body: &Body) -> Result<Target, ApiError> {
    match body::read(body) {
        Ok(map) => target(&map),
        Err(refused) if refused.is_about_memory() => Err(refused),
        Err(_) => Err(match serde_json::from_slice::<Value>(body) {
            Err(err) => ApiError::new(Refusal::Malformed, format!("JSON decode error: {err}")),
            Ok(_) => no_target(),
        }),
    }
}

fn target(map: &Map<String, Value>) -> Result<Target, ApiError> {
    input::refuse_removed(map)?;
    // What TEI's clients send to SageMaker.
    if given(map, "texts").is_some() && given(map, "documents").is_none() {
        return Ok(Target::Rerank);
    }
    if InputRequest::read(map).is_ok() {
        Ok(Target::Classify)
    } else if <RerankRequest as PairRequest>::read(map).is_ok() {
        Ok(Target::Rerank)
    } else if <ScoreRequest as PairRequest>::read(map).is_ok() {
        Ok(Target::Score)
    } else if PoolingRequest::read(map).is_ok() {
        Ok(Target::Pooling)
    } else {
        Err(map
            .iter()
            .find_map(|(name, value)| Some(format!("{name}{}", halves::place(value)?)))
            .map_or_else(no_target, |place| halves::refusal(&place)))
    }
}

fn no_target() -> ApiError {
    ApiError::invalid(
        "Cannot find suitable handler for request. Expected one of: ['ClassificationRequest' (input or messages), \
         'RerankRequest' (query and documents), 'ScoreRequest' (queries and documents), 'PoolingRequest' (input or \
         messages)]",
    )
}

fn described() -> Request {
    let (documents, texts) = (rerank::schema::documents(), rerank::schema::texts());
    let example = documents.example.clone();
    let parts = vec![classify::described(), documents, texts, score::described(), pooling::described()];
    Request { example, ..any("InvocationRequest", parts) }
}
