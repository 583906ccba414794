//! Every path that ends in `rerank`, `reranks` or `text-rerank`: one query, many documents, best first.

mod request;
pub mod schema;

pub use request::RerankRequest;

use crate::server::describe::{Content, Description, shape};
use crate::server::http::budget::Charged;
use crate::server::http::error::{ApiError, ErrorForm};
use crate::server::http::intake::Body;
use crate::server::route::{Operation, Route};
use crate::server::scoring::{self, Computed, Scored};
use crate::server::state::State;
use crate::server::wire::listing::RerankUsage;
use crate::server::wire::pairs::PairRequest;
use actix_web::{HttpResponse, web};
use request::Dialect;
use serde::Serialize;
use utoipa::ToSchema;

/// Every path that ends in `rerank`, or as DashScope's in `reranks` or `text-rerank`.
pub static ROUTE: Route = Route {
    also: &["**/rerank", "**/reranks", "**/text-rerank"],
    ..Route::at(
        &["/v1/rerank", "/rerank", "/v2/rerank"],
        &[Operation::post(
            |call| {
                let ollama = call.request.path().trim_end_matches('/').ends_with("/api/rerank");
                let documents = if ollama { Documents::LeftOut } else { Documents::Returned };
                let (state, request_id) = (call.state, call.request_id());
                Box::pin(async move { answer(state, request_id, documents, call.json().await?).await })
            },
            described("Rank documents for a query, best first"),
        )
        .of_the_engine()],
    )
};

/// How a route is described that ranks, in any dialect.
pub const fn described(summary: &'static str) -> Description {
    let answer = Content::Json(&[
        shape::<RerankResponse<'static>>,
        shape::<DataResponse<'static>>,
        shape::<TextRanks<'static>>,
        shape::<OutputResponse<'static>>,
    ]);
    let about = "A score is the probability, from 0 to 1, that the document answers the query; of an embedding model it is the \
                 cosine of both. The answer has the form of the request: `results` for `documents`, a list for `texts`, \
                 `output` for `input`.";
    Description {
        about: Some(about),
        error_forms: &[ErrorForm::Object, ErrorForm::Texts],
        ..Description::reads("Scores", summary, schema::all, answer)
    }
}

/// Answers a rerank request; `request_id` is the client's header, if it sent one.
pub async fn answer(
    state: &web::Data<State>,
    request_id: Option<&str>,
    documents: Documents,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let (request, scored) = scoring::score(state, body).await?;
    Ok(response(request_id, documents, &request, scored))
}

/// The answer to `request`, in its dialect.
pub fn response(
    request_id: Option<&str>,
    documents: Documents,
    request: &RerankRequest,
    scored: Scored,
) -> HttpResponse {
    let Scored { computed, scores, margins } = scored;
    let (response, Computed { model, share, prompt_tokens, .. }) = (computed.ok(), computed);
    let text = |index: usize| request.documents[index].plain().unwrap_or("");
    let id = || scoring::answer_id("score", request_id, request.common());
    let ranked = ranking(&margins)
        .into_iter()
        .take(request.top_n.unwrap_or(usize::MAX))
        .map(|index| (index, f64::from(scores[index])));
    let results = || RerankResponse {
        id: id(),
        model: model.name(),
        usage: RerankUsage::of(prompt_tokens),
        results: ranked
            .clone()
            .map(|(index, relevance_score)| RerankResult {
                index,
                document: (documents == Documents::Returned)
                    .then(|| RerankDocument { text: text(index), multi_modal: None }),
                relevance_score,
            })
            .collect(),
    };
    match request.dialect {
        Dialect::Documents => Charged::json(response, share, &results()),
        Dialect::Data { return_documents } => Charged::json(
            response,
            share,
            &DataResponse {
                object: "list",
                data: ranked
                    .clone()
                    .map(|(index, relevance_score)| DataResult {
                        index,
                        relevance_score,
                        document: return_documents.then(|| text(index)),
                    })
                    .collect(),
                vllm: results(),
            },
        ),
        Dialect::Texts { return_text } => Charged::json(
            response,
            share,
            &TextRanks(
                ranked
                    .map(|(index, score)| TextRank { index, text: return_text.then(|| text(index)), score })
                    .collect(),
            ),
        ),
        Dialect::Input { return_documents } => Charged::json(
            response,
            share,
            &OutputResponse {
                output: Output {
                    results: ranked
                        .map(|(index, relevance_score)| OutputResult {
                            document: return_documents.then(|| OutputDocument { text: text(index) }),
                            index,
                            relevance_score,
                        })
                        .collect(),
                },
                usage: OutputUsage { total_tokens: prompt_tokens },
                request_id: id(),
            },
        ),
    }
}

