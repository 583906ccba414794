//! A refusal names the place of the text that is to blame; what stands where nobody reads does no harm.

use super::contract::{JSON, send};
use super::{MAX_MODEL_LEN, subject};
use actix_web::http::Method;
use serde_json::{Value, json};

/// The answer's status and sentence.
async fn said(path: &str, body: &str) -> (u16, String) {
    let (status, answer) = send(&subject(&[]), Method::POST, path, &[JSON], body.as_bytes()).await;
    (status, answer["message"].as_str().unwrap_or_default().to_owned())
}

/// A list of 40 short texts, one of them being the JSON `text`.
fn texts(at: usize, text: &str) -> String {
    let all: Vec<&str> = (0..40).map(|i| if i == at { text } else { "\"a\"" }).collect();
    format!("[{}]", all.join(","))
}

#[actix_web::test]
async fn half_a_surrogate_pair_is_refused_by_its_place_wherever_a_text_is_wanted() {
    let half = r#""half \ud83d""#;
    let list = texts(37, half);
    let objects = texts(4, r#"{"text":"\udc00"}"#);
    let ranked = texts(5, r#"{"text":"x","title":"\ud800"}"#);
    for (path, body, place) in [
        ("/rerank", format!(r#"{{"query":"q","documents":{list}}}"#), "documents[37]"),
        ("/rerank", format!(r#"{{"query":{half},"documents":["a"]}}"#), "query"),
        ("/rerank", format!(r#"{{"query":"q","documents":{half}}}"#), "documents"),
        ("/rerank", format!(r#"{{"query":"q","documents":{objects}}}"#), "documents[4].text"),
        ("/rerank", format!(r#"{{"query":"q","documents":{ranked},"rank_fields":["title"]}}"#), "documents[5].title"),
        ("/rerank", format!(r#"{{"query":"q","texts":{list}}}"#), "texts[37]"),
        ("/v1/reranks", format!(r#"{{"input":{{"query":"q","documents":{list}}}}}"#), "input.documents[37]"),
        ("/v1/reranks", format!(r#"{{"input":{{"query":{half},"documents":["a"]}}}}"#), "input.query"),
        ("/score", format!(r#"{{"queries":{list},"documents":["a"]}}"#), "queries[37]"),
        ("/score", format!(r#"{{"text_1":"q","text_2":{list}}}"#), "text_2[37]"),
        ("/score", format!(r#"{{"data_1":{half},"data_2":"a"}}"#), "data_1"),
        ("/classify", format!(r#"{{"input":{list}}}"#), "input[37]"),
        ("/pooling", format!(r#"{{"input":{half}}}"#), "input"),
        (
            "/classify",
            format!(r#"{{"messages":[{{"role":"query","content":"q"}},{{"role":"document","content":{half}}}]}}"#),
            "messages[1].content",
        ),
        ("/tokenize", format!(r#"{{"prompt":{half}}}"#), "prompt"),
        ("/invocations", format!(r#"{{"query":"q","documents":{list}}}"#), "documents[37]"),
        ("/rerank", format!(r#"{{"query":"q","documents":["a"],"instruction":{half}}}"#), "instruction"),
        ("/rerank", format!(r#"{{"query":"q","documents":["a"],"instruct":{half}}}"#), "instruct"),
        (
            "/score",
            format!(r#"{{"queries":"q","documents":"a","chat_template_kwargs":{{"instruction":{half}}}}}"#),
            "chat_template_kwargs.instruction",
        ),
        ("/rerank", format!(r#"{{"query":NaN,"documents":{list}}}"#), "documents[37]"),
    ] {
        let (status, sentence) = said(path, &body).await;
        let known = "TextEncodeInput must be Union[TextInputSequence, Tuple[InputSequence, InputSequence]]";
        assert!(status == 400 && sentence.starts_with(known), "{path} {body}: {status} {sentence}");
        assert!(sentence.ends_with(&format!("It stands in {place}.")), "{path} {body}: {sentence}");
    }
}

#[actix_web::test]
async fn half_a_surrogate_pair_where_nobody_reads_does_no_harm() {
    for (path, fields) in [
        ("/rerank", r#""query":"q","documents":["a"]"#),
        ("/rerank", r#""query":"q","texts":["a"]"#),
        ("/v1/reranks", r#""input":{"query":"q","documents":["a"],"note":"\udfff"}"#),
        ("/score", r#""queries":"q","documents":[{"text":"a","title":"\ud800"}]"#),
        ("/classify", r#""input":"a""#),
        ("/pooling", r#""input":"a""#),
        ("/tokenize", r#""prompt":"a""#),
        ("/detokenize", r#""tokens":[1]"#),
        ("/invocations", r#""query":"q","documents":["a"]"#),
    ] {
        for unread in [
            r#""metadata":"\ud800""#,
            r#""metadata":{"a":["\udc00",{"\ud800":1}]}"#,
            r#""\ud800":"\ud800""#,
            r#""user":"\ud800""#,
            r#""note":"fine \ud83d\ude00 and half \ud83d","more":[1,2]"#,
        ] {
            for body in [format!("{{{unread},{fields}}}"), format!("{{{fields},{unread}}}")] {
                let (status, sentence) = said(path, &body).await;
                assert_eq!(status, 200, "{path} {body}: {sentence}");
            }
        }
    }
    let (status, sentence) = said("/rerank", r#"{"note":"\ud800","query":"q","documents":["a"]"#).await;
    assert!(status == 400 && sentence.contains("json_invalid"), "the mistake is another: {sentence}");
}

#[actix_web::test]
async fn a_text_that_is_too_long_is_refused_by_its_place() {
    let long = "word ".repeat(MAX_MODEL_LEN + 100);
    let list = |at: usize| -> Vec<&str> { (0..40).map(|i| if i == at { long.as_str() } else { "a" }).collect() };
    let queries: Vec<&str> = vec!["q"; 40];
    let ids: Vec<Vec<u32>> = (0..4).map(|i| vec![1; if i == 2 { MAX_MODEL_LEN + 1 } else { 1 }]).collect();
    let rows: Vec<(&str, Value, &str)> = vec![
        ("/rerank", json!({"query": "q", "documents": list(37)}), "documents[37]"),
        ("/rerank", json!({"query": "q", "documents": long}), "documents"),
        ("/rerank", json!({"query": long, "documents": list(3)}), "query"),
        ("/rerank", json!({"query": "q", "texts": list(3)}), "texts[3]"),
        ("/v1/reranks", json!({"input": {"query": "q", "documents": list(4)}}), "input.documents[4]"),
        ("/score", json!({"queries": "q", "documents": list(5)}), "documents[5]"),
        ("/score", json!({"queries": list(2), "documents": queries}), "queries[2]"),
        ("/score", json!({"data_1": queries, "data_2": list(39)}), "data_2[39]"),
        ("/score", json!({"queries": "q", "items": list(0)}), "items[0]"),
        ("/score", json!({"text_1": "q", "text_2": long}), "text_2"),
        ("/score", json!({"text_1": long, "text_2": "a"}), "text_1"),
        ("/classify", json!({"input": list(7)}), "input[7]"),
        ("/classify", json!({"input": long}), "input"),
        ("/classify", json!({"input": ids}), "input[2]"),
        ("/pooling", json!({"input": vec![1; MAX_MODEL_LEN + 1]}), "input"),
        (
            "/classify",
            json!({"messages": [{"role": "query", "content": "q"}, {"role": "document", "content": long}]}),
            "messages[1]",
        ),
        ("/invocations", json!({"query": "q", "documents": list(1)}), "documents[1]"),
        ("/score", json!({"queries": "q", "documents": list(1), "truncate_prompt_tokens": 9}), "queries"),
    ];
    for (path, body, place) in rows {
        let (status, sentence) = said(path, &body.to_string()).await;
        assert!(status == 400 && sentence.ends_with(&format!(" {place} is too long.")), "{path} {place}: {sentence}");
    }
}
