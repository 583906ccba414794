//! What the server says about itself: models, health, version, metrics, load, options.

use crate::error::ErrorKind;
use crate::options::Overflow;
use crate::server::http::error::{ApiError, Refusal};
use crate::server::state::{ServerInfo, Settings, State};
use actix_web::HttpResponse;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

/// Texts that TEI's clients may send at once: they cut up what is more. There is no limit here, but on bytes.
const MAX_TEXTS: usize = 1024;

/// `GET /v1/models`: one card per served name.
pub fn models(state: &State) -> HttpResponse {
    let data = state.settings.served_model_names.iter().map(|name| card(state, name)).collect();
    HttpResponse::Ok().json(ModelList { object: "list", data })
}

/// `GET /v1/models/{id}`: the card of a name that requests may use.
pub fn model(state: &State, id: &str) -> Result<HttpResponse, ApiError> {
    state.settings.check_model(id)?;
    Ok(HttpResponse::Ok().json(card(state, id)))
}

/// `GET /health` and `/ping`: 200 without a body, for the server listens only when the model is ready; 503 once the
/// engine has failed, or the server was told to stop.
pub fn health(state: &State) -> Result<HttpResponse, ApiError> {
    let why = match (state.engine.is_alive(), state.is_stopping()) {
        (true, false) => return Ok(HttpResponse::Ok().finish()),
        (true, true) => "The server is stopping; send new requests to another one.",
        (false, _) => "The engine has failed; restart the server.",
    };
    Err(ApiError::new(Refusal::Kind(ErrorKind::Busy), why))
}

/// `GET /version`.
pub fn version() -> HttpResponse {
    HttpResponse::Ok().json(Version { version: env!("CARGO_PKG_VERSION") })
}

/// `GET /info`, as TEI: its clients take the kind of the model from the first key of `model_type` (Dify) or look for
/// `rerank` (RAGFlow).
pub fn info(state: &State) -> HttpResponse {
    let Settings { max_model_len, root, max_body_bytes, label, .. } = &state.settings;
    let labels = json!({"id2label": {"0": label}, "label2id": {label: 0}});
    HttpResponse::Ok().json(Info {
        model_id: state.settings.model_name(),
        model_sha: None,
        model_dtype: "float32",
        load_format: state.settings.load_format(),
        model_type: ModelType { reranker: labels, rerank: Map::new() },
        served_model_path: root,
        max_input_length: *max_model_len,
        max_client_batch_size: MAX_TEXTS,
        auto_truncate: state.settings.overflow == Overflow::Truncate,
        payload_limit: *max_body_bytes,
        version: env!("CARGO_PKG_VERSION"),
    })
}

/// `GET /v1/cluster/auth`: whether there are keys. Xinference's clients send theirs only if so.
pub fn cluster_auth(state: &State) -> HttpResponse {
    HttpResponse::Ok().json(ClusterAuth { auth: !state.settings.api_keys.is_empty() })
}

/// `GET /metrics`, in Prometheus' text format.
pub fn metrics(state: &State) -> Result<HttpResponse, ApiError> {
    let text = state.metrics.text(&state.engine).map_err(|err| {
        ApiError::new(Refusal::Kind(ErrorKind::Internal), format!("The metrics cannot be written: {err}."))
    })?;
    Ok(HttpResponse::Ok().content_type("text/plain; version=1.0.0; charset=utf-8").body(text))
}

/// `GET /load`: requests that are at work now.
pub fn load(server_load: usize) -> HttpResponse {
    HttpResponse::Ok().json(Load { server_load })
}

/// `GET /kv_event_sources`: none.
pub fn kv_event_sources() -> HttpResponse {
    HttpResponse::Ok().json(Map::new())
}

/// `GET /tokenizer_info`: the tokenizer's configuration.
pub fn tokenizer_info(state: &State) -> HttpResponse {
    HttpResponse::Ok().json(&state.settings.tokenizer_info)
}

/// `GET /server_info`: options, environment and machine; the options as one line of text unless
/// `config_format=json` asks for an object.
pub fn server_info(state: &State, query: &str) -> HttpResponse {
    let ServerInfo { config, environment } = state.settings.server_info.clone().unwrap_or_default();
    let vllm_config = match query.split('&').any(|pair| pair == "config_format=json") {
        true => Value::Object(config),
        false => config.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", ").into(),
    };
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let system_env = json!({
        "ironrank": env!("CARGO_PKG_VERSION"), "os": std::env::consts::OS, "arch": std::env::consts::ARCH, "cpus": cpus,
    });
    HttpResponse::Ok().json(json!({"vllm_config": vllm_config, "vllm_env": environment, "system_env": system_env}))
}

fn card<'a>(state: &'a State, id: &'a str) -> ModelCard<'a> {
    let created = state.started;
    let max_model_len = state.settings.max_model_len;
    ModelCard {
        id,
        object: "model",
        created,
        owned_by: "vllm",
        root: &state.settings.root,
        parent: None,
        max_model_len,
        permission: [Permission {
            id: format!("modelperm-{:016x}", rand::random::<u64>()),
            object: "model_permission",
            created,
            allow_create_engine: false,
            allow_sampling: true,
            allow_logprobs: true,
            allow_search_indices: false,
            allow_view: true,
            allow_fine_tuning: false,
            organization: "*",
            group: None,
            is_blocking: false,
        }],
        context_length: max_model_len,
        model_type: "rerank",
        load_format: state.settings.load_format(),
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct Load {
    server_load: usize,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Info<'a> {
    model_id: &'a str,
    #[schema(value_type = Option<String>)]
    model_sha: Option<()>,
    model_dtype: &'static str,
    /// `dummy` where the weights are made up and scores carry no meaning.
    #[serde(skip_serializing_if = "Option::is_none")]
    load_format: Option<&'static str>,
    model_type: ModelType,
    served_model_path: &'a str,
    max_input_length: usize,
    max_client_batch_size: usize,
    auto_truncate: bool,
    payload_limit: usize,
    version: &'static str,
}

#[derive(Serialize, ToSchema)]
struct ModelType {
    #[schema(value_type = Object)]
    reranker: Value,
    #[schema(value_type = Object)]
    rerank: Map<String, Value>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ClusterAuth {
    auth: bool,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Version {
    version: &'static str,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ModelList<'a> {
    object: &'static str,
    data: Vec<ModelCard<'a>>,
}

/// vLLM's card; `context_length` and `model_type` are what RAGFlow and Xinference's clients look for.
#[derive(Serialize, ToSchema)]
pub(super) struct ModelCard<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
    root: &'a str,
    #[schema(value_type = Option<Object>)]
    parent: Option<()>,
    max_model_len: usize,
    permission: [Permission; 1],
    context_length: usize,
    model_type: &'static str,
    /// `dummy` where the weights are made up and scores carry no meaning.
    #[serde(skip_serializing_if = "Option::is_none")]
    load_format: Option<&'static str>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Permission {
    id: String,
    object: &'static str,
    created: u64,
    allow_create_engine: bool,
    allow_sampling: bool,
    allow_logprobs: bool,
    allow_search_indices: bool,
    allow_view: bool,
    allow_fine_tuning: bool,
    organization: &'static str,
    #[schema(value_type = Option<Object>)]
    group: Option<()>,
    is_blocking: bool,
}
