//! Whether a model fits the memory that this process may use: said in a sentence before it is loaded, where the system
//! would kill the process later.
//!
//! Invariant: only memory of the process's own has to fit. What is mapped from files (the checkpoint, the packed-weight
//! file) is the system's cache, which it takes back when it must; where that will cost speed, a line of the log says
//! so. Called by [`crate::startup`] and `check`; `bench` and the metrics ask what is [`Resident`].

use crate::error::{Error, ErrorKind, Result};
use ironrank_kernels::Machine;

/// The program, the tokenizer and some requests being read: 65 MB were measured without the last.
const BASE: u64 = 100 << 20;

/// Bytes that a model will take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// Packed weights.
    pub weights: u64,
    /// Why they are not mapped from a file, if they are not.
    pub in_memory: Option<String>,
    /// Buffers of the forward pass.
    pub buffers: u64,
    /// The prefix cache when it is full.
    pub prefix_cache: u64,
    /// The answer cache when it is full.
    pub answer_cache: u64,
}

impl Need {
    /// Bytes that the system cannot take back.
    pub fn private(&self) -> u64 {
        let weights = if self.in_memory.is_some() { self.weights } else { 0 };
        weights + self.buffers + self.prefix_cache + self.answer_cache + BASE
    }
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

/// An error of kind [`ErrorKind::Machine`] if `need` cannot be met.
pub fn check(machine: &Machine, need: &Need) -> Result<()> {
    let Some(memory) = machine.memory else { return Ok(()) };
    let private = need.private();
    if private > memory {
        let weights = match &need.in_memory {
            Some(why) => format!("{} of weights, because {why}; ", gb(need.weights)),
            None => String::new(),
        };
        let whose =
            if machine.memory_is_limited { "the memory limit of this process" } else { "this machine's memory" };
        let flags = match need.answer_cache {
            0 => "--max-num-batched-tokens or --prefix-cache-mib",
            _ => "--max-num-batched-tokens, --prefix-cache-mib or --answer-cache-mib",
        };
        return Err(Error::new(
            ErrorKind::Machine,
            format!(
                "The model needs {} of memory of its own ({weights}{} of buffers, {} of prefix cache, {} of answer \
                 cache, {} for the rest), but {whose} is {}. Give it more{}, or lower --max-model-len, {flags}.",
                gb(private),
                gb(need.buffers),
                gb(need.prefix_cache),
                gb(need.answer_cache),
                gb(BASE),
                gb(memory),
                if need.in_memory.is_some() { ", or a --weight-cache on a disk" } else { "" },
            ),
        ));
    }
    if need.in_memory.is_none() && private + need.weights > memory {
        tracing::warn!(
            "the weights ({}) do not fit into the memory ({}) beside what the model needs of its own ({}): they will be \
             read from disk again and again, which is slow",
            gb(need.weights),
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
        Need { weights: 880_000_000, in_memory, buffers: 190_000_000, prefix_cache: 32 << 20, answer_cache: 64 << 20 }
    }

    #[test]
    fn mapped_weights_fit_half_a_gigabyte_and_weights_in_memory_do_not() {
        let small = machine(Some(512 << 20), true);
        check(&small, &need(None)).expect("mapped weights need not fit");
        let said = check(&small, &need(Some("--weight-cache is off"))).expect_err("too little").to_string();
        for words in
            ["needs 1.28 GB", "0.88 GB of weights, because --weight-cache is off", "limit of this process is 0.54 GB"]
        {
            assert!(said.contains(words), "{said}");
        }
        check(&machine(Some(4 << 30), false), &need(Some("--weight-cache is off"))).expect("enough");
    }

    #[test]
    fn what_is_not_known_limits_nothing() {
        check(&machine(None, false), &need(Some("--weight-cache is off"))).expect("no limit");
    }

    #[test]
    fn too_little_for_the_buffers_alone_is_refused_without_a_word_of_weights() {
        let said = check(&machine(Some(64 << 20), false), &need(None)).expect_err("too little").to_string();
        assert!(said.contains("this machine's memory is 0.07 GB") && !said.contains("weights"), "{said}");
        assert!(!said.contains("--weight-cache"), "{said}");
        assert!(said.contains("0.07 GB of answer cache") && said.ends_with("or --answer-cache-mib."), "{said}");
        let none = Need { answer_cache: 0, ..need(None) };
        let said = check(&machine(Some(64 << 20), false), &none).expect_err("too little").to_string();
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
