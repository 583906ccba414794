//! What all routes share that run a model: from a body to the rows of its prompts (`compute`), and from those to scores or
//! vectors (`scores`, `rows`).
//!
//! Called by `rerank`, `score`, `classify`, `pooling`, `embeddings`, `invocations` and `root`.

mod compute;
mod input;
mod making;
mod pairs;
pub mod rows;
mod rules;
mod scores;
mod texts;

pub use compute::{Computed, SHORTENED, answer_id, compute};
pub use making::{Making, PromptRequest};
pub use scores::{Scored, score};
