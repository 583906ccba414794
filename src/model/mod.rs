//! The registry of architectures: a checkpoint becomes a [`Model`].
//!
//! Every architecture takes a [`Batch`] and answers one number a sequence. Called by [`crate::engine`] (forward) and
//! by the start-up code (load). A new architecture is a file here and an arm in [`load`].

mod qwen3;
mod workspace;

use crate::batch::Batch;
use crate::checkpoint::{Checkpoint, Config};
use crate::error::{Error, ErrorKind, Result};
use crate::prompt::PromptEncoder;
use ironrank_kernels::Cpu;

/// Ids of the two tokens whose logits an original reranker compares.
#[derive(Debug, Clone, Copy)]
struct AnswerTokens {
    /// The token of a relevant document, `yes`.
    yes: u32,
    /// The token of an irrelevant one, `no`.
    no: u32,
}

impl AnswerTokens {
    /// Looks up the configuration's pair in the vocabulary; a model with a score head of its own has none.
    fn find(encoder: &PromptEncoder, config: &Config) -> Result<Option<Self>> {
        let Some([no, yes]) = &config.classifier_from_token else { return Ok(None) };
        let id = |token: &str| match encoder.token_id(token) {
            Some(id) if (id as usize) < config.vocab_size => Ok(id),
            found => Err(Error::new(
                ErrorKind::Checkpoint,
                match found {
                    None => format!("The tokenizer has no token '{token}', which classifier_from_token names."),
                    Some(id) => format!(
                        "Token '{token}' has the id {id} in the tokenizer, but the model's vocab_size is {}.",
                        config.vocab_size
                    ),
                },
            )),
        };
        Ok(Some(Self { yes: id(yes)?, no: id(no)? }))
    }
}

/// A loaded model.
pub trait Model: Send {
    /// `logit(yes) - logit(no)` of every sequence of `batch`, in order. A sequence's value does not depend on its
    /// neighbours, their order or the number of threads, bit for bit.
    fn margins(&mut self, batch: &Batch) -> Vec<f32>;

    /// The last token's hidden state after the embedding, after every layer but the last, and, in the end, after the
    /// last layer and the final norm: what tests compare. One vector of states a sequence.
    fn last_hidden_states(&mut self, batch: &Batch) -> Vec<Vec<Vec<f32>>>;

    /// Bytes of packed weights, tables and buffers in memory; what is mapped from the checkpoint does not count.
    fn bytes(&self) -> usize;
}

/// Reads and packs the weights of `checkpoint` for `cpu`. The tokenizer is `encoder`'s; positions from
/// `max_model_len` on are never asked for.
pub fn load(
    cpu: Cpu,
    checkpoint: &Checkpoint,
    encoder: &PromptEncoder,
    max_model_len: usize,
) -> Result<Box<dyn Model>> {
    let (tokens, rows) = (encoder.vocab_size(), checkpoint.config().vocab_size);
    if tokens > rows {
        return Err(Error::new(
            ErrorKind::Checkpoint,
            format!(
                "The tokenizer has {tokens} tokens, but the model's vocab_size is {rows}: they do not belong together."
            ),
        ));
    }
    let answers = AnswerTokens::find(encoder, checkpoint.config())?;
    // The checkpoint refuses every architecture but Qwen3 when it is opened.
    Ok(Box::new(qwen3::Qwen3::load(cpu, checkpoint, answers, max_model_len)?))
}
