//! The requests of applications that rank with this server, body for body, on every path that their users' base URLs
//! lead to; and what each of them reads from the answer.
//!
//! `fixtures/client-requests.json` holds them: RAGFlow 0.10 to 0.27, Dify's plugins, Open WebUI, FastGPT and others
//! that are no Python libraries, which `tests/clients` runs.

use super::contract::{JSON, post, send};
use super::{subject, subject_called};
use actix_web::http::Method;
use actix_web::test;
use actix_web::web::Data;
use ironrank::server::{State, app};
use serde_json::{Map, Value, json};

const MODEL: &str = "qwen3-reranker-0.6b";

/// A request of a client.
struct Request {
    client: String,
    paths: Vec<String>,
    method: Method,
    headers: Vec<(String, String)>,
    /// `null` for none.
    body: Value,
    answer: Answer,
    /// What the client needs besides the index and the score of each result.
    reads: Vec<String>,
}

/// Where the client looks for the results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// In `results`, with `relevance_score`.
    Results,
    /// The answer is a list of them, with `score`.
    List,
    /// In `output.results`, with `relevance_score`.
    Output,
    /// It wants none; the answer is an object.
    Object,
}

fn requests() -> Vec<Request> {
    let requests: Vec<Value> =
        serde_json::from_str(include_str!("../../fixtures/client-requests.json")).expect("the fixture is JSON");
    requests.into_iter().map(request).collect()
}

fn request(value: Value) -> Request {
    let strings = |name: &str| {
        value[name].as_array().expect("a list").iter().map(|text| text.as_str().expect("a string").to_owned()).collect()
    };
    let headers = value["headers"].as_object().expect("an object").iter();
    Request {
        client: value["client"].as_str().expect("a name").to_owned(),
        paths: strings("paths"),
        method: value.get("method").map_or("POST", |method| method.as_str().expect("a string")).parse().expect("one"),
        headers: headers.map(|(name, text)| (name.clone(), text.as_str().expect("a string").to_owned())).collect(),
        body: value["body"].clone(),
        answer: match value["answer"].as_str() {
            Some("results") => Answer::Results,
            Some("list") => Answer::List,
            Some("output") => Answer::Output,
            Some("object") => Answer::Object,
            other => panic!("no such answer: {other:?}"),
        },
        reads: strings("reads"),
    }
}

impl Request {
    /// The texts to rank, wherever they stand and in whatever form.
    fn texts(&self) -> Vec<String> {
        let lists = [&self.body["documents"], &self.body["texts"], &self.body["input"]["documents"]];
        let list = lists.into_iter().find_map(Value::as_array).expect("it has documents");
        let text = |document: &Value| document.as_str().or(document["content"][0]["text"].as_str()).map(str::to_owned);
        list.iter().map(|document| text(document).expect("a text")).collect()
    }

    fn query(&self) -> &Value {
        [&self.body["query"], &self.body["input"]["query"]]
            .into_iter()
            .find(|query| query.is_string())
            .expect("a query")
    }

    /// The same with another last document.
    fn with_last(&self, text: &str) -> Value {
        let mut body = self.body.clone();
        for pointer in ["/documents", "/texts", "/input/documents"] {
            if let Some(last) = body.pointer_mut(pointer).and_then(Value::as_array_mut).and_then(|list| list.last_mut())
            {
                *last = text.into();
            }
        }
        body
    }
}

fn subject_of_clients(api_keys: &[&str]) -> Data<State> {
    // The second is LibreChat's, which has no other.
    subject_called(&[MODEL, "jina-reranker-v2-base-multilingual"], |options| {
        options.api_keys.keys = api_keys.iter().map(|key| (*key).to_owned()).collect();
    })
}

/// Status and body; fails if the client would be led elsewhere or could not read the answer as JSON.
async fn exchange(subject: &Data<State>, request: &Request, path: &str, body: &Value) -> Result<(u16, Value), String> {
    let service = test::init_service(app(subject.clone())).await;
    let mut sent = test::TestRequest::default().method(request.method.clone()).uri(path);
    for (name, value) in &request.headers {
        sent = sent.insert_header((name.as_str(), value.as_str()));
    }
    if !body.is_null() {
        sent = sent.set_payload(body.to_string());
    }
    let response = test::call_service(&service, sent.to_request()).await;
    let status = response.status();
    if status.is_redirection() || response.headers().contains_key("location") {
        return Err(format!("a redirection with status {status}"));
    }
    let content_type = response.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or("");
    if !content_type.starts_with("application/json") {
        return Err(format!("status {status} with the content type {content_type:?}"));
    }
    let body = test::read_body(response).await;
    let value = serde_json::from_slice(&body).map_err(|err| format!("status {status} and no JSON: {err}"))?;
    Ok((status.as_u16(), value))
}

