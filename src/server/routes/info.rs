//! What the server says about itself: models, health, version, metrics, load, options.

use crate::error::ErrorKind;
use crate::options::Overflow;
use crate::server::describe::{Content, Description, shape};
use crate::server::http::error::{ApiError, Refusal};
use crate::server::models::Model;
use crate::server::route::{Operation, Route, Switch, Verb};
use crate::server::served::{ModelType, Served};
use crate::server::state::State;
use actix_web::HttpResponse;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::sync::atomic::Ordering;
use utoipa::ToSchema;

/// Texts that TEI's clients may send at once: they cut up what is more. There is no limit here, but on bytes.
const MAX_TEXTS: usize = 1024;

/// How whoever asks whether the server is well is answered.
pub const WELL: Description =
    Description::tells("Whether the model can score", Content::Empty, &[Refusal::Kind(ErrorKind::Busy)]);
const IS_WELL: Operation = Operation::get(|call| health(call.state), WELL);

/// Whether the server is up.
pub static HEALTH: Route = Route { open: true, counted: false, ..Route::at(&["/health"], &[IS_WELL]) };

/// Whether the server is up, for SageMaker.
pub static PING: Route = Route {
    open: true,
    counted: false,
    ..Route::at(&["/ping"], &[IS_WELL, Operation { verb: Verb::Post, ..IS_WELL }])
};

