//! Every recorded exchange with vLLM 0.32, replayed.
//!
//! Compared: status, headers, keys in their order, texts, error type, parameter and message; token counts exactly, and
//! scores within 5e-6. What differs on purpose stands in [`DEVIATIONS`], exchange by exchange, with its reason and
//! with what the answer is here. Random ids, times and the program's version are compared by their form.

use super::{subject, subject_with_template};
use actix_web::http::Method;
use actix_web::test;
use actix_web::web::Data;
use flate2::read::GzDecoder;
use ironrank::server::{State, app};
use serde_json::{Map, Value};
use std::io::Read;

/// The template of those recordings.
pub const TEMPLATE: &str = include_str!("../../fixtures/qwen3_reranker.jinja");

/// Why an answer differs from vLLM's on purpose. (Also, and for all: errors carry `message` and `detail` besides, (h).)
#[derive(Debug, Clone, Copy)]
enum Reason {
    /// (b) The model card's prompt is applied by default.
    PromptByDefault,
    /// (c) Control tokens in user text are plain text: more tokens, other scores.
    PlainText,
    /// (d) Truncation takes from the document alone, so that a limit below the prompt's own length is refused.
    WholePrompt,
    /// (e) Documents may be `{"text": ...}`.
    LenientBody,
    /// (f) A key guards every route but health, ping, version and metrics; the bare key is accepted.
    KeyGuardsAll,
    /// (g) `texts` are TEI's words for documents, answered with a list.
    OtherDialect,
    /// HEAD is answered wherever GET is, and `Allow` says so.
    HeadAsGet,
    /// (g) Odd paths are served instead of refused or redirected; `GET /` is health.
    OddPaths,
}

