//! The CPU as the model sees it: an instruction set, a pool of threads, and the kernels as methods.

use crate::dispatch::Isa;
use crate::pool::{Job, Pool};

/// What runs the kernels. The kernels are methods, defined beside their code.
pub struct Cpu {
    isa: Isa,
    pool: Pool,
}

impl Cpu {
    /// `isa` on the threads of `pool`.
    pub fn new(isa: Isa, pool: Pool) -> Self {
        Self { isa, pool }
    }

    /// The instruction set.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Memory nodes of the machine that [`Cpu::spread`] uses.
    pub fn memory_nodes(&self) -> usize {
        self.pool.memory_nodes()
    }

    /// Runs `f`, which makes what all threads will read alike: on a machine with several memory nodes the pages are
    /// spread over them, on others nothing happens.
    pub fn spread<R>(&self, f: impl FnOnce() -> R) -> R {
        self.pool.spread(f)
    }

    /// Runs `f` on one of the pool's threads: wrap a sequence of kernel calls in it.
    pub fn install<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        self.pool.install(f)
    }

    /// Runs `f` once on every thread, all at the same time.
    pub(crate) fn on_each<R: Send>(&self, f: impl Fn() -> R + Sync) -> Vec<R> {
        self.pool.on_each(f)
    }

    pub(crate) fn run<J: Job>(&self, tasks: usize, scratch: usize, job: &J) {
        self.pool.run(self.isa, tasks, scratch, job);
    }
}
