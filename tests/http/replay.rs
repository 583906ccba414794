//! Every recorded exchange with vLLM 0.32, replayed.
//!
//! Compared: status, headers, key order and structure, texts, error type and parameter; token counts and scores when
//! the subject is exact. What differs on purpose stands in [`DEVIATIONS`] with its reason and the status it has here.

use super::{subject, subject_with_template};
use actix_web::http::Method;
use actix_web::test;
use actix_web::web::Data;
use flate2::read::GzDecoder;
use ironrank::server::{State, app};
use serde_json::{Map, Value};
use std::io::Read;

/// The template of those recordings.
pub const TEMPLATE: &str = include_str!("../fixtures/qwen3_reranker.jinja");

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
    /// (g) Odd paths are served instead of refused or redirected; `GET /` is health.
    OddPaths,
}

/// Exchanges that differ, with the status they have here.
const DEVIATIONS: &[(&str, Reason, u16)] = &[
    ("template/route-06-get-v1-models-tiny", Reason::OddPaths, 200),
    ("template/route-11-get-", Reason::OddPaths, 200),
    ("template/route-18-get-v1-rerank-", Reason::OddPaths, 405),
    ("template/route-19-get-v1-models-", Reason::OddPaths, 200),
    ("template/route-rerank-slash", Reason::OddPaths, 200),
    ("template/route-double-slash", Reason::OddPaths, 200),
    ("template/route-v1-v1-rerank", Reason::OddPaths, 200),
    ("template/rerank-object-docs-text", Reason::LenientBody, 200),
    ("template/rerank-tei-texts", Reason::OtherDialect, 200),
    ("template/score-truncate-left", Reason::WholePrompt, 400),
    ("template/score-pair-09", Reason::PlainText, 200),
    ("plain/truncate-5", Reason::WholePrompt, 400),
    ("plain/empty-both", Reason::PromptByDefault, 200),
    ("plain/ctk-reserved", Reason::PromptByDefault, 400),
    ("api-key/models-bare-token", Reason::KeyGuardsAll, 200),
    ("plain/tokenize-messages", Reason::PromptByDefault, 200),
    ("api-key/get-no-key-nope", Reason::KeyGuardsAll, 401),
    ("api-key/get-no-key-load", Reason::KeyGuardsAll, 401),
    ("api-key/tokenize-no-key", Reason::KeyGuardsAll, 401),
    ("api-key/invocations-no-key", Reason::KeyGuardsAll, 401),
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
    GzDecoder::new(&include_bytes!("../fixtures/vllm-captures.jsonl.gz")[..])
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
    let api_key = subject_with_template(TEMPLATE, |settings| settings.api_keys = keys);
    let (mut replayed, mut deviated, mut failures) = (0, 0, Vec::new());
    for exchange in &exchanges {
        let state = match exchange.config.as_str() {
            "plain" => &plain,
            "template" => &template,
            "api-key" => &api_key,
            other => panic!("no server was recorded as {other}"),
        };
        let deviation = DEVIATIONS.iter().find(|(id, ..)| *id == exchange.id);
        let complaint = match deviation {
            Some((_, reason, status)) => {
                deviated += 1;
                let (ours, ..) = answer(state, exchange).await;
                (ours != *status).then(|| format!("{reason:?}: status {ours}, not {status}"))
            }
            None => {
                replayed += 1;
                replay(state, exchange).await.err()
            }
        };
        failures.extend(complaint.map(|complaint| format!("{}: {complaint}", exchange.id)));
    }
    assert!(failures.is_empty(), "{} of {replayed} differ:\n{}", failures.len(), failures.join("\n"));
    assert_eq!(deviated, DEVIATIONS.len(), "each deviation is a recorded exchange");
    assert!(replayed >= 180, "only {replayed} of {} exchanges were replayed", exchanges.len());
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

async fn replay(state: &Data<State>, exchange: &Exchange) -> Result<(), String> {
    let (status, headers, body) = answer(state, exchange).await;
    let ours = match serde_json::from_slice(&body) {
        Ok(value) => value,
        Err(_) => Value::from(String::from_utf8_lossy(&body).into_owned()),
    };
    if status != exchange.status {
        return Err(format!("status {status}, not {}: {ours}", exchange.status));
    }
    for (name, theirs) in &exchange.response_headers {
        let name = name.to_ascii_lowercase();
        let ours = headers.get(&name).unwrap_or(&Value::Null);
        let same = if name == "metadata" { same_metadata(theirs, ours) } else { theirs == ours };
        if !same {
            return Err(format!("header {name} is {ours}, not {theirs}"));
        }
    }
    let theirs = &exchange.response;
    if let Some(bytes) = &exchange.bytes {
        return near(float(bytes), float(&body), "the body");
    }
    match status {
        // The metrics have tests of their own.
        200 if exchange.path == "/metrics" => Ok(()),
        200 => compare(theirs, &ours, "", scores_compare(exchange), exchange.config != "plain" || is_raw(exchange)),
        // The framework leaves the body out on the way to the client.
        _ if exchange.method == Method::HEAD => Ok(()),
        _ if theirs.is_string() => equal(theirs, &ours, "the body"),
        _ => compare_error(theirs, &ours),
    }
}

/// The server that was recorded without a template put texts together as they came; here they get the model card's
/// prompt, so that there only requests which brought it along have comparable scores.
fn scores_compare(exchange: &Exchange) -> bool {
    exchange.config != "plain" || exchange.id.starts_with("plain/model-card") || is_raw(exchange)
}

/// Whether the request brought the whole prompt.
fn is_raw(exchange: &Exchange) -> bool {
    serde_json::from_slice::<Value>(&exchange.body).is_ok_and(|body| body.get("input").is_some())
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
        _ if said.contains("validation error") => says.contains("validation error"),
        // How a parser puts it, and the names of Python's classes, are not the contract.
        _ if said.starts_with("JSON decode error: ") => says.starts_with("JSON decode error: "),
        _ if said.starts_with("Cannot find suitable handler for request. Expected one of: [") => {
            says.starts_with("Cannot find suitable handler for request. Expected one of: [")
        }
        _ => says.starts_with(said),
    };
    if as_said { Ok(()) } else { Err(format!("message '{says}', not '{said}'")) }
}