/// What an answer is here in place of the recorded one.
#[derive(Debug, Clone, Copy)]
enum Here {
    /// The recorded one with other scores, another order by them, and other token counts.
    OtherNumbers,
    /// The one that was recorded under this id.
    As(&'static str),
    /// One with this status, to which no recording corresponds.
    Status(u16),
}

/// Exchanges that differ; nothing else does.
const DEVIATIONS: &[(&str, Reason, Here)] = &[
    ("template/route-06-get-v1-models-tiny", Reason::OddPaths, Here::Status(200)),
    ("template/route-11-get-", Reason::OddPaths, Here::As("template/route-00-get-health")),
    ("template/route-13-head-health", Reason::HeadAsGet, Here::As("template/route-00-get-health")),
    ("template/route-17-delete-v1-models", Reason::HeadAsGet, Here::Status(405)),
    ("template/route-18-get-v1-rerank-", Reason::OddPaths, Here::As("template/route-14-get-rerank")),
    ("template/route-19-get-v1-models-", Reason::OddPaths, Here::As("template/route-05-get-v1-models")),
    ("template/route-rerank-slash", Reason::OddPaths, Here::As("template/rerank-string-doc")),
    ("template/route-double-slash", Reason::OddPaths, Here::As("template/rerank-string-doc")),
    ("template/route-v1-v1-rerank", Reason::OddPaths, Here::As("template/rerank-string-doc")),
    ("template/rerank-object-docs-text", Reason::LenientBody, Here::As("template/invocations-rerank")),
    ("template/rerank-tei-texts", Reason::OtherDialect, Here::Status(200)),
    ("template/score-truncate-left", Reason::WholePrompt, Here::Status(400)),
    ("template/score-pair-09", Reason::PlainText, Here::OtherNumbers),
    ("plain/raw-rerank", Reason::PromptByDefault, Here::OtherNumbers),
    ("plain/merge-across-boundary", Reason::PromptByDefault, Here::OtherNumbers),
    ("plain/empty-query", Reason::PromptByDefault, Here::OtherNumbers),
    ("plain/empty-both", Reason::PromptByDefault, Here::Status(200)),
    ("plain/truncate-5", Reason::WholePrompt, Here::Status(400)),
    ("plain/truncate-minus1-long", Reason::PromptByDefault, Here::OtherNumbers),
    ("plain/query-limit", Reason::PromptByDefault, Here::OtherNumbers),
    ("plain/ctk-reserved", Reason::PromptByDefault, Here::As("template/score-ctk-reserved")),
    ("plain/tokenize-messages", Reason::PromptByDefault, Here::Status(200)),
    ("api-key/models-bare-token", Reason::KeyGuardsAll, Here::As("api-key/models-k1")),
    ("api-key/get-no-key-nope", Reason::KeyGuardsAll, Here::As("api-key/models-no-key")),
    ("api-key/get-no-key-load", Reason::KeyGuardsAll, Here::As("api-key/models-no-key")),
    ("api-key/tokenize-no-key", Reason::KeyGuardsAll, Here::As("api-key/models-no-key")),
    ("api-key/invocations-no-key", Reason::KeyGuardsAll, Here::As("api-key/models-no-key")),
];

struct Exchange {
    id: String,
    config: String,
    method: Method,
    path: String,
    headers: Map<String, Value>,
    body: Vec<u8>,
    status: u16,
    response_headers: Map<String, Value>,
    /// JSON, text, or `null` if there are `bytes`.
    response: Value,
    bytes: Option<Vec<u8>>,
}

fn recorded() -> Vec<Exchange> {
    let mut text = String::new();
    GzDecoder::new(&include_bytes!("../../fixtures/vllm-captures.jsonl.gz")[..])
        .read_to_string(&mut text)
        .expect("the fixture unpacks");
    text.lines().map(exchange).collect()
}

/// vLLM's metrics after most of the other exchanges.
pub fn recorded_metrics() -> String {
    let exchange = recorded().into_iter().find(|exchange| exchange.path == "/metrics").expect("it was recorded");
    exchange.response.as_str().expect("text").to_owned()
}

fn exchange(line: &str) -> Exchange {
    let record: Value = serde_json::from_str(line).expect("a line is JSON");
    let text = |key: &str| record[key].as_str().unwrap_or_default().to_owned();
    let object = |key: &str| record[key].as_object().cloned().unwrap_or_default();
    let body = match record["body_base64"].as_str() {
        Some(encoded) => base64(encoded),
        None => text("body").into_bytes(),
    };
    Exchange {
        id: text("id"),
        config: text("config"),
        method: text("method").parse().expect("a method"),
        path: text("path"),
        headers: object("headers"),
        body,
        status: record["status"].as_u64().and_then(|status| status.try_into().ok()).expect("a status"),
        response_headers: object("response_headers"),
        response: record["response"].clone(),
        bytes: record["response_base64"].as_str().map(base64),
    }
}

fn base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0u32, 0);
    for digit in text.bytes().filter_map(|c| ALPHABET.iter().position(|known| *known == c)) {
        bits = (bits << 6) | digit as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

#[actix_web::test]
async fn recorded_exchanges_get_vllms_answers() {
    let exchanges = recorded();
    let (plain, template) = (subject(&[]), subject_with_template(TEMPLATE, |_| {}));
    let keys = ["k1", "k2"].map(str::to_owned).to_vec();
    let api_key = subject_with_template(TEMPLATE, |options| options.api_keys.keys = keys);
    let mut failures = Vec::new();
    for exchange in &exchanges {
        let state = match exchange.config.as_str() {
            "plain" => &plain,
            "template" => &template,
            "api-key" => &api_key,
            other => panic!("no server was recorded as {other}"),
        };
        let by_id = |id: &str| exchanges.iter().find(|exchange| exchange.id == id).expect("an id that was recorded");
        let complaint = match DEVIATIONS.iter().find(|(id, ..)| *id == exchange.id) {
            None => replay(state, exchange, exchange, true).await.err(),
            Some((_, reason, here)) => match here {
                Here::OtherNumbers => replay(state, exchange, exchange, false).await.err(),
                Here::As(id) => replay(state, exchange, by_id(id), true).await.err(),
                Here::Status(expected) => match answer(state, exchange).await {
                    (status, ..) if status == *expected => None,
                    (status, ..) => Some(format!("status {status}, not {expected}")),
                },
            }
            .map(|complaint| format!("{reason:?}: {complaint}")),
        };
        failures.extend(complaint.map(|complaint| format!("{}: {complaint}", exchange.id)));
    }
    assert!(failures.is_empty(), "{} of {} differ:\n{}", failures.len(), exchanges.len(), failures.join("\n"));
    let recorded = |id: &str| exchanges.iter().any(|exchange| exchange.id == id);
    assert!(DEVIATIONS.iter().all(|(id, ..)| recorded(id)), "each deviation is a recorded exchange");
    assert_eq!(exchanges.len(), 208, "no exchange was lost");
}

async fn answer(state: &Data<State>, exchange: &Exchange) -> (u16, Map<String, Value>, Vec<u8>) {
    let service = test::init_service(app(state.clone())).await;
    let mut request = test::TestRequest::default().method(exchange.method.clone()).uri(&uri(&exchange.path));
    for (name, value) in &exchange.headers {
        request = request.insert_header((name.as_str(), value.as_str().unwrap_or_default()));
    }
    let response = test::call_service(&service, request.set_payload(exchange.body.clone()).to_request()).await;
    let status = response.status().as_u16();
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), Value::from(value.to_str().unwrap_or_default())))
        .collect();
    (status, headers, test::read_body(response).await.to_vec())
}

