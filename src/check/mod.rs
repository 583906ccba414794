//! `ironrank check`: whether a model will load here, all that is wrong if it won't, and the memory and the time that it
//! will take.
//!
//! Invariant: the rules are those of the start, run by the same functions in the same order; no weight is read, packed
//! or kept, so that a check costs a second whatever the model's size. Called by `main`.

mod report;
mod speed;

pub use report::{Memory, Report, Shape, Speed, Weights};

use crate::checkpoint::{Checkpoint, packed};
use crate::error::Error;
use crate::memory;
use crate::model;
use crate::options::{CheckOptions, EngineOptions, LoadFormat};
use crate::prompt::PromptEncoder;
use crate::startup;
use ironrank_kernels::{Machine, explain_bus_errors};

/// Looks at everything that a start looks at.
pub fn run(CheckOptions { engine: options, .. }: &CheckOptions) -> Report {
    explain_bus_errors();
    let machine = Machine::here();
    let mut problems = Vec::new();
    let cpu = startup::cpu(options).map_err(|err| problems.push(err)).ok();
    let opened = match (&options.model, options.load_format) {
        (Some(dir), LoadFormat::Safetensors) => Checkpoint::inspect(dir, &options.hf_overrides),
        (dir, _) => Checkpoint::dummy(dir.as_deref(), &options.hf_overrides).map_err(|err| vec![err]),
    };
    let checkpoint = opened.map_err(|found| problems.extend(found)).ok();
    // Without its weights, a configuration still tells what they would take.
    let described = match &checkpoint {
        None => Checkpoint::dummy(options.model.as_deref(), &options.hf_overrides).ok(),
        Some(_) => None,
    };
    let described = checkpoint.as_ref().or(described.as_ref());

    let longest = described.map(|checkpoint| startup::model_len(options, checkpoint.config()));
    let longest = longest.and_then(|longest| longest.map_err(|err| problems.push(err)).ok());
    let encoder = encoder(options, longest.unwrap_or(usize::MAX)).map_err(|err| problems.extend(err)).ok();
    if let (Some(checkpoint), Some(encoder)) = (described, encoder) {
        problems.extend(model::check(checkpoint, &encoder).err());
    }
    let memory = described.zip(longest).map(|(checkpoint, longest)| {
        let need = startup::need(options, checkpoint, longest, options.prefix_cache_bytes(machine.memory));
        problems.extend(memory::check(&machine, &need).err());
        let file = options.weight_cache.as_ref().and_then(|dir| packed::find(dir, checkpoint));
        Memory {
            private: need.private(),
            available: machine.memory,
            weights_bytes: need.weights,
            weights: match (need.in_memory, file) {
                (Some(why), _) => Weights::InMemory(why),
                (None, Some(file)) => Weights::Packed(file),
                (None, None) => Weights::ToBePacked(options.weight_cache.clone().unwrap_or_default()),
            },
        }
    });
    let shape = described.map(|checkpoint| Shape::of(checkpoint.config(), checkpoint.bytes()));
    Report {
        version: env!("CARGO_PKG_VERSION"),
        model: options.model_name(),
        problems: problems.iter().map(Error::to_string).collect(),
        shape,
        max_model_len: longest,
        machine: memory::describe(&machine),
        runs_on: cpu.as_ref().map(|cpu| (cpu.threads(), cpu.isa().name())),
        memory,
        speed: cpu.zip(described).map(|(cpu, checkpoint)| speed::measure(&cpu, checkpoint.config())),
    }
}

/// The tokenizer, if there is a place for one; where the directory itself is missing, that has been said.
fn encoder(options: &EngineOptions, longest: usize) -> Result<PromptEncoder, Option<Error>> {
    match (&options.tokenizer, &options.model) {
        (Some(dir), _) => PromptEncoder::open(dir, longest),
        (None, Some(dir)) if !dir.is_dir() => return Err(None),
        (None, Some(dir)) => PromptEncoder::open(dir, longest),
        (None, None) => PromptEncoder::builtin(longest),
    }
    .map_err(Some)
}
