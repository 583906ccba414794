//! How busy the machine was with other things while something was measured: what the kernel counts for the CPUs that this
//! process may use, without what it took itself.
//!
//! Invariant: nothing is required; where `/proc` tells nothing, nothing is said. Called by `bench`, `check` and `compare`.

use std::collections::BTreeSet;
use std::fmt;

/// From these shares on a figure is worth less than it looks.
const OTHERS: f64 = 0.05;
const STOLEN: f64 = 0.02;

/// What the kernel had counted at a moment, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// All time of the CPUs that this process may use.
    all: u64,
    /// What processes and the kernel took of it.
    taken: u64,
    /// What the hypervisor gave to other machines.
    stolen: u64,
    /// What this process took.
    own: u64,
}

/// Shares of the time of the CPUs that this process may use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Busy {
    /// Taken by other processes.
    pub others: f64,
    /// Taken by other machines of the same host.
    pub stolen: f64,
}

impl Counts {
    /// Up to now; `None` where the system does not say.
    pub fn now() -> Option<Self> {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{name}")).ok();
        Self::parse(&read("stat")?, &read("self/status")?, &read("self/stat")?)
    }

    fn parse(stat: &str, own_status: &str, own_stat: &str) -> Option<Self> {
        let allowed = own_status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
        let allowed = cpus(allowed);
        let (mut all, mut taken, mut stolen) = (0, 0, 0);
        for line in stat.lines() {
            let mut fields = line.strip_prefix("cpu").unwrap_or_default().split(' ');
            // The first line is the sum of all.
            if !fields.next().and_then(|cpu| cpu.parse().ok()).is_some_and(|cpu: usize| allowed.contains(&cpu)) {
                continue;
            }
            let ticks: Vec<u64> = fields.map_while(|field| field.parse().ok()).collect();
            let [user, nice, system, idle, waiting, interrupts, soft_interrupts, steal] = *ticks.get(..8)? else {
                return None;
            };
            let of_this = user + nice + system + interrupts + soft_interrupts;
            all += of_this + idle + waiting + steal;
            taken += of_this;
            stolen += steal;
        }
        // Behind the name, which may hold anything: the state, ten numbers, and the time in user and kernel mode.
        let mut fields = own_stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        let mut own = || fields.next()?.parse::<u64>().ok();
        let own = own()? + own()?;
        Some(Self { all, taken, stolen, own })
    }
}

impl Busy {
    /// What has been since `start`; `None` where the system does not say.
    pub fn since(start: Option<Counts>) -> Option<Self> {
        Self::between(start?, Counts::now()?)
    }

    fn between(start: Counts, end: Counts) -> Option<Self> {
        let since = |of: fn(&Counts) -> u64| of(&end).saturating_sub(of(&start)) as f64;
        let all = since(|counts| counts.all);
        let others = (since(|counts| counts.taken) - since(|counts| counts.own)).max(0.0);
        (all > 0.0).then(|| Self { others: others / all, stolen: since(|counts| counts.stolen) / all })
    }

    /// Whether that is worth a sentence, which [`fmt::Display`] is.
    pub fn matters(&self) -> bool {
        self.others >= OTHERS || self.stolen >= STOLEN
    }
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: f64| (100.0 * share).round();
        write!(f, "The machine was busy with other things meanwhile: other processes took {} %", percent(self.others))?;
        if self.stolen >= STOLEN {
            write!(f, ", and other machines of its host {} %,", percent(self.stolen))?;
        }
        write!(f, " of the CPUs that this one may use. Measure again when it is idle.")
    }
}

/// `0-2,5` as 0, 1, 2, 5.
fn cpus(list: &str) -> BTreeSet<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse::<usize>().ok()?..=last.trim().parse::<usize>().ok()?)
    };
    list.split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tironrank\nCpus_allowed:\t6\nCpus_allowed_list:\t1-2\n";

    /// A machine of three CPUs of which CPU 0 is always busy, and a process that has run for `own` ticks.
    fn counts(user: [u64; 2], idle: [u64; 2], steal: u64, own: u64) -> Counts {
        let stat = format!(
            "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 99999 0 0 0 0 0 0 0 0 0\ncpu1 {} 0 0 {} 0 0 0 {steal} 0 0\n\
             cpu2 {} 0 0 {} 0 0 0 0 0 0\nintr 1 2 3\n",
            user[0], idle[0], user[1], idle[1]
        );
        let own = format!("7 (a ) b) R 1 1 1 0 -1 4 5 6 7 8 {own} 0 0 0 20 0 3 0 9");
        Counts::parse(&stat, STATUS, &own).expect("it tells")
    }

    #[test]
    fn what_this_process_took_is_not_the_others() {
        let start = counts([1000, 1000], [500, 500], 10, 100);
        let alone = Busy::between(start, counts([1100, 1100], [500, 500], 10, 300)).unwrap();
        assert_eq!(alone, Busy { others: 0.0, stolen: 0.0 });
        assert!(!alone.matters());
        let beside = Busy::between(start, counts([1100, 1050], [500, 550], 10, 200)).unwrap();
        assert_eq!(beside, Busy { others: 0.25, stolen: 0.0 });
        assert!(beside.matters() && beside.to_string().contains("other processes took 25 % of the CPUs"), "{beside}");
        let robbed = Busy::between(start, counts([1080, 1100], [500, 500], 30, 280)).unwrap();
        assert_eq!(robbed, Busy { others: 0.0, stolen: 0.1 });
        assert!(robbed.matters() && robbed.to_string().contains("other machines of its host 10 %"), "{robbed}");
    }

    #[test]
    fn where_nothing_is_told_nothing_is_said() {
        let now = counts([1, 1], [1, 1], 1, 1);
        assert_eq!(Busy::between(now, now), None, "no time has passed");
        assert_eq!(Busy::since(None), None);
        for (stat, status, own) in [
            ("cpu1 1 2 3", STATUS, "7 (x) R 1 1 1 0 -1 4 5 6 7 8 1 1"),
            ("cpu1 1 1 1 1 1 1 1 1", "Name:\tx\n", "7 (x) R 1 1 1 0 -1 4 5 6 7 8 1 1"),
            ("cpu1 1 1 1 1 1 1 1 1", STATUS, "7 (x) R"),
        ] {
            assert_eq!(Counts::parse(stat, status, own), None, "{stat}");
        }
        // Counters that a container's file system sets back.
        let earlier = counts([0, 0], [0, 0], 0, 0);
        assert_eq!(Busy::between(now, earlier), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_machine_tells() {
        assert!(Counts::now().is_some());
    }
}
