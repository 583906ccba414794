//! A look at a model before anything of it is loaded: what its files say, how long its prompts may be and what it will
//! take, or all that is wrong with it.
//!
//! Invariant: no weight is read, and nothing is packed or kept. A start goes by it and ends at the first fault; a check
//! tells all of it. Called by `startup` and `check`.

use crate::checkpoint::{Checkpoint, Config, Said, packed};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::Need;
use crate::model;
use crate::options::{LoadFormat, MachineOptions, ModelOptions};
use crate::precision::Precision;

/// What was found of a model.
pub struct Survey {
    /// `None` if not even the configuration can be read.
    pub found: Option<Found>,
    /// What is wrong with the files; with any of it, `found` is what the configuration alone tells.
    pub faults: Vec<Error>,
}

/// What a model is.
pub struct Found {
    /// Its configuration and its tensors.
    pub checkpoint: Checkpoint,
    /// What prompts of the length that was asked for take; an error if the model cannot have them.
    pub extent: Result<Extent>,
}

/// How long prompts are, and what comes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    /// Longest prompt in tokens: the option, or what the model's configuration says.
    pub max_model_len: usize,
    /// What the model will take of the memory.
    pub need: Need,
}

impl Survey {
    /// Looks at a `model` that is to run on a machine that is used so, in this precision.
    pub fn of(model: &ModelOptions, machine: &MachineOptions, precision: Precision) -> Self {
        let said = Said { overrides: &model.hf_overrides, task: model.task };
        let made_up = || Checkpoint::dummy(model.dir.as_deref(), said);
        let opened = match (&model.dir, model.load_format) {
            (Some(dir), LoadFormat::Safetensors) => Checkpoint::inspect(dir, said),
            _ => made_up().map_err(|fault| vec![fault]),
        };
        let (checkpoint, faults) = match opened {
            Ok(checkpoint) => (Some(checkpoint), Vec::new()),
            // Without its weights, a configuration still tells what they would take.
            Err(faults) => (made_up().ok(), faults),
        };
        let found = checkpoint.map(|checkpoint| {
            let extent = max_model_len(model, checkpoint.config())
                .map(|longest| Extent { max_model_len: longest, need: need(machine, &checkpoint, precision, longest) });
            Found { checkpoint, extent }
        });
        Self { found, faults }
    }

    /// What was found, or the first of what is wrong with the files.
    pub fn whole(self) -> Result<Found> {
        match (self.faults.into_iter().next(), self.found) {
            (None, Some(found)) => Ok(found),
            (Some(fault), _) => Err(fault),
            (None, None) => unreachable!("what is not found has a fault"),
        }
    }
}

/// The asked model length, which the positions that the model was trained for limit.
fn max_model_len(options: &ModelOptions, config: &Config) -> Result<usize> {
    let limit = config.max_position_embeddings;
    match options.max_model_len {
        Some(asked) if asked > limit => Err(Error::new(
            ErrorKind::Options,
            format!(
                "--max-model-len {asked} is more than the {limit} positions of the model (max_position_embeddings)."
            ),
        )),
        asked => Ok(asked.unwrap_or(limit)),
    }
}

fn need(machine: &MachineOptions, checkpoint: &Checkpoint, precision: Precision, max_model_len: usize) -> Need {
    let weights = packed::bytes(checkpoint, precision);
    let in_memory = match &machine.weight_cache {
        None => Some("there is no weight cache".to_owned()),
        Some(dir) => packed::place(dir, checkpoint, precision, weights)
            .err()
            .map(|why| format!("the weight cache {} cannot hold them: {why}", dir.display())),
    };
    // One prompt always fits a batch, however long it is.
    let tokens = machine.max_num_batched_tokens.max(max_model_len);
    let buffers = model::buffer_bytes(checkpoint.config(), tokens, max_model_len) as u64;
    Need { weights, in_memory, buffers }
}
