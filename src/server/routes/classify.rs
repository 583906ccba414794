//! `POST /classify`: whole prompts in, the probability of the one class of a reranker out.

use crate::server::describe::schema::{Request, prompts, request, with_common};
use crate::server::describe::{Content, Description, shape};
use crate::server::http::error::ApiError;
use crate::server::http::intake::Body;
use crate::server::route::{Operation, Route, Switch};
use crate::server::scoring::{self, Scored};
use crate::server::state::State;
use crate::server::wire::input::InputRequest;
use crate::server::wire::listing::{Listed, Listing};
use crate::task::Task;
use actix_web::{HttpResponse, web};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

/// One path.
pub static ROUTE: Route = Route {
    switch: Some(Switch {
        is_on: |state| state.models.has(Task::Rerank),
        otherwise: "this server has no reranker; ironrank serve takes one as well as an embedding model",
    }),
    ..Route::at(
        &["/classify"],
        &[Operation::post(
            |call| {
                let (state, request_id) = (call.state, call.request_id());
                Box::pin(async move { answer(state, request_id, call.json().await?).await })
            },
            Description::reads(
                "Scores",
                "Score whole prompts",
                described,
                Content::Json(&[shape::<ClassifyResponse<'static>>]),
            ),
        )
        .of_the_engine()],
    )
};

/// Answers a classification; `request_id` is the client's header, if it sent one.
pub async fn answer(state: &web::Data<State>, request_id: Option<&str>, body: Body) -> Result<HttpResponse, ApiError> {
    let (request, scored) = scoring::score(state, body).await?;
    Ok(response(request_id, &request, scored))
}

/// The answer to `request`.
pub fn response(request_id: Option<&str>, request: &InputRequest, scored: Scored) -> HttpResponse {
    let model = scored.computed.model.clone();
    let label = model.served.label.as_str();
    let class = |(index, &score)| Class { index, label, probs: [f64::from(score)], num_classes: 1 };
    let data = scored.scores.iter().enumerate().map(class).collect();
    scored.list(scoring::answer_id(Class::PREFIX, request_id, &request.common), data)
}

/// Answer of `POST /classify`.
pub type ClassifyResponse<'a> = Listing<'a, Class<'a>>;

impl Listed for Class<'_> {
    const PREFIX: &'static str = "classify";
    const SCHEMA: &'static str = "ClassifyResponse";
    const ABOUT: &'static str = "Answer of `POST /classify`.";

    fn example() -> Value {
        json!({"index": 0, "label": "LABEL_0", "probs": [0.98], "num_classes": 1})
    }
}

/// The class of one prompt.
#[derive(Debug, Serialize, ToSchema)]
pub struct Class<'a> {
    /// The prompt's place.
    pub index: usize,
    /// Its name in the model's configuration, or `LABEL_0`.
    pub label: &'a str,
    /// The score, a float32 widened to float64.
    pub probs: [f64; 1],
    /// 1.
    pub num_classes: usize,
}

/// What clients should send.
pub fn described() -> Request {
    request("InputRequest", with_common(prompts()), json!({"input": ["The Danube flows through Vienna."]}))
}
