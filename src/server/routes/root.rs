//! `/`, `/v1` and the `*` of OPTIONS: health, but a POST ranks, for clients that never add a path.

use super::rerank::{Documents, RerankRequest};
use super::{info, rerank};
use crate::server::http::error::{ApiError, ErrorForm, Refusal};
use crate::server::http::intake::Body;
use crate::server::route::{Call, Handler, Operation, Route, Verb, no_route};
use crate::server::scoring::{self, Making, PromptRequest};
use crate::server::served::Served;
use crate::server::wire::fields;
use crate::server::wire::pairs::{Common, PairRequest};
use actix_web::HttpResponse;
use actix_web::http::header::{ALLOW, HeaderValue};
use serde_json::{Map, Value};

/// The paths of clients that add none.
pub static ROUTE: Route = Route {
    also: &["/v1", "*"],
    ..Route::at(
        &["/"],
        &[
            Operation::get(|call| info::health(call.state), info::WELL),
            Operation::post(
                |call| Box::pin(rank(call)),
                rerank::described("Rank documents, for clients that add no path"),
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

async fn rank(call: Call<'_>) -> Result<HttpResponse, ApiError> {
    let (state, request, table, request_id) = (call.state, call.request, call.table, call.request_id());
    let (Ranking(ranking), scored) =
        scoring::score(state, call.body().await?).await.map_err(|refused| match refused.refusal() {
            Refusal::NoRoute => no_route(table, request),
            _ => refused,
        })?;
    Ok(rerank::response(request_id, Documents::Returned, &ranking, scored))
}

/// A body that came without a path: a rerank request, or nothing that is known here.
struct Ranking(RerankRequest);

impl PromptRequest for Ranking {
    fn read(body: &Map<String, Value>, _: &Served) -> Result<Self, ApiError> {
        if !ranks(body) {
            return Err(nothing_here());
        }
        <RerankRequest as PairRequest>::read(body).map(Self)
    }

    fn common(&self) -> &Common {
        PairRequest::common(&self.0)
    }

    fn error_form(body: &Map<String, Value>) -> ErrorForm {
        if ranks(body) { <RerankRequest as PairRequest>::error_form(body) } else { ErrorForm::Object }
    }

    fn no_object(_: &Body, _: ApiError) -> ApiError {
        nothing_here()
    }

    fn prompts(&self, making: &mut Making<'_>) -> Result<(), ApiError> {
        self.0.prompts(making)
    }
}

fn ranks(body: &Map<String, Value>) -> bool {
    ["query", "input"].into_iter().any(|name| fields::given(body, name).is_some())
}

/// Stands for the refusal of the path, which a body does not know.
fn nothing_here() -> ApiError {
    ApiError::new(Refusal::NoRoute, "")
}
