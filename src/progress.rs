//! Bars on the terminal, which share it with the log.
//!
//! Invariant: a line that is written through [`above`] and a bar made by [`bar`] never tear each other. Where stderr is
//! no terminal, or the log is for machines, every bar is hidden, and its owner writes lines in its place. Called by
//! whoever works for long, and by `logging`.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::sync::LazyLock;

/// All bars of the process.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// A bar of `length` steps, or a spinner where nobody knows how many there are; `template` is in indicatif's words.
pub fn bar(length: Option<u64>, template: &str) -> ProgressBar {
    let bar = length.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    let style = ProgressStyle::with_template(template).expect("the template is right");
    BARS.add(bar.with_style(style))
}

/// Shows no bar from now on.
pub fn hide() {
    BARS.set_draw_target(ProgressDrawTarget::hidden());
}

/// Writes something where the bars are, which come back below it. What `write` does must not log.
pub fn above<R>(write: impl FnOnce() -> R) -> R {
    BARS.suspend(write)
}

/// Takes all bars away, for a process that ends at once.
pub fn clear() {
    // Where the terminal is gone there is nothing to clear.
    let _ = BARS.clear();
}
