//! Signals that ask the process to end, from its first moment to its last.
//!
//! Invariant: until a command says that it ends in order ([`Signals::orderly`]), the first SIGINT or SIGTERM ends the
//! process at once, also as process 1 of a container, for which the system does nothing by itself. From then on the first
//! is the command's to follow, and a second SIGINT, which is a person at a keyboard, ends the process at once. A second
//! SIGTERM changes nothing: those who supervise processes repeat it, and have SIGKILL. Called by `main`.

use crate::error::{Error, ErrorKind, Result};
use crate::progress;
use crate::threads;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How long the last line may take: whoever reads the log may have stopped to.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A signal that asks the process to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// SIGINT.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl Stop {
    /// The exit code of a process that a signal has ended, as shells count it.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 128 + 2,
            Self::Terminate => 128 + 15,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        }
    }
}

/// What has come so far.
#[derive(Clone)]
pub struct Signals(Arc<State>);

#[derive(Default)]
struct State {
    /// Whether the command ends in order.
    orderly: AtomicBool,
    first: watch::Sender<Option<Stop>>,
}

impl Signals {
    /// Receives signals from now on, on a thread of their own.
    pub fn receive() -> Result<Self> {
        let fail = |err| Error::new(ErrorKind::Internal, format!("Signals cannot be received: {err}."));
        let state = Arc::new(State::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(fail)?;
        let (mut interrupt, mut terminate) = {
            let _inside = runtime.enter();
            (signal(SignalKind::interrupt()).map_err(fail)?, signal(SignalKind::terminate()).map_err(fail)?)
        };
        let received = state.clone();
        let watch = async move {
            loop {
                let stop = tokio::select! {
                    _ = interrupt.recv() => Stop::Interrupt,
                    _ = terminate.recv() => Stop::Terminate,
                };
                if received.ends_at_once(stop) {
                    end(stop);
                }
            }
        };
        threads::spawn("signals", move || runtime.block_on(watch))?;
        Ok(Self(state))
    }

    /// Resolves at the first signal, which no longer ends the process by itself.
    pub fn orderly(&self) -> impl Future<Output = Stop> + use<> {
        let state = self.0.clone();
        let mut first = state.first.subscribe();
        state.orderly.store(true, Ordering::SeqCst);
        async move {
            let came = first.wait_for(Option::is_some).await.ok().and_then(|came| *came);
            came.unwrap_or_else(|| unreachable!("`state` keeps the sender"))
        }
    }
}

impl State {
    /// Whether this signal ends the process, or is the command's to follow, or changes nothing.
    fn ends_at_once(&self, stop: Stop) -> bool {
        let is_first = self.first.send_if_modified(|first| first.replace(first.unwrap_or(stop)).is_none());
        !self.orderly.load(Ordering::SeqCst) || (!is_first && stop == Stop::Interrupt)
    }
}

fn end(stop: Stop) -> ! {
    let (said, wait) = mpsc::channel();
    // Without another thread the process ends without a word.
    let _ = threads::spawn("last words", move || {
        progress::clear();
        tracing::warn!("ended at once by {}", stop.name());
        let _ = said.send(());
    });
    let _ = wait.recv_timeout(LAST_WORDS);
    std::process::exit(i32::from(stop.exit_code()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_signal_ends_what_has_no_order_to_end_in() {
        for stop in [Stop::Interrupt, Stop::Terminate] {
            assert!(State::default().ends_at_once(stop));
        }
    }

    #[test]
    fn after_the_first_only_a_person_at_a_keyboard_ends_it_at_once() {
        use Stop::{Interrupt, Terminate};
        for (signals, last_ends) in [
            (&[Interrupt][..], false),
            (&[Terminate], false),
            (&[Interrupt, Interrupt], true),
            (&[Terminate, Interrupt], true),
            (&[Terminate, Terminate, Terminate], false),
            (&[Interrupt, Terminate], false),
            (&[Interrupt, Terminate, Interrupt], true),
        ] {
            let signalled = Signals(Arc::new(State::default()));
            let mut orderly = Box::pin(signalled.orderly());
            let (last, before) = signals.split_last().expect("there is one");
            assert!(before.iter().all(|stop| !signalled.0.ends_at_once(*stop)), "{signals:?}");
            assert_eq!(signalled.0.ends_at_once(*last), last_ends, "{signals:?}");
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            assert_eq!(orderly.as_mut().poll(&mut context), std::task::Poll::Ready(signals[0]), "{signals:?}");
        }
    }
}
