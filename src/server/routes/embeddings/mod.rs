//! Vectors of texts, in the words of OpenAI and vLLM, of TEI, Ollama and Cohere: one file a dialect.
//!
//! Every path that ends in `embeddings` takes OpenAI's words, every one that ends in `embed` the others', by the body, since
//! clients glue their own path behind whatever address they are given. Invariant: a server without an embedding model has
//! none of these routes.

mod cohere;
mod dialect;
mod ollama;
mod openai;
mod tei;

pub use cohere::CohereEmbeddings;
pub use dialect::Asked;
pub use openai::{EmbeddingResponse, OpenAi, described_request};
pub use tei::{Embed as TeiEmbed, EmbedResponse, Similarity, SimilarityResponse, described_embed};

use crate::server::describe::schema::{Request, any};
use crate::server::describe::{Content, Description, shape};
use crate::server::http::error::{ApiError, ErrorForm, Refusal};
use crate::server::route::{Call, Handler, Operation, Route, Switch, Verb, Working};
use crate::server::scoring::rows::{self, Answered, Origin, Written};
use crate::server::wire::embed::EmbedRequest;
use crate::server::wire::fields::given;
use crate::task::Task;
use dialect::Dialect;
use serde_json::{Map, Value};

/// In which forms clients of Ollama read errors, and those of TEI.
const OLLAMAS: &[ErrorForm] = &[ErrorForm::Object, ErrorForm::Texts];
const TEIS: &[ErrorForm] = &[ErrorForm::Object, ErrorForm::Tei];

/// What servers without an embedding model say.
pub const SWITCH: Switch = Switch {
    is_on: |state| state.models.has(Task::Embed),
    otherwise: "this server has no embedding model; ironrank serve takes one as well as a reranker",
};

