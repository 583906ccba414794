//! `ironrank check`: whether a model will load here, all that is wrong if it won't, and the memory and the time that it
//! will take.
//!
//! Invariant: a start goes by the same survey and asks the same questions after it; no weight is read, packed or kept, so
//! that a check costs a second whatever the model's size. Called by `main`.

mod report;
mod speed;

pub use report::{Lower, Memory, Report, Shape, Speed, Whereabouts};

use crate::busy::{Busy, Counts};
use crate::checkpoint::{Checkpoint, packed};
use crate::error::Error;
use crate::file::directory;
use crate::head::Resolved;
use crate::memory;
use crate::options::{CheckOptions, ModelOptions};
use crate::precision::Precision;
use crate::prompt::{PromptEncoder, Template};
use crate::server;
use crate::serves::Serves;
use crate::startup::{self, Prompts, RunsOn};
use crate::survey::{Extent, Survey};
use crate::threads;
use ironrank_kernels::{Cpu, Isa, Machine, explain_bus_errors};
use speed::Products;

/// Looks at everything that a start looks at.
pub fn run(CheckOptions { engine: options, chat_template, instruction, named_prompts, .. }: &CheckOptions) -> Report {
    explain_bus_errors();
    let machine = Machine::here();
    let (mut problems, mut notices) = (Vec::new(), Vec::new());
    let template = chat_template.as_deref().map(Template::parse).transpose();
    let template = template.map_err(|err| problems.push(err)).ok().flatten();
    let prompts = Prompts { template, instruction: instruction.clone(), named: named_prompts.clone() };
    let cpu = startup::cpu(&options.machine).map_err(|err| problems.push(err)).ok();
    notices.extend(cpu.as_ref().and_then(|cpu| options.model.precision.notice(cpu.isa())));
    problems.extend(threads::check_room("server", server::THREADS).err());
    let precision = options.model.precision.on(cpu.as_ref().map_or_else(Isa::best, Cpu::isa));
    let Survey { found, faults } = Survey::of(&options.model, &options.machine, precision);
    problems.extend(faults);
    let (checkpoint, extent) = found.map(|found| (found.checkpoint, found.extent)).unzip();
    let (checkpoint, extent) =
        (checkpoint.as_ref(), extent.and_then(|extent| extent.map_err(|err| problems.push(err)).ok()));
    let longest = extent.as_ref().map(|extent| extent.max_model_len);
    if let Some(checkpoint) = checkpoint {
        notices.extend(checkpoint.notices().iter().cloned().chain(prompts.notice(checkpoint)));
    }
    let serves = serves(&options.model, prompts, checkpoint, longest.unwrap_or(usize::MAX));
    let serves = serves.map_err(|err| problems.extend(err)).ok();
    let mut head = None;
    if let (Some(checkpoint), Some((serves, of_prompts))) = (checkpoint, &serves) {
        notices.extend_from_slice(of_prompts);
        head = Resolved::of(checkpoint, serves.vocabulary()).map_err(|err| problems.push(err)).ok();
    }
    notices.extend(head.iter_mut().flat_map(|head| std::mem::take(&mut head.notices)));
    let memory = checkpoint.zip(extent).map(|(checkpoint, Extent { need, .. })| {
        let (needs, caches) = (std::slice::from_ref(&need), options.machine.caches(machine.memory));
        problems.extend(memory::check(&machine, needs, caches).err());
        let file = options.machine.weight_cache.as_ref().and_then(|dir| packed::find(dir, checkpoint, precision));
        Memory {
            private: memory::private(needs, caches),
            available: machine.memory,
            weights_bytes: need.weights,
            weights: match (need.in_memory, file) {
                (Some(why), _) => Whereabouts::InMemory(why),
                (None, Some(file)) => Whereabouts::Packed(file),
                (None, None) => Whereabouts::ToBePacked(options.machine.weight_cache.clone().unwrap_or_default()),
            },
        }
    });
    let counts = Counts::now();
    let measured =
        cpu.as_ref().zip(checkpoint).map(|(cpu, checkpoint)| (Products::measure(cpu, checkpoint), checkpoint));
    let shape = checkpoint.map(|checkpoint| Shape::of(checkpoint.config(), checkpoint.bytes()));
    Report {
        version: env!("CARGO_PKG_VERSION"),
        model: options.model.name(),
        problems: problems.iter().map(Error::to_string).collect(),
        notices,
        shape,
        task: checkpoint.map(Checkpoint::task),
        head: head.map(|head| head.about),
        max_model_len: longest,
        machine: memory::describe(&machine),
        runs_on: cpu.as_ref().map(|cpu| RunsOn::of(cpu, &options.model)),
        memory,
        speed: measured.as_ref().and_then(|(products, checkpoint)| {
            let around = match serves {
                Some((serves, _)) => serves.around(speed::QUERY),
                // Qwen3's own, where the model's cannot be read.
                None => PromptEncoder::builtin(usize::MAX).and_then(|encoder| encoder.around(speed::QUERY)),
            };
            Some(products.speed(checkpoint.config(), precision, around.ok()?))
        }),
        lower: measured.iter().flat_map(|(products, checkpoint)| lower(products, checkpoint)).collect(),
        busy: Busy::since(counts),
    }
}

/// What this CPU gains by each precision that is not exact.
fn lower(products: &Products, checkpoint: &Checkpoint) -> [Lower; 2] {
    [Precision::Int16, Precision::Int8].map(|precision| Lower {
        precision,
        speedup: products.speedup(precision),
        weights_bytes: packed::bytes(checkpoint, precision),
    })
}

/// The tokenizer, if there is a place for one, and what there is to say of prompts; where there is no model at all,
/// that has been said.
fn serves(
    options: &ModelOptions,
    prompts: Prompts,
    checkpoint: Option<&Checkpoint>,
    longest: usize,
) -> Result<(Serves, Vec<String>), Option<Error>> {
    match (&options.tokenizer, &options.dir) {
        (None, Some(dir)) if !directory::has_model(dir) => Err(None),
        _ => prompts.serve(options, checkpoint, longest).map_err(Some),
    }
}
