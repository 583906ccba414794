//! The description of the API says what the server does, and the page that shows it needs nothing but the server.

use super::contract::{JSON, post, send};
use super::{embedder, subject, subject_serving, subject_that_is_full, subject_with};
use actix_web::http::Method;
use actix_web::test as service_test;
use actix_web::web::Data;
use ironrank::checkpoint::Dimensions;
use ironrank::options::Overflow;
use ironrank::server::{State, app};
use serde_json::{Value, json};
use std::collections::BTreeSet;

async fn document() -> Value {
    document_of(&subject(&[])).await
}

async fn document_of(subject: &Data<State>) -> Value {
    let (status, document) = send(subject, Method::GET, "/openapi.json", &[], b"").await;
    assert_eq!(status, 200);
    document
}

/// All values of the key `name`, however deep.
fn all<'a>(value: &'a Value, name: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            found.extend((key == name).then_some(value));
            all(value, name, found);
        }),
        Value::Array(items) => items.iter().for_each(|item| all(item, name, found)),
        _ => {}
    }
}

/// Complains where `value` lacks what `schema` requires, or has what it does not know.
fn check(document: &Value, schema: &Value, value: &Value, at: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        let found = document.pointer(name.trim_start_matches('#')).unwrap_or_else(|| panic!("{name} is not there"));
        return check(document, found, value, at);
    }
    if let (Some(properties), Some(map)) = (schema["properties"].as_object(), value.as_object()) {
        for key in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            assert!(map.contains_key(key), "{at} lacks {key}: {value}");
        }
        for (key, value) in map {
            let schema = properties.get(key).unwrap_or_else(|| panic!("{at} has an unknown {key}: {value}"));
            check(document, schema, value, &format!("{at}.{key}"));
        }
    }
    for (i, item) in value.as_array().into_iter().flatten().enumerate() {
        check(document, &schema["items"], item, &format!("{at}.{i}"));
    }
}

#[actix_web::test]
async fn every_described_route_answers_as_it_is_described() {
    assert_eq!(described_routes(&subject(&[])).await, 24, "routes and methods of a reranker");
    assert_eq!(described_routes(&embedder(Dimensions::Any(64))).await, 34, "of an embedding model");
}

/// How many there are; each answers as it is described.
async fn described_routes(subject: &Data<State>) -> usize {
    let document = document_of(subject).await;
    let paths = document["paths"].as_object().expect("paths");
    let mut count = 0;
    for (path, item) in paths {
        for (method, operation) in item.as_object().expect("methods") {
            count += 1;
            let example = &operation["requestBody"]["content"]["application/json"]["example"];
            let body = if example.is_null() { String::new() } else { example.to_string() };
            let verb: Method = method.to_uppercase().parse().expect("a method");
            let path = path.replace("{id}", "tiny");
            let (status, answer) = send(subject, verb, &path, &[JSON], body.as_bytes()).await;
            assert_eq!(status, 200, "{method} {path}: {answer}");
            let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
            check(&document, schema, &answer, &path);
            let (status, answer) = send(subject, Method::DELETE, &path, &[], b"").await;
            assert_eq!(status, 405);
            check(&document, &json!({"$ref": "#/components/schemas/ErrorBody"}), &answer, &path);
            assert!(operation["responses"]["405"].is_object());
        }
    }
    assert_eq!(paths["/ping"].as_object().map(serde_json::Map::len), Some(2), "GET and POST");
    count
}

#[actix_web::test]
async fn every_status_that_a_body_may_be_refused_with_is_described() {
    assert_eq!(reading_routes(&document().await), 11, "of a reranker");
    assert_eq!(reading_routes(&document_of(&embedder(Dimensions::Any(64))).await), 19, "of an embedding model");
}

