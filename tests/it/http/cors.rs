//! What web pages of other origins may do, and how answers name their requests.

use super::{subject, subject_alone, subject_serving, subject_with};
use actix_web::http::Method;
use actix_web::http::header::HeaderMap;
use actix_web::test as service_test;
use actix_web::web::Data;
use ironrank::server::{State, app};
use serde_json::{Value, json};

async fn send(subject: &Data<State>, method: Method, path: &str, headers: &[(&str, &str)]) -> (u16, HeaderMap, Value) {
    let service = service_test::init_service(app(subject.clone())).await;
    let mut request = service_test::TestRequest::default().method(method).uri(path);
    for header in headers {
        request = request.insert_header(*header);
    }
    let response = service_test::call_service(&service, request.to_request()).await;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = service_test::read_body(response).await;
    let value = serde_json::from_slice(&body).unwrap_or_else(|_| String::from_utf8_lossy(&body).into_owned().into());
    (status, headers, value)
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().expect("ASCII"))
}

fn with_cors(
    origins: &'static [&str],
    methods: &'static [&str],
    names: &'static [&str],
    credentials: bool,
) -> Data<State> {
    let list = |items: &[&str]| items.iter().map(|&item| item.to_owned()).collect();
    subject_with(|options| {
        options.cors.allowed_origins = list(origins);
        options.cors.allowed_methods = list(methods);
        options.cors.allowed_headers = list(names);
        options.cors.allow_credentials = credentials;
    })
}

const ORIGIN: (&str, &str) = ("origin", "http://a.example");
const POST: (&str, &str) = ("access-control-request-method", "POST");
const HEADERS: (&str, &str) = ("access-control-request-headers", "authorization, Content-Type");

#[actix_web::test]
async fn by_default_no_other_origin_may_read_anything() {
    let subject = subject(&["k"]);
    let (status, headers, body) = send(&subject, Method::OPTIONS, "/v1/rerank", &[ORIGIN, POST, HEADERS]).await;
    assert_eq!((status, body), (400, json!("Disallowed CORS origin")));
    assert_eq!(header(&headers, "access-control-allow-origin"), None);
    let (status, headers, _) = send(&subject, Method::GET, "/version", &[ORIGIN]).await;
    assert_eq!((status, header(&headers, "access-control-allow-origin")), (200, None));
    assert_eq!(header(&headers, "vary"), Some("Origin"));
}

#[actix_web::test]
async fn any_origin_is_a_star_unless_cookies_are_allowed() {
    let any = with_cors(&["*"], &["*"], &["*"], false);
    let (status, headers, body) = send(&any, Method::OPTIONS, "/v1/rerank", &[ORIGIN, POST, HEADERS]).await;
    assert_eq!((status, body), (200, json!("OK")));
    assert_eq!(header(&headers, "access-control-allow-origin"), Some("*"));
    assert_eq!(header(&headers, "access-control-allow-headers"), Some(HEADERS.1));
    assert_eq!(header(&headers, "access-control-max-age"), Some("600"));
    assert_eq!(header(&headers, "access-control-allow-credentials"), None);
    let (_, headers, _) = send(&any, Method::GET, "/version", &[ORIGIN]).await;
    assert_eq!(header(&headers, "access-control-allow-origin"), Some("*"));
    let (_, headers, _) = send(&any, Method::GET, "/version", &[]).await;
    assert_eq!(header(&headers, "access-control-allow-origin"), None, "no page asked");
    let cookies = with_cors(&["*"], &["*"], &["*"], true);
    for (method, extra) in [(Method::OPTIONS, POST), (Method::GET, ("accept", "*/*"))] {
        let (status, headers, _) = send(&cookies, method, "/version", &[ORIGIN, extra]).await;
        assert_eq!((status, header(&headers, "access-control-allow-origin")), (200, Some(ORIGIN.1)));
        assert_eq!(header(&headers, "access-control-allow-credentials"), Some("true"));
    }
}

#[actix_web::test]
async fn listed_origins_methods_and_headers_are_allowed_and_others_named() {
    let subject = with_cors(&["http://a.example"], &["GET", "POST"], &["Authorization"], false);
    let (status, headers, _) = send(&subject, Method::OPTIONS, "/rerank", &[ORIGIN, POST, HEADERS]).await;
    assert_eq!((status, header(&headers, "access-control-allow-origin")), (200, Some(ORIGIN.1)));
    assert_eq!(header(&headers, "access-control-allow-methods"), Some("GET, POST"));
    let listed = "accept, accept-language, authorization, content-language, content-type";
    assert_eq!(header(&headers, "access-control-allow-headers"), Some(listed));
    for (sent, said) in [
        (vec![("origin", "http://a.example.b"), POST], "Disallowed CORS origin"),
        (vec![ORIGIN, ("access-control-request-method", "PUT")], "Disallowed CORS method"),
        (vec![ORIGIN, POST, ("access-control-request-headers", "x-own")], "Disallowed CORS headers"),
        (vec![ORIGIN, POST, ("access-control-request-private-network", "true")], "Disallowed CORS private-network"),
        (vec![("origin", "null"), ("access-control-request-method", "PUT")], "Disallowed CORS origin, method"),
    ] {
        let (status, _, body) = send(&subject, Method::OPTIONS, "/rerank", &sent).await;
        assert_eq!((status, body), (400, json!(said)));
    }
    let (_, headers, _) = send(&subject, Method::GET, "/version", &[("origin", "http://b.example")]).await;
    assert_eq!(header(&headers, "access-control-allow-origin"), None);
}

