//! Rules of the API that no recording shows: lenient bodies, paths, keys, limits, hostile input, metrics.

use super::{subject, subject_alone, subject_with};
use actix_web::http::Method;
use actix_web::test as service_test;
use actix_web::web::Data;
use flate2::{Compression, write::GzEncoder};
use ironrank::server::{State, app};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::io::Write;

pub const JSON: (&str, &str) = ("content-type", "application/json");

pub async fn send(
    subject: &Data<State>,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (u16, Value) {
    let service = service_test::init_service(app(subject.clone())).await;
    let mut request = service_test::TestRequest::default().method(method).uri(path);
    for header in headers {
        request = request.insert_header(*header);
    }
    let response = service_test::call_service(&service, request.set_payload(body.to_vec()).to_request()).await;
    let status = response.status().as_u16();
    let body = service_test::read_body(response).await;
    let value = serde_json::from_slice(&body).unwrap_or_else(|_| String::from_utf8_lossy(&body).into_owned().into());
    (status, value)
}

pub async fn post(subject: &Data<State>, path: &str, body: Value) -> (u16, Value) {
    send(subject, Method::POST, path, &[JSON], body.to_string().as_bytes()).await
}

fn indices(answer: &Value) -> Vec<u64> {
    let results = answer["results"].as_array().cloned().unwrap_or_default();
    results.iter().filter_map(|result| result["index"].as_u64()).collect()
}

#[actix_web::test]
async fn top_n_takes_every_form_that_clients_send() {
    let subject = subject(&[]);
    for (top_n, count) in [
        (json!(null), 3),
        (json!(0), 3),
        (json!(-1), 3),
        (json!("0"), 3),
        (json!(2), 2),
        (json!(2.0), 2),
        (json!(" 2 "), 2),
        (json!(true), 1),
        (json!(u64::MAX), 3),
        (json!(1e300), 3),
    ] {
        let body = json!({"query": "q", "documents": ["a", "bb", "ccc"], "top_n": top_n});
        let (status, answer) = post(&subject, "/v1/rerank", body).await;
        assert_eq!((status, indices(&answer).len()), (200, count), "top_n {top_n}: {answer}");
    }
    for top_n in [json!(1.5), json!("two"), json!([1]), json!({})] {
        let body = json!({"query": "q", "documents": ["a"], "top_n": top_n});
        let (status, answer) = post(&subject, "/v1/rerank", body).await;
        assert_eq!((status, &answer["error"]["param"]), (400, &json!("body.top_n")), "top_n {top_n}");
    }
}

#[actix_web::test]
async fn bodies_of_ragflow_and_cohere_are_understood_on_every_path_they_reach() {
    let subject = subject(&[]);
    let bodies = [
        json!({"model": "tiny", "query": "q", "documents": ["a", "b"], "top_n": 2, "return_documents": false}),
        json!({"model": "tiny___VLLM", "query": "q", "documents": ["a", "b"], "top_n": 2}),
        json!({"model": "tiny", "query": "q", "documents": ["a", "b"], "return_documents": "true", "return_len": "true", "kwargs": "{}"}),
        json!({"model": null, "query": "q", "documents": [{"text": "a"}, "b"], "top_n": null, "rank_fields": ["text"]}),
        json!({"query": {"text": "q"}, "documents": [{"text": "a"}, {"text": "b", "title": "t"}]}),
    ];
    for path in
        ["/rerank", "/v1/rerank", "/v2/rerank", "/rerank/v1/rerank", "/v1/rerank/rerank", "/v1//rerank/", "/", "/v1/"]
    {
        for body in &bodies {
            let (status, answer) = post(&subject, path, body.clone()).await;
            assert_eq!(status, 200, "{path} {body}: {answer}");
            let mut found = indices(&answer);
            found.sort_unstable();
            assert_eq!(found, [0, 1], "{path} {body}");
            assert!(
                answer["results"]
                    .as_array()
                    .is_some_and(|results| results.iter().all(|r| r["document"]["text"].is_string()))
            );
        }
    }
}

#[actix_web::test]
async fn results_are_sorted_and_pairs_are_not() {
    let subject = subject(&[]);
    let (_, ranked) = post(&subject, "/rerank", json!({"query": "q", "documents": ["a", "ccc", "bb", "ddd"]})).await;
    let scores: Vec<f64> =
        ranked["results"].as_array().expect("results").iter().filter_map(|r| r["relevance_score"].as_f64()).collect();
    assert_eq!(scores.len(), 4);
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    let (_, scored) = post(&subject, "/score", json!({"queries": "q", "documents": ["a", "ccc", "bb"]})).await;
    let order: Vec<_> = scored["data"].as_array().expect("data").iter().map(|d| d["index"].clone()).collect();
    assert_eq!(order, [0, 1, 2]);
}

#[actix_web::test]
async fn pairing_rules() {
    let subject = subject(&[]);
    for (queries, documents, said) in [
        (json!(["a", "b"]), json!(["c"]), "Input lengths must be either 1:1, 1:N or N:N"),
        (json!(["a", "b"]), json!(["c", "d", "e"]), "Input lengths must be either 1:1, 1:N or N:N"),
        (json!([]), json!(["c"]), "At least one text element must be given"),
        (json!("a"), json!([]), "At least one text_pair element must be given"),
    ] {
        let (status, answer) = post(&subject, "/score", json!({"queries": queries, "documents": documents})).await;
        assert_eq!((status, &answer["error"]["message"]), (400, &json!(said)));
        assert_eq!(answer["error"]["type"], "BadRequestError");
    }
}

#[actix_web::test]
async fn names_of_models() {
    let subject = subject(&[]);
    let body = |model: &str| json!({"model": model, "query": "q", "documents": ["a"]});
    for model in ["", "tiny", "tiny-alias", "tiny___OpenAI-API", "tiny-alias___VLLM"] {
        let (status, answer) = post(&subject, "/rerank", body(model)).await;
        assert_eq!((status, &answer["model"]), (200, &json!("tiny")), "{model}");
    }
    let (status, answer) = post(&subject, "/rerank", body("other___VLLM")).await;
    assert_eq!((status, &answer["error"]["type"]), (404, &json!("NotFoundError")));
    assert_eq!(send(&subject, Method::GET, "/v1/models/other", &[], b"").await.0, 404);
    let lax = subject_with(|options| options.skip_model_name_validation = true);
    assert_eq!(post(&lax, "/rerank", body("other")).await.0, 200);
    // RAGFlow's Go code sends a body with its GET.
    let (status, models) = send(&subject, Method::GET, "/models", &[JSON], b"{}").await;
    assert_eq!((status, &models["data"][1]["id"]), (200, &json!("tiny-alias")));
}

#[actix_web::test]
async fn a_key_guards_all_but_liveness_version_and_metrics() {
    let subject = subject(&["k1", "k2"]);
    let body = br#"{"query":"q","documents":["a"]}"#;
    for (given, status) in [
        (None, 401),
        (Some("Bearer k1"), 200),
        (Some("bearer  k2 "), 200),
        (Some("k2"), 200),
        (Some("Bearer k"), 401),
        (Some("Bearer k11"), 401),
        (Some("Bearer "), 401),
        (Some("Basic azE="), 401),
    ] {
        let mut headers = vec![JSON];
        headers.extend(given.map(|key| ("authorization", key)));
        assert_eq!(send(&subject, Method::POST, "/rerank", &headers, body).await.0, status, "{given:?}");
    }
    for (path, status) in [
        ("/health", 200),
        ("/ping", 200),
        ("/version", 200),
        ("/metrics", 200),
        ("/", 401),
        ("/v1/models", 401),
        ("/score", 401),
        ("/nope", 401),
    ] {
        assert_eq!(send(&subject, Method::GET, path, &[], b"").await.0, status, "{path}");
    }
}

#[actix_web::test]
async fn bodies_that_are_not_requests_get_sentences() {
    let subject = subject_with(|options| options.max_body_bytes = 1000);
    let too_large = format!(r#"{{"query":"{}","documents":["a"]}}"#, "x".repeat(2000));
    let rows: [(&[u8], u16, &str); 7] = [
        (b"\xFF\xFF", 400, "There was an error parsing the body"),
        (br#"{"query":"\ud800","documents":["a"]}"#, 400, "TextEncodeInput must be Union"),
        (br#"{"query":"a","documents":["\udc00x"]}"#, 400, "TextEncodeInput must be Union"),
        (br#"{"query":"a","documents":[NaN]}"#, 200, ""),
        (b"\xEF\xBB\xBF", 400, "Field required"),
        (b"nonsense", 400, "json_invalid"),
        (too_large.as_bytes(), 413, "limit of 1000 bytes"),
    ];
    for (body, expected, said) in rows {
        let (status, answer) = send(&subject, Method::POST, "/rerank", &[JSON], body).await;
        assert_eq!(status, expected, "{}: {answer}", String::from_utf8_lossy(body));
        assert!(status == 200 || answer["detail"].as_str().is_some_and(|detail| detail.contains(said)), "{answer}");
    }
    for content_type in ["text/plain", "", "application/jsonx", "application/x-www-form-urlencoded"] {
        let headers = [("content-type", content_type)];
        let (status, answer) = send(&subject, Method::POST, "/score", &headers, b"{}").await;
        assert_eq!(status, 400);
        assert!(
            answer["message"].as_str().is_some_and(|m| m.contains("Only 'application/json' is allowed")),
            "{answer}"
        );
    }
    let deep = "[".repeat(900);
    assert_eq!(send(&subject, Method::POST, "/rerank", &[JSON], deep.as_bytes()).await.0, 400);
}

#[actix_web::test]
async fn compressed_bodies_are_read_and_their_limit_is_that_of_the_text() {
    let subject = subject_with(|options| options.max_body_bytes = 1000);
    let gzip = |text: &str| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish()).expect("compresses")
    };
    let headers = [JSON, ("content-encoding", "gzip")];
    let small = gzip(r#"{"query":"q","documents":["a"]}"#);
    assert_eq!(send(&subject, Method::POST, "/rerank", &headers, &small).await.0, 200);
    let bomb = gzip(&format!(r#"{{"query":"{}","documents":["a"]}}"#, "x".repeat(100_000)));
    assert!(bomb.len() < 1000);
    assert_eq!(send(&subject, Method::POST, "/rerank", &headers, &bomb).await.0, 413);
    assert_eq!(send(&subject, Method::POST, "/rerank", &headers, b"not gzip").await.0, 400);
}

#[actix_web::test]
async fn the_header_names_the_request_before_the_body_does() {
    let subject = subject(&[]);
    let body = br#"{"query":"q","documents":["a"],"request_id":"abc"}"#;
    let (_, answer) = send(&subject, Method::POST, "/rerank", &[JSON], body).await;
    assert_eq!(answer["id"], "score-abc");
    let (_, answer) = send(&subject, Method::POST, "/rerank", &[JSON, ("x-request-id", "h")], body).await;
    assert_eq!(answer["id"], "score-h");
}

#[actix_web::test]
async fn an_answer_is_vllms_bytes() {
    let subject = subject(&[]);
    let service = service_test::init_service(app(subject.clone())).await;
    let body = r#"{"query":"q","documents":["ä\n"],"request_id":"r","use_activation":true}"#;
    let request = service_test::TestRequest::post().uri("/rerank").insert_header(JSON).set_payload(body).to_request();
    let answer = String::from_utf8(service_test::call_and_read_body(&service, request).await.to_vec()).expect("UTF-8");
    let (head, score) = answer.split_once(r#""relevance_score":"#).expect("a score");
    let value: Value = serde_json::from_str(&answer).expect("JSON");
    let tokens = &value["usage"]["prompt_tokens"];
    let expected = format!(
        r#"{{"id":"score-r","model":"tiny","usage":{{"prompt_tokens":{tokens},"total_tokens":{tokens}}},"results":[{{"index":0,"document":{{"text":"ä\n","multi_modal":null}},"#
    );
    assert_eq!(head, expected);
    let score: f64 = score.trim_end_matches("}]}").parse().expect("a number");
    assert_eq!(score, f64::from(score as f32), "a score is a float32 widened to float64");
}

#[actix_web::test]
async fn metrics_count_pairs_under_vllms_names() {
    let subject = subject_alone();
    post(&subject, "/v1/rerank", json!({"query": "q", "documents": ["a", "b", "c"]})).await;
    post(&subject, "/rerank", json!({"documents": []})).await;
    let (_, text) = send(&subject, Method::GET, "/metrics", &[], b"").await;
    let text = text.as_str().expect("text");
    for line in [
        r#"vllm:request_success_total{engine="0",finished_reason="stop",model_name="tiny"} 3"#,
        r#"vllm:request_success_total{engine="0",finished_reason="abort",model_name="tiny"} 0"#,
        r#"vllm:e2e_request_latency_seconds_count{engine="0",model_name="tiny"} 3"#,
        r#"vllm:request_prompt_tokens_count{engine="0",model_name="tiny"} 3"#,
        r#"vllm:num_requests_running{engine="0",model_name="tiny"} 0"#,
        r#"http_requests_total{handler="/v1/rerank",method="POST",status="2xx"} 1"#,
        r#"http_requests_total{handler="/rerank",method="POST",status="4xx"} 1"#,
    ] {
        assert!(text.lines().any(|found| found == line), "no line {line} in\n{text}");
    }
    assert!(
        text.contains(r#"le="500.0""#) && !text.contains(r#"le="1000.0",model_name"#),
        "buckets end at the model length"
    );
}

/// Any JSON, with the API's own field names among the keys.
pub fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        prop::sample::select(vec!["tiny", "left", "-1", "2", "max_length", "query", "bytes", "classify"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        let names = vec![
            "query",
            "documents",
            "queries",
            "items",
            "text_1",
            "text_2",
            "data_1",
            "data_2",
            "top_n",
            "model",
            "user",
            "truncate_prompt_tokens",
            "truncation_side",
            "padding",
            "request_id",
            "priority",
            "cache_salt",
            "text",
            "content",
            "use_activation",
            "max_tokens_per_doc",
            "max_tokens_per_query",
            "instruction",
            "chat_template_kwargs",
            "mm_processor_kwargs",
            "tokenize",
            "input",
            "messages",
            "role",
            "prompt",
            "tokens",
            "task",
            "encoding_format",
            "embed_dtype",
            "dimensions",
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((prop::sample::select(names), inner), 0..8)
                .prop_map(|pairs| Value::Object(pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

#[test]
fn no_json_at_all_makes_a_server_error() {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(300));
    let system = actix_web::rt::System::new();
    let result = runner.run(&any_json(), |body| {
        for path in ["/rerank", "/score", "/"] {
            let (status, answer) = system.block_on(async { post(&subject(&[]), path, body.clone()).await });
            prop_assert!(status == 200 || (400..500).contains(&status), "{path} {body}: {status} {answer}");
            prop_assert!(status == 200 || answer["error"]["message"].is_string());
        }
        Ok(())
    });
    assert!(result.is_ok(), "{result:?}");
}
