//! What of the machine this process may use: CPUs, physical cores, the CPU quota and the memory, cgroups of both
//! versions included.
//!
//! Invariant: nothing is required. Files that are missing or hold something else limit nothing: without `/sys` each
//! allowed CPU counts as a core. Called by [`super::Pool`] for the number of threads and by the program for its budgets.

use super::topology;

/// CPUs and memory that this process may use.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    /// The first allowed CPU of each physical core, ascending.
    pub cores: Vec<usize>,
    /// CPUs that it may run on, hyper-threads of one core counted each.
    pub cpus: usize,
    /// CPUs that it may use on average; `None` is no limit.
    pub quota: Option<f64>,
    /// Bytes of memory; `None` where the system does not say.
    pub memory: Option<u64>,
    /// Whether `memory` is the limit of a cgroup, and less than the machine has.
    pub memory_is_limited: bool,
}

impl Machine {
    /// This machine, this process.
    pub fn here() -> Self {
        Self::of(&topology::allowed_cpus(), |path| std::fs::read_to_string(path).ok())
    }

    /// A machine with these files, a process that may run on `allowed`.
    fn of(allowed: &[usize], read: impl Fn(&str) -> Option<String>) -> Self {
        let membership = read("/proc/self/cgroup").unwrap_or_default();
        let limit = tightest(&membership, &read, "memory", memory_limit).map(|bytes| bytes as u64);
        let physical = read("/proc/meminfo").and_then(|text| total_memory(&text));
        let memory = limit.into_iter().chain(physical).min();
        Self {
            cores: topology::physical_cores(allowed, &read),
            cpus: allowed.len(),
            quota: tightest(&membership, &read, "cpu", cpu_quota),
            memory,
            memory_is_limited: memory.is_some() && memory != physical,
        }
    }

    /// Threads that keep the cores or the quota busy, whichever is less: whole CPUs, at least one.
    pub fn threads(&self) -> usize {
        let quota = self.quota.map_or(usize::MAX, |cpus| cpus as usize);
        self.cores.len().min(quota).max(1)
    }
}

