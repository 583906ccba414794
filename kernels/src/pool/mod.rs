//! Threads: a pinned rayon pool, tasks that workers claim one by one, and outputs handed out block by block.
//!
//! Invariants: a block of an output is handed out at most once, so tasks need no locks to write; every worker has
//! scratch memory of its own, reused from call to call. Between calls the workers sleep.

mod blocks;
mod machine;
mod numa;
mod topology;

pub(crate) use blocks::{Block, Blocks};
pub use machine::Machine;

use crate::buffer::Buffer;
use crate::dispatch::{Arch, Isa, Kernel};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// A kernel cut into tasks that may run in any order and at the same time.
pub(crate) trait Job: Sync {
    /// Runs one task; `scratch` holds anything. Implementations are `inline(always)`.
    fn run<S: Arch>(&self, s: S, task: usize, scratch: &mut [f32]);
}

/// Why there is no pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolError {
    /// This process may not use a CPU that was asked for.
    NotAllowed {
        /// The CPU.
        cpu: usize,
        /// Those that it may use.
        allowed: Vec<usize>,
    },
    /// The operating system does not start so many threads.
    Refused {
        /// How many were asked for.
        threads: usize,
        /// What it said.
        why: String,
    },
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAllowed { cpu, allowed } => {
                write!(f, "this process may not use CPU {cpu}; it may use {allowed:?}")
            }
            Self::Refused { threads, why } => write!(f, "{threads} threads cannot be started: {why}"),
        }
    }
}

impl std::error::Error for PoolError {}

/// Worker threads, one per physical core this process may use.
pub struct Pool {
    workers: rayon::ThreadPool,
    scratch: Vec<Mutex<Buffer>>,
    /// Memory nodes that weights are spread over; fewer than two leave everything to the system.
    nodes: Vec<usize>,
}

impl Pool {
    /// `threads` workers, or as many as the machine, the affinity mask and the cgroup's CPU quota leave physical
    /// cores. With `pin`, and when there is exactly one worker to each core, workers are pinned: with fewer, other
    /// processes that count the same way would be pinned to the same first cores.
    pub fn new(threads: Option<usize>, pin: bool) -> Result<Self, PoolError> {
        let machine = Machine::here();
        let threads = threads.unwrap_or_else(|| machine.threads()).max(1);
        let pins = (pin && threads == machine.cores.len()).then_some(machine.cores);
        Self::start(threads, move |i| {
            if let Some(cores) = &pins {
                topology::confine_current_thread(&cores[i..=i]);
            }
        })
    }

    /// `threads` workers, or one to each of `cpus`, that run on no other CPUs: with `pin`, and when there are as many
    /// as CPUs, each on its own.
    pub fn on(cpus: &[usize], threads: Option<usize>, pin: bool) -> Result<Self, PoolError> {
        let allowed = topology::allowed_cpus();
        if let Some(cpu) = cpus.iter().find(|cpu| !allowed.contains(cpu)) {
            return Err(PoolError::NotAllowed { cpu: *cpu, allowed });
        }
        let threads = threads.unwrap_or(cpus.len()).max(1);
        let (cpus, alone) = (cpus.to_vec(), pin && threads == cpus.len());
        let nodes = numa::memory_nodes_of(&cpus);
        let pool = Self::start(threads, move |i| {
            topology::confine_current_thread(if alone { &cpus[i..=i] } else { &cpus });
        })?;
        Ok(Self { nodes, ..pool })
    }

    fn start(threads: usize, at_start: impl Fn(usize) + Send + Sync + 'static) -> Result<Self, PoolError> {
        let workers = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("kernel-{i}"))
            .start_handler(at_start)
            .build()
            .map_err(|err| PoolError::Refused { threads, why: err.to_string() })?;
        let scratch = (0..threads).map(|_| Mutex::new(Buffer::zeroed(0))).collect();
        Ok(Self { workers, scratch, nodes: numa::memory_nodes() })
    }

    /// The same pool, placing memory as the system does of itself.
    pub fn without_numa(self) -> Self {
        Self { nodes: Vec::new(), ..self }
    }

    /// Memory nodes that weights are spread over.
    pub fn memory_nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Runs `f`, the pages that the caller or a worker touches first meanwhile being spread over the memory nodes.
    pub(crate) fn spread<R>(&self, f: impl FnOnce() -> R) -> R {
        if self.nodes.len() < 2 {
            return f();
        }
        let place = |nodes: &[usize]| {
            numa::spread_new_pages(nodes);
            self.workers.broadcast(|_| numa::spread_new_pages(nodes));
        };
        place(&self.nodes);
        let result = f();
        place(&[]);
        result
    }

    /// Number of workers.
    pub fn threads(&self) -> usize {
        self.scratch.len()
    }

    /// Runs `f` on a worker, so that the kernels it calls start without a hand-over between threads.
    pub fn install<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        self.workers.install(f)
    }

    /// Runs `f` once on every worker, all at the same time.
    pub(crate) fn on_each<R: Send>(&self, f: impl Fn() -> R + Sync) -> Vec<R> {
        self.workers.broadcast(|_| f())
    }

    /// Runs tasks `0..tasks` of `job`, each with `scratch` values of scratch memory. Workers claim the next task as
    /// they finish one, in order: put long tasks first.
    pub(crate) fn run<J: Job>(&self, isa: Isa, tasks: usize, scratch: usize, job: &J) {
        let next = AtomicUsize::new(0);
        let work = |worker: usize| {
            // Scratch memory holds anything between tasks, so a task that panicked has not spoilt it.
            let mut memory = self.scratch[worker].lock().unwrap_or_else(PoisonError::into_inner);
            if memory.len() < scratch {
                *memory = Buffer::zeroed(scratch);
            }
            isa.dispatch(Worker { next: &next, tasks, job, scratch: &mut memory[..scratch] });
        };
        match tasks {
            0 => {}
            1 if self.workers.current_thread_index().is_some() => {
                work(self.workers.current_thread_index().unwrap_or(0))
            }
            _ => {
                self.workers.broadcast(|context| work(context.index()));
            }
        }
    }
}

struct Worker<'a, J> {
    next: &'a AtomicUsize,
    tasks: usize,
    job: &'a J,
    scratch: &'a mut [f32],
}

impl<J: Job> Kernel for Worker<'_, J> {
    type Output = ();

    #[inline(always)]
    fn run<S: Arch>(self, s: S) {
        loop {
            let task = self.next.fetch_add(1, Ordering::Relaxed);
            if task >= self.tasks {
                return;
            }
            self.job.run(s, task, self.scratch);
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::{Pool, topology};

    #[test]
    fn workers_stay_on_the_cpus_they_were_given() {
        let allowed = topology::allowed_cpus();
        let (first, last) = (allowed[0], allowed[allowed.len() - 1]);
        let one = Pool::on(&[last], None, true).expect("the CPU may be used");
        assert_eq!((one.threads(), one.install(topology::allowed_cpus)), (1, vec![last]));
        let mut both = vec![first, last];
        both.dedup();
        let free = Pool::on(&both, Some(1), false).expect("the CPUs may be used");
        assert_eq!((free.threads(), free.install(topology::allowed_cpus)), (1, both));
    }

    #[test]
    fn a_cpu_that_may_not_be_used_is_a_sentence() {
        let beyond = topology::allowed_cpus().last().expect("a CPU") + 1;
        let refused = Pool::on(&[beyond], None, true).err().expect("the CPU is not there");
        assert!(refused.to_string().contains(&format!("may not use CPU {beyond}")), "{refused}");
    }
}
