//! A rerank request, in vLLM's words or in those of another reranker's clients: the body says which.
//!
//! Invariant: a body that vLLM takes means here what it means there; another dialect begins only where vLLM would
//! refuse, or where its answer holds all of vLLM's. Sources: the APIs of text-embeddings-inference (TEI), Cohere, Voyage
//! and DashScope.

use crate::server::http::error::{ApiError, ErrorForm};
use crate::server::wire::fields::{self, Fields, given};
use crate::server::wire::halves;
use crate::server::wire::pairs::{Common, PairRequest, Place, Text, common, one_text, texts};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// Whose words a body is in, and what that client wants back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `query` and `documents`: vLLM, Cohere, Jina, Xinference, Infinity and who follows them.
    Documents,
    /// `query` and `documents` with `top_k` or `truncation` and no `top_n`: Voyage, which answers with `data`.
    Data {
        /// Whether that holds the documents.
        return_documents: bool,
    },
    /// `query` and `texts`: TEI, which answers with a list.
    Texts {
        /// Whether the list holds the texts.
        return_text: bool,
    },
    /// `input` with `query` and `documents`, and `parameters`: DashScope, which answers under `output`.
    Input {
        /// Whether the answer holds the documents.
        return_documents: bool,
    },
}

impl Dialect {
    fn of(body: &Map<String, Value>) -> Self {
        let has = |name: &str| body.contains_key(name);
        match (given(body, "documents"), given(body, "texts"), body.get("input")) {
            (None, Some(_), _) => Self::Texts { return_text: is_true(&Fields::new(body), "return_text") },
            (None, None, Some(Value::Object(_))) => {
                Self::Input { return_documents: is_true(&fields_of_input(body), "return_documents") }
            }
            _ if (has("top_k") || has("truncation")) && given(body, "top_n").is_none() => {
                Self::Data { return_documents: is_true(&Fields::new(body), "return_documents") }
            }
            _ => Self::Documents,
        }
    }
}

fn is_true(fields: &Fields<'_>, name: &str) -> bool {
    fields.boolean_if_any(name) == Some(true)
}

/// DashScope's body: texts are in `input`, options in `parameters`, and what is in neither is looked for beside them.
fn fields_of_input(body: &Map<String, Value>) -> Fields<'_> {
    Fields::within(body, &["input", "parameters"])
}

/// `POST /rerank`.
#[derive(Debug, Clone, PartialEq)]
pub struct RerankRequest {
    common: Common,
    query: [Text; 1],
    /// The documents in the order given.
    pub documents: Vec<Text>,
    /// How many results to return; `None` is all.
    pub top_n: Option<usize>,
    /// How the answer is to look.
    pub dialect: Dialect,
    places: [Place; 2],
}