/// A path that begins with `//` would be read as a host.
fn uri(path: &str) -> String {
    if path.starts_with("//") { format!("http://localhost{path}") } else { path.to_owned() }
}

/// Sends `asked` and compares with the answer to `expected`, with or without scores, their order and token counts.
async fn replay(state: &Data<State>, asked: &Exchange, expected: &Exchange, numbers: bool) -> Result<(), String> {
    let (status, headers, body) = answer(state, asked).await;
    let ours = match serde_json::from_slice(&body) {
        Ok(value) => value,
        Err(_) => Value::from(String::from_utf8_lossy(&body).into_owned()),
    };
    if status != expected.status {
        return Err(format!("status {status}, not {}: {ours}", expected.status));
    }
    for (name, theirs) in &expected.response_headers {
        let name = name.to_ascii_lowercase();
        let ours = headers.get(&name).unwrap_or(&Value::Null);
        let same = if name == "metadata" { same_metadata(theirs, ours) } else { theirs == ours };
        if !same {
            return Err(format!("header {name} is {ours}, not {theirs}"));
        }
    }
    let theirs = &expected.response;
    if let Some(bytes) = &expected.bytes {
        return near(float(bytes), float(&body), "the body");
    }
    match status {
        // Names and labels are compared in the tests of the metrics; values are those of the recording.
        200 if expected.path == "/metrics" => Ok(()),
        200 => compare(theirs, &ours, "", numbers),
        // The framework leaves the body out on the way to the client.
        _ if asked.method == Method::HEAD => Ok(()),
        _ if theirs.is_string() => equal(theirs, &ours, "the body"),
        _ => compare_error(theirs, &ours),
    }
}

