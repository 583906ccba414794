//! `POST /score`, `/v1/score`: pairs in, scores out in the same order.

use crate::server::describe::schema::{Request, object, request, texts, with_common};
use crate::server::describe::{Content, Description, shape};
use crate::server::http::error::ApiError;
use crate::server::http::intake::Body;
use crate::server::route::{Operation, Route};
use crate::server::scoring::{self, Scored};
use crate::server::state::State;
use crate::server::wire::listing::{Listed, Listing};
use crate::server::wire::pairs::{PairRequest, ScoreRequest};
use actix_web::{HttpResponse, web};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa::openapi::schema::{AnyOfBuilder, Schema};

/// Every path that ends in `score`.
pub static ROUTE: Route = Route {
    also: &["**/score"],
    ..Route::at(
        &["/v1/score", "/score"],
        &[Operation::post(
            |call| {
                let (state, request_id) = (call.state, call.request_id());
                Box::pin(async move { answer(state, request_id, call.json().await?).await })
            },
            Description {
                about: Some(
                    "One text with each of many, or pairs of two lists of the same length; scores come in their order.",
                ),
                ..Description::reads(
                    "Scores",
                    "Score pairs of texts, in order",
                    described,
                    Content::Json(&[shape::<ScoreResponse<'static>>]),
                )
            },
        )
        .of_the_engine()],
    )
};

/// Answers a score request; `request_id` is the client's header, if it sent one.
pub async fn answer(state: &web::Data<State>, request_id: Option<&str>, body: Body) -> Result<HttpResponse, ApiError> {
    let (request, scored) = scoring::score(state, body).await?;
    Ok(response(request_id, &request, scored))
}

/// The answer to `request`.
pub fn response(request_id: Option<&str>, request: &ScoreRequest, scored: Scored) -> HttpResponse {
    let datum = |(index, &score)| ScoreDatum { index, object: "score", score: f64::from(score) };
    let data = scored.scores.iter().enumerate().map(datum).collect();
    scored.list(scoring::answer_id(ScoreDatum::PREFIX, request_id, request.common()), data)
}

/// Answer of `POST /score`.
pub type ScoreResponse<'a> = Listing<'a, ScoreDatum>;

/// One pair's score.
#[derive(Debug, Serialize, ToSchema)]
pub struct ScoreDatum {
    /// The pair's place.
    index: usize,
    /// `score`.
    object: &'static str,
    /// A float32 widened to float64.
    score: f64,
}

impl Listed for ScoreDatum {
    const PREFIX: &'static str = "score";
    const SCHEMA: &'static str = "ScoreResponse";
    const ABOUT: &'static str = "Answer of `POST /score`.";

    fn example() -> Value {
        json!({"index": 0, "object": "score", "score": 0.98})
    }
}

/// What clients should send.
pub fn described() -> Request {
    let shapes = [("queries", "documents"), ("queries", "items"), ("data_1", "data_2"), ("text_1", "text_2")];
    let own = shapes.into_iter().fold(AnyOfBuilder::new(), |all, (left, right)| {
        let (left_texts, right_texts) = (texts("One, or as many as on the other side."), texts("One or more."));
        all.item(object([(left, left_texts), (right, right_texts)]).required(left).required(right))
    });
    let example =
        json!({"queries": "Which river flows through Vienna?", "documents": ["The Danube flows through Vienna."]});
    request("ScoreRequest", with_common(Schema::AnyOf(own.build())), example)
}
