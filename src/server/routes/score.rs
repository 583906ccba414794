//! `POST /score`, `/v1/score`: pairs in, scores out in the same order.

use crate::server::describe::schema::{Request, object, request, texts, with_common};
use crate::server::describe::{Content, Description, shape};
use crate::server::http::budget::Answer;
use crate::server::http::error::ApiError;
use crate::server::http::intake::Body;
use crate::server::route::{Operation, Route};
use crate::server::scoring::{self, Scored};
use crate::server::state::{State, unix_time};
use crate::server::wire::pairs::{PairRequest, ScoreDatum, ScoreRequest, ScoreResponse, ScoreUsage};
use actix_web::{HttpResponse, web};
use serde_json::json;
use utoipa::openapi::schema::{AnyOfBuilder, Schema};

/// Every path that ends in `score`.
pub static ROUTE: Route = Route {
    also: &["**/score"],
    ..Route::at(
        &["/score", "/v1/score"],
        &[Operation::post(
            |call| {
                let (state, request_id) = (call.state, call.request_id());
                Box::pin(async move { answer(state, request_id, call.json().await?).await })
            },
            Description::reads(
                "Scores",
                "Score pairs of texts, in order",
                described,
                Content::Json(&[shape::<ScoreResponse<'static>>]),
            ),
        )
        .of_the_engine()],
    )
};

/// Answers a score request; `request_id` is the client's header, if it sent one.
pub async fn answer(state: &web::Data<State>, request_id: Option<&str>, body: Body) -> Result<HttpResponse, ApiError> {
    let Scored { share, request, scores, prompt_tokens, shortened, .. } =
        scoring::score::<ScoreRequest>(state, body).await?;
    let datum = |(index, score)| ScoreDatum { index, object: "score", score: f64::from(score) };
    let answer = ScoreResponse {
        id: scoring::answer_id(request_id, request.common()),
        object: "list",
        created: unix_time(),
        model: state.options.model_name(),
        data: scores.into_iter().enumerate().map(datum).collect(),
        usage: ScoreUsage::of(prompt_tokens),
    };
    Ok(Answer::json(scoring::ok(shortened), share, &answer))
}

/// What clients should send.
pub fn described() -> Request {
    let shapes = [("queries", "documents"), ("queries", "items"), ("data_1", "data_2"), ("text_1", "text_2")];
    let own = shapes.into_iter().fold(AnyOfBuilder::new(), |all, (left, right)| {
        all.item(object([(left, texts()), (right, texts())]).required(left).required(right))
    });
    let example =
        json!({"queries": "Which river flows through Vienna?", "documents": ["The Danube flows through Vienna."]});
    request("ScoreRequest", with_common(Schema::AnyOf(own.build())), example)
}