/// The same text but for a random id and the time, which are as long.
fn same_metadata(theirs: &Value, ours: &Value) -> bool {
    let parts = |text: &Value| {
        let (volatile, rest) = text.as_str()?.split_once(r#""model""#)?;
        Some((volatile.len(), rest.to_owned()))
    };
    parts(theirs).is_some() && parts(theirs) == parts(ours)
}

/// A float32 as its bytes.
fn float(bytes: &[u8]) -> f64 {
    bytes.try_into().map_or(f64::NAN, |bytes| f64::from(f32::from_le_bytes(bytes)))
}

fn near(theirs: f64, ours: f64, at: &str) -> Result<(), String> {
    let difference = (theirs - ours).abs();
    if difference <= 5e-6 { Ok(()) } else { Err(format!("{at} is {ours}, not {theirs}")) }
}

fn compare_error(theirs: &Value, ours: &Value) -> Result<(), String> {
    for key in ["error", "message", "detail"] {
        if ours.get(key).is_none() {
            return Err(format!("an error without {key}: {ours}"));
        }
    }
    if let Some(detail) = theirs.get("detail") {
        return equal(detail, &ours["detail"], "detail");
    }
    let (theirs, ours) = (&theirs["error"], &ours["error"]);
    if theirs.is_string() {
        return equal(theirs, ours, "error");
    }
    for key in ["type", "param", "code"] {
        equal(&theirs[key], &ours[key], key)?;
    }
    let (said, says) = (theirs["message"].as_str().unwrap_or_default(), ours["message"].as_str().unwrap_or_default());
    let as_said = match said {
        // The first mistake is of the same kind; how many a union of shapes finds, and their words, are pydantic's.
        _ if said.contains("validation error") => {
            says.contains("validation error") && first_kind(said) == first_kind(says)
        }
        // How a parser puts it, and the names of Python's classes, are not the contract.
        _ if said.starts_with("JSON decode error: ") => says.starts_with("JSON decode error: "),
        _ if said.starts_with("Cannot find suitable handler for request. Expected one of: [") => {
            says.starts_with("Cannot find suitable handler for request. Expected one of: [")
        }
        _ => says.starts_with(said),
    };
    if as_said { Ok(()) } else { Err(format!("message '{says}', not '{said}'")) }
}

/// The `type` of the first mistake that a validation message lists, or its whole list if that has none.
fn first_kind(message: &str) -> Option<&str> {
    let list = message.split_once(":\n  ")?.1;
    Some(list.strip_prefix("{'type': '").and_then(|rest| rest.split('\'').next()).unwrap_or(list))
}

fn compare(theirs: &Value, ours: &Value, at: &str, numbers: bool) -> Result<(), String> {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            let recorded: Vec<&String> = theirs.keys().collect();
            let mut keys: Vec<&String> = ours.keys().collect();
            // The model cards carry two more fields for other clients, behind vLLM's.
            keys.retain(|key| !["context_length", "model_type"].contains(&key.as_str()));
            if keys != recorded {
                return Err(format!("{at} has the keys {keys:?}, not {recorded:?}"));
            }
            theirs.iter().try_for_each(|(key, value)| compare(value, &ours[key], &format!("{at}.{key}"), numbers))
        }
        (Value::Array(theirs), Value::Array(ours)) => {
            if theirs.len() != ours.len() {
                return Err(format!("{at} has {} items, not {}", ours.len(), theirs.len()));
            }
            let ranked = at.ends_with(".results") && !numbers;
            theirs.iter().enumerate().try_for_each(|(i, value)| {
                let same = |other: &&Value| other["index"] == value["index"];
                // With other scores the order differs, and which documents are among the best.
                let ours = if ranked { ours.iter().find(same) } else { ours.get(i) };
                ours.map_or(Ok(()), |ours| compare(value, ours, &format!("{at}.{i}"), numbers))
            })
        }
        _ if at.contains(".created") || at.ends_with(".version") => same_type(theirs, ours, at),
        _ if at.ends_with(".id") => same_id(theirs, ours, at),
        _ if at.ends_with(".data") && theirs.is_string() => {
            let number = |text: &Value| float(&base64(text.as_str().unwrap_or_default()));
            near(number(theirs), number(ours), at)
        }
        (Value::Number(number), _) if number.is_f64() => {
            if numbers {
                near(theirs.as_f64().unwrap_or(f64::NAN), ours.as_f64().unwrap_or(f64::NAN), at)?;
            }
            same_type(theirs, ours, at)
        }
        _ if at.ends_with("_tokens") && !numbers => same_type(theirs, ours, at),
        _ => equal(theirs, ours, at),
    }
}

/// Random ids have 16 hexadecimal digits behind their prefix; ids that clients chose are the same.
fn same_id(theirs: &Value, ours: &Value, at: &str) -> Result<(), String> {
    let split = |id: &Value| id.as_str().and_then(|id| id.split_once('-')).map(|(a, b)| (a.to_owned(), b.to_owned()));
    let random = |suffix: &str| suffix.len() == 16 && suffix.bytes().all(|c| c.is_ascii_hexdigit());
    match (split(theirs), split(ours)) {
        (Some((a, x)), Some((b, y))) if a == b && random(&x) && random(&y) => Ok(()),
        _ => equal(theirs, ours, at),
    }
}

fn same_type(theirs: &Value, ours: &Value, at: &str) -> Result<(), String> {
    if std::mem::discriminant(theirs) == std::mem::discriminant(ours) { Ok(()) } else { equal(theirs, ours, at) }
}

fn equal(theirs: &Value, ours: &Value, at: &str) -> Result<(), String> {
    if theirs == ours { Ok(()) } else { Err(format!("{at} is {ours}, not {theirs}")) }
}
