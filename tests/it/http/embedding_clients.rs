//! The requests of applications that embed with this server, body for body, on every path that their users' base URLs
//! lead to: all of them get the vectors that vLLM's own route gives for the same texts.
//!
//! `fixtures/embedding-requests.json` holds them: RAGFlow 0.27, Dify's plugins, Open WebUI and others that are no Python
//! libraries, which `tests/clients` runs.

use super::contract::{JSON, post, send};
use super::{both, embedder_called, embedder_with};
use actix_web::http::Method;
use actix_web::test;
use actix_web::web::Data;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ironrank::server::{State, app};
use serde_json::{Value, json};

const MODEL: &str = "qwen3-embedding-0.6b";
const QUERY: &str = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:";

fn subject() -> Data<State> {
    embedder_called(&[MODEL])
}

/// The vectors of an answer, which stand where `answer` says.
fn vectors(answer: &str, body: &Value) -> Vec<Vec<f64>> {
    let numbers = |row: &Value| match row {
        Value::String(text) => {
            let bytes = BASE64_STANDARD.decode(text).expect("base64");
            bytes.as_chunks().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect()
        }
        _ => row.as_array().expect("a list").iter().map(|x| x.as_f64().expect("a number")).collect(),
    };
    let list = |rows: &Value| rows.as_array().expect("a list").iter().map(numbers).collect();
    match answer {
        "floats" | "base64" => {
            let data = body["data"].as_array().expect("data");
            assert!(data.iter().enumerate().all(|(i, one)| one["index"] == i), "{body}");
            assert!(data.iter().all(|one| one["embedding"].is_string() == (answer == "base64")));
            assert!(body["usage"]["total_tokens"].as_u64() > Some(0));
            data.iter().map(|one| numbers(&one["embedding"])).collect()
        }
        "list" => list(body),
        "embeddings" => {
            assert!(body["prompt_eval_count"].as_u64() > Some(0), "{body}");
            list(&body["embeddings"])
        }
        "embedding" => vec![numbers(&body["embedding"])],
        "cohere1" => list(&body["embeddings"]),
        "cohere2" => list(&body["embeddings"]["float"]),
        other => panic!("no such answer: {other}"),
    }
}

fn unit(row: &[f64]) -> Vec<f64> {
    let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
    row.iter().map(|x| x / length).collect()
}

/// The texts of a body, wherever they stand.
fn texts(body: &Value) -> Vec<String> {
    let field = ["input", "inputs", "texts", "prompt"].into_iter().find_map(|name| body.get(name)).expect("texts");
    let text = |one: &Value| one.as_str().or(one["text"].as_str()).expect("a text").to_owned();
    field.as_array().map_or_else(|| vec![text(field)], |list| list.iter().map(text).collect())
}

#[actix_web::test]
async fn every_client_gets_the_vectors_of_its_texts_on_every_path_it_reaches() {
    let subject = subject();
    let service = test::init_service(app(subject.clone())).await;
    let requests: Vec<Value> =
        serde_json::from_str(include_str!("../../fixtures/embedding-requests.json")).expect("the fixture is JSON");
    assert!(requests.len() > 30);
    for request in &requests {
        let (client, body, answer) = (&request["client"], &request["body"], request["answer"].as_str().expect("one"));
        let before = if request["prompt"] == "query" { QUERY } else { "" };
        let whole: Vec<String> = texts(body).iter().map(|text| format!("{before}{text}")).collect();
        let (status, expected) = post(&subject, "/v1/embeddings", json!({"input": whole})).await;
        assert_eq!(status, 200, "{expected}");
        let expected = vectors("floats", &expected);
        for path in request["paths"].as_array().expect("paths").iter().filter_map(Value::as_str) {
            // A path that begins with two slashes would be read as a host.
            let uri = if path.starts_with("//") { format!("http://localhost{path}") } else { path.to_owned() };
            let mut sent = test::TestRequest::post().uri(&uri);
            for (name, value) in request["headers"].as_object().expect("headers") {
                sent = sent.insert_header((name.as_str(), value.as_str().expect("a string")));
            }
            let response = test::call_service(&service, sent.set_payload(body.to_string()).to_request()).await;
            let status = response.status();
            let said = test::read_body(response).await;
            assert_eq!(status, 200, "{client} {path}: {}", String::from_utf8_lossy(&said));
            let got = vectors(answer, &serde_json::from_slice(&said).expect("JSON"));
            let got: Vec<Vec<f64>> = got.iter().map(|row| unit(row)).collect();
            let near = |a: &Vec<f64>, b: &Vec<f64>| a.len() == 64 && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
            assert!(
                got.len() == expected.len() && got.iter().zip(&expected).all(|(a, b)| near(a, b)),
                "{client} {path}"
            );
        }
    }
}

