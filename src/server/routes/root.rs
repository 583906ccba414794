//! `/`, `/v1` and the `*` of OPTIONS: health, but a POST ranks, for clients that never add a path.

use super::{info, rerank};
use crate::server::http::error::ApiError;
use crate::server::route::{Call, Handler, Operation, Route, Verb, no_route};
use crate::server::wire::{body, fields};
use actix_web::HttpResponse;
use actix_web::http::header::{ALLOW, HeaderValue};

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
    let body = call.body().await?;
    match body::read(&body) {
        Ok(map) if ["query", "input"].into_iter().any(|name| fields::given(&map, name).is_some()) => {
            rerank::answer(state, request_id, rerank::Documents::Returned, body).await
        }
        _ => Err(no_route(table, request)),
    }
}