/// How many read a body; each is described with every status.
fn reading_routes(document: &Value) -> usize {
    let mut count = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        let operation = &item["post"];
        if operation["requestBody"].is_object() {
            count += 1;
            let statuses: Vec<&String> = operation["responses"].as_object().expect("responses").keys().collect();
            let mut expected = vec!["200", "400", "404", "405", "408", "413", "500", "501", "503"];
            // TEI's bodies.
            if ["/", "/invocations", "/embed", "/v1/embed", "/v2/embed", "/similarity"].contains(&path.as_str()) {
                expected.insert(6, "422");
            }
            assert_eq!(statuses, expected, "{path}");
        }
    }
    count
}

#[actix_web::test]
async fn rerank_comes_first_and_says_what_it_takes() {
    let document = document().await;
    let paths: Vec<&String> = document["paths"].as_object().expect("paths").keys().collect();
    assert_eq!(paths[..5], ["/v1/rerank", "/rerank", "/v2/rerank", "/v1/score", "/score"]);
    let fields = &document["components"]["schemas"]["RerankRequest"]["allOf"][1]["properties"];
    for (field, says) in [("query", "What is asked"), ("documents", "What is ranked")] {
        assert!(fields[field]["description"].as_str().is_some_and(|said| said.starts_with(says)), "{field}: {fields}");
    }
}

#[actix_web::test]
async fn every_operation_has_a_name_of_its_own_and_every_body_an_example() {
    for document in [document().await, document_of(&embedder(Dimensions::Any(64))).await] {
        let mut names = BTreeSet::new();
        for (path, item) in document["paths"].as_object().expect("paths") {
            for operation in item.as_object().expect("methods").values() {
                let name = operation["operationId"].as_str().unwrap_or_else(|| panic!("{path} has no name"));
                assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'), "{name}");
                assert!(names.insert(name.to_owned()), "{name} is the name of two");
                let body = &operation["requestBody"]["content"]["application/json"];
                assert!(body.is_null() || body["example"].is_object(), "{path} has no example");
            }
        }
        for name in ["v1_rerank", "v1_score", "ping", "ping_post", "root", "root_post", "v1_models_id"] {
            assert!(names.contains(name), "{name} of {names:?}");
        }
        let schemas = document["components"]["schemas"].as_object().expect("schemas");
        let examples = schemas.iter().flat_map(|(name, schema)| {
            schema["examples"].as_array().into_iter().flatten().map(move |example| (name, schema, example))
        });
        let names: Vec<&String> = examples
            .map(|(name, schema, example)| {
                check(&document, schema, example, name);
                name
            })
            .collect();
        assert!(names.len() >= 4, "{names:?}");
    }
}

/// Headers of the connection and of pages of other origins, which are no route's own.
const OF_ALL: [&str; 3] = ["content-type", "content-length", "vary"];

#[actix_web::test]
async fn every_header_of_an_answer_is_described() {
    let naming = subject_with(|options| {
        options.request_id_headers = true;
        options.overflow = Overflow::Truncate;
    });
    let full = subject_that_is_full();
    let long = json!({"query": "q", "documents": ["word ".repeat(20_000)]}).to_string();
    let pooled = json!({"input": "a", "encoding_format": "bytes"}).to_string();
    let plain = json!({"query": "q", "documents": ["a"]}).to_string();
    let mut seen = BTreeSet::new();
    for (subject, method, path, body) in [
        (&naming, Method::POST, "/v1/rerank", &long),
        (&naming, Method::POST, "/v1/rerank", &pooled),
        (&naming, Method::POST, "/pooling", &pooled),
        (&naming, Method::DELETE, "/v1/rerank", &plain),
        (&naming, Method::OPTIONS, "/", &plain),
        (&naming, Method::GET, "/v1/models", &plain),
        (&full, Method::POST, "/v1/rerank", &plain),
    ] {
        let document = document_of(subject).await;
        let service = service_test::init_service(app(subject.clone())).await;
        let request = service_test::TestRequest::default().method(method.clone()).uri(path).insert_header(JSON);
        let response = service_test::call_service(&service, request.set_payload(body.clone()).to_request()).await;
        let item = &document["paths"][path];
        let described = match item[method.as_str().to_lowercase()].is_object() {
            true => &item[method.as_str().to_lowercase()],
            false => &item["post"],
        };
        let headers = &described["responses"][response.status().as_str()]["headers"];
        for name in response.headers().keys().map(|name| name.as_str()).filter(|name| !OF_ALL.contains(name)) {
            assert!(headers[name]["description"].is_string(), "{method} {path} {}: {name}", response.status());
            seen.insert(name.to_owned());
        }
    }
    let all = ["allow", "metadata", "retry-after", "x-ironrank-truncated", "x-request-id"];
    assert_eq!(seen.iter().map(String::as_str).collect::<Vec<_>>(), all);
}

