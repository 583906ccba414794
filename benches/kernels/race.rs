//! Contestants that take turns on one thread, each one's best counting.
//!
//! Their time is that of the thread's CPU, which other processes do not lengthen. A CPU's clock drifts: what they are held
//! against is measured before and after every turn.

use ironrank_kernels::{Cpu, Storage};
use rustix::time::{ClockId, clock_gettime};

/// Turns of every contestant.
const TURNS: usize = 7;

/// Seconds that a turn takes at least: as many runs as that needs.
const TURN: f64 = 0.004;

/// One of them.
pub struct Contestant<'a> {
    run: Box<dyn FnMut() + Send + 'a>,
    /// Whose peak it is held against.
    storage: Storage,
    /// Runs of a turn.
    runs: u32,
}

impl<'a> Contestant<'a> {
    /// What multiplies by weights in `storage`.
    pub fn new(storage: Storage, run: impl FnMut() + Send + 'a) -> Self {
        Self { run: Box::new(run), storage, runs: 1 }
    }

    /// Seconds of a run.
    fn turn(&mut self) -> f64 {
        loop {
            let start = cpu_seconds();
            (0..self.runs).for_each(|_| (self.run)());
            let seconds = cpu_seconds() - start;
            if seconds >= TURN {
                return seconds / f64::from(self.runs);
            }
            self.runs *= 2;
        }
    }
}

/// Seconds that this thread has run.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Lets them take turns and returns, for each, billions a second of the `operations` of a run in its best turn, and the
/// median of its turns' shares of the peak before and after.
pub fn race(cpu: &Cpu, operations: usize, contestants: &mut [Contestant]) -> Vec<String> {
    let mut turns = vec![[(0.0, 0.0); TURNS]; contestants.len()];
    for turn in 0..TURNS {
        for (one, turns) in contestants.iter_mut().zip(&mut turns) {
            let before = cpu.peak(one.storage);
            let rate = operations as f64 / cpu.install(|| one.turn()) / 1e9;
            turns[turn] = (rate, 2.0 * rate / (before + cpu.peak(one.storage)));
        }
    }
    let told = |turns: &[(f64, f64)]| {
        let rate = turns.iter().map(|turn| turn.0).fold(0.0, f64::max);
        let mut shares: Vec<f64> = turns.iter().map(|turn| turn.1).collect();
        shares.sort_by(f64::total_cmp);
        // Portable code is no instruction set: what the compiler made of it has no peak of its own.
        match cpu.isa().name() {
            "portable" => format!("{rate:.1}"),
            _ => format!("{rate:.1} ({:.0} %)", 100.0 * shares[TURNS / 2]),
        }
    };
    turns.iter().map(|turns| told(turns)).collect()
}