/// What is wrong with an answer for its client, if anything; `scores` is what /v1/rerank says about the texts.
fn complaint(request: &Request, scores: &[f64], answer: &Value) -> Result<(), String> {
    let texts = request.texts();
    let (results, score_name) = match request.answer {
        Answer::Results => (&answer["results"], "relevance_score"),
        Answer::List => (answer, "score"),
        Answer::Output => (&answer["output"]["results"], "relevance_score"),
        Answer::Object => unreachable!("nothing was ranked"),
    };
    let results = results.as_array().ok_or("no list of results")?;
    let mut ranked = Vec::new();
    for result in results {
        let index = result["index"].as_u64().ok_or("a result without an index")? as usize;
        let score = result[score_name].as_f64().ok_or("a result without a score")?;
        let text = texts.get(index).ok_or_else(|| format!("index {index} of {}", texts.len()))?;
        // An instruction is a reason for other scores.
        if scores[index] != score && request.body["instruction"].is_null() {
            return Err(format!("document {index} has the score {score}, not {}", scores[index]));
        }
        if !(0.0..=1.0).contains(&score) {
            return Err(format!("{score} is no probability"));
        }
        // Strings and null crash cohere 5.6.2, Dify and LiteLLM.
        if result.get("document").is_some_and(|document| document["text"] != **text) {
            return Err(format!("the document {} is no object with the text", result["document"]));
        }
        ranked.push((index, score));
    }
    for what in &request.reads {
        let holds = match what.as_str() {
            "all" => {
                let mut indices: Vec<usize> = ranked.iter().map(|(index, _)| *index).collect();
                indices.sort_unstable();
                indices.into_iter().eq(0..texts.len())
            }
            "sorted" => !ranked.is_empty() && ranked.is_sorted_by(|(_, a), (_, b)| a >= b),
            "document.text" => results.iter().all(|result| result["document"]["text"].is_string()),
            "no document" => results.iter().all(|result| result.get("document").is_none()),
            "text" => results.iter().zip(&ranked).all(|(result, (index, _))| result["text"] == *texts[*index]),
            "id" => answer["id"].as_str().is_some_and(|id| id.starts_with("score-")),
            "model" => answer["model"] == MODEL,
            "usage.total_tokens" => answer["usage"]["total_tokens"].as_u64() > Some(0),
            "usage.prompt_tokens" => answer["usage"]["prompt_tokens"].as_u64() > Some(0),
            other => panic!("{}: no such thing to read: {other}", request.client),
        };
        if !holds {
            return Err(format!("it reads {what:?} from {answer}"));
        }
    }
    Ok(())
}

/// The same for answers that rank nothing: pointers to what must be there, with `=` and a value or `#` and a first key.
fn complaint_about_object(request: &Request, answer: &Value) -> Result<(), String> {
    for what in &request.reads {
        let holds = if let Some((pointer, value)) = what.split_once('=') {
            answer.pointer(pointer).is_some_and(|found| found.to_string().trim_matches('"') == value)
        } else if let Some((pointer, key)) = what.split_once('#') {
            let object = answer.pointer(pointer).and_then(Value::as_object);
            object.and_then(|object| object.keys().next()).is_some_and(|first| first == key)
        } else {
            answer.pointer(what).is_some_and(|found| !found.is_null())
        };
        if !holds {
            return Err(format!("it reads {what:?} from {answer}"));
        }
    }
    Ok(())
}

/// What RAGFlow's /v1/rerank says about the texts of a request, by index.
async fn plain_scores(subject: &Data<State>, request: &Request) -> Vec<f64> {
    let texts = request.texts();
    let (status, answer) =
        post(subject, "/v1/rerank", json!({"query": request.query(), "documents": texts.clone()})).await;
    assert_eq!(status, 200, "{answer}");
    let mut scores = vec![f64::NAN; texts.len()];
    for result in answer["results"].as_array().expect("results") {
        scores[result["index"].as_u64().expect("an index") as usize] = result["relevance_score"].as_f64().expect("one");
    }
    scores
}

