//! What the numbers of a reranker mean: a sequence's one number is its margin, and a score is made of that.
//!
//! Used by the server and by [`mod@crate::score`]; the engine moves rows and does not know.

use crate::checkpoint::Activation;
use crate::engine::Answer;
use crate::options::Pooling;

/// What the model's head gives: `logit(yes) - logit(no)`, as a rule.
pub fn margin(answer: &Answer) -> f32 {
    answer.row[0]
}

/// The score that `pooling` and `activation` make of a margin; without an activation, the logit.
pub fn score(margin: f32, pooling: &Pooling, activation: Option<Activation>) -> f32 {
    // A small sigma may take it beyond all numbers, and JSON has no infinity.
    let logit = ((margin - pooling.logit_mean) / pooling.logit_sigma).clamp(f32::MIN, f32::MAX);
    activation.unwrap_or(Activation::Identity).of(logit)
}
