//! `POST /score`, `/v1/score`: pairs in, scores out in the same order.

use super::State;
use super::budget::Answer;
use super::error::ApiError;
use super::intake::Body;
use super::scoring::{self, Scored};
use super::unix_time;
use super::wire::{PairRequest, ScoreDatum, ScoreRequest, ScoreResponse, ScoreUsage};
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
