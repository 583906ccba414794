//! The registry of architectures: a checkpoint becomes a [`Model`].
//!
//! What all of them do is in `forward`. Called by the start-up code. A new architecture is a directory here and an arm in
//! [`load`]; what its layers consist of is known to the checkpoint.

mod cost;
mod forward;
mod head;
mod qwen3;
mod workspace;

pub use cost::{CHUNK, Cost, cost};
pub use forward::{Model, Outcome, Progress, Rows, Slot};
pub use head::{Head, LinearHead};
pub use qwen3::Qwen3;

use crate::checkpoint::architecture::Architecture;
use crate::checkpoint::packed::{self, Packed};
use crate::checkpoint::{Checkpoint, Config};
use crate::error::Result;
use crate::precision::Precision;
use ironrank_kernels::Cpu;
use std::path::Path;
use std::sync::Arc;
use workspace::{Widths, expected_bytes};

/// Bytes of memory that a model of this shape takes besides its weights while it runs batches of up to `tokens` tokens:
/// buffers, and the table of positions. A little too much rather than too little.
pub fn buffer_bytes(config: &Config, tokens: usize, max_model_len: usize) -> usize {
    expected_bytes(Widths::of(config), CHUNK, tokens) + max_model_len * config.head_dim * size_of::<f32>()
}

/// The packed weights of `checkpoint` in a precision that an earlier start has left in the directory `cache`, all of them checked. It
/// takes as long as parsing a tokenizer does, and needs nothing of it.
pub fn find(cpu: &Cpu, checkpoint: &Checkpoint, precision: Precision, cache: &Path) -> Option<Packed> {
    cpu.spread(|| packed::open(cpu, checkpoint, precision, cache))
}

/// The packed weights of `checkpoint` in a precision, packed now if [`find`] has none; they are kept in the directory `cache`, if there is
/// one. Errors are of kind [`ErrorKind::Checkpoint`](crate::error::ErrorKind::Checkpoint).
pub fn pack(cpu: &Cpu, checkpoint: &Checkpoint, precision: Precision, cache: Option<&Path>) -> Result<Packed> {
    cpu.spread(|| packed::load(cpu, checkpoint, precision, cache))
}

/// The model of `checkpoint`, whose `packed` weights are those of [`find`] or [`pack`]. Positions from `max_model_len` on
/// are never asked for; models that share `cpu` run one step at a time. Errors are of kind
/// [`ErrorKind::Checkpoint`](crate::error::ErrorKind::Checkpoint).
pub fn load(
    cpu: impl Into<Arc<Cpu>>,
    checkpoint: &Checkpoint,
    packed: Packed,
    head: Head,
    max_model_len: usize,
) -> Result<Box<dyn Model>> {
    match checkpoint.architecture() {
        Architecture::Qwen3 => Ok(Box::new(Qwen3::load(cpu, checkpoint, packed, head, max_model_len)?)),
    }
}
