//! What the server answers, one file a resource, and the table of them.
//!
//! A path, its methods, who may ask, what is counted, what answers and how it is described stand in the resource's row;
//! dispatch, `Allow`, keys, `/load`, the metrics of requests and `/openapi.json` are made from the rows.

mod classify;
mod embeddings;
mod info;
mod invocations;
mod ollama;
mod openapi;
mod pooling;
mod rerank;
mod root;
mod score;
mod tokenize;
mod ui;

use super::route::Table;

/// All routes.
pub static ROUTES: Table = &[
    &rerank::ROUTE,
    &score::ROUTE,
    &classify::ROUTE,
    &embeddings::EMBEDDINGS,
    &embeddings::OLLAMA_EMBEDDINGS,
    &embeddings::EMBED,
    &embeddings::OLLAMA_EMBED,
    &embeddings::SIMILARITY,
    &embeddings::OTHER_VECTORS,
    &pooling::ROUTE,
    &invocations::ROUTE,
    &tokenize::TOKENIZE,
    &tokenize::DETOKENIZE,
    &root::ROUTE,
    &info::MODELS,
    &info::MODEL,
    &info::HEALTH,
    &info::PING,
    &info::VERSION,
    &info::INFO,
    &info::CLUSTER_AUTH,
    &ollama::TAGS,
    &ollama::SHOW,
    &ollama::VERSION,
    &info::METRICS,
    &info::LOAD,
    &info::KV_EVENT_SOURCES,
    &info::TOKENIZER_INFO,
    &info::SERVER_INFO,
    &openapi::DOCUMENT,
    &openapi::PAGE,
    &ui::ROUTE,
];

#[cfg(test)]
mod tests {
    use super::super::route::{Found, Route, meant};
    use super::*;
    use std::collections::BTreeSet;

    fn found(path: &str) -> Option<Found> {
        meant(ROUTES, path)
    }

    fn is(path: &str, route: &'static Route) -> bool {
        found(path).is_some_and(|found| std::ptr::eq(found.route, route))
    }

    #[test]
    fn the_last_segment_decides() {
        for path in [
            "/rerank",
            "/rerank/",
            "//rerank",
            "/v1/rerank",
            "/v2/rerank/",
            "/v1//rerank",
            "/v1/rerank/v1/rerank",
            "/rerank/v1/rerank",
            "/v1/v1/rerank",
            "/api/rerank",
            "/compatible-api/v1/reranks",
            "/api/v1/services/rerank/text-rerank/text-rerank",
            "/api/v1/services/rerank/text-rerank/text-rerank/",
        ] {
            assert!(is(path, &rerank::ROUTE), "{path}");
        }
        for path in [
            "/v1/embeddings",
            "/embeddings",
            "/v1/embeddings/v1/embeddings",
            "/v1/embeddings/embeddings",
            "/embeddings//embeddings/",
            "/v3/embeddings",
        ] {
            assert!(is(path, &embeddings::EMBEDDINGS), "{path}");
        }
        for path in ["/embed", "//embed", "/v1/embed", "/v2/embed/", "/v1/embeddings/embed"] {
            assert!(is(path, &embeddings::EMBED), "{path}");
        }
        for path in ["/api/embeddings", "/v1/api/embeddings", "/ollama//api/embeddings/"] {
            assert!(is(path, &embeddings::OLLAMA_EMBEDDINGS), "{path}");
        }
        for path in ["/api/embed", "/v1/api/embed", "/ollama/api//embed/"] {
            assert!(is(path, &embeddings::OLLAMA_EMBED), "{path}");
        }
        for path in ["/score", "/v1/score", "/v1/score/"] {
            assert!(is(path, &score::ROUTE), "{path}");
        }
    }

    #[test]
    fn a_model_name_may_contain_slashes_and_even_end_in_rerank() {
        for path in ["/v1/models/org/rerank", "/v1/models/org%2Frerank", "/models/org/rerank/"] {
            assert!(is(path, &info::MODEL), "{path}");
            assert_eq!(found(path).expect("a model").id, "org/rerank", "{path}");
        }
    }

    #[test]
    fn other_paths_mean_nothing() {
        for path in [
            "/nope",
            "/v1/embeddingss",
            "/embed/x",
            "/v1/chat/completions",
            "/x/health",
            "/rerankss",
            "/rerank/x",
            "/text-rerank/x",
        ] {
            assert!(found(path).is_none(), "{path}");
        }
    }

    #[test]
    fn the_page_of_routes_has_every_path_and_no_other() {
        let page = include_str!("../../../docs/routes.md");
        let mut told = BTreeSet::new();
        for row in page.lines().filter(|line| line.starts_with("| `")) {
            let cell = row[2..].split(" | ").next().unwrap_or_default();
            // A path without a method has that of the path before it.
            let mut method = "";
            for code in cell.split('`').skip(1).step_by(2) {
                let (of, path) = code.split_once(' ').unwrap_or((method, code));
                method = of;
                // Headers have none.
                let is_new = of.is_empty() || told.insert(format!("{method} {path}"));
                assert!(is_new, "{method} {path} is told twice");
            }
        }
        let there = ROUTES.iter().flat_map(|route| {
            let paths = route.paths.iter().chain(route.also);
            paths.flat_map(|path| route.operations.iter().map(move |one| format!("{} {path}", one.verb.methods()[0])))
        });
        assert_eq!(told, there.collect(), "docs/routes.md (left) and the table (right)");
    }

    #[test]
    fn every_path_of_a_row_means_that_row() {
        for route in ROUTES {
            for path in route.paths.iter().chain(route.also) {
                assert!(is(&path.replace("**", "x").replace("{id}", "a/b"), route), "{path}");
            }
        }
    }
}
