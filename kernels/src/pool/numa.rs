//! Memory nodes: where pages go on machines with several.
//!
//! Weights are read by all threads alike, so they are spread over the nodes page by page while they are made; what a
//! thread writes for itself lies on its own node anyway, because the system places a page where it is touched first.

use super::topology::parse_cpu_list;

/// The nodes that have memory and may be used by this process; empty where the system does not say.
pub(super) fn memory_nodes() -> Vec<usize> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    usable(&read("/sys/devices/system/node/has_memory"), &read("/proc/self/status"))
}

/// Those of them that `cpus` belong to.
pub(super) fn memory_nodes_of(cpus: &[usize]) -> Vec<usize> {
    let mut nodes = memory_nodes();
    nodes.retain(|node| {
        let list = std::fs::read_to_string(format!("/sys/devices/system/node/node{node}/cpulist"));
        parse_cpu_list(&list.unwrap_or_default()).iter().any(|cpu| cpus.contains(cpu))
    });
    nodes
}

/// The nodes of [`memory_nodes`], from the text of the two files.
fn usable(with_memory: &str, status: &str) -> Vec<usize> {
    let allowed = status.lines().find_map(|line| line.strip_prefix("Mems_allowed_list:")).map(parse_cpu_list);
    let mut nodes = parse_cpu_list(with_memory);
    nodes.retain(|node| allowed.as_ref().is_none_or(|allowed| allowed.contains(node)));
    nodes
}

/// Spreads the pages that the calling thread touches first over `nodes`, or, for no nodes, places them as the system
/// does of itself. Where the system refuses, nothing changes.
pub(super) fn spread_new_pages(nodes: &[usize]) {
    #[cfg(target_os = "linux")]
    {
        const BITS: usize = usize::BITS as usize;
        let mut mask = [0_usize; 1024 / BITS];
        for &node in nodes.iter().filter(|&&node| node < 1024) {
            mask[node / BITS] |= 1 << (node % BITS);
        }
        let mode = if nodes.is_empty() { libc::MPOL_DEFAULT } else { libc::MPOL_INTERLEAVE };
        let (pointer, bits) = if nodes.is_empty() { (std::ptr::null(), 0) } else { (mask.as_ptr(), 1025) };
        // SAFETY: the call reads at most `bits - 1` bits from `pointer`, which `mask` has, and changes nothing but the
        // calling thread's placement of new pages.
        unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, bits) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = nodes;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_nodes_with_memory_that_are_allowed_count() {
        let status = "Name:\tx\nMems_allowed:\t5\nMems_allowed_list:\t0,2-3\n";
        assert_eq!(usable("0-2\n", status), [0, 2]);
        assert_eq!(usable("0-1\n", ""), [0, 1]);
        assert!(usable("", status).is_empty());
    }

    #[test]
    fn memory_is_usable_under_either_placement() {
        let nodes = memory_nodes();
        for nodes in [&nodes[..], &[]] {
            spread_new_pages(nodes);
            let pages = crate::buffer::Buffer::zeroed(1 << 20);
            assert!(pages.iter().all(|x| *x == 0.0));
        }
    }
}
