//! `POST /score`, `/v1/score`: pairs in, scores out in the same order.

use crate::server::http::budget::Answer;
use crate::server::http::error::ApiError;
use crate::server::http::intake::Body;
use crate::server::scoring::{self, Scored};
use crate::server::state::{State, unix_time};
use crate::server::wire::pairs::{PairRequest, ScoreDatum, ScoreRequest, ScoreResponse, ScoreUsage};
use actix_web::{HttpResponse, web};

/// Answers a score request; `request_id` is the client's header, if it sent one.
pub async fn answer(state: &web::Data<State>, request_id: Option<&str>, body: Body) -> Result<HttpResponse, ApiError> {
    let Scored { share, request, scores, prompt_tokens, shortened, .. } =
        scoring::score::<ScoreRequest>(state, body).await?;
    let datum = |(index, score)| ScoreDatum { index, object: "score", score: f64::from(score) };
    let answer = ScoreResponse {
        id: scoring::answer_id(request_id, request.common()),
        object: "list",
        created: unix_time(),
        model: state.settings.model_name(),
        data: scores.into_iter().enumerate().map(datum).collect(),
        usage: ScoreUsage::of(prompt_tokens),
    };
    Ok(Answer::json(scoring::ok(shortened), share, &answer))
}
