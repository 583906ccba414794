//! What is served: what was learned of the model when it was loaded, as answers tell of it.
//!
//! Everything that the API says of a Qwen3 reranker or embedding model, in whoever's words, is a method here.
//! Invariant: nothing in here is the operator's to decide, which is `ServerOptions`. Made by `serve`; a part of `models`.

use crate::precision::{Dtype, Precision};
use crate::task::Task;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

/// What is served.
#[derive(Debug, Clone)]
pub struct Served {
    /// Where the model came from, as the model cards say it.
    pub root: String,
    /// What it is for.
    pub task: Task,
    /// Whether the weights are made up, so that its numbers carry no meaning.
    pub dummy: bool,
    /// Longest prompt in tokens.
    pub max_model_len: usize,
    /// Name of the instruction set that it runs on.
    pub isa: &'static str,
    /// Threads that compute it.
    pub threads: usize,
    /// What its matrices are multiplied as.
    pub precision: Precision,
    /// What `--dtype` asked for.
    pub dtype: Dtype,
    /// What the model calls its one class.
    pub label: String,
    /// What `/tokenizer_info` tells, where the options have it.
    pub tokenizer_info: Option<Map<String, Value>>,
    /// What `/server_info` tells of the options, where they have it; it must hold no secret.
    pub config: Map<String, Value>,
}

impl Served {
    /// What answers about the model say of its weights: nothing where they are a model's.
    pub fn load_format(&self) -> Option<&'static str> {
        self.dummy.then_some("dummy")
    }

    /// The type that vLLM would name: that which was asked for.
    pub fn dtype_name(&self) -> &'static str {
        self.dtype.name()
    }

    /// The type of the keys and values that it keeps, whatever its matrices are multiplied as.
    pub fn kv_dtype_name(&self) -> &'static str {
        "float32"
    }

    /// What is said of a text in parts, in vLLM's words: an architecture that reads texts alone has no use for images.
    /// Fixed, as is the next, so that the log may have it.
    pub fn refuses_parts(&self) -> &'static str {
        match self.task {
            Task::Rerank => "MultiModalParam is not supported for Qwen3ForSequenceClassification",
            Task::Embed => "MultiModalParam is not supported for Qwen3ForCausalLM",
        }
    }

    /// What is said of options for the preprocessing of images.
    pub fn refuses_mm_processor_kwargs(&self) -> &'static str {
        match self.task {
            Task::Rerank => {
                "mm_processor_kwargs are not accepted: Qwen3ForSequenceClassification reads texts only. \
                 (parameter=mm_processor_kwargs)"
            }
            Task::Embed => {
                "mm_processor_kwargs are not accepted: Qwen3ForCausalLM reads texts only. \
                 (parameter=mm_processor_kwargs)"
            }
        }
    }

    /// What a card of `/v1/models` says that it is, in Xinference's words.
    pub fn card_type(&self) -> &'static str {
        match self.task {
            Task::Rerank => "rerank",
            Task::Embed => "embedding",
        }
    }

    /// What TEI's clients are told that it is: Dify takes the first key, RAGFlow looks for `rerank` and `embedding`.
    pub(super) fn tei_kind(&self) -> ModelType {
        match self.task {
            Task::Rerank => {
                let label = &self.label;
                let reranker = json!({"id2label": {"0": label}, "label2id": {label: 0}});
                ModelType::Rerank(TeiReranker { reranker, rerank: Map::new() })
            }
            Task::Embed => ModelType::Embed(TeiEmbedder { embedding: TeiPooling { pooling: "last_token" } }),
        }
    }

    /// vLLM's names of the tasks that such a model may have at `/pooling`: the one that it would have to be started
    /// with, and its own.
    pub fn pooling_tasks(&self) -> [&'static str; 2] {
        match self.task {
            Task::Rerank => ["token_classify", "classify"],
            Task::Embed => ["token_embed", "embed"],
        }
    }
}

// TEI's: an object under the name of the kind.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum ModelType {
    Rerank(TeiReranker),
    Embed(TeiEmbedder),
}

#[derive(Serialize, ToSchema)]
pub(super) struct TeiReranker {
    #[schema(value_type = Object)]
    reranker: Value,
    #[schema(value_type = Object)]
    rerank: Map<String, Value>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct TeiEmbedder {
    embedding: TeiPooling,
}

#[derive(Serialize, ToSchema)]
pub(super) struct TeiPooling {
    pooling: &'static str,
}