/// The list of served names.
pub static MODELS: Route = Route {
    also: &["/models"],
    ..Route::at(
        &["/v1/models"],
        &[Operation::get(
            |call| Ok(models(call.state)),
            Description::tells("The served names", Content::Json(&[shape::<ModelList<'static>>]), &[]),
        )],
    )
};

/// One served name, which may contain slashes.
pub static MODEL: Route = Route {
    also: &["/models/{id}"],
    ..Route::at(
        &["/v1/models/{id}"],
        &[Operation::get(
            |call| model(call.state, call.id),
            Description::tells(
                "One served name",
                Content::Json(&[shape::<ModelCard<'static>>]),
                &[Refusal::Kind(ErrorKind::UnknownModel)],
            ),
        )],
    )
};

/// The version of this program.
pub static VERSION: Route = Route {
    open: true,
    counted: false,
    ..Route::at(
        &["/version"],
        &[Operation::get(
            |_| Ok(version()),
            Description::tells("Version of this program", Content::Json(&[shape::<Version>]), &[]),
        )],
    )
};

/// What is served, as TEI says it.
pub static INFO: Route = Route::at(
    &["/info"],
    &[Operation::get(
        |call| Ok(info(call.state)),
        Description::tells(
            "What is served, as text-embeddings-inference says it",
            Content::Json(&[shape::<Info<'static>>]),
            &[],
        ),
    )],
);

/// Whether there are keys, which Xinference's clients ask before anything else.
pub static CLUSTER_AUTH: Route = Route {
    also: &["/cluster/auth"],
    open: true,
    ..Route::at(
        &["/v1/cluster/auth"],
        &[Operation::get(
            |call| Ok(cluster_auth(call.state)),
            Description::tells(
                "Whether users log in, for Xinference's clients",
                Content::Json(&[shape::<ClusterAuth>]),
                &[],
            ),
        )],
    )
};

/// Prometheus metrics.
pub static METRICS: Route = Route {
    open: true,
    counted: false,
    ..Route::at(
        &["/metrics"],
        &[Operation::get(
            |call| metrics(call.state, call.request.query_string()),
            Description::tells("Prometheus metrics", Content::Metrics, &[Refusal::Kind(ErrorKind::Internal)]),
        )],
    )
};

/// How many requests are at work.
pub static LOAD: Route = Route {
    counted: false,
    ..Route::at(
        &["/load"],
        &[Operation::get(
            |call| Ok(load(call.state.at_work.load(Ordering::Relaxed))),
            Description::tells("Requests at work", Content::Json(&[shape::<Load>]), &[]),
        )],
    )
};

/// Where vLLM would publish the events of its key-value cache.
pub static KV_EVENT_SOURCES: Route = Route::at(
    &["/kv_event_sources"],
    &[Operation::get(
        |_| Ok(kv_event_sources()),
        Description::tells("Sources of cache events: none", Content::Object, &[]),
    )],
);

/// How the tokenizer is configured, if the operator tells.
pub static TOKENIZER_INFO: Route = Route {
    switch: Some(Switch {
        is_on: |state| state.options.tokenizer_info,
        otherwise: "--enable-tokenizer-info-endpoint adds it",
    }),
    ..Route::at(
        &["/tokenizer_info"],
        &[Operation::get(
            |call| Ok(tokenizer_info(call.state)),
            Description { tag: "Tokens", ..Description::tells("The tokenizer's configuration", Content::Object, &[]) },
        )],
    )
};

/// How the server was configured; for developers.
pub static SERVER_INFO: Route = Route {
    counted: false,
    switch: Some(Switch {
        is_on: |state| state.options.server_info.is_some(),
        otherwise: "VLLM_SERVER_DEV_MODE=1 adds it",
    }),
    ..Route::at(
        &["/server_info"],
        &[Operation::get(
            |call| Ok(server_info(call.state, call.request.query_string())),
            Description::tells("Options and environment, for developers", Content::Object, &[]),
        )],
    )
};

/// `GET /v1/models`: one card per served name.
pub fn models(state: &State) -> HttpResponse {
    let models = state.models.all().iter();
    let data = models.flat_map(|model| model.names().iter().map(move |name| card(state, model, name))).collect();
    HttpResponse::Ok().json(ModelList { object: "list", data })
}

/// `GET /v1/models/{id}`: the card of a name that requests may use.
pub fn model(state: &State, id: &str) -> Result<HttpResponse, ApiError> {
    Ok(HttpResponse::Ok().json(card(state, state.models.find(id, None)?.model, id)))
}

/// `GET /health` and `/ping`: 200 without a body, for the server listens only when the model is ready; 503 once the
/// engine has failed, or the server was told to stop.
pub fn health(state: &State) -> Result<HttpResponse, ApiError> {
    let why = match (state.models.failure().is_none(), state.is_stopping()) {
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
    let model = state.models.first(None);
    let served @ Served { max_model_len, root, .. } = &model.served;
    HttpResponse::Ok().json(Info {
        model_id: model.name(),
        model_sha: None,
        model_dtype: served.dtype_name(),
        precision: served.precision.name(),
        load_format: served.load_format(),
        model_type: served.tei_kind(),
        served_model_path: root,
        max_input_length: *max_model_len,
        max_client_batch_size: MAX_TEXTS,
        auto_truncate: state.options.overflow == Overflow::Truncate,
        payload_limit: state.options.max_body_bytes,
        version: env!("CARGO_PKG_VERSION"),
    })
}

/// `GET /v1/cluster/auth`: whether there are keys. Xinference's clients send theirs only if so.
pub fn cluster_auth(state: &State) -> HttpResponse {
    HttpResponse::Ok().json(ClusterAuth { auth: !state.options.api_keys.keys.is_empty() })
}

/// `GET /metrics`, in Prometheus' text format; as Python's client has it, `name[]` says which series alone are asked for.
pub fn metrics(state: &State, query: &str) -> Result<HttpResponse, ApiError> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let fields = query.split('&').filter_map(|field| field.split_once('='));
    let names: Vec<String> =
        fields.filter(|(field, _)| decoded(field) == "name[]").map(|(_, name)| decoded(name)).collect();
    let text = state.metrics.text(state.models.all().iter().map(|model| model.told()), &names).map_err(|err| {
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
    HttpResponse::Ok().json(&state.models.first(None).served.tokenizer_info)
}

/// `GET /server_info`: options, environment and machine; the options as one line of text unless
/// `config_format=json` asks for an object.
pub fn server_info(state: &State, query: &str) -> HttpResponse {
    let environment = &state.options.server_info;
    let mut configs = state.models.all().iter().map(|model| model.served.config.clone());
    let mut config = configs.next().unwrap_or_default();
    if configs.len() > 0 {
        config.insert("also".to_owned(), configs.map(Value::Object).collect());
    }
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

fn card<'a>(state: &State, model: &'a Model, id: &'a str) -> ModelCard<'a> {
    let (created, served) = (state.started, &model.served);
    let max_model_len = served.max_model_len;
    ModelCard {
        id,
        object: "model",
        created,
        owned_by: "vllm",
        root: &served.root,
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
        model_type: served.card_type(),
        load_format: served.load_format(),
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
    /// What its matrices are multiplied as: `exact`, `int16` or `int8`.
    precision: &'static str,
    /// `dummy` where the weights are made up and its numbers carry no meaning.
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
    /// `dummy` where the weights are made up and its numbers carry no meaning.
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
