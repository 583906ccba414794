//! Cross-origin rules, as Starlette's middleware, which vLLM uses, has them: answers to preflights, headers of others.
//!
//! Own code because no crate answers as that middleware does: 400 with a reason, and the methods even so. By default no
//! origin is allowed. The browser enforces all of this; a request of a foreign origin is served like any other.

use crate::options::Cors;
use actix_web::HttpResponse;
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderValue};

/// All methods, for `*`; QUERY is as yet a draft.
const ALL_METHODS: &str = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT, QUERY";
/// Headers that browsers send without asking.
const SAFE_HEADERS: [&str; 4] = ["accept", "accept-language", "content-language", "content-type"];
/// What an answer to a preflight depends on.
const VARY: &str = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers, \
                    Access-Control-Request-Private-Network";
const PRIVATE_NETWORK: &str = "access-control-request-private-network";
/// Seconds that a browser may remember an answer to a preflight.
const MAX_AGE: &str = "600";

/// The answer to a preflight: an OPTIONS request that names an origin and a method; `None` if this is none.
pub fn preflight(rules: &Cors, method: &Method, request: &HeaderMap) -> Option<HttpResponse> {
    let origin = request.get(header::ORIGIN)?;
    let asked_method = request.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
    if method != Method::OPTIONS {
        return None;
    }
    let methods = match is_any(&rules.allowed_methods) {
        true => ALL_METHODS.to_owned(),
        false => rules.allowed_methods.join(", "),
    };
    let asked_headers = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS);
    let mut failures = Vec::new();
    if !allows_origin(rules, origin) {
        failures.push("origin");
    }
    if !methods.split(", ").any(|method| method.as_bytes() == asked_method.as_bytes()) {
        failures.push("method");
    }
    if asked_headers.is_some_and(|asked| !allows_headers(rules, asked)) {
        failures.push("headers");
    }
    if request.contains_key(PRIVATE_NETWORK) {
        failures.push("private-network");
    }
    let mut response = match failures.is_empty() {
        true => HttpResponse::Ok(),
        false => HttpResponse::BadRequest(),
    };
    response.insert_header((header::VARY, VARY));
    // A method that is no header value is the operator's typing error and reaches no client.
    if let Ok(methods) = HeaderValue::from_str(&methods) {
        response.insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, methods));
    }
    response.insert_header((header::ACCESS_CONTROL_MAX_AGE, MAX_AGE));
    let headers = match is_any(&rules.allowed_headers) {
        true => asked_headers.cloned(),
        false => HeaderValue::from_str(&known_headers(rules).join(", ")).ok(),
    };
    if let Some(headers) = headers {
        response.insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, headers));
    }
    let mut response = response.content_type("text/plain; charset=utf-8").body(match failures.is_empty() {
        true => "OK".to_owned(),
        false => format!("Disallowed CORS {}", failures.join(", ")),
    });
    allow(rules, origin, response.headers_mut());
    Some(response)
}

/// Adds to `response` what the page that sent `request` may do with it.
pub fn apply(rules: &Cors, request: &HeaderMap, response: &mut HeaderMap) {
    response.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = request.get(header::ORIGIN) {
        allow(rules, origin, response);
    }
}

fn allow(rules: &Cors, origin: &HeaderValue, response: &mut HeaderMap) {
    if rules.allow_credentials {
        response.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    // A browser that sends cookies does not take `*` for its origin.
    if is_any(&rules.allowed_origins) && !rules.allow_credentials {
        response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    } else if allows_origin(rules, origin) {
        response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
}

fn is_any(list: &[String]) -> bool {
    list.iter().any(|item| item == "*")
}

fn allows_origin(rules: &Cors, origin: &HeaderValue) -> bool {
    is_any(&rules.allowed_origins) || rules.allowed_origins.iter().any(|known| known.as_bytes() == origin.as_bytes())
}

fn known_headers(rules: &Cors) -> Vec<String> {
    let own = rules.allowed_headers.iter().map(|name| name.to_ascii_lowercase());
    let mut names: Vec<String> = SAFE_HEADERS.iter().map(|&name| name.to_owned()).chain(own).collect();
    names.sort();
    names.dedup();
    names
}

fn allows_headers(rules: &Cors, asked: &HeaderValue) -> bool {
    let known = known_headers(rules);
    let is_known = |name: &str| known.iter().any(|known| known.eq_ignore_ascii_case(name.trim()));
    is_any(&rules.allowed_headers) || String::from_utf8_lossy(asked.as_bytes()).split(',').all(is_known)
}