/// Where the files of a cgroup are.
enum Group<'a> {
    /// Version 1: below the mounts of a controller.
    V1(&'a str),
    /// Version 2: all controllers in one tree.
    V2(&'a str),
}

/// The least `value` of the cgroups that the text of `/proc/self/cgroup` names and of their ancestors. A container
/// sees its own cgroup at the root, whatever the text says.
fn tightest<R: Fn(&str) -> Option<String>>(
    membership: &str,
    read: &R,
    controller: &str,
    value: impl Fn(&R, Group) -> Option<f64>,
) -> Option<f64> {
    let mut tightest: Option<f64> = None;
    for line in membership.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else { continue };
        if !controllers.is_empty() && !controllers.split(',').any(|name| name == controller) {
            continue;
        }
        let mut path = path.trim_end_matches('/');
        loop {
            let found = value(read, if controllers.is_empty() { Group::V2(path) } else { Group::V1(path) });
            tightest = match (tightest, found) {
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

/// `cpu.max` is `150000 100000` for 1.5 CPUs and `max 100000` for no limit; version 1 has two files and -1.
fn cpu_quota(read: &impl Fn(&str) -> Option<String>, group: Group) -> Option<f64> {
    match group {
        Group::V2(path) => {
            let text = read(&format!("/sys/fs/cgroup{path}/cpu.max"))?;
            let (quota, period) = text.trim().split_once(' ')?;
            Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
        }
        Group::V1(path) => {
            let number = |name: &str| {
                ["cpu", "cpu,cpuacct"]
                    .iter()
                    .find_map(|mount| read(&format!("/sys/fs/cgroup/{mount}{path}/{name}")))?
                    .trim()
                    .parse::<f64>()
                    .ok()
            };
            let quota = number("cpu.cfs_quota_us").filter(|&quota| quota > 0.0)?;
            Some(quota / number("cpu.cfs_period_us")?)
        }
    }
    .filter(|cpus| cpus.is_finite() && *cpus > 0.0)
}

/// No limit is `max` in version 2, which is no number, and more than any machine has in version 1.
fn memory_limit(read: &impl Fn(&str) -> Option<String>, group: Group) -> Option<f64> {
    let file = match group {
        Group::V2(path) => format!("/sys/fs/cgroup{path}/memory.max"),
        Group::V1(path) => format!("/sys/fs/cgroup/memory{path}/memory.limit_in_bytes"),
    };
    read(&file)?.trim().parse::<u64>().ok().map(|bytes| bytes as f64)
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
fn total_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    /// A machine made of these files.
    fn machine(allowed: &[usize], files: &[(&str, &str)]) -> Machine {
        Machine::of(allowed, |path| files.iter().find(|(name, _)| *name == path).map(|(_, text)| (*text).to_owned()))
    }

    fn siblings(cpu: usize) -> String {
        format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    }

    #[test]
    fn a_machine_without_files_has_a_core_for_each_cpu_and_no_limits() {
        let bare = machine(&[0, 1, 2], &[]);
        let expected = Machine { cores: vec![0, 1, 2], cpus: 3, quota: None, memory: None, memory_is_limited: false };
        assert_eq!((bare.threads(), bare), (3, expected));
        assert_eq!(machine(&[], &[]).threads(), 1, "not even the CPUs are known");
        assert_eq!(
            machine(&[0], &[("/proc/meminfo", "MemFree: 1 kB\n"), ("/proc/self/cgroup", "junk\n")]).memory,
            None
        );
    }

    #[test]
    fn one_cpu_is_one_thread() {
        let files = [("/proc/meminfo", "MemTotal:         524288 kB\nMemFree: 1 kB\n")];
        let small = machine(&[0], &files);
        assert_eq!((small.threads(), small.memory, small.memory_is_limited), (1, Some(GIB / 2), false));
    }

    #[test]
    fn hyper_threads_of_a_core_count_once_also_in_a_cpuset_with_holes() {
        let lists: Vec<(String, String)> =
            (0..8).map(|cpu| (siblings(cpu), format!("{},{}\n", cpu % 4, cpu % 4 + 4))).collect();
        let files: Vec<(&str, &str)> = lists.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        assert_eq!(machine(&[0, 1, 2, 3, 4, 5, 6, 7], &files).cores, [0, 1, 2, 3]);
        let holes = machine(&[1, 5, 6], &files);
        assert_eq!((holes.cores.as_slice(), holes.cpus, holes.threads()), (&[1, 6][..], 3, 2));
    }

    #[test]
    fn half_a_cpu_is_one_thread_and_one_and_a_half_as_well() {
        for (text, quota, threads) in [
            ("50000 100000\n", Some(0.5), 1),
            ("150000 100000\n", Some(1.5), 1),
            ("max 100000\n", None, 4),
            ("0 0", None, 4),
        ] {
            let files = [("/proc/self/cgroup", "0::/\n"), ("/sys/fs/cgroup/cpu.max", text)];
            let limited = machine(&[0, 1, 2, 3], &files);
            assert_eq!((limited.quota, limited.threads()), (quota, threads), "{text}");
        }
    }

    #[test]
    fn the_tightest_limit_of_a_hierarchy_counts() {
        let files = [
            ("/proc/self/cgroup", "0::/a/b\n"),
            ("/proc/meminfo", "MemTotal: 16777216 kB\n"),
            ("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n"),
            ("/sys/fs/cgroup/a/cpu.max", "250000 100000\n"),
            ("/sys/fs/cgroup/cpu.max", "400000 100000\n"),
            ("/sys/fs/cgroup/a/b/memory.max", "2147483648\n"),
            ("/sys/fs/cgroup/a/memory.max", "536870912\n"),
            ("/sys/fs/cgroup/memory.max", "max\n"),
        ];
        let nested = machine(&[0, 1, 2, 3], &files);
        assert_eq!((nested.quota, nested.threads()), (Some(2.5), 2));
        assert_eq!((nested.memory, nested.memory_is_limited), (Some(GIB / 2), true));
    }

    #[test]
    fn version_1_has_a_tree_for_each_controller() {
        let files = |quota: &'static str, memory: &'static str| {
            [
                ("/proc/self/cgroup", "9:name=systemd:/x\n4:cpu,cpuacct:/docker/x\n3:memory:/docker/x\n0::/x\n"),
                ("/proc/meminfo", "MemTotal: 16777216 kB\n"),
                // Within a container its cgroup is the root of each mount.
                ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", quota),
                ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
                ("/sys/fs/cgroup/memory/memory.limit_in_bytes", memory),
            ]
        };
        let limited = machine(&[0, 1, 2, 3], &files("200000\n", "536870912\n"));
        assert_eq!((limited.quota, limited.threads(), limited.memory), (Some(2.0), 2, Some(GIB / 2)));
        assert!(limited.memory_is_limited);
        let free = machine(&[0, 1, 2, 3], &files("-1\n", "9223372036854771712\n"));
        assert_eq!((free.quota, free.threads(), free.memory), (None, 4, Some(16 * GIB)));
        assert!(!free.memory_is_limited);
    }

    #[test]
    fn this_machine_has_cores_and_memory() {
        let here = Machine::here();
        assert!(!here.cores.is_empty() && here.cores.len() <= here.cpus && here.threads() <= here.cores.len());
        #[cfg(target_os = "linux")]
        assert!(here.memory.is_some_and(|bytes| bytes > 1 << 20));
    }
}
