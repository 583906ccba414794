//! The page: its files and their heads, where browsers find it, who else does not, and what hides it.

use super::contract::send;
use super::{subject, subject_with};
use actix_web::dev::ServiceResponse;
use actix_web::http::Method;
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actix_web::web::Data;
use ironrank::server::{State, app};

/// What Chromium and Firefox send when somebody types an address.
const BROWSERS: [&str; 2] =
    ["text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8", "text/html;q=1.0, */*"];
const FILES: [&str; 12] = [
    "style.css",
    "icon.svg",
    "app.js",
    "api.js",
    "dom.js",
    "documents.js",
    "playground.js",
    "results.js",
    "snippets.js",
    "figures.js",
    "chart.js",
    "live.js",
];

async fn get(subject: &Data<State>, path: &str, headers: &[(&str, &str)]) -> ServiceResponse {
    let service = init_service(app(subject.clone())).await;
    let request = headers.iter().fold(TestRequest::get().uri(path), |request, header| request.insert_header(*header));
    let response = call_service(&service, request.to_request()).await;
    response.map_into_boxed_body()
}

fn header<'a>(response: &'a ServiceResponse, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().expect("ASCII"))
}

async fn text(response: ServiceResponse) -> String {
    String::from_utf8(read_body(response).await.to_vec()).expect("UTF-8")
}

#[actix_web::test]
async fn files_are_open_small_kept_and_let_nothing_else_in() {
    let subject = subject(&["k"]);
    let mut bytes = 0;
    let paths = FILES.iter().map(|file| format!("/ui/{file}")).chain(["/ui".to_owned()]);
    for path in paths {
        let response = get(&subject, &path, &[]).await;
        assert_eq!(response.status(), 200, "{path}");
        let policy = header(&response, "content-security-policy");
        for part in
            ["default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "base-uri 'none'"]
        {
            assert!(policy.split("; ").any(|found| found == part), "{path}: {policy}");
        }
        assert_eq!(header(&response, "x-content-type-options"), "nosniff");
        assert_eq!(header(&response, "cache-control"), "no-cache");
        let kind = match path.rsplit_once('.').map_or("", |(_, end)| end) {
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            "js" => "text/javascript; charset=utf-8",
            _ => "text/html; charset=utf-8",
        };
        assert_eq!(header(&response, "content-type"), kind, "{path}");
        let tag = header(&response, "etag").to_owned();
        let kept = get(&subject, &path, &[("if-none-match", &tag)]).await;
        assert_eq!((kept.status().as_u16(), header(&kept, "etag")), (304, tag.as_str()), "{path}");
        assert_eq!(text(kept).await, "");
        assert_eq!(get(&subject, &path, &[("if-none-match", "\"other\"")]).await.status(), 200, "{path}");
        let content = text(response).await;
        bytes += content.len();
        let elsewhere = content.replace("http://www.w3.org/2000/svg", "");
        assert!(!elsewhere.contains("://"), "{path} refers elsewhere");
        assert!(!elsewhere.contains(" style=") && !elsewhere.contains("innerHTML"), "{path}");
    }
    assert!(bytes < 100_000, "{bytes} bytes");
    assert_eq!(send(&subject, Method::HEAD, "/ui", &[], b"").await.0, 200);
    assert_eq!(send(&subject, Method::POST, "/ui", &[], b"").await.0, 405);
    assert_eq!(send(&subject, Method::GET, "/ui/other.js", &[], b"").await.0, 404);
}

#[actix_web::test]
async fn files_are_found_from_wherever_the_page_is() {
    let behind = subject_with(|options| options.root_path = "/a/proxy".to_owned());
    for (path, files) in [
        ("/ui", "ui/"),
        ("/ui/", ""),
        ("/", "ui/"),
        ("/a/proxy/ui", "ui/"),
        ("/a/proxy/ui/", ""),
        ("/a/proxy/", "ui/"),
        ("/a/proxy", "proxy/ui/"),
    ] {
        let page = text(get(&behind, path, &[("accept", BROWSERS[0])]).await).await;
        for file in ["style.css", "app.js", "icon.svg"] {
            assert!(page.contains(&format!("=\"{files}{file}\"")), "{path}: {page}");
        }
    }
}

#[actix_web::test]
async fn browsers_find_it_at_the_root_where_clients_find_health() {
    let open = subject(&[]);
    for accept in BROWSERS {
        let response = get(&open, "/", &[("accept", accept)]).await;
        assert!(header(&response, "vary").contains("accept"), "a cache tells them apart: {:?}", response.headers());
        assert!(text(response).await.contains("<title>ironrank</title>"), "{accept}");
        assert_eq!(text(get(&open, "/v1", &[("accept", accept)]).await).await, "", "a base URL is no place for people");
    }
    for headers in
        [&[][..], &[("accept", "*/*")], &[("accept", "application/json")], &[("accept", "text/plain, text/htmlx")]]
    {
        let response = get(&open, "/", headers).await;
        assert_eq!(response.status(), 200);
        assert_eq!(text(response).await, "", "{headers:?}");
    }
    let guarded = subject(&["k"]);
    assert_eq!(get(&guarded, "/", &[("accept", "*/*")]).await.status(), 401);
    assert_eq!(get(&guarded, "/", &[("accept", BROWSERS[0])]).await.status(), 200, "a browser has no key yet");
    assert_eq!(send(&guarded, Method::POST, "/", &[("accept", BROWSERS[0])], b"{}").await.0, 401);
}

#[actix_web::test]
async fn it_is_hidden_with_the_description_of_the_api() {
    let off = subject_with(|options| options.docs = false);
    for path in ["/ui", "/ui/", "/ui/app.js"] {
        assert_eq!(get(&off, path, &[]).await.status(), 404, "{path}");
    }
    let root = get(&off, "/", &[("accept", BROWSERS[0])]).await;
    assert_eq!(root.status(), 200);
    assert_eq!(text(root).await, "");
    let (_, refused) = send(&off, Method::GET, "/ui", &[], b"").await;
    assert!(refused["message"].as_str().is_some_and(|said| said.contains("--disable-fastapi-docs")), "{refused}");
}
