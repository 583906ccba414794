//! Whether a model fits the memory that this process may use: said in a sentence before it is loaded, where the system
//! would kill the process later.
//!
//! Invariant: only memory of the process's own has to fit. What is mapped from files (the checkpoint, the packed-weight
//! file) is the system's cache, which it takes back when it must; where that will cost speed, a line of the log says
//! so. Called by [`crate::startup`] and `check`; `bench` and the metrics ask what is [`Resident`].

use crate::error::{Error, ErrorKind, Result};
use crate::options::Caches;
use ironrank_kernels::Machine;

/// The program and some requests being read; with a tokenizer 65 MB were measured without the latter.
const BASE: u64 = 50 << 20;
/// The tokenizer of a model.
const TOKENIZER: u64 = 50 << 20;

/// Bytes that a model will take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// Packed weights.
    pub weights: u64,
    /// Why they are not mapped from a file, if they are not.
    pub in_memory: Option<String>,
    /// Buffers of the forward pass.
    pub buffers: u64,
}

/// Bytes that the system cannot take back once models that need these have run, and their caches are full.
pub fn private(needs: &[Need], caches: Caches) -> u64 {
    let weights: u64 = needs.iter().filter(|need| need.in_memory.is_some()).map(|need| need.weights).sum();
    weights + buffers(needs) + caches.prefixes as u64 + caches.answers as u64 + rest(needs)
}

fn buffers(needs: &[Need]) -> u64 {
    needs.iter().map(|need| need.buffers).sum()
}

fn rest(needs: &[Need]) -> u64 {
    BASE + needs.len() as u64 * TOKENIZER
}

/// Resident memory in bytes, as Linux counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resident {
    /// The most that was resident at any time.
    pub peak: u64,
    /// What now belongs to this process alone; the rest is mapped files.
    pub private: u64,
}

impl Resident {
    /// That of this process; `None` where there is no `/proc`.
    pub fn of_this_process() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/self/status").ok()?)
    }

    fn parse(status: &str) -> Option<Self> {
        let bytes = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
        };
        Some(Self { peak: bytes("VmHWM")?, private: bytes("RssAnon")? })
    }
}

/// What this process may use, for the log.
pub fn describe(machine: &Machine) -> String {
    let cores = match machine.cores.len() {
        1 => "1 core".to_owned(),
        cores => format!("{cores} cores"),
    };
    let quota = machine.quota.map_or_else(|| "no CPU quota".to_owned(), |cpus| format!("a quota of {cpus:.2} CPUs"));
    let memory = match (machine.memory, machine.memory_is_limited) {
        (Some(bytes), true) => format!("a limit of {} of memory", gb(bytes)),
        (Some(bytes), false) => format!("{} of memory", gb(bytes)),
        (None, _) => "memory of unknown size".to_owned(),
    };
    format!("this process may use {} CPUs on {cores}, {quota}, {memory}", machine.cpus)
}

/// An error of kind [`ErrorKind::Machine`] if what all models need cannot be met.
pub fn check(machine: &Machine, needs: &[Need], caches: Caches) -> Result<()> {
    let Some(memory) = machine.memory else { return Ok(()) };
    let private = private(needs, caches);
    let (in_memory, mapped): (Vec<&Need>, Vec<&Need>) = needs.iter().partition(|need| need.in_memory.is_some());
    let weights_of = |needs: &[&Need]| needs.iter().map(|need| need.weights).sum::<u64>();
    if private > memory {
        let why = in_memory.first().and_then(|need| need.in_memory.as_ref());
        let weights = match why {
            Some(why) => format!("{} of weights, because {why}; ", gb(weights_of(&in_memory))),
            None => String::new(),
        };
        let whose =
            if machine.memory_is_limited { "the memory limit of this process" } else { "this machine's memory" };
        let flags = match caches.answers {
            0 => "--max-num-batched-tokens or --prefix-cache-mib",
            _ => "--max-num-batched-tokens, --prefix-cache-mib or --answer-cache-mib",
        };
        return Err(Error::new(
            ErrorKind::Machine,
            format!(
                "The {} {} of memory of {} own ({weights}{} of buffers, {} of prefix cache, {} of answer \
                 cache, {} for the rest), but {whose} is {}. Give it more{}, or lower --max-model-len, {flags}.",
                if needs.len() > 1 { "models need" } else { "model needs" },
                gb(private),
                if needs.len() > 1 { "their" } else { "its" },
                gb(buffers(needs)),
                gb(caches.prefixes as u64),
                gb(caches.answers as u64),
                gb(rest(needs)),
                gb(memory),
                if why.is_some() { ", or a --weight-cache on a disk" } else { "" },
            ),
        ));
    }
    if !mapped.is_empty() && private + weights_of(&mapped) > memory {
        tracing::warn!(
            "the weights ({}) do not fit into the memory ({}) beside what is needed besides ({}): they will be read from disk \
             again and again, which is slow",
            gb(weights_of(&mapped)),
            gb(memory),
            gb(private),
        );
    }
    Ok(())
}

