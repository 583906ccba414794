//! A reranker's exchanges.

use super::{Here, complaints, recorded};
use crate::http::{subject, subject_with_template};

/// The template of those recordings.
pub const TEMPLATE: &str = include_str!("../../../fixtures/qwen3_reranker.jinja");

const RECORDED: &[u8] = include_bytes!("../../../fixtures/vllm-captures.jsonl.gz");

/// Why an answer differs from vLLM's on purpose. (Also, and for all: errors carry `message` and `detail` besides, (h).)
#[derive(Debug, Clone, Copy)]
enum Reason {
    /// (b) The model card's prompt is applied by default.
    PromptByDefault,
    /// (c) Control tokens in user text are plain text: more tokens, other scores.
    PlainText,
    /// (d) Truncation takes from the document alone, so that a limit below the prompt's own length is refused.
    WholePrompt,
    /// (e) Documents may be `{"text": ...}`.
    LenientBody,
    /// (f) A key guards every route but health, ping, version and metrics; the bare key is accepted.
    KeyGuardsAll,
    /// (g) `texts` are TEI's words for documents, answered with a list.
    OtherDialect,
    /// HEAD is answered wherever GET is, and `Allow` says so.
    HeadAsGet,
    /// (g) Odd paths are served instead of refused or redirected; `GET /` is health.
    OddPaths,
}

/// Exchanges that differ; nothing else does.
const DEVIATIONS: &[(&str, Reason, Here)] = &[
    ("template/route-06-get-v1-models-tiny", Reason::OddPaths, Here::Status(200)),
    ("template/route-11-get-", Reason::OddPaths, Here::As("template/route-00-get-health")),
    ("template/route-13-head-health", Reason::HeadAsGet, Here::As("template/route-00-get-health")),
    ("template/route-17-delete-v1-models", Reason::HeadAsGet, Here::Status(405)),
    ("template/route-18-get-v1-rerank-", Reason::OddPaths, Here::As("template/route-14-get-rerank")),
    ("template/route-19-get-v1-models-", Reason::OddPaths, Here::As("template/route-05-get-v1-models")),
    ("template/route-rerank-slash", Reason::OddPaths, Here::As("template/rerank-string-doc")),
    ("template/route-double-slash", Reason::OddPaths, Here::As("template/rerank-string-doc")),
    ("template/route-v1-v1-rerank", Reason::OddPaths, Here::As("template/rerank-string-doc")),
    ("template/rerank-object-docs-text", Reason::LenientBody, Here::As("template/invocations-rerank")),
    ("template/rerank-tei-texts", Reason::OtherDialect, Here::Status(200)),
    ("template/score-truncate-left", Reason::WholePrompt, Here::Status(400)),
    ("template/score-pair-09", Reason::PlainText, Here::OtherNumbers),
    ("plain/raw-rerank", Reason::PromptByDefault, Here::OtherNumbers),
    ("plain/merge-across-boundary", Reason::PromptByDefault, Here::OtherNumbers),
    ("plain/empty-query", Reason::PromptByDefault, Here::OtherNumbers),
    ("plain/empty-both", Reason::PromptByDefault, Here::Status(200)),
    ("plain/truncate-5", Reason::WholePrompt, Here::Status(400)),
    ("plain/truncate-minus1-long", Reason::PromptByDefault, Here::OtherNumbers),
    ("plain/query-limit", Reason::PromptByDefault, Here::OtherNumbers),
    ("plain/ctk-reserved", Reason::PromptByDefault, Here::As("template/score-ctk-reserved")),
    ("plain/tokenize-messages", Reason::PromptByDefault, Here::Status(200)),
    ("api-key/models-bare-token", Reason::KeyGuardsAll, Here::As("api-key/models-k1")),
    ("api-key/get-no-key-nope", Reason::KeyGuardsAll, Here::As("api-key/models-no-key")),
    ("api-key/get-no-key-load", Reason::KeyGuardsAll, Here::As("api-key/models-no-key")),
    ("api-key/tokenize-no-key", Reason::KeyGuardsAll, Here::As("api-key/models-no-key")),
    ("api-key/invocations-no-key", Reason::KeyGuardsAll, Here::As("api-key/models-no-key")),
];

/// vLLM's metrics after most of the other exchanges.
pub fn recorded_metrics() -> String {
    let exchange =
        recorded(RECORDED).into_iter().find(|exchange| exchange.path == "/metrics").expect("it was recorded");
    exchange.response.as_str().expect("text").to_owned()
}

#[actix_web::test]
async fn recorded_exchanges_with_a_reranker_get_vllms_answers() {
    let exchanges = recorded(RECORDED);
    let (plain, template) = (subject(&[]), subject_with_template(TEMPLATE, |_| {}));
    let keys = ["k1", "k2"].map(str::to_owned).to_vec();
    let api_key = subject_with_template(TEMPLATE, |options| options.api_keys.keys = keys);
    let servers = [("plain", plain), ("template", template), ("api-key", api_key)];
    let failures = complaints(&exchanges, &servers, DEVIATIONS).await;
    assert!(failures.is_empty(), "{} of {} differ:\n{}", failures.len(), exchanges.len(), failures.join("\n"));
    assert_eq!(exchanges.len(), 208, "no exchange was lost");
}