#[actix_web::test]
async fn every_client_gets_what_it_reads_on_every_path_that_it_takes() {
    let subject = subject_of_clients(&[]);
    let mut failures = Vec::new();
    let mut sent = 0;
    for request in requests() {
        let scores = match request.answer {
            Answer::Object => Vec::new(),
            _ => plain_scores(&subject, &request).await,
        };
        for path in &request.paths {
            sent += 1;
            let outcome = match exchange(&subject, &request, path, &request.body).await {
                Ok((200, answer)) if request.answer == Answer::Object => complaint_about_object(&request, &answer),
                Ok((200, answer)) => complaint(&request, &scores, &answer),
                Ok((status, answer)) => Err(format!("status {status}: {answer}")),
                Err(why) => Err(why),
            };
            failures.extend(outcome.err().map(|why| format!("{} {path}: {why}", request.client)));
        }
    }
    assert!(failures.is_empty(), "{} of {sent} fail:\n{}", failures.len(), failures.join("\n"));
    assert!(sent >= 120, "only {sent} requests were sent");
}

/// Where clients look for the sentence of an error: all of them.
fn is_readable(error: &Value) -> bool {
    let sentence = error["message"].as_str().unwrap_or("");
    let in_error = error["error"].as_str().or(error["error"]["message"].as_str()).unwrap_or("");
    !sentence.is_empty() && !in_error.is_empty() && error["detail"] == sentence
}

#[actix_web::test]
async fn every_client_can_read_its_errors() {
    let subject = subject_of_clients(&["another key"]);
    let open = subject_of_clients(&[]);
    let long = "word ".repeat(600);
    let mut refused = 0;
    for request in requests() {
        let path = &request.paths[0];
        let answer = exchange(&subject, &request, path, &request.body).await.unwrap_or_else(|why| panic!("{why}"));
        if path == "/v1/cluster/auth" {
            assert_eq!(answer, (200, json!({"auth": true})), "Xinference's clients then send their key");
            continue;
        }
        assert!(answer.0 == 401 && is_readable(&answer.1), "{} {path}: {answer:?}", request.client);
        if request.answer == Answer::Object {
            continue;
        }
        let answer = exchange(&open, &request, path, &request.with_last(&long)).await;
        let (status, body) = answer.unwrap_or_else(|why| panic!("{why}"));
        let asks_for_truncation = ["truncate", "truncate_prompt_tokens", "max_tokens_per_doc"]
            .iter()
            .any(|name| !request.body[*name].is_null());
        if asks_for_truncation {
            assert_eq!(status, 200, "{} {path}: {body}", request.client);
            continue;
        }
        let said = body["message"].as_str().unwrap_or("");
        assert!(
            status == 400 && is_readable(&body) && said.contains("Please reduce the length of the input"),
            "{} {path}: {status} {body}",
            request.client
        );
        refused += 1;
    }
    assert!(refused >= 35, "only {refused} were too long");
}

#[actix_web::test]
async fn who_wants_chats_or_embeddings_is_told_what_this_server_does() {
    let subject = subject(&[]);
    let mut bodies = Map::new();
    bodies.insert("/v1/embeddings".into(), json!({"model": "tiny", "input": ["a"], "encoding_format": "float"}));
    bodies.insert("/embeddings".into(), json!({"model": "tiny", "input": "a"}));
    bodies.insert(
        "/v1/chat/completions".into(),
        json!({"model": "tiny", "messages": [{"role": "user", "content": "a"}]}),
    );
    bodies.insert("/v1/completions".into(), json!({"model": "tiny", "prompt": "a"}));
    bodies.insert("/v1/ranking".into(), json!({"model": "tiny", "query": {"text": "a"}, "passages": [{"text": "b"}]}));
    bodies
        .insert("/v1/reranking".into(), json!({"model": "tiny", "query": {"text": "a"}, "passages": [{"text": "b"}]}));
    for (path, body) in bodies {
        for (headers, bytes) in [(&[JSON][..], body.to_string()), (&[], String::new())] {
            let (status, answer) = send(&subject, Method::POST, &path, headers, bytes.as_bytes()).await;
            assert_eq!((status, &answer["error"]["code"]), (404, &json!(404)), "{path}: {answer}");
            for sentence in [&answer["error"]["message"], &answer["message"]] {
                let sentence = sentence.as_str().unwrap_or("");
                let why = if path.ends_with("embeddings") { "no embedding model" } else { "only ranks and embeds" };
                assert!(sentence.contains(&path) && sentence.contains(why), "{path}: {answer}");
            }
        }
    }
}
