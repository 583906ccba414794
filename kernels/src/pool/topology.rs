//! Which CPUs this process may use: affinity mask, SMT siblings, cgroup quota.
//!
//! Everything is read from the running system and nothing is required: without `/sys` or `/proc` each allowed CPU
//! counts as a core and there is no quota.

use std::collections::BTreeSet;

/// The first allowed CPU of each physical core, ascending.
pub(super) fn physical_cores() -> Vec<usize> {
    let allowed = allowed_cpus();
    let mut siblings_of_kept = BTreeSet::new();
    let mut cores = Vec::new();
    for &cpu in &allowed {
        if siblings_of_kept.contains(&cpu) {
            continue;
        }
        let list = std::fs::read_to_string(format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"));
        siblings_of_kept.extend(parse_cpu_list(&list.unwrap_or_default()));
        cores.push(cpu);
    }
    cores
}

/// How many threads `cores` and the cgroup's quota allow: whole CPUs, at least one.
pub(super) fn allowed_threads(cores: &[usize]) -> usize {
    let quota = cgroup_quota().map_or(usize::MAX, |cpus| cpus as usize);
    cores.len().min(quota).max(1)
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

/// The tightest CPU quota of this process's cgroup and its ancestors, in CPUs.
fn cgroup_quota() -> Option<f64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    quota(&read("/proc/self/cgroup")?, read)
}

/// The same, from the text of `/proc/self/cgroup` and a reader of files.
fn quota(membership: &str, read: impl Fn(&str) -> Option<String>) -> Option<f64> {
    let mut tightest: Option<f64> = None;
    for line in membership.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let mut path = path.trim_end_matches('/');
        loop {
            let cpus = if controllers.is_empty() {
                read(&format!("/sys/fs/cgroup{path}/cpu.max")).and_then(|text| parse_v2(&text))
            } else if controllers.split(',').any(|c| c == "cpu") {
                parse_v1(&read, path)
            } else {
                None
            };
            tightest = match (tightest, cpus) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            match path.rsplit_once('/') {
                Some((parent, _)) => path = parent,
                None => break,
            }
        }
    }
    tightest
}

/// `150000 100000` is 1.5 CPUs, `max 100000` no limit.
fn parse_v2(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
}

fn parse_v1(read: &impl Fn(&str) -> Option<String>, path: &str) -> Option<f64> {
    let number = |name: &str| {
        ["cpu", "cpu,cpuacct"]
            .iter()
            .find_map(|mount| read(&format!("/sys/fs/cgroup/{mount}{path}/{name}")))?
            .trim()
            .parse::<f64>()
            .ok()
    };
    let quota = number("cpu.cfs_quota_us").filter(|&q| q > 0.0)?;
    Some(quota / number("cpu.cfs_period_us")?)
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

    #[test]
    fn the_tightest_quota_of_a_v2_hierarchy_counts() {
        let read = |path: &str| match path {
            "/sys/fs/cgroup/a/b/cpu.max" => Some("max 100000\n".to_owned()),
            "/sys/fs/cgroup/a/cpu.max" => Some("150000 100000\n".to_owned()),
            _ => None,
        };
        assert_eq!(quota("0::/a/b\n", read), Some(1.5));
    }

    #[test]
    fn a_v1_quota_of_minus_one_is_no_quota() {
        let files = |quota: &'static str| {
            move |path: &str| match path {
                "/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us" => Some(quota.to_owned()),
                "/sys/fs/cgroup/cpu/x/cpu.cfs_period_us" => Some("100000\n".to_owned()),
                _ => None,
            }
        };
        assert_eq!(quota("4:cpu,cpuacct:/x\n", files("-1\n")), None);
        assert_eq!(quota("4:cpu,cpuacct:/x\n", files("1000000\n")), Some(10.0));
    }

    #[test]
    fn a_fraction_of_a_cpu_is_one_thread() {
        assert_eq!(allowed_threads(&[]), 1);
        assert!(allowed_threads(&physical_cores()) >= 1);
    }
}