#[actix_web::test]
async fn what_clients_ask_before_they_embed_is_answered() {
    let subject = subject();
    let get = async |path: &str| send(&subject, Method::GET, path, &[], b"").await;
    let (_, info) = get("/info").await;
    // Dify takes the first key, RAGFlow looks for `embedding`.
    let kinds: Vec<&str> = info["model_type"].as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!((kinds, &info["model_type"]["embedding"]["pooling"]), (vec!["embedding"], &json!("last_token")));
    assert_eq!((&info["model_id"], &info["max_input_length"]), (&json!(MODEL), &json!(512)));
    assert!(info["max_client_batch_size"].as_u64() >= Some(32));
    let (_, card) = get(&format!("/v1/models/{MODEL}")).await;
    assert_eq!((&card["model_type"], &card["max_model_len"]), (&json!("embedding"), &json!(512)));
    let (_, tags) = get("/api/tags").await;
    assert_eq!(tags["models"][0]["name"], MODEL);
    let (_, version) = get("/api/version").await;
    assert!(version["version"].is_string());
    let (status, shown) = post(&subject, "/api/show", json!({"model": MODEL})).await;
    assert_eq!((status, &shown["capabilities"]), (200, &json!(["embedding"])));
    let (status, refused) = post(&subject, "/api/show", json!({"model": "nope"})).await;
    assert!(status == 404 && refused["error"].is_string(), "{refused}");
}

