//! What the operator's settings do to answers: a proxy's prefix, the pooler, a full queue.

use super::{subject, subject_that_is_full, subject_with};
use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::test as service_test;
use actix_web::test::TestRequest;
use actix_web::web::Data;
use ironrank::options::Pooling;
use ironrank::server::{State, app};
use serde_json::{Value, json};

async fn status(subject: &Data<State>, request: TestRequest) -> StatusCode {
    let service = service_test::init_service(app(subject.clone())).await;
    service_test::call_service(&service, request.to_request()).await.status()
}

/// Scores one pair with these further fields.
async fn score(subject: &Data<State>, fields: Value) -> f64 {
    let service = service_test::init_service(app(subject.clone())).await;
    let mut body = json!({"text_1": "a query", "text_2": "a document"});
    if let (Value::Object(body), Value::Object(fields)) = (&mut body, fields) {
        body.extend(fields);
    }
    let request = TestRequest::post().uri("/score").set_json(body).to_request();
    let answer: Value = service_test::call_and_read_body_json(&service, request).await;
    answer["data"][0]["score"].as_f64().unwrap_or_else(|| panic!("no score in {answer}"))
}

#[actix_web::test]
async fn a_proxys_prefix_is_stripped_and_not_required() {
    let subject = subject_with(|settings| {
        settings.root_path = "/reranker".to_owned();
        settings.api_keys = vec!["k".to_owned()];
    });
    let get = |path| status(&subject, TestRequest::get().uri(path));
    assert_eq!(get("/reranker/health").await, StatusCode::OK);
    assert_eq!(get("/health").await, StatusCode::OK);
    assert_eq!(get("/reranker").await, StatusCode::UNAUTHORIZED, "the prefix opens nothing");
    assert_eq!(get("/reranker/v1/models").await, StatusCode::UNAUTHORIZED);
    assert_eq!(get("/rerankerhealth").await, StatusCode::UNAUTHORIZED, "half a segment is no prefix");
    let models = TestRequest::get().uri("/reranker/v1/models").insert_header(("authorization", "Bearer k"));
    assert_eq!(status(&subject, models).await, StatusCode::OK);
}

#[actix_web::test]
async fn the_pooler_says_what_becomes_of_a_logit_when_the_request_does_not() {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let near = |got: f64, expected: f64| assert!((got - expected).abs() < 1e-6, "{got}, expected {expected}");
    let usual = subject(&[]);
    let logit = score(&usual, json!({"use_activation": false})).await;
    near(score(&usual, json!({})).await, sigmoid(logit));
    let raw = subject_with(|settings| settings.pooling.use_activation = false);
    assert_eq!(score(&raw, json!({})).await, logit);
    assert_eq!(score(&raw, json!({"use_activation": null})).await, logit);
    near(score(&raw, json!({"use_activation": true})).await, sigmoid(logit));
    let scaled = subject_with(|settings| {
        settings.pooling = Pooling { use_activation: true, logit_mean: 0.5, logit_sigma: 2.0 };
    });
    near(score(&scaled, json!({})).await, sigmoid((logit - 0.5) / 2.0));
    near(score(&scaled, json!({"use_activation": false})).await, (logit - 0.5) / 2.0);
}

#[actix_web::test]
async fn a_full_queue_is_a_503_that_says_when_to_come_back() {
    let service = service_test::init_service(app(subject_that_is_full())).await;
    let request = TestRequest::post().uri("/v1/rerank").set_json(json!({"query": "q", "documents": ["a", "b"]}));
    let response = service_test::call_service(&service, request.to_request()).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers().get(RETRY_AFTER).expect("a Retry-After"), "1");
    let body: Value = service_test::read_body_json(response).await;
    assert_eq!(body["error"]["type"], "Service Unavailable");
    let message = body["error"]["message"].as_str().expect("a message");
    assert!(message.contains("currently busy and cannot accept new requests"), "{message}");
}
