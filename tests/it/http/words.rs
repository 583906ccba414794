//! The words of other servers' clients: each means the same on every route and in every dialect, and null is absent.

use super::contract::post;
use super::{MAX_MODEL_LEN, subject};
use actix_web::web::Data;
use ironrank::server::State;
use serde_json::{Map, Value, json};

/// A body of one query and `documents` for each route and dialect, and where options may stand in it.
fn shapes(documents: &[&str]) -> Vec<(&'static str, Value, &'static [&'static str])> {
    let nested = json!({"input": {"query": "q", "documents": documents}, "parameters": {}});
    let messages = json!([{"role": "query", "content": "q"}, {"role": "document", "content": documents[0]}]);
    vec![
        ("/v1/rerank", json!({"query": "q", "documents": documents}), &[""]),
        ("/rerank", json!({"query": "q", "texts": documents}), &[""]),
        ("/v1/reranks", nested.clone(), &["", "/parameters", "/input"]),
        ("/v1/score", json!({"queries": "q", "documents": documents}), &[""]),
        ("/score", json!({"text_1": "q", "text_2": documents}), &[""]),
        ("/classify", json!({"messages": messages}), &[""]),
        ("/pooling", json!({"messages": messages}), &[""]),
        ("/invocations", json!({"query": "q", "documents": documents}), &[""]),
        ("/invocations", nested, &["/parameters"]),
        ("/", json!({"query": "q", "texts": documents}), &[""]),
    ]
}

/// `body` with `fields` in the object at `pointer`.
fn with(body: &Value, pointer: &str, fields: &Value) -> Value {
    let mut body = body.clone();
    let object = body.pointer_mut(pointer).and_then(Value::as_object_mut).expect("an object");
    object.extend(fields.as_object().expect("an object").clone());
    body
}

/// The score of the first document, wherever the answer has it.
async fn score(subject: &Data<State>, path: &str, body: Value) -> Result<f64, String> {
    let (status, answer) = post(subject, path, body.clone()).await;
    let first = |list: &Value| list.as_array().and_then(|all| all.iter().find(|one| one["index"] == 0)).cloned();
    let lists = [&answer["results"], &answer["output"]["results"], &answer["data"], &answer];
    let one = lists.into_iter().find_map(first).unwrap_or_default();
    let scores = [&one["relevance_score"], &one["score"], &one["probs"][0], &one["data"][0]];
    let score = scores.into_iter().find_map(Value::as_f64);
    score.filter(|_| status == 200).ok_or_else(|| format!("{path} {body}: {status} {answer}"))
}

#[actix_web::test]
async fn a_word_that_is_understood_on_one_route_is_understood_on_all() {
    let subject = subject(&[]);
    let long = format!("{}the end", "word ".repeat(MAX_MODEL_LEN));
    for (path, body, places) in shapes(&["a document"]) {
        let expect = |fields: Value| score(&subject, path, with(&body, places[0], &fields));
        let instructed = expect(json!({"instruction": "Find songs"})).await.expect("scored");
        let raw = expect(json!({"use_activation": false})).await.expect("scored");
        assert_ne!(expect(json!({})).await.expect("scored"), instructed, "{path}");
        for &place in places {
            for (fields, expected) in [
                (json!({"instruct": "Find songs"}), instructed),
                (json!({"instruction": "Find songs", "instruct": "Find laws"}), instructed),
                (json!({"instruction": null, "instruct": "Find songs"}), instructed),
                (json!({"instruction": "", "instruct": "Find songs"}), instructed),
                (json!({"kwargs": "{\"instruction\": \"Find songs\"}"}), instructed),
                (json!({"kwargs": {"instruct": "Find songs"}}), instructed),
                (json!({"instruction": "Find songs"}), instructed),
                (json!({"raw_scores": true}), raw),
                (json!({"raw_scores": "true", "use_activation": null}), raw),
                (json!({"use_activation": false, "raw_scores": false}), raw),
            ] {
                let found = score(&subject, path, with(&body, place, &fields)).await;
                assert_eq!(found, Ok(expected), "{path} {place} {fields}");
            }
        }
    }
    for (path, body, places) in shapes(&[&long]) {
        assert!(score(&subject, path, body.clone()).await.is_err(), "{path}: the document is too long");
        let side = |side: &str| json!({"truncate_prompt_tokens": -1, "truncation_side": side});
        let right = score(&subject, path, with(&body, places[0], &side("right"))).await.expect("scored");
        let left = score(&subject, path, with(&body, places[0], &side("left"))).await.expect("scored");
        assert_ne!(left, right);
        for &place in places {
            for (fields, expected) in [
                (json!({"truncation": true}), right),
                (json!({"truncate": true}), right),
                (json!({"truncation": true, "truncation_direction": "Right"}), right),
                (json!({"truncation": "true", "truncation_direction": "Left"}), left),
                (json!({"truncate": true, "truncation_direction": "left"}), left),
            ] {
                let found = score(&subject, path, with(&body, place, &fields)).await;
                assert_eq!(found, Ok(expected), "{path} {place} {fields}");
            }
            for refused in [json!({"truncation": false}), json!({"truncate": null}), json!({"truncation": "START"})] {
                let found = score(&subject, path, with(&body, place, &refused)).await;
                assert!(found.is_err(), "{path} {place} {refused}: nothing was asked for");
            }
        }
    }
}

#[actix_web::test]
async fn words_that_no_field_of_vllms_is_may_hold_anything() {
    let subject = subject(&[]);
    for (path, body, places) in shapes(&["a document"]) {
        let usual = score(&subject, path, body.clone()).await.expect("scored");
        // TEI has types for its own.
        let typed = body.get("texts").is_some();
        for word in ["instruct", "kwargs", "raw_scores", "truncation", "truncation_direction", "truncate", "top_k"] {
            for value in [json!([[true]]), json!({"a": 1}), json!("nonsense"), json!(null), json!(1.5)] {
                if word == "instruct" && value.is_string() || typed && word.starts_with("trunc") {
                    continue;
                }
                let found = score(&subject, path, with(&body, places[0], &json!({word: value}))).await;
                assert_eq!(found, Ok(usual), "{path} {word} {value}");
            }
        }
    }
}

#[actix_web::test]
async fn how_many_results_are_wanted_is_understood_in_every_dialect() {
    let subject = subject(&[]);
    let count = |answer: &Value| {
        [&answer["results"], &answer["output"]["results"], answer].into_iter().find_map(Value::as_array).map(Vec::len)
    };
    for (path, body, places) in shapes(&["a", "bb", "ccc"]) {
        if path.contains("score") || path == "/classify" || path == "/pooling" {
            continue;
        }
        for &place in places {
            for (fields, expected) in [
                (json!({"top_k": 2}), 2),
                (json!({"top_n": 2}), 2),
                (json!({"top_k": "2"}), 2),
                (json!({"top_n": null, "top_k": 1}), 1),
                (json!({"top_n": 2, "top_k": 1}), 2),
                (json!({"top_k": null}), 3),
                (json!({"top_k": 0}), 3),
                (json!({"top_k": -1}), 3),
                (json!({"top_k": 100}), 3),
            ] {
                let (status, answer) = post(&subject, path, with(&body, place, &fields)).await;
                assert_eq!((status, count(&answer)), (200, Some(expected)), "{path} {place} {fields}: {answer}");
            }
        }
    }
}

#[actix_web::test]
async fn a_null_is_absent_wherever_a_field_decides_what_a_body_is() {
    let subject = subject(&[]);
    for (path, body, _) in shapes(&["a document"]) {
        let usual = score(&subject, path, body.clone()).await.expect("scored");
        // What the others have and this one lacks.
        let mut nulls = Map::new();
        for other in [
            "query",
            "documents",
            "texts",
            "input",
            "parameters",
            "queries",
            "items",
            "text_1",
            "text_2",
            "data_1",
            "data_2",
            "messages",
            "data",
            "top_n",
            "rank_fields",
            "return_documents",
            "instruction",
            "model",
        ] {
            if body.get(other).is_none() {
                nulls.insert(other.to_owned(), Value::Null);
                let found = score(&subject, path, with(&body, "", &json!({other: null}))).await;
                assert_eq!(found, Ok(usual), "{path} {other}");
            }
        }
        assert_eq!(score(&subject, path, with(&body, "", &nulls.into())).await, Ok(usual), "{path}: all of them");
    }
    let messages = json!([{"role": "query", "content": "q"}, {"role": "document", "content": "d"}]);
    for body in [json!({"prompt": null, "messages": messages}), json!({"prompt": "q", "messages": null})] {
        let (status, answer) = post(&subject, "/tokenize", body).await;
        assert_eq!(status, 200, "{answer}");
    }
    for (path, body, param) in [
        ("/rerank", json!({"query": "q", "documents": null}), "body.documents"),
        ("/rerank", json!({"query": "q", "texts": null}), "body.documents"),
        ("/rerank", json!({"input": {"query": "q", "documents": null}}), "body.input.documents"),
        ("/rerank", json!({"input": {"query": "q"}, "parameters": {}}), "body.input.documents"),
        ("/rerank", json!({"query": null, "documents": ["a"]}), "body.query"),
        ("/classify", json!({"input": null, "messages": null}), "body.input"),
        ("/tokenize", json!({"prompt": null, "messages": null}), "body.prompt"),
    ] {
        let (status, answer) = post(&subject, path, body.clone()).await;
        assert_eq!((status, &answer["error"]["param"]), (400, &json!(param)), "{path} {body}: {answer}");
    }
}

#[actix_web::test]
async fn voyages_clients_find_their_list_beside_vllms() {
    let subject = subject(&[]);
    let body =
        |fields: Value| with(&json!({"model": "tiny", "query": "q", "documents": ["a", "bb", "ccc"]}), "", &fields);
    let (_, plain) = post(&subject, "/v1/rerank", body(json!({}))).await;
    assert!(plain.get("data").is_none() && plain.get("object").is_none(), "{plain}");
    for (fields, count, texts) in [
        (json!({"top_k": 2, "truncation": true}), 2, false),
        (json!({"top_k": 2, "top_n": null}), 2, false),
        (json!({"top_k": null, "truncation": true, "return_documents": true}), 3, true),
        (json!({"truncation": false, "return_documents": false}), 3, false),
    ] {
        let (status, answer) = post(&subject, "/v1/rerank", body(fields.clone())).await;
        let data = answer["data"].as_array().expect("a list");
        assert_eq!((status, &answer["object"], data.len()), (200, &json!("list"), count), "{fields}: {answer}");
        for (datum, result) in data.iter().zip(answer["results"].as_array().expect("a list")) {
            assert_eq!((&datum["index"], &datum["relevance_score"]), (&result["index"], &result["relevance_score"]));
            let text = if texts { result["document"]["text"].clone() } else { Value::Null };
            assert_eq!(datum["document"], text, "{fields}");
        }
        assert!(answer["usage"]["total_tokens"].as_u64() > Some(0) && answer["model"] == "tiny");
    }
    let (_, jina) = post(&subject, "/v1/rerank", body(json!({"top_n": 2, "truncation": true}))).await;
    assert!(jina.get("data").is_none(), "who knows top_n reads results: {jina}");
}
