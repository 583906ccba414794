//! What the server answers, one file a resource.

pub mod classify;
pub mod info;
pub mod invocations;
pub mod openapi;
pub mod pooling;
pub mod rerank;
pub mod score;
pub mod tokenize;