impl PairRequest for RerankRequest {
    fn read(body: &Map<String, Value>) -> Result<Self, ApiError> {
        let dialect = Dialect::of(body);
        let mut fields = match dialect {
            Dialect::Input { .. } => fields_of_input(body),
            _ => Fields::new(body),
        };
        let common = common(&mut fields);
        let list = match dialect {
            Dialect::Texts { .. } => {
                // What they mean is known on all routes; TEI refuses other types.
                fields.boolean("truncate");
                fields.choice("truncation_direction", &["left", "right", "Left", "Right"]);
                "texts"
            }
            _ => "documents",
        };
        let query = fields.required("query").and_then(|value| one_text(&mut fields, "query", value));
        let documents = fields.required(list).and_then(|value| match ranked_fields(&mut fields, list, value) {
            Some(documents) => Some(documents),
            None => texts(&mut fields, list, value),
        });
        // Clients send null, 0 and -1 for "all".
        let top_n = fields.integer("top_n").or_else(|| fields.integer_if_any("top_k"));
        let top_n = top_n.and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
        match (query, documents) {
            (Some(query), Some(documents)) if fields.is_clean() => {
                let inside = matches!(dialect, Dialect::Input { .. });
                let is_list = fields.any(list).is_some_and(Value::is_array);
                let query_place = Place { name: if inside { "input.query" } else { "query" }, is_list: false };
                let places = [query_place, Place { name: if inside { "input.documents" } else { list }, is_list }];
                Ok(Self { common, query: [query], documents, top_n, dialect, places })
            }
            _ => Err(fields::refuse(fields.into_issues())),
        }
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn sides(&self) -> (&[Text], &[Text]) {
        (&self.query, &self.documents)
    }

    fn places(&self) -> [Place; 2] {
        self.places
    }

    fn error_form(body: &Map<String, Value>) -> ErrorForm {
        match Dialect::of(body) {
            Dialect::Texts { .. } => ErrorForm::Texts,
            _ => ErrorForm::Object,
        }
    }
}

/// Cohere's documents that are objects: their `text`, or the fields that `rank_fields` names, one to a line. A name
/// counts once, so that no text is longer than its document's JSON.
fn ranked_fields(fields: &mut Fields<'_>, loc: &str, documents: &Value) -> Option<Vec<Text>> {
    let mut places = HashMap::new();
    for name in fields.any("rank_fields")?.as_array()?.iter().filter_map(Value::as_str) {
        let next = places.len();
        places.entry(name).or_insert(next);
    }
    let text_counts = places.is_empty() || places.len() == 1 && places.contains_key("text");
    let text = |document: &Value| match document {
        Value::String(text) => Some(Text::Plain(text.clone())),
        Value::Object(fields) => {
            if let Some(Value::String(text)) = fields.get("text").filter(|_| text_counts) {
                return Some(Text::Plain(text.clone()));
            }
            // A document has few fields, but a request may have many names.
            let place = |(name, value)| places.get(String::as_str(name)).map(|&place| (place, name, value));
            let mut named: Vec<(usize, &String, &Value)> = fields.iter().filter_map(place).collect();
            named.sort_unstable_by_key(|&(place, ..)| place);
            let line = |(_, name, value): &(usize, &String, &Value)| match value {
                Value::String(text) => format!("{name}: {text}"),
                other => format!("{name}: {other}"),
            };
            let lines: Vec<String> = named.iter().map(line).collect();
            (!lines.is_empty()).then(|| Text::Plain(lines.join("\n")))
        }
        _ => None,
    };
    let documents = documents.as_array()?;
    let named = |name: &String| places.contains_key(name.as_str());
    let holds_half = |document: &&Value| {
        let fields = document.as_object().into_iter().flatten();
        fields.into_iter().any(|(name, value)| named(name) && halves::place(value).is_some())
    };
    if let Some((i, document)) = documents.iter().enumerate().find(|(_, document)| holds_half(document)) {
        fields.note("string_type", format_args!("{loc}.{i}"), "Input should be a valid string", document);
    }
    documents.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::TruncationSide;
    use serde_json::json;

    fn read(body: Value) -> RerankRequest {
        RerankRequest::read(body.as_object().expect("an object")).expect("a request")
    }

    fn plain(request: &RerankRequest) -> Vec<&str> {
        request.documents.iter().filter_map(Text::plain).collect()
    }

    #[test]
    fn the_body_tells_the_dialect() {
        assert_eq!(read(json!({"query": "q", "documents": ["a"]})).dialect, Dialect::Documents);
        let tei = read(json!({"query": "q", "texts": ["a", "b"], "return_text": true}));
        assert_eq!((tei.dialect, plain(&tei)), (Dialect::Texts { return_text: true }, vec!["a", "b"]));
        let both = read(json!({"query": "q", "documents": ["a"], "texts": ["b"]}));
        assert_eq!((both.dialect, plain(&both)), (Dialect::Documents, vec!["a"]));
        let nested = read(json!({
            "model": "m", "input": {"query": "q", "documents": ["a", "b"]},
            "parameters": {"top_n": 1, "return_documents": "true", "instruct": "Find."},
        }));
        assert_eq!(nested.dialect, Dialect::Input { return_documents: true });
        assert_eq!((plain(&nested), nested.top_n), (vec!["a", "b"], Some(1)));
        assert_eq!(nested.common().instruction.as_deref(), Some("Find."));
    }

    #[test]
    fn teis_truncation_is_ours() {
        let read = |value: Value| {
            let mut body = json!({"query": "q", "texts": ["a"]});
            body.as_object_mut().expect("an object").extend(value.as_object().expect("an object").clone());
            let common = read(body).common().clone();
            (common.truncate_prompt_tokens, common.truncation_side)
        };
        assert_eq!(read(json!({})), (None, TruncationSide::Right));
        assert_eq!(read(json!({"truncate": true})), (Some(-1), TruncationSide::Right));
        assert_eq!(read(json!({"truncate": null, "truncation_direction": "Left"})), (None, TruncationSide::Left));
    }

    #[test]
    fn rank_fields_say_what_of_an_object_counts() {
        let documents = json!([{"title": "T", "year": 3, "text": "x"}, "plain", {"text": "y", "title": "U"}]);
        let of = |names: Value| read(json!({"query": "q", "documents": documents, "rank_fields": names}));
        assert_eq!(plain(&of(json!(["title", "year"]))), ["title: T\nyear: 3", "plain", "title: U"]);
        assert_eq!(plain(&of(json!(["text"]))), ["x", "plain", "y"]);
        assert_eq!(plain(&of(json!(null))), ["x", "plain", "y"]);
        assert_eq!(plain(&of(json!(["year", "title", "year", "title"]))), ["year: 3\ntitle: T", "plain", "title: U"]);
        let neither = json!({"query": "q", "documents": [{"a": "b"}], "rank_fields": ["c"]});
        assert!(RerankRequest::read(neither.as_object().expect("an object")).is_err());
    }

    #[test]
    fn a_mistake_is_named_where_it_stands() {
        let body = json!({"input": {"query": 3, "documents": ["a"]}, "parameters": {"top_n": "x"}});
        let said = RerankRequest::read(body.as_object().expect("an object")).expect_err("refused").message().to_owned();
        assert!(said.contains("body.input.query") && said.contains("body.parameters.top_n"), "{said}");
    }
}