fn gb(bytes: u64) -> String {
    format!("{:.2} GB", bytes as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(memory: Option<u64>, memory_is_limited: bool) -> Machine {
        Machine { cores: vec![0], cpus: 2, quota: Some(0.5), memory, memory_is_limited }
    }

    /// About the 0.6B shape's.
    fn need(in_memory: Option<&str>) -> Need {
        let in_memory = in_memory.map(str::to_owned);
        Need { weights: 880_000_000, in_memory, buffers: 190_000_000 }
    }

    const CACHES: Caches = Caches { prefixes: 32 << 20, answers: 64 << 20 };

    #[test]
    fn mapped_weights_fit_half_a_gigabyte_and_weights_in_memory_do_not() {
        let small = machine(Some(512 << 20), true);
        check(&small, &[need(None)], CACHES).expect("mapped weights need not fit");
        let said = check(&small, &[need(Some("--weight-cache is off"))], CACHES).expect_err("too little").to_string();
        for words in
            ["needs 1.28 GB", "0.88 GB of weights, because --weight-cache is off", "limit of this process is 0.54 GB"]
        {
            assert!(said.contains(words), "{said}");
        }
        check(&machine(Some(4 << 30), false), &[need(Some("--weight-cache is off"))], CACHES).expect("enough");
    }

    #[test]
    fn what_all_models_need_has_to_fit_and_the_caches_are_theirs_together() {
        let limit = machine(Some(700 << 20), true);
        check(&limit, &[need(None)], CACHES).expect("one fits");
        check(&machine(Some(640 << 20), true), &[need(None), need(None)], CACHES).expect("two of mapped weights fit");
        let said =
            check(&limit, &[need(None), need(Some("the disk is full"))], CACHES).expect_err("too little").to_string();
        for words in ["The models need 1.52 GB of memory of their own", "0.88 GB of weights, because the disk is full"]
        {
            assert!(said.contains(words), "{said}");
        }
        for words in ["0.38 GB of buffers", "0.03 GB of prefix cache", "0.16 GB for the rest"] {
            assert!(said.contains(words), "{said}");
        }
    }

    #[test]
    fn what_is_not_known_limits_nothing() {
        check(&machine(None, false), &[need(Some("--weight-cache is off"))], CACHES).expect("no limit");
    }

    #[test]
    fn too_little_for_the_buffers_alone_is_refused_without_a_word_of_weights() {
        let said = check(&machine(Some(64 << 20), false), &[need(None)], CACHES).expect_err("too little").to_string();
        assert!(said.contains("this machine's memory is 0.07 GB") && !said.contains("weights"), "{said}");
        assert!(!said.contains("--weight-cache"), "{said}");
        assert!(said.contains("0.07 GB of answer cache") && said.ends_with("or --answer-cache-mib."), "{said}");
        let none = Caches { answers: 0, ..CACHES };
        let said = check(&machine(Some(64 << 20), false), &[need(None)], none).expect_err("too little").to_string();
        assert!(said.ends_with("--max-num-batched-tokens or --prefix-cache-mib."), "{said}");
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let status = "Name:\tironrank\nVmHWM:\t 1898144 kB\nRssAnon:\t  153256 kB\n";
        assert_eq!(Resident::parse(status), Some(Resident { peak: 1_898_144 * 1024, private: 153_256 * 1024 }));
        assert_eq!(Resident::parse("Name:\tironrank\n"), None);
    }

    #[test]
    fn the_log_says_what_may_be_used() {
        assert_eq!(
            describe(&machine(Some(2_000_000_000), true)),
            "this process may use 2 CPUs on 1 core, a quota of 0.50 CPUs, a limit of 2.00 GB of memory"
        );
        let free = Machine { quota: None, ..machine(None, false) };
        assert!(describe(&free).ends_with("no CPU quota, memory of unknown size"));
    }
}