/// Whether vLLM's answer holds the documents: clients that say `/api/rerank` crash on an object there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Documents {
    /// As objects.
    Returned,
    /// Not at all.
    LeftOut,
}

/// Indices by falling margin; equal margins keep their order. Scores rise with margins (`logit_sigma` is positive, and so
/// are the slopes of all activations), but many margins round to one score.
fn ranking(margins: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..margins.len()).collect();
    // Adding zero makes -0.0 equal to 0.0 under the total order.
    order.sort_by(|a, b| (margins[*b] + 0.0).total_cmp(&(margins[*a] + 0.0)));
    order
}

/// Answer to `query` and `documents`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "id": "score-8b1f6a0c52d94e7f", "model": "qwen3-reranker-0.6b",
    "usage": {"prompt_tokens": 164, "total_tokens": 164},
    "results": [
        {"index": 0, "document": {"text": "The Danube flows through Vienna.", "multi_modal": null}, "relevance_score": 0.98},
        {"index": 1, "document": {"text": "The Seine flows through Paris.", "multi_modal": null}, "relevance_score": 0.02}
    ]
})))]
pub struct RerankResponse<'a> {
    /// `score-` and the request's name.
    pub id: String,
    /// The model's first name.
    pub model: &'a str,
    /// Tokens of all pairs.
    pub usage: RerankUsage,
    /// Best first.
    pub results: Vec<RerankResult<'a>>,
}

/// One document and its score.
#[derive(Debug, Serialize, ToSchema)]
pub struct RerankResult<'a> {
    /// Its place in the request.
    pub index: usize,
    /// Its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<RerankDocument<'a>>,
    /// A float32 widened to float64, so that the digits are vLLM's.
    pub relevance_score: f64,
}

/// A document, as an object: clients crash on a string.
#[derive(Debug, Serialize, ToSchema)]
pub struct RerankDocument<'a> {
    /// The text as it came, before any truncation.
    pub text: &'a str,
    /// Always null on text models.
    #[schema(value_type = Option<Object>)]
    pub multi_modal: Option<()>,
}

/// Answer to `query` and `documents` with `top_k`, as Voyage's, and vLLM's beside it.
#[derive(Debug, Serialize, ToSchema)]
pub struct DataResponse<'a> {
    /// `list`.
    object: &'static str,
    /// Best first.
    data: Vec<DataResult<'a>>,
    #[serde(flatten)]
    vllm: RerankResponse<'a>,
}

/// One document and its score.
#[derive(Debug, Serialize, ToSchema)]
pub struct DataResult<'a> {
    /// Its place in the request.
    index: usize,
    /// Its score.
    relevance_score: f64,
    /// Its text, if `return_documents` asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<&'a str>,
}

/// Answer to `query` and `texts`, as TEI's: best first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!([{"index": 0, "score": 0.98}, {"index": 1, "score": 0.02}])))]
pub struct TextRanks<'a>(Vec<TextRank<'a>>);

/// One text and its score.
#[derive(Debug, Serialize, ToSchema)]
pub struct TextRank<'a> {
    /// Its place in the request.
    index: usize,
    /// The text, if `return_text` asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    /// Its score.
    score: f64,
}

/// Answer to `input` and `parameters`, as DashScope's.
#[derive(Debug, Serialize, ToSchema)]
pub struct OutputResponse<'a> {
    output: Output<'a>,
    usage: OutputUsage,
    request_id: String,
}

/// What was asked for.
#[derive(Debug, Serialize, ToSchema)]
struct Output<'a> {
    /// Best first.
    results: Vec<OutputResult<'a>>,
}

/// One document and its score.
#[derive(Debug, Serialize, ToSchema)]
struct OutputResult<'a> {
    /// The document, if `return_documents` asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<OutputDocument<'a>>,
    /// Its place in the request.
    index: usize,
    /// Its score.
    relevance_score: f64,
}

/// A document's text.
#[derive(Debug, Serialize, ToSchema)]
struct OutputDocument<'a> {
    text: &'a str,
}

/// Tokens of a request.
#[derive(Debug, Serialize, ToSchema)]
struct OutputUsage {
    total_tokens: usize,
}

#[cfg(test)]
mod tests {
    use super::ranking;

    #[test]
    fn equal_margins_keep_their_order() {
        assert_eq!(ranking(&[0.5, 0.9, 0.5, -0.0, 0.0, 0.9]), [1, 5, 0, 2, 3, 4]);
        assert_eq!(ranking(&[]), [0; 0]);
    }
}
