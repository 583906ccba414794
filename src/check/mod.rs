//! `ironrank check`: whether the models of a server will load here, all that is wrong if they won't, and the memory and the time
//! that they will take.
//!
//! Invariant: a start goes by the same survey and asks the same questions after it; no weight is read, packed or kept, so
//! that a check costs a second whatever the model's size. Called by `main`.

mod report;
mod speed;

pub use report::{Lower, Memory, Report, Reports, Shape, Speed, Whereabouts};

use crate::busy::{Busy, Counts};
use crate::checkpoint::{Checkpoint, packed};
use crate::error::Error;
use crate::file::directory;
use crate::head::Resolved;
use crate::memory::{self, Need};
use crate::options::{Caches, CheckOptions, MachineOptions, ModelOptions, ServedModel};
use crate::precision::Precision;
use crate::prompt::{PromptEncoder, Template};
use crate::server;
use crate::serves::Serves;
use crate::startup::{self, Prompts, RunsOn};
use crate::survey::Survey;
use crate::threads;
use ironrank_kernels::{Cpu, Isa, Machine, explain_bus_errors};
use speed::Products;

/// Looks at everything that a start looks at.
pub fn run(options: &CheckOptions) -> Reports {
    explain_bus_errors();
    let CheckOptions { models, machine: used, .. } = options;
    let machine = Machine::here();
    let caches = used.caches(machine.memory);
    let mut problems = Vec::new();
    let names: Vec<&[String]> = models.iter().map(|model| model.names.as_slice()).collect();
    problems.extend(server::distinct(&names).err());
    let cpu = startup::cpu(used).map_err(|err| problems.push(err)).ok();
    problems.extend(threads::check_room("server", server::THREADS).err());
    let look = |asked| look(asked, used, cpu.as_ref(), &machine, caches.among(models.len()));
    let (mut reports, needs): (Vec<Report>, Vec<Option<Need>>) = models.iter().map(look).unzip();
    // What is wrong with all of them together is said of the first.
    if let Some(first) = reports.first_mut() {
        first.problems.splice(0..0, problems.iter().map(Error::to_string));
        let needs: Option<Vec<Need>> = needs.into_iter().collect();
        let memory = needs.and_then(|needs| memory::check(&machine, &needs, caches).err());
        first.problems.extend(memory.map(|err| err.to_string()));
    }
    Reports(reports)
}

/// Looks at one model, whose caches may take so much; and what it needs of the memory.
fn look(
    asked: &ServedModel,
    used: &MachineOptions,
    cpu: Option<&Cpu>,
    machine: &Machine,
    caches: Caches,
) -> (Report, Option<Need>) {
    let (mut problems, mut notices) = (Vec::new(), Vec::new());
    let ServedModel { model: options, chat_template, instruction, named_prompts, .. } = asked;
    let template = chat_template.as_deref().map(Template::parse).transpose();
    let template = template.map_err(|err| problems.push(err)).ok().flatten();
    let prompts = Prompts { template, instruction: instruction.clone(), named: named_prompts.clone() };
    notices.extend(cpu.and_then(|cpu| options.precision.notice(cpu.isa())));
    let precision = options.precision.on(cpu.map_or_else(Isa::best, Cpu::isa));
    let Survey { found, faults } = Survey::of(options, used, precision);
    problems.extend(faults);
    let (checkpoint, extent) = found.map(|found| (found.checkpoint, found.extent)).unzip();
    let (checkpoint, extent) =
        (checkpoint.as_ref(), extent.and_then(|extent| extent.map_err(|err| problems.push(err)).ok()));
    let longest = extent.as_ref().map(|extent| extent.max_model_len);
    if let Some(checkpoint) = checkpoint {
        notices.extend(checkpoint.notices().iter().cloned().chain(prompts.notice(checkpoint)));
    }
    let serves = serves(options, prompts, checkpoint, longest.unwrap_or(usize::MAX));
    let serves = serves.map_err(|err| problems.extend(err)).ok();
    let mut head = None;
    if let (Some(checkpoint), Some((serves, of_prompts))) = (checkpoint, &serves) {
        notices.extend_from_slice(of_prompts);
        head = Resolved::of(checkpoint, serves.vocabulary()).map_err(|err| problems.push(err)).ok();
    }
    notices.extend(head.iter_mut().flat_map(|head| std::mem::take(&mut head.notices)));
    let need = extent.map(|extent| extent.need);
    let memory = checkpoint.zip(need.clone()).map(|(checkpoint, need)| {
        let file = used.weight_cache.as_ref().and_then(|dir| packed::find(dir, checkpoint, precision));
        Memory {
            private: memory::private(std::slice::from_ref(&need), caches),
            available: machine.memory,
            weights_bytes: need.weights,
            weights: match (need.in_memory, file) {
                (Some(why), _) => Whereabouts::InMemory(why),
                (None, Some(file)) => Whereabouts::Packed(file),
                (None, None) => Whereabouts::ToBePacked(used.weight_cache.clone().unwrap_or_default()),
            },
        }
    });
    let counts = Counts::now();
    let measured = cpu.zip(checkpoint).map(|(cpu, checkpoint)| (Products::measure(cpu, checkpoint), checkpoint));
    let shape = checkpoint.map(|checkpoint| Shape::of(checkpoint.config(), checkpoint.bytes()));
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        model: options.name(),
        problems: problems.iter().map(Error::to_string).collect(),
        notices,
        shape,
        task: checkpoint.map(Checkpoint::task),
        head: head.map(|head| head.about),
        max_model_len: longest,
        machine: memory::describe(machine),
        runs_on: cpu.map(|cpu| RunsOn::of(cpu, options)),
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
    };
    (report, need)
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