#[actix_web::test]
async fn refusals_are_read_where_each_client_looks_for_them() {
    let subject = subject();
    for (path, body, status, texts, said) in [
        ("/embed", json!({"inputs": []}), 400, true, "`inputs` cannot be empty"),
        ("/embed", json!({"inputs": ["a", ""]}), 400, true, "`inputs` cannot be empty"),
        ("/embed", json!({"inputs": "a", "dimensions": 0}), 422, true, "`dimensions` should be positive"),
        ("/embed", json!({"inputs": "a", "dimensions": 65}), 422, true, "smaller than the maximum embedding dimension"),
        ("/embed", json!({"inputs": "a", "prompt_name": "nope"}), 422, true, "document, query"),
        ("/embed", json!({"inputs": "w ".repeat(600)}), 422, true, "maximum context length"),
        ("/embed", json!({"inputs": 3}), 422, true, "inputs"),
        ("/", json!({"inputs": "a", "dimensions": 0}), 422, true, "`dimensions` should be positive"),
        ("/invocations", json!({"inputs": "w ".repeat(600)}), 422, true, "maximum context length"),
        ("/similarity", json!({"inputs": {"source_sentence": "a"}}), 422, true, "sentences"),
        ("/embed_sparse", json!({"inputs": "a"}), 424, true, "SPLADE"),
        ("/embed_all", json!({"inputs": "a"}), 424, true, "one vector a text"),
        ("/similarity", json!({"inputs": {"source_sentence": "a", "sentences": []}}), 400, true, "cannot be empty"),
        ("/api/embed", json!({"model": MODEL, "input": [1, 2]}), 400, true, "invalid input type"),
        ("/api/embed", json!({"model": "nope", "input": "a"}), 404, true, "nope"),
        ("/api/embed", json!({"input": "w ".repeat(600), "truncate": false}), 400, true, "maximum context length"),
        ("/v1/embed", json!({"texts": ["a"], "input_type": "nope"}), 400, false, "Unsupported input_type 'nope'"),
        ("/v2/embed", json!({"texts": ["w ".repeat(600)], "truncate": "NONE"}), 400, false, "maximum context length"),
        (
            "/v2/embed",
            json!({"texts": ["a b c d e"], "truncate": "NONE", "max_tokens": 3}),
            400,
            false,
            "Input of 6 tokens exceeds max_tokens=3 with truncate=NONE",
        ),
        ("/v2/embed", json!({"texts": ["a"], "embedding_types": ["int8"]}), 400, false, "'float', 'binary'"),
        (
            "/v2/embed",
            json!({"texts": ["a"], "embedding_types": ["binary"], "output_dimension": 12}),
            400,
            false,
            "multiple of 8",
        ),
        ("/v1/embeddings", json!({"input": "a", "late_chunking": true}), 400, false, "late_chunking"),
        ("/v1/embeddings", json!({"input": "a", "model": "nope:query"}), 404, false, "nope:query"),
        ("/", json!({"inputs": []}), 400, true, "`inputs` cannot be empty"),
        ("/classify", json!({"input": "a"}), 404, false, "no reranker"),
    ] {
        let (got, answer) = post(&subject, path, body.clone()).await;
        assert_eq!(got, status, "{path} {body}: {answer}");
        let sentence = if texts { &answer["error"] } else { &answer["error"]["message"] };
        assert!(sentence.as_str().is_some_and(|sentence| sentence.contains(said)), "{path} {body}: {answer}");
        assert_eq!(answer["message"], *sentence, "Cohere's clients look here");
        let error_type = match status {
            _ if !texts => Value::Null,
            424 => json!("Backend"),
            _ if said.contains("cannot be empty") => json!("Empty"),
            _ => json!("Validation"),
        };
        assert_eq!(answer["error_type"], error_type, "{answer}");
    }
}

#[actix_web::test]
async fn answers_to_tei_say_what_they_took() {
    let app = test::init_service(app(subject())).await;
    for (path, body, characters, tokens) in [
        ("/embed", json!({"inputs": ["a", "größer"]}), "7", None),
        ("/", json!({"inputs": "a"}), "1", Some("2")),
        ("/similarity", json!({"inputs": {"source_sentence": "ab", "sentences": ["c"]}}), "3", None),
    ] {
        let request = test::TestRequest::post().uri(path).set_json(body).to_request();
        let answer = test::call_service(&app, request).await;
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).expect("a header");
        assert_eq!((header("x-compute-type"), header("x-compute-characters")), ("cpu", characters), "{path}");
        assert!(tokens.is_none_or(|tokens| tokens == header("x-compute-tokens")), "{path}");
        for time in ["x-compute-time", "x-total-time", "x-tokenization-time", "x-queue-time", "x-inference-time"] {
            assert!(header(time).parse::<u64>().is_ok(), "{path} {time}");
        }
        assert!(header("x-total-time").parse::<u64>().ok() >= header("x-inference-time").parse().ok(), "{path}");
    }
}

#[actix_web::test]
async fn the_operator_says_whether_vectors_have_length_1_and_a_request_does_before_that() {
    let plain = embedder_with(&[MODEL], |options| options.pooling.normalize = Some(false));
    let length = async |subject: &Data<State>, fields: Value| {
        let mut body = json!({"input": "The Danube flows through Vienna."});
        body.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        let (status, answer) = post(subject, "/v1/embeddings", body).await;
        assert_eq!(status, 200, "{answer}");
        vectors("floats", &answer)[0].iter().map(|x| x * x).sum::<f64>().sqrt()
    };
    let raw = length(&subject(), json!({"use_activation": false})).await;
    assert!((raw - 1.0).abs() > 0.1, "{raw}");
    assert_eq!(length(&plain, json!({})).await, raw);
    assert!((length(&plain, json!({"use_activation": true})).await - 1.0).abs() < 1e-6);
    let (_, listed) = post(&plain, "/embed", json!({"inputs": "The Danube flows through Vienna."})).await;
    let tei = vectors("list", &listed)[0].iter().map(|x| x * x).sum::<f64>();
    assert!((tei - 1.0).abs() < 1e-6, "TEI's default is its own");
}