#[actix_web::test]
async fn options_that_are_no_preflight_are_a_method_of_the_root_alone() {
    let subject = with_cors(&["*"], &["*"], &["*"], false);
    for sent in [vec![], vec![ORIGIN], vec![POST]] {
        let (status, headers, _) = send(&subject, Method::OPTIONS, "/rerank", &sent).await;
        assert_eq!((status, header(&headers, "allow")), (405, Some("POST")));
    }
    assert_eq!(send(&subject, Method::OPTIONS, "/nope", &[]).await.0, 404);
    for path in ["/", "/v1", "*"] {
        let (status, headers, _) = send(&subject, Method::OPTIONS, path, &[ORIGIN]).await;
        assert_eq!((status, header(&headers, "allow")), (200, Some("GET, HEAD, POST, OPTIONS")), "{path}");
    }
}

#[actix_web::test]
async fn a_page_can_read_that_its_key_is_refused() {
    let subject = subject_with(|options| {
        options.api_keys.keys = vec!["k".to_owned()];
        options.cors.allowed_origins = vec!["*".to_owned()];
        options.request_id_headers = true;
    });
    let (status, headers, _) = send(&subject, Method::GET, "/v1/models", &[ORIGIN, ("x-request-id", "r")]).await;
    assert_eq!((status, header(&headers, "vary")), (401, Some("Origin")));
    assert_eq!(header(&headers, "access-control-allow-origin"), Some("*"));
    assert_eq!(header(&headers, "x-request-id"), Some("r"));
    let (status, ..) = send(&subject, Method::OPTIONS, "/v1/models", &[ORIGIN, POST]).await;
    assert_eq!(status, 200, "a preflight carries no key");
}

#[actix_web::test]
async fn answers_name_their_request_if_that_is_asked_for() {
    let named = subject_with(|options| options.request_id_headers = true);
    for path in ["/version", "/nope"] {
        let (_, headers, _) = send(&named, Method::GET, path, &[("x-request-id", "rid-1")]).await;
        assert_eq!(header(&headers, "x-request-id"), Some("rid-1"), "{path}");
        let (_, headers, _) = send(&named, Method::GET, path, &[]).await;
        let id = header(&headers, "x-request-id").expect("a name");
        assert!(id.len() == 32 && id.bytes().all(|c| c.is_ascii_hexdigit()), "{path}: {id}");
        let (_, headers, _) = send(&named, Method::GET, path, &[("x-request-id", &"r".repeat(120_000))]).await;
        assert_eq!(header(&headers, "x-request-id"), Some("r".repeat(128).as_str()), "{path}: cut");
    }
    let (_, headers, _) = send(&subject(&[]), Method::GET, "/version", &[("x-request-id", "rid-1")]).await;
    assert_eq!(header(&headers, "x-request-id"), None);
}

#[actix_web::test]
async fn the_load_is_that_of_requests_at_work() {
    let subject = subject_alone();
    let load =
        || async { send(&subject, Method::GET, "/load", &[]).await.2["server_load"].as_u64().expect("a number") };
    assert_eq!(load().await, 0);
    let service = service_test::init_service(app(subject.clone())).await;
    let documents: Vec<String> = (0..400).map(|i| format!("document {i}")).collect();
    let body = json!({"query": "q", "documents": documents});
    let request = service_test::TestRequest::post().uri("/rerank").set_json(body).to_request();
    let mut working = Box::pin(service_test::call_service(&service, request));
    assert!(futures_poll(&mut working).await, "400 documents take longer than one look");
    assert_eq!(load().await, 1);
    drop(working);
    assert_eq!(load().await, 0, "a client that has left is no load");
}

/// Polls `future` once; whether it is still at work.
async fn futures_poll(future: &mut std::pin::Pin<Box<impl Future>>) -> bool {
    std::future::poll_fn(|context| std::task::Poll::Ready(future.as_mut().poll(context).is_pending())).await
}

#[actix_web::test]
async fn developers_may_see_the_options_and_nobody_else() {
    assert_eq!(send(&subject(&[]), Method::GET, "/server_info", &[]).await.0, 404);
    assert_eq!(send(&subject(&[]), Method::POST, "/server_info", &[]).await.0, 404);
    let subject = subject_serving(|options, served| {
        let map = |value: Value| value.as_object().cloned().unwrap_or_default();
        served.config = map(json!({"max_model_len": 512}));
        options.server_info = Some(map(json!({"RUST_LOG": "info"})));
    });
    let (status, _, info) = send(&subject, Method::GET, "/server_info?config_format=json", &[]).await;
    assert_eq!((status, &info["vllm_config"]), (200, &json!({"max_model_len": 512})));
    assert_eq!(info["vllm_env"], json!({"RUST_LOG": "info"}));
    let (_, _, info) = send(&subject, Method::GET, "/server_info", &[]).await;
    assert_eq!(info["vllm_config"], "max_model_len=512");
}
