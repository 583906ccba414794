//! Any bytes as the body of every POST route, through the application that `main` serves, over a tiny model: the answer
//! is a success or the client's mistake, never ours, and JSON that says so.
//!
//! Input: a letter for the route (`a` is the first of [`ROUTES`]), a letter for the headers (see `headers`), the body.
#![no_main]

use actix_web::body::to_bytes;
use actix_web::dev::Service;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use actix_web::rt::{System, SystemRunner};
use actix_web::test::{TestRequest, init_service};
use actix_web::web::{Bytes, Data};
use flate2::Compression;
use flate2::read::GzEncoder;
use ironrank::checkpoint::{Activation, Checkpoint, Embedding, Head, Overrides, Said};
use ironrank::engine::{BatchLimits, Engine, QueueLimits, Turns};
use ironrank::head::Resolved;
use ironrank::model;
use ironrank::options::ServerOptions;
use ironrank::precision::{Dtype, Precision};
use ironrank::prompt::{PromptEncoder, TextEncoder};
use ironrank::server::{Model, Served, State, app};
use ironrank::serves::{Embedder, Reranker, Serves};
use ironrank::task::Task;
use ironrank_kernels::{Cpu, Isa, Pool};
use libfuzzer_sys::{Corpus, fuzz_target};
use serde_json::{Map, Value, json};
use std::cell::OnceCell;
use std::future::Future;
use std::io::Read;
use std::pin::Pin;

const ROUTES: [&str; 17] = [
    "/v1/rerank",
    "/v1/score",
    "/classify",
    "/pooling",
    "/invocations",
    "/tokenize",
    "/detokenize",
    "/",
    "/v2/rerank",
    "/api/rerank",
    "/v1/embeddings",
    "/embed",
    "/v2/embed",
    "/api/embed",
    "/api/embeddings",
    "/similarity",
    "/api/show",
];
const MAX_MODEL_LEN: usize = 128;

thread_local! {
    /// Never dropped: its runtime cannot end in the destructor of a thread.
    static SERVER: OnceCell<&'static Server> = const { OnceCell::new() };
}

fuzz_target!(|input: &[u8]| -> Corpus {
    let &[route, headers, ref body @ ..] = input else { return Corpus::Reject };
    let route = ROUTES[usize::from(route.wrapping_sub(b'a')) % ROUTES.len()];
    SERVER.with(|server| {
        let server = server.get_or_init(|| Box::leak(Box::new(Server::start())));
        let (status, is_json, answer) = server.system.block_on((server.ask)(request(route, headers, body)));
        let shown = String::from_utf8_lossy(&answer);
        let is_other_models = status == StatusCode::NOT_IMPLEMENTED;
        assert!(
            status.is_success() || status.is_client_error() || is_other_models,
            "{route} answers {status}: {shown}"
        );
        assert!(is_json || status.is_success(), "{route} answers {status} without JSON: {shown}");
        if is_json {
            serde_json::from_slice::<Value>(&answer)
                .unwrap_or_else(|e| panic!("{route} answers no JSON, {e}: {shown}"));
        }
    });
    Corpus::Keep
});

/// `headers`: bit 1 compresses the body, bit 2 only says so, bit 4 leaves the content type out.
fn request(route: &str, headers: u8, body: &[u8]) -> TestRequest {
    let mut request = TestRequest::post().uri(route);
    let mut body = body.to_vec();
    let headers = headers.wrapping_sub(b'a');
    if headers & 1 != 0 {
        let mut compressed = Vec::new();
        GzEncoder::new(body.as_slice(), Compression::fast()).read_to_end(&mut compressed).expect("memory is readable");
        body = compressed;
    }
    if headers & 3 != 0 {
        request = request.insert_header((CONTENT_ENCODING, "gzip"));
    }
    if headers & 4 == 0 {
        request = request.insert_header((CONTENT_TYPE, "application/json"));
    }
    request.set_payload(body)
}

/// Status, whether the answer says that it is JSON, and its body.
type Answer = Pin<Box<dyn Future<Output = (StatusCode, bool, Bytes)>>>;

struct Server {
    system: SystemRunner,
    ask: Box<dyn Fn(TestRequest) -> Answer>,
}

impl Server {
    fn start() -> Self {
        let system = System::new();
        let service = system.block_on(init_service(app(Data::new(state()))));
        let ask = move |request: TestRequest| -> Answer {
            let answer = service.call(request.to_request());
            Box::pin(async move {
                let answer = answer.await.unwrap_or_else(|e| panic!("the application fails: {e}"));
                let content_type = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
                let is_json = content_type.is_some_and(|value| value.starts_with("application/json"));
                let status = answer.status();
                let body = to_bytes(answer.into_body()).await.unwrap_or_else(|_| panic!("the answer breaks off"));
                (status, is_json, body)
            })
        };
        Self { system, ask: Box::new(ask) }
    }
}

fn state() -> State {
    let options = ServerOptions { max_body_bytes: 1 << 16, ..ServerOptions::default() };
    let models = vec![model(Task::Rerank, "tiny"), model(Task::Embed, "vectors")];
    State::new(options, models).expect("the metrics can be set up")
}

fn model(task: Task, name: &str) -> Model {
    let dir = tempfile::tempdir().expect("there is a temporary directory");
    let config = json!({
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "intermediate_size": 16,
        "vocab_size": 151_669, "max_position_embeddings": MAX_MODEL_LEN, "rms_norm_eps": 1e-6, "rope_theta": 10_000.0,
        "tie_word_embeddings": true, "hidden_act": "silu", "torch_dtype": "bfloat16",
    });
    std::fs::write(dir.path().join("config.json"), config.to_string()).expect("the configuration is written");
    let said = Said { overrides: &Overrides::new(), task: Some(task) };
    let checkpoint = Checkpoint::dummy(Some(dir.path()), said).expect("the configuration is good");
    let serves = match checkpoint.head() {
        Head::Vector(Embedding { normalize, dimensions, prompts }) => {
            let encoder = TextEncoder::builtin(MAX_MODEL_LEN, prompts.clone()).expect("the tokenizer opens").into();
            let width = checkpoint.config().hidden_size;
            Serves::Embed(Embedder { encoder, normalize: *normalize, width, dimensions: dimensions.clone() })
        }
        _ => {
            let encoder = PromptEncoder::builtin(MAX_MODEL_LEN).expect("the tokenizer opens").into();
            Serves::Rerank(Reranker { encoder, activation: Activation::Sigmoid })
        }
    };
    let cpu = Cpu::new(Isa::best(), Pool::new(Some(1), false).expect("threads"));
    let packed = model::pack(&cpu, &checkpoint, Precision::Exact, None).expect("the weights are packed");
    let head = Resolved::of(&checkpoint, serves.vocabulary()).expect("the tokenizer belongs to the model").head;
    let model = model::load(cpu, &checkpoint, packed, head, MAX_MODEL_LEN).expect("the model loads");
    let limits = BatchLimits { tokens: 512, sequences: 64, prefix_cache_bytes: 1 << 20, answer_cache_bytes: 1 << 20 };
    let served = Served {
        task,
        root: name.to_owned(),
        dummy: false,
        max_model_len: MAX_MODEL_LEN,
        isa: Isa::best().name(),
        threads: 1,
        precision: Precision::Exact,
        dtype: Dtype::Float32,
        label: "LABEL_0".to_owned(),
        tokenizer_info: None,
        config: Map::new(),
    };
    let engine = Engine::start(model, &Turns::default(), limits, QueueLimits::default()).expect("threads");
    Model::new(vec![name.to_owned()], served, engine, serves).expect("it can be counted")
}
