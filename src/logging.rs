//! The log: one line per event on stderr, for people or as JSON, above whatever bar is shown.
//!
//! Invariants: an event is one write; no filter opens what the HTTP client says of the bytes on the wire, keys included.
//! Called by `main`, once.

use crate::options::{DEFAULT_LOG_LEVEL, LogFormat, LogOptions};
use crate::progress;
use std::io::{self, IsTerminal, Write};
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{EnvFilter, FilterFn};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Begins to log: the version and the revision, then what the options gave notice of.
pub fn start(options: &LogOptions) {
    open(options);
    tracing::info!("ironrank {}", crate::version());
    for notice in &options.notices {
        tracing::warn!("{notice}");
    }
}

fn open(options: &LogOptions) {
    let filter = EnvFilter::try_new(&options.filter).unwrap_or_else(|_| EnvFilter::new(DEFAULT_LOG_LEVEL));
    let lines = fmt::layer().with_target(false).with_writer(|| Stderr);
    let lines = match options.format {
        LogFormat::Text => lines.compact().with_ansi(options.colours && io::stderr().is_terminal()).boxed(),
        LogFormat::Json => {
            progress::hide();
            lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
        }
    };
    tracing_subscriber::registry().with(filter).with(FilterFn::new(is_fit_to_print)).with(lines).init();
}

/// Tells machines what is wrong with the command line, in place of a log.
pub fn refuse(text: &str) {
    let filter = DEFAULT_LOG_LEVEL.to_owned();
    open(&LogOptions { filter, format: LogFormat::Json, colours: false, notices: Vec::new() });
    tracing::error!("{}", text.strip_prefix("error: ").unwrap_or(text).trim_end());
}

/// Below DEBUG the HTTP client writes all that goes over the wire, the token of the hub included.
fn is_fit_to_print(event: &Metadata<'_>) -> bool {
    *event.level() <= Level::DEBUG || !event.target().starts_with("ureq")
}

/// Standard error, with the bars out of the way for the time of a write.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        progress::above(|| io::stderr().write(bytes))
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        progress::above(|| io::stderr().write_all(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
