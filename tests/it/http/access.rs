//! Who may ask, and under which name of the model: keys in the headers that clients put them in, and every way in which
//! they write a served name.

use super::contract::{JSON, post, send};
use super::{subject, subject_called};
use actix_web::http::Method;
use serde_json::{Value, json};

const BODY: &[u8] = br#"{"query":"q","documents":["a"]}"#;

#[actix_web::test]
async fn a_key_is_read_from_every_header_that_clients_put_it_in() {
    let subject = subject(&["k1", "k2"]);
    let right: [&[(&str, &str)]; 9] = [
        &[("api-key", "k1")],
        &[("x-api-key", "k2")],
        &[("X-Api-Key", " k2 ")],
        &[("API-KEY", "Bearer k1")],
        // What a proxy or a library that insists on a key sends besides keeps nobody out.
        &[("authorization", "Basic azE="), ("x-api-key", "k1")],
        &[("authorization", "Bearer no"), ("api-key", "k1")],
        &[("authorization", "Bearer None"), ("api-key", "no"), ("x-api-key", "k2")],
        &[("authorization", "Bearer k1"), ("x-api-key", "no")],
        &[("authorization", ""), ("x-api-key", "k1")],
    ];
    for headers in right {
        let (status, answer) = send(&subject, Method::POST, "/rerank", &[&[JSON], headers].concat(), BODY).await;
        assert_eq!(status, 200, "{headers:?}: {answer}");
    }
    let wrong: [(&[(&str, &str)], &str); 7] = [
        (&[], "asks for an API key"),
        (&[("authorization", "Bearer ")], "asks for an API key"),
        (&[("x-api-key", "")], "asks for an API key"),
        (&[("authorization", "Bearer no")], "in the Authorization header"),
        (&[("api-key", "k")], "in the api-key header"),
        (&[("x-api-key", "k1 k2")], "in the x-api-key header"),
        (&[("cookie", "k1"), ("x-auth", "k1")], "asks for an API key"),
    ];
    for (headers, said) in wrong {
        let (status, answer) = send(&subject, Method::POST, "/rerank", &[&[JSON], headers].concat(), BODY).await;
        let sentence = answer["message"].as_str().unwrap_or_default();
        assert!(status == 401 && sentence.contains(said) && !sentence.contains("k1"), "{headers:?}: {answer}");
    }
}

#[actix_web::test]
async fn a_browser_that_knows_no_key_finds_the_description_of_the_api() {
    let subject = subject(&["k1"]);
    for path in ["/docs", "/docs/", "/redoc", "/openapi.json"] {
        assert_eq!(send(&subject, Method::GET, path, &[], b"").await.0, 200, "{path}");
    }
    for path in ["/", "/v1/models", "/info", "/load", "/kv_event_sources", "/server_info", "/docs/x", "/nope"] {
        assert_eq!(send(&subject, Method::GET, path, &[], b"").await.0, 401, "{path}");
    }
}

#[actix_web::test]
async fn a_served_name_is_known_however_clients_write_it_on_every_route() {
    let bodies = [
        ("/v1/rerank", json!({"query": "q", "documents": ["a"]})),
        ("/v1/score", json!({"text_1": "q", "text_2": "a"})),
        ("/classify", json!({"input": "a"})),
        ("/pooling", json!({"input": "a"})),
        ("/tokenize", json!({"prompt": "a"})),
        ("/detokenize", json!({"tokens": [1]})),
        ("/invocations", json!({"query": "q", "documents": ["a"]})),
    ];
    let served = "/models/Qwen3-Reranker-0___6B";
    let subject = subject_called(&[served], |_| {});
    for (name, known) in [
        (served, true),
        ("/models/Qwen3-Reranker-0___6B/", true),
        ("Qwen3-Reranker-0___6B", true),
        ("Qwen3-Reranker-0___6B___VLLM", true),
        ("/models/Qwen3-Reranker-0___6B___OpenAI-API", true),
        ("Qwen3-Reranker-0", false),
        ("Qwen3-Reranker-0___8B", false),
        ("models", false),
    ] {
        for (path, body) in &bodies {
            let mut body = body.clone();
            body["model"] = name.into();
            let (status, answer) = post(&subject, path, body).await;
            assert_eq!(status, if known { 200 } else { 404 }, "{path} {name}: {answer}");
            // The refusal tells what to ask for.
            assert!(known || answer["message"].as_str().is_some_and(|said| said.contains(served)), "{path}: {answer}");
        }
        let path = format!("/v1/models/{}", name.replace('/', "%2F"));
        let (status, answer) = send(&subject, Method::GET, &path, &[], b"").await;
        assert_eq!(status, if known { 200 } else { 404 }, "{path}: {answer}");
        assert!(known || answer["message"].as_str().is_some_and(|said| said.contains(served)), "{path}: {answer}");
    }
}

#[actix_web::test]
async fn dashscopes_paths_rank_in_both_of_its_dialects() {
    let subject = subject(&[]);
    let flat = json!({"model": "tiny", "query": "q", "documents": ["a", "b"], "top_n": 1});
    let nested = json!({
        "model": "tiny", "input": {"query": "q", "documents": ["a", "b"]},
        "parameters": {"top_n": 1, "return_documents": true},
    });
    for path in ["/compatible-api/v1/reranks", "/v1/reranks", "/api/v1/services/rerank/text-rerank/text-rerank"] {
        let results = |answer: &Value, pointer: &str| answer.pointer(pointer).and_then(Value::as_array).map(Vec::len);
        let (status, answer) = post(&subject, path, flat.clone()).await;
        assert_eq!((status, results(&answer, "/results")), (200, Some(1)), "{path}: {answer}");
        let (status, answer) = post(&subject, path, nested.clone()).await;
        assert_eq!((status, results(&answer, "/output/results")), (200, Some(1)), "{path}: {answer}");
        assert!(answer["request_id"].is_string() && answer["usage"]["total_tokens"].is_u64(), "{answer}");
    }
}
