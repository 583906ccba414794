//! `POST /rerank`, `/v1/rerank`, `/v2/rerank`: one query, many documents, best first.

use super::State;
use super::error::ApiError;
use super::scoring::{self, Scored};
use super::wire::{PairRequest, RerankDocument, RerankRequest, RerankResponse, RerankResult, RerankUsage};
use actix_web::{HttpResponse, web};

/// Answers a rerank request; `request_id` is the client's header, if it sent one.
pub async fn answer(
    state: &web::Data<State>,
    request_id: Option<&str>,
    body: web::Bytes,
) -> Result<HttpResponse, ApiError> {
    let Scored { request, scores, prompt_tokens, shortened } = scoring::score::<RerankRequest>(state, body).await?;
    let results = ranking(&scores)
        .into_iter()
        .take(request.top_n.unwrap_or(usize::MAX))
        .map(|index| RerankResult {
            index,
            document: RerankDocument { text: request.documents[index].plain().unwrap_or(""), multi_modal: None },
            relevance_score: f64::from(scores[index]),
        })
        .collect();
    Ok(scoring::ok(shortened).json(RerankResponse {
        id: scoring::answer_id(request_id, request.common()),
        model: state.settings.model_name(),
        usage: RerankUsage { prompt_tokens, total_tokens: prompt_tokens },
        results,
    }))
}

/// Indices by falling score; equal scores keep their order.
fn ranking(scores: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    // Adding zero makes -0.0 equal to 0.0 under the total order.
    order.sort_by(|a, b| (scores[*b] + 0.0).total_cmp(&(scores[*a] + 0.0)));
    order
}

#[cfg(test)]
mod tests {
    use super::ranking;

    #[test]
    fn equal_scores_keep_their_order() {
        assert_eq!(ranking(&[0.5, 0.9, 0.5, -0.0, 0.0, 0.9]), [1, 5, 0, 2, 3, 4]);
        assert_eq!(ranking(&[]), [0; 0]);
    }
}
