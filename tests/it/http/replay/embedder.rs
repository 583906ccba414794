//! An embedding model's exchanges.

use super::{Here, complaints, recorded};
use crate::http::embedder;
use ironrank::checkpoint::Dimensions;

const RECORDED: &[u8] = include_bytes!("../../../fixtures/vllm-captures-embeddings.jsonl.gz");

/// Why an answer differs from vLLM's on purpose. (Also, and for all: errors carry `message` and `detail` besides.)
#[derive(Debug, Clone, Copy)]
enum Reason {
    /// (d) Other servers' bodies and odd paths are answered.
    OtherServers,
    /// (e) The end token is kept when the end of a text is cut off.
    EndIsKept,
    /// (f) Control tokens in a text are plain text.
    PlainText,
    /// (g) Trailing slashes are served.
    OddPaths,
    /// Padding would only move the last token away from its text: it has no effect, as for rerankers.
    NoPadding,
}

/// Exchanges that differ; nothing else does.
const DEVIATIONS: &[(&str, Reason, Here)] = &[
    ("plain/route-5", Reason::OtherServers, Here::As("plain/no-content-type")),
    ("plain/route-6", Reason::OtherServers, Here::As("plain/no-content-type")),
    ("plain/text-10", Reason::PlainText, Here::OtherNumbers),
    ("plain/input-objects", Reason::OtherServers, Here::As("plain/text-9")),
    ("plain/field-padding-max_length", Reason::NoPadding, Here::As("plain/list-of-one")),
    ("plain/truncate-8-right", Reason::EndIsKept, Here::As("plain/truncate-8-None-2")),
    ("plain/trailing-slash", Reason::OddPaths, Here::As("plain/text-9")),
];

#[actix_web::test]
async fn recorded_exchanges_with_an_embedder_get_vllms_answers() {
    let exchanges = recorded(RECORDED);
    let servers = [("plain", embedder(Dimensions::Fixed)), ("matryoshka", embedder(Dimensions::Any(64)))];
    let failures = complaints(&exchanges, &servers, DEVIATIONS).await;
    assert!(failures.is_empty(), "{} of {} differ:\n{}", failures.len(), exchanges.len(), failures.join("\n"));
    assert_eq!(exchanges.len(), 104, "no exchange was lost");
}
