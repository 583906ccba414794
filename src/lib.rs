//! ironrank serves Qwen3 rerankers on ordinary CPUs behind vLLM's score and rerank API.
#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod engine;
pub mod error;
pub mod prompt;
