//! `POST /invocations`, SageMaker's one route for all: the body says which request it is.
//!
//! Invariant: a body is tried as a classification, a reranking, a scoring and a pooling request, in this order, and is
//! the first that it makes sense as; it is read once.

use super::classify::ClassifyResponse;
use super::pooling::{PoolingRequest, PoolingResponse};
use super::rerank::{DataResponse, Documents, OutputResponse, RerankRequest, RerankResponse, TextRanks};
use super::score::ScoreResponse;
use super::{classify, pooling, rerank, score};
use crate::server::describe::schema::{Request, any};
use crate::server::describe::{Content, Description, shape};
use crate::server::http::error::{ApiError, ErrorForm, Refusal};
use crate::server::http::intake::Body;
use crate::server::route::{Operation, Route};
use crate::server::scoring::{self, Making, PromptRequest};
use crate::server::served::Served;
use crate::server::state::State;
use crate::server::wire::fields::given;
use crate::server::wire::input::{self, InputRequest};
use crate::server::wire::pairs::{Common, PairRequest, ScoreRequest};
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

/// Answers an invocation; `request_id` is the client's header, if it sent one.
pub async fn answer(
    state: &web::Data<State>,
    headers: &HeaderMap,
    request_id: Option<&str>,
    mut body: Body,
) -> Result<HttpResponse, ApiError> {
    body.model = headers.get(ADAPTER).map(|name| String::from_utf8_lossy(name.as_bytes()).into_owned());
    let (asked, scored) = scoring::score(state, body).await?;
    match asked {
        Asked::Classify(request) => Ok(classify::response(request_id, &request, scored)),
        Asked::Rerank(request) => Ok(rerank::response(request_id, Documents::Returned, &request, scored)),
        Asked::Score(request) => Ok(score::response(request_id, &request, scored)),
        Asked::Pooling(request) => pooling::response(request_id, &request, scored),
    }
}

/// What an invocation asks for.
enum Asked {
    Classify(InputRequest),
    Rerank(RerankRequest),
    Score(ScoreRequest),
    Pooling(PoolingRequest),
}

impl PromptRequest for Asked {
    fn read(body: &Map<String, Value>, served: &Served) -> Result<Self, ApiError> {
        input::refuse_removed(body)?;
        // What TEI's clients send to SageMaker.
        if given(body, "texts").is_some() && given(body, "documents").is_none() {
            return <RerankRequest as PairRequest>::read(body).map(Self::Rerank);
        }
        if let Ok(request) = InputRequest::read(body) {
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
        }
    }

    fn error_form(body: &Map<String, Value>) -> ErrorForm {
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
    let parts = vec![classify::described(), documents, texts, score::described(), pooling::described()];
    Request { example, ..any("InvocationRequest", parts) }
}
