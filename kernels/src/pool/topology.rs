//! Which CPUs this process may use: affinity mask and SMT siblings; and confining threads to them.
//!
//! Nothing is required of the system: without `/sys` each allowed CPU counts as a core. Called by [`super::machine`],
//! [`super::Pool`] and [`super::numa`].

use std::collections::BTreeSet;

/// The first CPU of `allowed` of each physical core, ascending.
pub(super) fn physical_cores(allowed: &[usize], read: impl Fn(&str) -> Option<String>) -> Vec<usize> {
    let mut siblings_of_kept = BTreeSet::new();
    let mut cores = Vec::new();
    for &cpu in allowed {
        if siblings_of_kept.contains(&cpu) {
            continue;
        }
        let list = read(&format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"));
        siblings_of_kept.extend(parse_cpu_list(&list.unwrap_or_default()));
        cores.push(cpu);
    }
    cores
}

/// Confines the calling thread to `cpus`; where the system refuses, it runs where it may.
pub(super) fn confine_current_thread(cpus: &[usize]) {
    #[cfg(target_os = "linux")]
    {
        let mut set = rustix::thread::CpuSet::new();
        for &cpu in cpus {
            set.set(cpu);
        }
        let _ = rustix::thread::sched_setaffinity(None, &set);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = cpus;
}

/// The CPUs that the calling thread may run on, ascending.
pub(super) fn allowed_cpus() -> Vec<usize> {
    #[cfg(target_os = "linux")]
    if let Ok(set) = rustix::thread::sched_getaffinity(None) {
        return (0..rustix::thread::CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect();
    }
    (0..std::thread::available_parallelism().map_or(1, |n| n.get())).collect()
}

/// `0-2,5` as 0, 1, 2, 5; what does not parse is left out.
pub(super) fn parse_cpu_list(list: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse::<usize>().ok()?..=last.trim().parse::<usize>().ok()?)
    };
    list.trim().split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists_with_ranges_and_holes_are_read() {
        assert_eq!(parse_cpu_list("0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(parse_cpu_list("7"), [7]);
        assert_eq!(parse_cpu_list(""), []);
    }
}