#[actix_web::test]
async fn two_models_share_a_server_and_each_answers_for_its_task() {
    let subject = both();
    let embed = async |path: &str, body: Value| post(&subject, path, body).await;
    let (status, answer) = embed("/v1/embeddings", json!({"input": "a"})).await;
    assert_eq!((status, &answer["model"]), (200, &json!("embedder")), "{answer}");
    let (status, answer) = embed("/v1/rerank", json!({"query": "q", "documents": ["a"]})).await;
    assert_eq!((status, &answer["model"]), (200, &json!("tiny")), "{answer}");
    let (status, answer) = embed("/v1/rerank", json!({"query": "q", "documents": ["a"], "model": "embedder"})).await;
    assert_eq!((status, &answer["model"]), (200, &json!("embedder")), "{answer}");
    for (path, body, status, said) in [
        ("/v1/embeddings", json!({"input": "a", "model": "tiny"}), 501, "The model does not support Embeddings API"),
        ("/classify", json!({"input": "a", "model": "embedder"}), 501, "The model does not support Classification API"),
        ("/v1/embeddings", json!({"input": "a", "model": "tiny:query"}), 404, "does not exist"),
    ] {
        let (got, answer) = embed(path, body).await;
        assert!(
            got == status
                && answer["message"].as_str().is_some_and(|text| text.starts_with(said) || text.contains(said)),
            "{answer}"
        );
    }
    assert_eq!(embed("/", json!({"inputs": ["a"]})).await.0, 200);
    assert_eq!(embed("/", json!({"query": "q", "texts": ["a"]})).await.0, 200);
    let (_, answer) = embed("/classify", json!({"input": "a"})).await;
    assert_eq!(answer["model"], "tiny");
}

#[actix_web::test]
async fn ollama_answers_nothing_with_nothing() {
    let subject = subject();
    for body in [json!({"model": MODEL}), json!({"input": null}), json!({"input": ""}), json!({"input": []})] {
        let (status, answer) = post(&subject, "/api/embed", body).await;
        assert_eq!((status, &answer["embeddings"]), (200, &json!([])), "{answer}");
    }
    let (status, answer) = post(&subject, "/api/embeddings", json!({"prompt": ""})).await;
    assert_eq!((status, answer), (200, json!({"embedding": []})));
    let (_, cut) = post(&subject, "/api/embed", json!({"input": "a", "dimensions": 16})).await;
    let (_, whole) = post(&subject, "/api/embed", json!({"input": "a", "dimensions": 1000})).await;
    let width = |answer: &Value| answer["embeddings"][0].as_array().map(Vec::len);
    assert_eq!((width(&cut), width(&whole)), (Some(16), Some(64)));
}

#[actix_web::test]
async fn similarities_and_scores_are_cosines() {
    let subject = subject();
    let (source, others) =
        ("The Danube flows through Vienna.", ["How do magnets work", "The Danube flows through Vienna."]);
    let (_, answer) =
        post(&subject, "/similarity", json!({"inputs": {"source_sentence": source, "sentences": others}})).await;
    let cosines: Vec<f64> = answer.as_array().expect("a list").iter().filter_map(Value::as_f64).collect();
    assert!((cosines[0] - 0.013_421_718).abs() < 3e-6 && (cosines[1] - 1.0).abs() < 1e-6, "{cosines:?}");
    let (_, scores) = post(&subject, "/v1/score", json!({"queries": source, "documents": others})).await;
    for (i, cosine) in cosines.iter().enumerate() {
        assert!((scores["data"][i]["score"].as_f64().expect("a score") - cosine).abs() < 1e-6, "{scores}");
    }
    let (status, _) = send(&subject, Method::POST, "/similarity", &[JSON], b"[]").await;
    assert_eq!(status, 400);
}