#[actix_web::test]
async fn every_reference_leads_somewhere() {
    let document = document().await;
    let mut references = Vec::new();
    all(&document, "$ref", &mut references);
    assert!(references.len() > 50);
    for reference in references.into_iter().filter_map(Value::as_str) {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
}

#[actix_web::test]
async fn every_described_field_is_read() {
    let subject = subject(&[]);
    let document = document().await;
    let schemas = &document["components"]["schemas"];
    let names = |value: &Value| {
        let mut objects = Vec::new();
        all(value, "properties", &mut objects);
        objects.iter().flat_map(|o| o.as_object().expect("an object").keys().cloned()).collect::<Vec<_>>()
    };
    let common = names(&schemas["CommonFields"]);
    assert_eq!(common.len(), 17);
    for (path, request) in [
        ("/rerank", "RerankRequest"),
        ("/v1/rerank", "TextsRerankRequest"),
        ("/score", "ScoreRequest"),
        ("/classify", "InputRequest"),
        ("/pooling", "PoolingRequest"),
        ("/tokenize", "TokenizeRequest"),
        ("/detokenize", "DetokenizeRequest"),
    ] {
        let texts = json!({"query": "q", "texts": ["t"]});
        let example = match request {
            "TextsRerankRequest" => &texts,
            _ => &document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"],
        };
        let own = names(&schemas[request]);
        let shared = if request.ends_with("kenizeRequest") { [].iter() } else { common.iter() };
        for name in own.iter().chain(shared) {
            // These are not vLLM's: there they are unknown fields, which may hold anything.
            let words =
                ["raw_scores", "return_documents", "return_text", "rank_fields", "instruct", "top_k", "truncation"];
            if words.contains(&name.as_str()) {
                continue;
            }
            let mut body = if [
                "messages",
                "text_1",
                "text_2",
                "data_1",
                "data_2",
                "items",
                "add_generation_prompt",
                "continue_final_message",
            ]
            .contains(&name.as_str())
            {
                json!({"messages": []})
            } else {
                example.clone()
            };
            body[name] = json!([[true]]);
            let (status, answer) = post(&subject, path, body).await;
            let said = answer["message"].as_str().unwrap_or_default();
            assert!(status == 400 && said.contains(&format!("body.{name}")), "{path} {name}: {answer}");
        }
    }
}

#[actix_web::test]
async fn every_described_field_of_an_embedding_model_is_read() {
    let subject = embedder(Dimensions::Any(64));
    let document = document_of(&subject).await;
    for (path, request, example, fields) in [
        ("/v1/embeddings", "EmbeddingRequest", json!({"input": "a"}), 9),
        ("/embed", "EmbedRequest", json!({"inputs": "a"}), 6),
        ("/v2/embed", "CohereEmbedRequest", json!({"texts": ["a"]}), 7),
        ("/api/embed", "OllamaEmbedRequest", json!({"input": "a"}), 4),
        ("/api/embeddings", "OllamaEmbeddingRequest", json!({"prompt": "a"}), 2),
    ] {
        let mut objects = Vec::new();
        all(&document["components"]["schemas"][request], "properties", &mut objects);
        let names: Vec<&String> = objects.iter().flat_map(|object| object.as_object().expect("one").keys()).collect();
        assert!(names.len() >= fields, "{request}: {names:?}");
        for name in names {
            // The first two are not vLLM's: there they may hold anything. Ollama has a sentence of its own.
            let elsewhere = ["normalized", "add_generation_prompt", "continue_final_message", "messages"];
            if elsewhere.contains(&name.as_str())
                || (path, name.as_str()) == ("/v1/embeddings", "input_type")
                || (path, name.as_str()) == ("/api/embed", "input")
            {
                continue;
            }
            let mut body = example.clone();
            body[name] = json!([[true]]);
            let (status, answer) = post(&subject, path, body).await;
            let said = answer["message"].as_str().unwrap_or_default();
            let refused = if path == "/embed" { 422 } else { 400 };
            assert!(status == refused && said.contains(&format!("body.{name}")), "{path} {name}: {answer}");
        }
    }
}

#[actix_web::test]
async fn the_tokenizers_configuration_is_told_where_the_operator_says_so() {
    let told = json!({"tokenizer_class": "Qwen2Tokenizer", "model_max_length": 131_072});
    let telling = subject_serving(|options, served| {
        (options.tokenizer_info, served.tokenizer_info) = (true, told.as_object().cloned());
    });
    assert_eq!(send(&telling, Method::GET, "/tokenizer_info", &[], b"").await, (200, told));
    assert_eq!(send(&telling, Method::POST, "/tokenizer_info", &[JSON], b"{}").await.0, 405);
    let (status, answer) = send(&subject(&[]), Method::GET, "/tokenizer_info", &[], b"").await;
    let sentence = "There is no GET /tokenizer_info here: --enable-tokenizer-info-endpoint adds it.";
    assert_eq!((status, answer["message"].as_str()), (404, Some(sentence)));
    let (_, document) = send(&telling, Method::GET, "/openapi.json", &[], b"").await;
    assert!(document["paths"]["/tokenizer_info"]["get"].is_object());
}

#[actix_web::test]
async fn the_page_needs_nobody_else() {
    let service = service_test::init_service(app(subject(&[]))).await;
    for path in ["/docs", "/docs/", "/redoc"] {
        let request = service_test::TestRequest::get().uri(path).to_request();
        let response = service_test::call_service(&service, request).await;
        assert_eq!(response.headers().get("content-type").expect("a type"), "text/html; charset=utf-8");
        let policy = response.headers().get("content-security-policy").expect("a policy").to_str().expect("ASCII");
        assert!(policy.starts_with("default-src 'none'") && policy.contains("connect-src 'self'"), "{policy}");
        let page = String::from_utf8(service_test::read_body(response).await.to_vec()).expect("UTF-8");
        assert!(!page.contains("://") && !page.contains("src=") && !page.contains("<link"), "{path} refers elsewhere");
    }
    assert_eq!(send(&subject(&[]), Method::HEAD, "/docs", &[], b"").await.0, 200);
    assert_eq!(send(&subject(&[]), Method::POST, "/docs", &[], b"").await.0, 405);
}

#[actix_web::test]
async fn the_description_can_be_switched_off_and_says_which_routes_need_the_key() {
    let off = subject_with(|options| options.docs = false);
    let guarded = subject(&["k"]);
    for path in ["/docs", "/redoc", "/openapi.json"] {
        assert_eq!(send(&off, Method::GET, path, &[], b"").await.0, 404, "{path}");
        assert_eq!(send(&guarded, Method::GET, path, &[], b"").await.0, 200, "{path}");
    }
    let (_, document) = send(&guarded, Method::GET, "/openapi.json", &[], b"").await;
    assert_eq!(document["components"]["securitySchemes"]["ApiKey"]["scheme"], "bearer");
    let has = |path: &str, method: &str| document["paths"][path][method]["responses"]["401"].is_object();
    assert!(has("/rerank", "post") && has("/v1/models", "get") && !has("/health", "get"));
}
