//! Which resource a path means. Clients glue paths together in many ways, so the last non-empty segment decides.
//!
//! Invariant: never a redirect, because a redirected POST becomes a GET in common clients. Called by `server`.

use actix_web::http::Method;
use percent_encoding::percent_decode_str;

/// A resource of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// Ranks documents: every path that ends in `rerank`, or as DashScope's in `reranks` or `text-rerank`.
    Rerank,
    /// Scores pairs: every path that ends in `score`.
    Score,
    /// Classifies whole prompts.
    Classify,
    /// The same, with a choice of encodings.
    Pooling,
    /// Any of these, by the body.
    Invocations,
    /// Text to tokens.
    Tokenize,
    /// Tokens to text.
    Detokenize,
    /// The list of served names.
    Models,
    /// One served name, which may contain slashes.
    Model(String),
    /// Whether the server is up.
    Health,
    /// The same, for SageMaker.
    Ping,
    /// The version of this program.
    Version,
    /// What is served, as TEI says it.
    Info,
    /// Whether there are keys, which Xinference's clients ask before anything else.
    ClusterAuth,
    /// Prometheus metrics.
    Metrics,
    /// How many requests are at work.
    Load,
    /// Where vLLM would publish the events of its key-value cache.
    KvEventSources,
    /// How the tokenizer is configured, if the operator tells.
    TokenizerInfo,
    /// How the server was configured; for developers.
    ServerInfo,
    /// The description of the API.
    OpenApi,
    /// The same for people.
    Docs,
    /// `/`, `/v1` and the `*` of OPTIONS: health, but a POST ranks, for clients that never add a path.
    Root,
}

impl Resource {
    /// The resource at `path` (percent-encoded, without the query string).
    pub fn at(path: &str) -> Option<Self> {
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        match segments.as_slice() {
            [] | ["v1"] | ["*"] => Some(Self::Root),
            ["models"] | ["v1", "models"] => Some(Self::Models),
            ["models", id @ ..] | ["v1", "models", id @ ..] => {
                Some(Self::Model(percent_decode_str(&id.join("/")).decode_utf8_lossy().into_owned()))
            }
            ["health"] => Some(Self::Health),
            ["ping"] => Some(Self::Ping),
            ["version"] => Some(Self::Version),
            ["info"] => Some(Self::Info),
            ["cluster", "auth"] | ["v1", "cluster", "auth"] => Some(Self::ClusterAuth),
            ["metrics"] => Some(Self::Metrics),
            ["load"] => Some(Self::Load),
            ["kv_event_sources"] => Some(Self::KvEventSources),
            ["openapi.json"] => Some(Self::OpenApi),
            ["docs"] | ["redoc"] => Some(Self::Docs),
            ["tokenizer_info"] => Some(Self::TokenizerInfo),
            ["server_info"] => Some(Self::ServerInfo),
            ["classify"] => Some(Self::Classify),
            ["pooling"] => Some(Self::Pooling),
            ["invocations"] => Some(Self::Invocations),
            ["tokenize"] => Some(Self::Tokenize),
            ["detokenize"] => Some(Self::Detokenize),
            [.., "rerank" | "reranks" | "text-rerank"] => Some(Self::Rerank),
            [.., "score"] => Some(Self::Score),
            _ => None,
        }
    }

    /// The methods it has, as in an `Allow` header.
    pub fn methods(&self) -> &'static str {
        match self {
            Self::Rerank
            | Self::Score
            | Self::Classify
            | Self::Pooling
            | Self::Invocations
            | Self::Tokenize
            | Self::Detokenize => "POST",
            Self::Ping => "GET, HEAD, POST",
            Self::Root => "GET, HEAD, POST, OPTIONS",
            Self::Models
            | Self::Model(_)
            | Self::Health
            | Self::Version
            | Self::Info
            | Self::ClusterAuth
            | Self::Metrics
            | Self::Load
            | Self::KvEventSources
            | Self::TokenizerInfo
            | Self::ServerInfo
            | Self::OpenApi
            | Self::Docs => "GET, HEAD",
        }
    }

    /// Whether a POST to it is work for the engine, which `/load` counts.
    pub fn is_work(&self) -> bool {
        matches!(self, Self::Rerank | Self::Score | Self::Classify | Self::Pooling | Self::Invocations | Self::Root)
    }

    /// Whether it has `method`.
    pub fn allows(&self, method: &Method) -> bool {
        self.methods().split(", ").any(|name| name == method.as_str())
    }

    /// Whether it is open to all, also when a key is configured: what tells nothing of anybody's texts and is asked by
    /// programs that know no key, such as a browser at the description of the API.
    pub fn is_open(&self) -> bool {
        matches!(
            self,
            Self::Health | Self::Ping | Self::Version | Self::ClusterAuth | Self::Metrics | Self::OpenApi | Self::Docs
        )
    }

    /// The `handler` label of the HTTP metrics, from a bounded set whatever paths clients invent; `None` is not
    /// counted, as in vLLM.
    pub fn label(&self, path: &str) -> Option<&'static str> {
        match self {
            Self::Rerank => match path {
                "/v1/rerank" => Some("/v1/rerank"),
                "/v2/rerank" => Some("/v2/rerank"),
                _ => Some("/rerank"),
            },
            Self::Score if path == "/v1/score" => Some("/v1/score"),
            Self::Score => Some("/score"),
            Self::Classify => Some("/classify"),
            Self::Pooling => Some("/pooling"),
            Self::Invocations => Some("/invocations"),
            Self::TokenizerInfo => Some("/tokenizer_info"),
            Self::Tokenize => Some("/tokenize"),
            Self::Detokenize => Some("/detokenize"),
            Self::KvEventSources => Some("/kv_event_sources"),
            Self::OpenApi => Some("/openapi.json"),
            Self::Docs => Some("/docs"),
            Self::Info => Some("/info"),
            Self::ClusterAuth => Some("/v1/cluster/auth"),
            Self::Models => Some("/v1/models"),
            Self::Model(_) => Some("/v1/models/{id}"),
            Self::Root => Some("/"),
            Self::Health | Self::Ping | Self::Version | Self::Metrics | Self::Load | Self::ServerInfo => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Resource;

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
            assert_eq!(Resource::at(path), Some(Resource::Rerank), "{path}");
        }
        for path in ["/score", "/v1/score", "/v1/score/"] {
            assert_eq!(Resource::at(path), Some(Resource::Score), "{path}");
        }
    }

    #[test]
    fn a_model_name_may_contain_slashes_and_even_end_in_rerank() {
        for path in ["/v1/models/org/rerank", "/v1/models/org%2Frerank", "/models/org/rerank/"] {
            assert_eq!(Resource::at(path), Some(Resource::Model("org/rerank".to_owned())), "{path}");
        }
    }

    #[test]
    fn other_paths_mean_nothing() {
        for path in
            ["/nope", "/v1/embeddings", "/v1/chat/completions", "/x/health", "/rerankss", "/rerank/x", "/text-rerank/x"]
        {
            assert_eq!(Resource::at(path), None, "{path}");
        }
    }
}
