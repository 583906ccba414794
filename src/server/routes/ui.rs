//! The page for people: a playground and live figures, plain files of `web/` that are part of the program.
//!
//! Invariants: the files hold nothing of the server's, so that they are open as `/docs` is, and ask the API as any client
//! does; nothing comes from elsewhere, which their policy makes browsers hold to; they refer to each other by relative
//! paths, so that a proxy's prefix stays.

use super::openapi;
use crate::server::http::error::{ApiError, Refusal};
use crate::server::route::{Call, Operation, Route};
use actix_web::HttpResponse;
use actix_web::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, IF_NONE_MATCH, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use std::borrow::Cow;
use xxhash_rust::xxh3::xxh3_128;

/// No script, style or picture but those beside it, and no request but to this server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      form-action 'none'; base-uri 'none'; frame-ancestors 'none'";
/// Where the page says that its files are.
const FILES: &str = "\"ui/";

/// The page and its files.
pub static ROUTE: Route = Route {
    also: &["/ui/{id}"],
    open: true,
    counted: false,
    switch: Some(openapi::SWITCH),
    ..Route::at(&["/ui"], &[Operation::undescribed(answer)])
};

struct File {
    name: &'static str,
    content_type: &'static str,
    content: &'static str,
}

macro_rules! files {
    ($($name:literal: $content_type:literal,)*) => {
        &[$(File {
            name: $name,
            content_type: $content_type,
            content: include_str!(concat!("../../../web/", $name)),
        }),*]
    };
}

const PAGE: &str = include_str!("../../../web/index.html");
const REST: &[File] = files! {
    "style.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "app.js": "text/javascript; charset=utf-8",
    "api.js": "text/javascript; charset=utf-8",
    "dom.js": "text/javascript; charset=utf-8",
    "documents.js": "text/javascript; charset=utf-8",
    "playground.js": "text/javascript; charset=utf-8",
    "results.js": "text/javascript; charset=utf-8",
    "snippets.js": "text/javascript; charset=utf-8",
    "figures.js": "text/javascript; charset=utf-8",
    "chart.js": "text/javascript; charset=utf-8",
    "live.js": "text/javascript; charset=utf-8",
};

fn answer(call: &Call<'_>) -> Result<HttpResponse, ApiError> {
    if call.id.is_empty() {
        return Ok(page(call));
    }
    match REST.iter().find(|file| file.name == call.id) {
        Some(file) => Ok(sent(call, file.content_type, file.content.into())),
        None => Err(ApiError::new(Refusal::NoRoute, "The page has no such file.").with_detail("Not Found")),
    }
}

/// The page, which stands at `/` too.
fn page(call: &Call<'_>) -> HttpResponse {
    let path = call.request.path();
    let files = if call.state.local_path(path).trim_matches('/').is_empty() { "ui/" } else { "" };
    // A browser takes paths as relative to the last `/`.
    let files = match &path[path.rfind('/').map_or(0, |slash| slash + 1)..] {
        "" => format!("\"{files}"),
        last => format!("\"{last}/{files}"),
    };
    sent(call, "text/html; charset=utf-8", PAGE.replace(FILES, &files).into())
}

fn sent(call: &Call<'_>, content_type: &str, content: Cow<'static, str>) -> HttpResponse {
    let tag = format!("\"{:032x}\"", xxh3_128(content.as_bytes()));
    let known =
        call.request.headers().get_all(IF_NONE_MATCH).any(|tags| tags.to_str().is_ok_and(|tags| tags.contains(&tag)));
    let mut response = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response.insert_header((CONTENT_SECURITY_POLICY, POLICY));
    response.insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"));
    response.insert_header((REFERRER_POLICY, "no-referrer"));
    // Kept, but asked for again: another version of the program has other files.
    response.insert_header((CACHE_CONTROL, "no-cache"));
    response.insert_header((VARY, ACCEPT.as_str()));
    response.insert_header((ETAG, tag));
    match known {
        true => response.finish(),
        false => response.content_type(content_type).body(content),
    }
}
