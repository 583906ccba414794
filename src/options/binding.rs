//! `VLLM_CPU_OMP_THREADS_BIND`: the cores that vLLM's compute threads are pinned to. Called by the options of the engine.

use super::values;

/// What `VLLM_CPU_OMP_THREADS_BIND` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binding {
    /// Threads are pinned, to cores of our choice.
    Auto,
    /// Threads are not pinned.
    Free,
    /// Threads are pinned to these CPUs.
    Cores {
        /// CPUs of the first process.
        first: Vec<usize>,
        /// Whether there are lists for further processes.
        more: bool,
    },
}

/// Reads it: `auto` (`all` in old versions), `nobind`, or `0-9|10-19`, a list for each process.
pub fn read(text: &str) -> Result<Binding, String> {
    let wrong = || {
        format!(
            "VLLM_CPU_OMP_THREADS_BIND={text} is not understood; write auto, nobind or a list such as 0-9 or 0,2,4."
        )
    };
    match text.trim().to_ascii_lowercase().as_str() {
        "auto" | "all" => return Ok(Binding::Auto),
        "nobind" => return Ok(Binding::Free),
        _ => {}
    }
    let mut lists = text.split('|');
    let mut first = Vec::new();
    for part in lists.next().unwrap_or_default().split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to): (usize, usize) =
            (from.trim().parse().map_err(|_| wrong())?, to.trim().parse().map_err(|_| wrong())?);
        if to < from || to >= values::MOST_THREADS {
            return Err(wrong());
        }
        first.extend(from..=to);
    }
    first.sort_unstable();
    first.dedup();
    Ok(Binding::Cores { first, more: lists.next().is_some() })
}