/// Every path that ends in `embeddings`, but for Ollama's.
pub static EMBEDDINGS: Route = Route {
    also: &["**/embeddings"],
    switch: Some(SWITCH),
    ..Route::at(
        &["/v1/embeddings", "/embeddings"],
        &[Operation::post(
            post::<OpenAi>,
            Description::reads(
                "Vectors",
                "Vectors of texts, in OpenAI's and vLLM's words",
                described_request,
                Content::JsonOrBytes(&[shape::<EmbeddingResponse<'static>>]),
            ),
        )
        .of_the_engine()],
    )
};

/// Ollama's older route, behind whatever its client was given.
pub static OLLAMA_EMBEDDINGS: Route = Route {
    also: &["**/api/embeddings"],
    switch: Some(SWITCH),
    ..Route::at(
        &["/api/embeddings"],
        &[Operation::post(
            post_untyped::<ollama::Embedding>,
            texts(
                OLLAMAS,
                "The vector of a text, in Ollama's older words",
                ollama::described_embedding,
                Content::Json(&[shape::<ollama::OllamaEmbedding<'static>>]),
            ),
        )
        .of_the_engine()],
    )
};

/// Every path that ends in `embed`, but for Ollama's.
pub static EMBED: Route = Route {
    also: &["**/embed"],
    switch: Some(SWITCH),
    ..Route::at(
        &["/embed", "/v1/embed", "/v2/embed"],
        &[Operation::post(
            post::<Any>,
            texts(
                TEIS,
                "Vectors of texts, in TEI's or Cohere's words",
                described_any,
                Content::Json(&[shape::<EmbedResponse<'static>>, shape::<CohereEmbeddings<'static>>]),
            ),
        )
        .of_the_engine()],
    )
};

/// Ollama's route, behind whatever its client was given.
pub static OLLAMA_EMBED: Route = Route {
    also: &["**/api/embed"],
    switch: Some(SWITCH),
    ..Route::at(
        &["/api/embed"],
        &[Operation::post(
            post_untyped::<ollama::Embed>,
            texts(
                OLLAMAS,
                "Vectors of texts, in Ollama's words",
                ollama::described_embed,
                Content::Json(&[shape::<ollama::OllamaEmbeddings<'static>>]),
            ),
        )
        .of_the_engine()],
    )
};

/// TEI's comparison of one text with others.
pub static SIMILARITY: Route = Route {
    switch: Some(SWITCH),
    ..Route::at(
        &["/similarity"],
        &[Operation::post(
            post::<Similarity>,
            texts(
                TEIS,
                "Cosines of one text with others, in TEI's words",
                tei::described_similarity,
                Content::Json(&[shape::<SimilarityResponse>]),
            ),
        )
        .of_the_engine()],
    )
};

/// TEI's routes for vectors that such a model has not.
pub static OTHER_VECTORS: Route = Route {
    switch: Some(SWITCH),
    ..Route::at(
        &["/embed_all", "/embed_sparse"],
        &[Operation {
            verb: Verb::Post,
            is_work: false,
            handler: Handler::Tells(|call| Err(no_such_vectors(call))),
            description: None,
        }],
    )
};

/// How a route is described whose clients read errors in other forms too.
const fn texts(
    error_forms: &'static [ErrorForm],
    summary: &'static str,
    request: fn() -> Request,
    answer: Content,
) -> Description {
    Description { error_forms, ..Description::reads("Vectors", summary, request, answer) }
}

fn post<D: Dialect>(call: Call<'_>) -> Working<'_> {
    Box::pin(async move {
        let (state, origin) = (call.state, Origin::of(call.request));
        rows::answer::<Asked<D>>(state, origin, call.json().await?).await
    })
}

/// The same for clients that don't say that they send JSON: Ollama's manual has such.
fn post_untyped<D: Dialect>(call: Call<'_>) -> Working<'_> {
    Box::pin(async move {
        let (state, origin) = (call.state, Origin::of(call.request));
        rows::answer::<Asked<D>>(state, origin, call.body().await?).await
    })
}

fn no_such_vectors(call: &Call<'_>) -> ApiError {
    let sentence = match call.request.path().ends_with("sparse") {
        true => "Model is not an embedding model with SPLADE pooling",
        false => "Model pools the last token: it has one vector a text, at /embed, and none for each token",
    };
    ApiError::new(Refusal::OtherModel, sentence).in_form(ErrorForm::Tei)
}

/// A body of a path that ends in `embed`, in whoever's words.
enum Any {
    Tei(TeiEmbed),
    Cohere(cohere::Embed),
    OpenAi(OpenAi),
}

impl Any {
    /// TEI's `inputs` are texts or token ids, those of Cohere's second version objects.
    fn is_tei(body: &Map<String, Value>) -> bool {
        let of_objects = |inputs: &Value| inputs.as_array().is_some_and(|all| all.iter().any(Value::is_object));
        given(body, "inputs").is_some_and(|inputs| !of_objects(inputs))
    }
}

impl Dialect for Any {
    fn read(body: &Map<String, Value>) -> Result<Self, ApiError> {
        match given(body, "input") {
            _ if Self::is_tei(body) => TeiEmbed::read(body).map(Self::Tei),
            Some(_) if given(body, "texts").is_none() => OpenAi::read(body).map(Self::OpenAi),
            _ => cohere::Embed::read(body).map(Self::Cohere),
        }
    }

    fn request(&self) -> &EmbedRequest {
        match self {
            Self::Tei(asked) => asked.request(),
            Self::Cohere(asked) => asked.request(),
            Self::OpenAi(asked) => asked.request(),
        }
    }

    fn write(&self, answered: &Answered<'_>) -> Result<Written, ApiError> {
        match self {
            Self::Tei(asked) => asked.write(answered),
            Self::Cohere(asked) => asked.write(answered),
            Self::OpenAi(asked) => asked.write(answered),
        }
    }

    fn error_form(body: &Map<String, Value>) -> ErrorForm {
        if Self::is_tei(body) { ErrorForm::Tei } else { ErrorForm::Object }
    }
}

fn described_any() -> Request {
    any("AnyEmbedRequest", vec![described_embed(), cohere::described_request()])
}
