//! What the operator's settings do to answers: a proxy's prefix, the pooler, a full queue, pairs that are too long, a
//! template.

use super::{
    subject, subject_activated, subject_serving, subject_that_is_full, subject_with, subject_with_encoder,
    subject_with_template,
};
use crate::support;
use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::test as service_test;
use actix_web::test::TestRequest;
use actix_web::web::Data;
use ironrank::checkpoint::Activation;
use ironrank::options::{Overflow, Pooling};
use ironrank::precision::{Dtype, Precision};
use ironrank::prompt::{PromptEncoder, Template};
use ironrank::server::{State, app};
use ironrank_kernels::Isa;
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
    let subject = subject_with(|options| {
        options.root_path = "/reranker".to_owned();
        options.api_keys.keys = vec!["k".to_owned()];
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
    let raw = subject_with(|options| options.pooling.use_activation = false);
    assert_eq!(score(&raw, json!({})).await, logit);
    assert_eq!(score(&raw, json!({"use_activation": null})).await, logit);
    near(score(&raw, json!({"use_activation": true})).await, sigmoid(logit));
    let scaled = subject_with(|options| {
        options.pooling = Pooling { logit_mean: 0.5, logit_sigma: 2.0, ..Pooling::DEFAULT };
    });
    near(score(&scaled, json!({})).await, sigmoid((logit - 0.5) / 2.0));
    near(score(&scaled, json!({"use_activation": false})).await, (logit - 0.5) / 2.0);
    let steep = subject_with(|options| options.pooling.logit_sigma = 1e-40);
    near(score(&steep, json!({})).await, if logit > 0.0 { 1.0 } else { 0.0 });
    assert!(score(&steep, json!({"use_activation": false})).await.abs() > 3.4e38, "a number, and no null");
}

#[actix_web::test]
async fn the_models_own_activation_makes_the_score_and_a_request_may_leave_it_out() {
    let logit = score(&subject(&[]), json!({"use_activation": false})).await;
    for (activation, expected) in [(Activation::Identity, logit), (Activation::Tanh, logit.tanh())] {
        let subject = subject_activated(activation);
        for (fields, expected) in [
            (json!({}), expected),
            (json!({"use_activation": true}), expected),
            (json!({"use_activation": false}), logit),
        ] {
            let got = score(&subject, fields.clone()).await;
            assert!((got - expected).abs() < 1e-6, "{activation} {fields}: {got}, expected {expected}");
        }
    }
}

#[actix_web::test]
async fn the_order_is_that_of_the_logits_where_all_scores_round_to_one_number() {
    let documents: Vec<String> = (0..9).map(|i| format!("document {i} of some about mountains")).collect();
    let ranked = async |subject: &Data<State>, fields: Value| {
        let mut bodies = Vec::new();
        for (path, list) in [("/rerank", "documents"), ("/rerank", "texts"), ("/v2/rerank", "documents")] {
            let mut body = json!({"query": "mountains", list: documents});
            body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            let (status, _, answer) = send(subject, path, body).await;
            assert_eq!(status, StatusCode::OK, "{answer}");
            let results = answer["results"].as_array().or(answer.as_array()).unwrap().clone();
            bodies.push(results.iter().map(|result| result["index"].as_u64().unwrap()).collect::<Vec<_>>());
        }
        bodies
    };
    let right = ranked(&subject(&[]), json!({"use_activation": false})).await;
    for mean in [-1000.0, 1000.0] {
        let flat = subject_with(|options| options.pooling.logit_mean = mean);
        assert_eq!(ranked(&flat, json!({})).await, right, "all scores are one number");
        let best = ranked(&flat, json!({"top_n": 1})).await;
        assert_eq!((best[0][0], best[0].len()), (right[0][0], 1));
    }
}

#[actix_web::test]
async fn made_up_weights_are_told_of_wherever_the_model_is_described() {
    let dummy = subject_serving(|_, served| served.dummy = true);
    let read = async |subject: &Data<State>, path: &str| -> Value {
        let service = service_test::init_service(app(subject.clone())).await;
        service_test::call_and_read_body_json(&service, TestRequest::get().uri(path).to_request()).await
    };
    assert_eq!(read(&dummy, "/v1/models").await["data"][0]["load_format"], "dummy");
    assert_eq!(read(&dummy, "/v1/models/tiny").await["load_format"], "dummy");
    assert_eq!(read(&dummy, "/info").await["load_format"], "dummy");
    assert_eq!(read(&subject(&[]), "/info").await.get("load_format"), None);
    assert_eq!(read(&subject(&[]), "/v1/models").await["data"][0].get("load_format"), None);
}

#[actix_web::test]
async fn the_precision_is_told_beside_the_type_that_was_asked_for() {
    let asked = subject_serving(|_, served| (served.dtype, served.precision) = (Dtype::Bfloat16, Precision::Int16));
    for (subject, dtype, precision) in [(subject(&[]), "float32", "exact"), (asked, "bfloat16", "int16")] {
        let service = service_test::init_service(app(subject.clone())).await;
        let info = TestRequest::get().uri("/info").to_request();
        let info: Value = service_test::call_and_read_body_json(&service, info).await;
        assert_eq!((&info["model_dtype"], &info["precision"]), (&dtype.into(), &precision.into()));
        let metrics = TestRequest::get().uri("/metrics").to_request();
        let metrics = service_test::call_and_read_body(&service, metrics).await;
        let metrics = String::from_utf8_lossy(&metrics);
        let isa = Isa::best().name();
        let info = format!(
            "ironrank_model_info{{isa=\"{isa}\",model_name=\"tiny\",precision=\"{precision}\",threads=\"1\"}} 1\n"
        );
        assert!(metrics.contains(&info), "{metrics}");
        assert!(metrics.contains("cache_dtype=\"float32\""), "keys and values stay as they are");
    }
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

/// Status, `x-ironrank-truncated` and body of an answer.
async fn send(subject: &Data<State>, path: &str, body: Value) -> (StatusCode, Option<String>, Value) {
    let service = service_test::init_service(app(subject.clone())).await;
    let request = TestRequest::post().uri(path).set_json(body).to_request();
    let response = service_test::call_service(&service, request).await;
    let shortened = response.headers().get("x-ironrank-truncated");
    let shortened = shortened.map(|value| value.to_str().expect("a number").to_owned());
    (response.status(), shortened, service_test::read_body_json(response).await)
}

async fn truncations(subject: &Data<State>) -> u64 {
    let service = service_test::init_service(app(subject.clone())).await;
    let request = TestRequest::get().uri("/metrics").to_request();
    let text = service_test::call_and_read_body(&service, request).await;
    let text = String::from_utf8_lossy(&text).into_owned();
    let line =
        text.lines().find_map(|line| line.strip_prefix("ironrank_truncated_prompts_total{model_name=\"tiny\"} "));
    line.expect("the metric").parse().expect("a number")
}

#[actix_web::test]
async fn a_pair_that_is_too_long_is_shortened_counted_and_told_of_where_the_operator_says_so() {
    let long = "hello ".repeat(600);
    let body = json!({"query": "q", "documents": [long, "short", long]});
    let strict = subject(&[]);
    let (status, shortened, answer) = send(&strict, "/v1/rerank", body.clone()).await;
    assert_eq!((status, shortened), (StatusCode::BAD_REQUEST, None));
    let message = answer["error"]["message"].as_str().expect("a message");
    assert!(message.contains("maximum context length is 512 tokens"), "{message}");
    assert_eq!(truncations(&strict).await, 0);

    for subject in [
        subject_with(|options| options.overflow = Overflow::Truncate),
        subject_with_template("{{ messages[0].content }}: {{ messages[1].content }}<|im_end|>", |options| {
            options.overflow = Overflow::Truncate;
        }),
    ] {
        let (status, shortened, answer) = send(&subject, "/v1/rerank", body.clone()).await;
        assert_eq!((status, shortened.as_deref()), (StatusCode::OK, Some("2")), "{answer}");
        let tokens = answer["usage"]["prompt_tokens"].as_u64().expect("a count");
        assert!((1000..=512 * 3).contains(&tokens), "{tokens} tokens");
        let texts = answer["results"].as_array().expect("results").iter().map(|r| r["document"]["text"].as_str());
        assert_eq!(texts.filter(|text| *text == Some(&long)).count(), 2, "documents come back whole");
        let (status, shortened, _) = send(&subject, "/score", json!({"text_1": long, "text_2": "d"})).await;
        assert_eq!((status, shortened.as_deref()), (StatusCode::OK, Some("1")));
        let (_, shortened, _) = send(&subject, "/score", json!({"text_1": "q", "text_2": "d"})).await;
        assert_eq!(shortened, None);
        assert_eq!(truncations(&subject).await, 3);
    }
}

#[actix_web::test]
async fn a_template_that_fails_on_a_request_is_its_400() {
    let subject = subject_with_template("{{ raise_exception('no ' ~ tone) if tone else 'text' }}", |_| {});
    let body = |kwargs: Value| json!({"text_1": "q", "text_2": "d", "chat_template_kwargs": kwargs});
    let (status, _, answer) = send(&subject, "/score", body(json!({"tone": "shouting"}))).await;
    assert_eq!((status, &answer["error"]["type"]), (StatusCode::BAD_REQUEST, &json!("BadRequestError")));
    assert!(answer["error"]["message"].as_str().is_some_and(|m| m.contains("no shouting")), "{answer}");
    assert_eq!(send(&subject, "/score", body(json!({}))).await.0, StatusCode::OK);
}

#[actix_web::test]
async fn pairs_that_bring_the_model_cards_prompt_score_as_its_goldens() {
    let template = include_str!("../../fixtures/qwen3_reranker.jinja");
    for subject in [subject(&[]), subject_with_template(template, |_| {})] {
        for golden in support::goldens("tiny") {
            let instruction = golden
                .instruction
                .as_deref()
                .unwrap_or("Given a web search query, retrieve relevant passages that answer the query");
            let system = "Judge whether the Document meets the requirements based on the Query and the Instruct \
                          provided. Note that the answer can only be \"yes\" or \"no\".";
            let query = format!(
                "<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n<Instruct>: {instruction}\n<Query>: {}\n",
                golden.query
            );
            let end = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n";
            let body = json!({"text_1": query, "text_2": format!("<Document>: {}{end}", golden.document)});
            if golden.token_ids.len() > super::MAX_MODEL_LEN {
                assert_eq!(send(&subject, "/score", body).await.0, StatusCode::BAD_REQUEST);
                continue;
            }
            let (_, _, answer) = send(&subject, "/score", body).await;
            let score = answer["data"][0]["score"].as_f64().unwrap_or_else(|| panic!("no score in {answer}"));
            assert!(
                (score - golden.score).abs() < support::may_err(1e-6),
                "{score}, not {}: {}",
                golden.score,
                golden.query
            );
            assert_eq!(answer["usage"]["prompt_tokens"], golden.token_ids.len());
        }
    }
}

#[actix_web::test]
async fn the_operators_instruction_is_that_of_requests_which_bring_none_on_every_route() {
    type Encoders = (fn(PromptEncoder) -> PromptEncoder, fn(PromptEncoder) -> PromptEncoder);
    fn templated(encoder: PromptEncoder) -> PromptEncoder {
        let template = Template::parse(super::replay::TEMPLATE).expect("a template");
        encoder.with_template(template).expect("it takes one")
    }
    let with: fn(PromptEncoder) -> PromptEncoder = |encoder| encoder.with_instruction("Find laws".to_owned());
    let rows: [Encoders; 2] =
        [(|encoder| encoder, with), (templated, |encoder| templated(encoder).with_instruction("Find laws".to_owned()))];
    for (plain, instructed) in rows {
        let (plain, subject) = (&subject_with_encoder(plain, |_| {}), &subject_with_encoder(instructed, |_| {}));
        let expected = score(plain, json!({"instruction": "Find laws"})).await;
        let other = score(plain, json!({"instruction": "Find songs"})).await;
        let usual = score(plain, json!({})).await;
        assert!(expected != other && expected != usual);
        for none in [
            json!({}),
            json!({"instruction": null}),
            json!({"instruction": ""}),
            json!({"chat_template_kwargs": {"instruction": ""}}),
            json!({"chat_template_kwargs": {"other": "x"}}),
        ] {
            assert_eq!(score(subject, none.clone()).await, expected, "{none}");
        }
        for own in [
            json!({"instruction": "Find songs"}),
            json!({"chat_template_kwargs": {"instruction": "Find songs"}}),
            json!({"chat_template_kwargs": {"instruct": "Find songs"}}),
        ] {
            assert_eq!(score(subject, own.clone()).await, other, "{own}");
        }
        let messages = |system: &str| {
            let mut messages =
                json!([{"role": "query", "content": "a query"}, {"role": "document", "content": "a document"}]);
            if !system.is_empty() {
                messages.as_array_mut().expect("a list").push(json!({"role": "system", "content": system}));
            }
            json!({"messages": messages})
        };
        let (_, _, said) = send(subject, "/classify", messages("")).await;
        assert_eq!(said["data"][0]["probs"][0], expected);
        let (_, _, said) = send(subject, "/classify", messages("Find songs")).await;
        assert_eq!(said["data"][0]["probs"][0], other, "a system message is the request's own");
        let (_, _, tokens) = send(subject, "/tokenize", messages("")).await;
        let mut asked = messages("");
        asked["instruction"] = "Find laws".into();
        let (_, _, same) = send(plain, "/tokenize", asked).await;
        assert_eq!(tokens["tokens"], same["tokens"]);
        let ranked = json!({"query": "a query", "documents": ["a document"]});
        let (_, _, said) = send(subject, "/v1/rerank", ranked).await;
        assert_eq!(said["results"][0]["relevance_score"], expected);
    }
}
