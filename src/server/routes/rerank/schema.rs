//! The bodies of rerank requests as schemas, one for each dialect.
//!
//! Invariant: each field here is read in `request`.

use crate::server::describe::schema::{
    Request, any, choice, described, described_list, list, nullable_boolean, nullable_integer, nullable_string, object,
    request, string, text, texts as some_texts, with_common,
};
use serde_json::json;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ArrayBuilder, Schema};

const QUERY: &str = "What is asked: documents are ranked by how well they answer it.";
const DOCUMENTS: &str =
    "What is ranked: one document or more. A result's `index` is a document's place here, from 0 on.";

/// A body of any dialect.
pub fn all() -> Request {
    any("AnyRerankRequest", vec![documents(), texts(), input()])
}

/// vLLM's.
pub fn documents() -> Request {
    let own = object([
        ("query", text(QUERY)),
        ("documents", some_texts(DOCUMENTS)),
        ("top_n", described(nullable_integer(), "How many results to return; null, 0 and less are all.")),
        ("rank_fields", described_list(string(), "Fields of documents that are objects, in the place of `text`.")),
        ("top_k", described(nullable_integer(), "The same for Voyage's clients; the answer then has `data` as well.")),
        ("return_documents", described(nullable_boolean(), "Documents are always returned, but for those of `data`.")),
    ]);
    let own = own.required("query").required("documents");
    let example = json!({"query": "Which river flows through Vienna?", "documents": ["The Danube flows through Vienna.", "The Seine flows through Paris."], "top_n": 2});
    request("RerankRequest", with_common(own.into()), example)
}

/// TEI's.
pub fn texts() -> Request {
    let texts = ArrayBuilder::from(list(string())).min_items(Some(1)).description(Some(DOCUMENTS));
    let own = object([
        ("query", described(string(), QUERY)),
        ("texts", RefOr::T(Schema::Array(texts.build()))),
        ("top_n", described(nullable_integer(), "How many results to return; null, 0 and less are all.")),
        ("raw_scores", described(nullable_boolean(), "Logits in place of probabilities.")),
        ("return_text", described(nullable_boolean(), "Whether the answer holds the texts.")),
        ("truncate", described(nullable_boolean(), "Whether a text that is too long is shortened.")),
        ("truncation_direction", described(choice(&["left", "right"]), "Which end is cut off; Left and Right, too.")),
    ]);
    let own = own.required("query").required("texts");
    let example = json!({"query": "Which river flows through Vienna?", "texts": ["The Danube flows through Vienna.", "The Seine flows through Paris."]});
    request("TextsRerankRequest", own.into(), example)
}

/// DashScope's.
fn input() -> Request {
    let input =
        object([("query", text(QUERY)), ("documents", some_texts(DOCUMENTS))]).required("query").required("documents");
    let parameters = object([
        ("top_n", described(nullable_integer(), "How many results to return.")),
        ("return_documents", described(nullable_boolean(), "Whether the answer holds the documents.")),
        ("instruct", described(nullable_string(), "What makes a document relevant.")),
    ]);
    let own = object([("model", nullable_string().into()), ("input", input.into()), ("parameters", parameters.into())]);
    let example = json!({"input": {"query": "Which river flows through Vienna?", "documents": ["The Danube flows through Vienna."]}, "parameters": {"top_n": 1}});
    request("InputRerankRequest", own.required("input").into(), example)
}
