//! What rows say of pairs: a reranker's are margins, of an embedding model the vectors of both sides.

use super::compute::{Computed, compute};
use super::making::PromptRequest;
use super::pairs;
use crate::options::Pooling;
use crate::server::http::budget::Charged;
use crate::server::http::error::ApiError;
use crate::server::http::intake::Body;
use crate::server::state::State;
use crate::server::wire::listing::{Listed, Listing};
use crate::serves::Serves;
use actix_web::{HttpResponse, web};

/// The scores of a request, and what they took.
pub struct Scored {
    /// What they are made of.
    pub computed: Computed,
    /// One score per pair, in order.
    pub scores: Vec<f32>,
    /// What ranks: it tells apart what the sigmoid rounds to one number.
    pub margins: Vec<f32>,
}

impl Scored {
    /// What the rows of `request` say of its pairs: a reranker's are margins, an embedding model's those of both sides.
    pub fn of<R: PromptRequest>(pooling: &Pooling, request: &R, computed: Computed) -> Self {
        let rows = &computed.rows;
        let (scores, margins) = match &computed.model.serves {
            Serves::Embed(_) => {
                let cosines = pairs::cosines(rows, request.queries());
                (cosines.clone(), cosines)
            }
            Serves::Rerank(reranker) => {
                let use_activation = request.common().use_activation;
                let margins: Vec<f32> = rows.iter().map(|row| row[0]).collect();
                (margins.iter().map(|&margin| reranker.score(margin, pooling, use_activation)).collect(), margins)
            }
        };
        Self { computed, scores, margins }
    }

    /// The answer `id` that lists `data`, one for each prompt.
    pub fn list<T: Listed>(self, id: String, data: Vec<T>) -> HttpResponse {
        let Computed { model, share, prompt_tokens, .. } = &self.computed;
        Charged::json(self.computed.ok(), share.clone(), &Listing::new(id, model.name(), data, *prompt_tokens))
    }
}

/// Reads `body` as an `R`, runs its prompts through the model that it is for, and makes scores of what that gives.
pub async fn score<R: PromptRequest>(state: &web::Data<State>, body: Body) -> Result<(R, Scored), ApiError> {
    let (request, computed) = compute::<R>(state, body).await?;
    let scored = Scored::of(&state.options.pooling, &request, computed);
    Ok((request, scored))
}
