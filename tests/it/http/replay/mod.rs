//! Recorded exchanges with vLLM 0.32, replayed.
//!
//! Compared: status, headers, keys in their order, texts, error type, parameter and message; token counts exactly, scores
//! within 5e-6, and the numbers of vectors within 3e-6. What differs on purpose stands beside each recording, exchange by
//! exchange, with its reason and with what the answer is here. Random ids, times and the program's version are compared by
//! their form.

mod embedder;
mod reranker;

pub use reranker::{TEMPLATE, recorded_metrics};

use crate::support::{may_err, precision};
use actix_web::http::Method;
use actix_web::test;
use actix_web::web::Data;
use flate2::read::GzDecoder;
use half::f16;
use ironrank::precision::Precision;
use ironrank::server::{State, app};
use serde_json::{Map, Value};
use std::io::Read;

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

fn recorded(packed: &[u8]) -> Vec<Exchange> {
    let mut text = String::new();
    GzDecoder::new(packed).read_to_string(&mut text).expect("the fixture unpacks");
    text.lines().map(exchange).collect()
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

/// An exchange that differs on purpose: its id, why, and what the answer is.
type Deviation<R> = (&'static str, R, Here);

/// What is wrong with the answers of `servers`, by the names that they were recorded under.
async fn complaints<R: std::fmt::Debug>(
    exchanges: &[Exchange],
    servers: &[(&str, Data<State>)],
    deviations: &[Deviation<R>],
) -> Vec<String> {
    let by_id = |id: &str| exchanges.iter().find(|exchange| exchange.id == id);
    let unknown = deviations.iter().filter(|(id, ..)| by_id(id).is_none());
    let mut failures: Vec<String> = unknown.map(|(id, ..)| format!("{id} was not recorded")).collect();
    // Other precisions give other scores, and with them other orders.
    let numbers = precision() == Precision::Exact;
    for exchange in exchanges {
        let server = servers.iter().find(|(config, _)| *config == exchange.config);
        let (_, state) = server.unwrap_or_else(|| panic!("no server was recorded as {}", exchange.config));
        let by_id = |id: &str| by_id(id).expect("an id that was recorded");
        let complaint = match deviations.iter().find(|(id, ..)| *id == exchange.id) {
            None => replay(state, exchange, exchange, numbers).await.err(),
            Some((_, reason, here)) => match here {
                Here::OtherNumbers => replay(state, exchange, exchange, false).await.err(),
                Here::As(id) => replay(state, exchange, by_id(id), numbers).await.err(),
                Here::Status(expected) => match answer(state, exchange).await {
                    (status, ..) if status == *expected => None,
                    (status, ..) => Some(format!("status {status}, not {expected}")),
                },
            }
            .map(|complaint| format!("{reason:?}: {complaint}")),
        };
        failures.extend(complaint.map(|complaint| format!("{}: {complaint}", exchange.id)));
    }
    failures
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
        let numbers = Numbers::of(asked);
        return numbers.near(bytes, &body, "the body");
    }
    match status {
        // Names and labels are compared in the tests of the metrics; values are those of the recording.
        200 if expected.path == "/metrics" => Ok(()),
        200 => compare(theirs, &ours, "", numbers.then(|| Numbers::of(asked))),
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

/// How numbers stand in bytes.
#[derive(Clone, Copy)]
struct Numbers {
    width: usize,
    big: bool,
}

impl Numbers {
    /// As an exchange's request asks for them.
    fn of(asked: &Exchange) -> Self {
        let body: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
        let width = match body["embed_dtype"].as_str() {
            Some("fp8_e4m3" | "fp8_e5m2") => 1,
            Some("float16" | "bfloat16") => 2,
            _ => 4,
        };
        Self { width, big: body["endianness"] == "big" }
    }

    fn read(self, bytes: &[u8]) -> Vec<f64> {
        let number = |bytes: &[u8]| {
            let mut little = bytes.to_vec();
            if self.big {
                little.reverse();
            }
            match little[..] {
                // Its code, which rises with its size.
                [code] => f64::from(i16::from(code & 0x7f) * if code > 0x7f { -1 } else { 1 }),
                [a, b] => f64::from(f16::from_le_bytes([a, b])),
                [a, b, c, d] => f64::from(f32::from_le_bytes([a, b, c, d])),
                _ => f64::NAN,
            }
        };
        bytes.chunks(self.width).map(number).collect()
    }

    /// A number that lies between two of a narrow format may be rounded either way.
    fn near(self, theirs: &[u8], ours: &[u8], at: &str) -> Result<(), String> {
        if theirs.len() != ours.len() {
            return Err(format!("{at} has {} bytes, not {}", ours.len(), theirs.len()));
        }
        let (theirs, ours) = (self.read(theirs), self.read(ours));
        let most = may_differ(at, if self.width == 4 { length(&theirs) } else { 1.0 });
        for (theirs, ours) in theirs.into_iter().zip(ours) {
            let step = match self.width {
                1 => 1.0,
                2 => theirs.abs().max(1e-4) / 1024.0,
                _ => 0.0,
            };
            near(theirs, ours, most + step, at)?;
        }
        Ok(())
    }
}

/// How far apart two numbers of a vector of this length may be, or two scores.
fn may_differ(at: &str, length: f64) -> f64 {
    if at.contains("embedding") { 3e-6 * length.max(1.0) } else { may_err(5e-6) }
}

fn length(vector: &[f64]) -> f64 {
    vector.iter().map(|x| x * x).sum::<f64>().sqrt()
}

fn near(theirs: f64, ours: f64, most: f64, at: &str) -> Result<(), String> {
    if (theirs - ours).abs() <= most { Ok(()) } else { Err(format!("{at} is {ours}, not {theirs}")) }
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

/// Without `numbers` of bytes, scores and what follows from them are not compared.
fn compare(theirs: &Value, ours: &Value, at: &str, numbers: Option<Numbers>) -> Result<(), String> {
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
            if let (Some(_), Some(theirs), Some(ours)) = (numbers, vector(theirs), vector(ours)) {
                let most = may_differ(at, length(&theirs));
                return theirs.into_iter().zip(ours).try_for_each(|(theirs, ours)| near(theirs, ours, most, at));
            }
            let ranked = at.ends_with(".results") && numbers.is_none();
            theirs.iter().enumerate().try_for_each(|(i, value)| {
                let same = |other: &&Value| other["index"] == value["index"];
                // With other scores the order differs, and which documents are among the best.
                let ours = if ranked { ours.iter().find(same) } else { ours.get(i) };
                ours.map_or(Ok(()), |ours| compare(value, ours, &format!("{at}.{i}"), numbers))
            })
        }
        _ if at.contains(".created") || at.ends_with(".version") => same_type(theirs, ours, at),
        _ if at.ends_with(".id") => same_id(theirs, ours, at),
        (Value::String(theirs), Value::String(ours)) if is_base64(at) => {
            numbers.map_or(Ok(()), |numbers| numbers.near(&base64(theirs), &base64(ours), at))
        }
        (Value::Number(number), _) if number.is_f64() => {
            if numbers.is_some() {
                let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
                near(number(theirs), number(ours), may_differ(at, 1.0), at)?;
            }
            same_type(theirs, ours, at)
        }
        _ if at.ends_with("_tokens") && numbers.is_none() => same_type(theirs, ours, at),
        _ => equal(theirs, ours, at),
    }
}

/// A list of nothing but numbers that are not whole.
fn vector(list: &[Value]) -> Option<Vec<f64>> {
    list.iter().map(|value| value.as_f64().filter(|_| value.is_f64())).collect()
}

/// Whether a string at this place holds numbers.
fn is_base64(at: &str) -> bool {
    at.ends_with(".data") || at.ends_with(".embedding") || at.contains(".base64.")
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
