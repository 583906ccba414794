//! `POST /invocations`, SageMaker's one route for all: the body says which request it is.
//!
//! Invariant: a body is tried as a classification, or for an embedding model as a request for vectors, as a reranking, a
//! scoring and a pooling request, in this order, and is the first that it makes sense as; it is read once.

use super::classify::ClassifyResponse;
use super::embeddings::{EmbedResponse, EmbeddingResponse, OpenAi, TeiEmbed};
use super::pooling::{PoolingRequest, PoolingResponse};
use super::rerank::{DataResponse, Documents, OutputResponse, RerankRequest, RerankResponse, TextRanks};
use super::score::ScoreResponse;
use super::{classify, embeddings, pooling, rerank, score};
use crate::server::describe::schema::{Request, any};
use crate::server::describe::{Content, Description, shape};
use crate::server::http::error::{ApiError, ErrorForm, Refusal};
use crate::server::http::intake::Body;
use crate::server::route::{Operation, Route};
use crate::server::scoring::rows::{self, Answered, Origin, RowRequest, Written};
use crate::server::scoring::{Making, PromptRequest, Scored, compute};
use crate::server::served::Served;
use crate::server::state::State;
use crate::server::wire::fields::given;
use crate::server::wire::input::{self, InputRequest};
use crate::server::wire::pairs::{Common, PairRequest, ScoreRequest};
use crate::server::wire::{body, halves};
use crate::task::Task;
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
            let (state, headers, origin) = (call.state, call.request.headers(), Origin::of(call.request));
            Box::pin(async move { answer(state, headers, origin, call.json().await?).await })
        },
        Description {
            error_forms: &[ErrorForm::Object, ErrorForm::Texts, ErrorForm::Tei],
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
                    shape::<EmbeddingResponse<'static>>,
                    shape::<EmbedResponse<'static>>,
                ]),
            )
        },
    )
    .of_the_engine()],
);

/// Answers an invocation from `origin`.
pub async fn answer(
    state: &web::Data<State>,
    headers: &HeaderMap,
    origin: Origin,
    mut body: Body,
) -> Result<HttpResponse, ApiError> {
    body.model = headers.get(ADAPTER).map(|name| String::from_utf8_lossy(name.as_bytes()).into_owned());
    let (asked, computed) = compute::<Asked>(state, body).await?;
    let request_id = origin.request_id();
    let scored = |computed| Scored::of(&state.options.pooling, &asked, computed);
    match &asked {
        Asked::Classify(request) => Ok(classify::response(request_id, request, scored(computed))),
        Asked::Rerank(request) => Ok(rerank::response(request_id, Documents::Returned, request, scored(computed))),
        Asked::Score(request) => Ok(score::response(request_id, request, scored(computed))),
        Asked::Pooling(_) | Asked::Embed(_) | Asked::Tei(_) => rows::response(state, origin, asked, computed).await,
    }
}

/// What an invocation asks for.
enum Asked {
    Classify(InputRequest),
    Rerank(RerankRequest),
    Score(ScoreRequest),
    Pooling(PoolingRequest),
    Embed(embeddings::Asked<OpenAi>),
    Tei(embeddings::Asked<TeiEmbed>),
}

impl RowRequest for Asked {
    fn write(&self, answered: &Answered<'_>) -> Result<Written, ApiError> {
        match self {
            Self::Embed(request) => request.write(answered),
            Self::Tei(request) => request.write(answered),
            Self::Pooling(request) => request.write(answered),
            Self::Classify(_) | Self::Rerank(_) | Self::Score(_) => unreachable!("its answer holds scores"),
        }
    }
}

impl PromptRequest for Asked {
    fn task(body: &Map<String, Value>) -> Option<Task> {
        given(body, "inputs").is_some().then_some(Task::Embed)
    }

    fn read(body: &Map<String, Value>, served: &Served) -> Result<Self, ApiError> {
        if given(body, "inputs").is_some() && served.task == Task::Embed {
            return PromptRequest::read(body, served).map(Self::Tei);
        }
        input::refuse_removed(body)?;
        // What TEI's clients send to SageMaker.
        if given(body, "texts").is_some() && given(body, "documents").is_none() {
            return <RerankRequest as PairRequest>::read(body).map(Self::Rerank);
        }
        let is_embedder = served.task == Task::Embed;
        if let Some(request) = is_embedder.then(|| PromptRequest::read(body, served).ok()).flatten() {
            Ok(Self::Embed(request))
        } else if let Some(request) = (!is_embedder).then(|| InputRequest::read(body).ok()).flatten() {
            Ok(Self::Classify(request))
        } else if let Ok(request) = <RerankRequest as PairRequest>::read(body) {
            Ok(Self::Rerank(request))
        } else if let Ok(request) = <ScoreRequest as PairRequest>::read(body) {
            Ok(Self::Score(request))
        } else if let Ok(request) = PoolingRequest::read(body, served) {
            Ok(Self::Pooling(request))
        } else {
            let half = |(name, value): (&String, &Value)| Some(format!("{name}{}", halves::place(value)?));
            Err(body.iter().find_map(half).map_or_else(no_request, |place| halves::refusal(&place)))
        }
    }

    fn common(&self) -> &Common {
        match self {
            Self::Classify(request) => request.common(),
            Self::Rerank(request) => PairRequest::common(request),
            Self::Score(request) => PairRequest::common(request),
            Self::Pooling(request) => request.common(),
            Self::Embed(request) => request.common(),
            Self::Tei(request) => request.common(),
        }
    }

    fn queries(&self) -> usize {
        match self {
            Self::Rerank(request) => request.queries(),
            Self::Score(request) => request.queries(),
            _ => 0,
        }
    }

    fn error_form(body: &Map<String, Value>) -> ErrorForm {
        if given(body, "inputs").is_some() {
            return ErrorForm::Tei;
        }
        // Fields that vLLM has removed are refused in its own form, whoever's words stand beside them.
        match input::refuse_removed(body) {
            Ok(()) => <RerankRequest as PairRequest>::error_form(body),
            Err(_) => ErrorForm::Object,
        }
    }

    fn no_object(body: &Body, _: ApiError) -> ApiError {
        match body::syntax(body) {
            Ok(Ok(())) => no_request(),
            Ok(Err(err)) => ApiError::new(Refusal::Malformed, format!("JSON decode error: {err}")),
            Err(refused) => refused,
        }
    }

    fn prompts(&self, making: &mut Making<'_>) -> Result<(), ApiError> {
        match self {
            Self::Classify(request) => request.prompts(making),
            Self::Rerank(request) => request.prompts(making),
            Self::Score(request) => request.prompts(making),
            Self::Pooling(request) => request.prompts(making),
            Self::Embed(request) => request.prompts(making),
            Self::Tei(request) => request.prompts(making),
        }
    }
}

fn no_request() -> ApiError {
    ApiError::invalid(
        "Cannot find suitable handler for request. Expected one of: ['ClassificationRequest' (input or messages), \
         'RerankRequest' (query and documents), 'ScoreRequest' (queries and documents), 'PoolingRequest' (input or \
         messages)]",
    )
}

fn described() -> Request {
    let (documents, texts) = (rerank::schema::documents(), rerank::schema::texts());
    let example = documents.example.clone();
    let embed = [embeddings::described_request(), embeddings::described_embed()];
    let mut parts = vec![classify::described(), documents, texts, score::described(), pooling::described()];
    parts.extend(embed);
    Request { example, ..any("InvocationRequest", parts) }
}
