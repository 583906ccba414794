//! `/`, `/v1` and the `*` of OPTIONS: health, but a POST ranks or embeds, for clients that never add a path; a browser finds the page
//! at `/`.

use super::embeddings::{self, Similarity, TeiEmbed};
use super::rerank::{Documents, RerankRequest};
use super::{info, rerank, ui};
use crate::server::describe::Description;
use crate::server::http::error::{ApiError, ErrorForm, Refusal};
use crate::server::http::intake::Body;
use crate::server::route::{Call, Handler, Operation, Route, Verb, no_route};
use crate::server::scoring::rows::{self, Answered, Origin, RowRequest, Written};
use crate::server::scoring::{Making, PromptRequest, Scored, compute};
use crate::server::served::Served;
use crate::server::wire::fields;
use crate::server::wire::pairs::{Common, PairRequest};
use crate::task::Task;
use actix_web::HttpResponse;
use actix_web::http::header::{ALLOW, HeaderValue};
use serde_json::{Map, Value};

/// The paths of clients that add none.
pub static ROUTE: Route = Route {
    also: &["/v1", "*"],
    page: Some(&ui::ROUTE),
    ..Route::at(
        &["/"],
        &[
            Operation::get(|call| info::health(call.state), info::WELL),
            Operation::post(
                |call| Box::pin(answer(call)),
                Description {
                    error_forms: &[ErrorForm::Object, ErrorForm::Texts, ErrorForm::Tei],
                    ..rerank::described("Rank documents, for clients that add no path")
                },
            )
            .of_the_engine(),
            // HAProxy's plain `option httpchk`.
            Operation {
                verb: Verb::Options,
                is_work: false,
                handler: Handler::Tells(options),
                description: Some(info::WELL),
            },
        ],
    )
};

fn options(call: &Call<'_>) -> Result<HttpResponse, ApiError> {
    let mut well = info::health(call.state)?;
    if let Ok(methods) = HeaderValue::from_str(&call.route.allow()) {
        well.headers_mut().insert(ALLOW, methods);
    }
    Ok(well)
}

async fn answer(call: Call<'_>) -> Result<HttpResponse, ApiError> {
    let (state, request, table, origin) = (call.state, call.request, call.table, Origin::of(call.request));
    let (asked, computed) =
        compute::<Asked>(state, call.body().await?).await.map_err(|refused| match refused.refusal() {
            Refusal::NoRoute => no_route(table, request),
            _ => refused,
        })?;
    match &asked {
        Asked::Rerank(ranking) => {
            let scored = Scored::of(&state.options.pooling, &asked, computed);
            Ok(rerank::response(origin.request_id(), Documents::Returned, ranking, scored))
        }
        Asked::Embed(_) | Asked::Similarity(_) => rows::response(state, origin, asked, computed).await,
    }
}

/// A body that came without a path: a rerank request, one of TEI's for vectors, or nothing that is known here.
enum Asked {
    Rerank(RerankRequest),
    Embed(embeddings::Asked<TeiEmbed>),
    Similarity(embeddings::Asked<Similarity>),
}

impl PromptRequest for Asked {
    fn task(body: &Map<String, Value>) -> Option<Task> {
        Some(if embeds(body) { Task::Embed } else { Task::Rerank })
    }

    fn read(body: &Map<String, Value>, served: &Served) -> Result<Self, ApiError> {
        match body.get("inputs") {
            Some(Value::Object(_)) if served.task == Task::Embed => {
                PromptRequest::read(body, served).map(Self::Similarity)
            }
            Some(_) if served.task == Task::Embed => PromptRequest::read(body, served).map(Self::Embed),
            _ if ranks(body) => <RerankRequest as PairRequest>::read(body).map(Self::Rerank),
            _ => Err(nothing_here()),
        }
    }

    fn common(&self) -> &Common {
        match self {
            Self::Rerank(request) => PairRequest::common(request),
            Self::Embed(request) => request.common(),
            Self::Similarity(request) => request.common(),
        }
    }

    fn queries(&self) -> usize {
        match self {
            Self::Rerank(request) => request.queries(),
            Self::Embed(_) | Self::Similarity(_) => 0,
        }
    }

    fn error_form(body: &Map<String, Value>) -> ErrorForm {
        match (embeds(body), ranks(body)) {
            (true, _) => ErrorForm::Tei,
            (false, true) => <RerankRequest as PairRequest>::error_form(body),
            (false, false) => ErrorForm::Object,
        }
    }

    fn no_object(_: &Body, _: ApiError) -> ApiError {
        nothing_here()
    }

    fn prompts(&self, making: &mut Making<'_>) -> Result<(), ApiError> {
        match self {
            Self::Rerank(request) => request.prompts(making),
            Self::Embed(request) => request.prompts(making),
            Self::Similarity(request) => request.prompts(making),
        }
    }
}

impl RowRequest for Asked {
    fn write(&self, answered: &Answered<'_>) -> Result<Written, ApiError> {
        match self {
            Self::Embed(request) => request.write(answered),
            Self::Similarity(request) => request.write(answered),
            Self::Rerank(_) => unreachable!("its answer holds scores"),
        }
    }
}

fn embeds(body: &Map<String, Value>) -> bool {
    fields::given(body, "inputs").is_some()
}

fn ranks(body: &Map<String, Value>) -> bool {
    ["query", "input"].into_iter().any(|name| fields::given(body, name).is_some())
}

/// Stands for the refusal of the path, which a body does not know.
fn nothing_here() -> ApiError {
    ApiError::new(Refusal::NoRoute, "")
}