fn compare(theirs: &Value, ours: &Value, at: &str, scores: bool, counts: bool) -> Result<(), String> {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            let recorded: Vec<&String> = theirs.keys().collect();
            let mut keys: Vec<&String> = ours.keys().collect();
            // The model cards carry two more fields for other clients, behind vLLM's.
            keys.retain(|key| !["context_length", "model_type"].contains(&key.as_str()));
            if keys != recorded {
                return Err(format!("{at} has the keys {keys:?}, not {recorded:?}"));
            }
            theirs
                .iter()
                .try_for_each(|(key, value)| compare(value, &ours[key], &format!("{at}.{key}"), scores, counts))
        }
        (Value::Array(theirs), Value::Array(ours)) => {
            if theirs.len() != ours.len() {
                return Err(format!("{at} has {} items, not {}", ours.len(), theirs.len()));
            }
            let ranked = at.ends_with(".results") && !scores;
            theirs.iter().enumerate().try_for_each(|(i, value)| {
                let same = |other: &&Value| other["index"] == value["index"];
                // With other scores the order differs, and which documents are among the best.
                let ours = if ranked { ours.iter().find(same) } else { ours.get(i) };
                ours.map_or(Ok(()), |ours| compare(value, ours, &format!("{at}.{i}"), scores, counts))
            })
        }
        _ if at.contains(".created") || at.ends_with(".version") => same_type(theirs, ours, at),
        _ if at.ends_with(".id") => same_id(theirs, ours, at),
        _ if at.ends_with(".data") && theirs.is_string() => {
            let number = |text: &Value| float(&base64(text.as_str().unwrap_or_default()));
            near(number(theirs), number(ours), at)
        }
        (Value::Number(number), _) if number.is_f64() => {
            if scores {
                near(theirs.as_f64().unwrap_or(f64::NAN), ours.as_f64().unwrap_or(f64::NAN), at)?;
            }
            same_type(theirs, ours, at)
        }
        _ if at.ends_with("_tokens") && !counts => same_type(theirs, ours, at),
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
