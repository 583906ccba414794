//! Work that would hold up the one thread that speaks HTTP: it runs on one of a few others.
//!
//! Invariant: what nobody waits for any more is not begun, and can find out that it may stop. Called by what reads bodies,
//! and makes tokens of them.

use super::error::{ApiError, Refusal};
use crate::error::ErrorKind;
use crate::threads::{Size, Threads};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A body of more bytes may keep a thread for long, and never the last one: 64 passages of 512 tokens are less, however
/// they are written.
const SMALL_BODY: usize = 512 << 10;

/// Runs `work` on a body of so many bytes on one of the few `threads` that read JSON and make tokens; it is told when nobody
/// waits for it any more.
pub async fn on_a_thread<T: Send + 'static>(
    threads: &Threads,
    bytes: usize,
    work: impl FnOnce(&Client) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let client = Client::default();
    let _on_drop = LeaveOnDrop(client.clone());
    let work = move || {
        client.is_there()?;
        work(&client)
    };
    let panicked =
        |_| ApiError::new(Refusal::Kind(ErrorKind::Internal), "The server failed while it read this request.");
    let size = if bytes > SMALL_BODY { Size::Large } else { Size::Small };
    threads.run(size, work).await.map_err(panicked)?
}

/// Whether the client of a request still waits, for the thread that works on it.
#[derive(Clone, Default)]
pub struct Client(Arc<AtomicBool>);

impl Client {
    /// An error once the client has left.
    pub fn is_there(&self) -> Result<(), ApiError> {
        match self.0.load(Ordering::Relaxed) {
            false => Ok(()),
            true => Err(ApiError::new(Refusal::Kind(ErrorKind::Busy), "The client has left.")),
        }
    }
}

/// Tells the thread that nobody waits for it any more.
struct LeaveOnDrop(Client);

impl Drop for LeaveOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}
