//! HTTP itself: connections, heads, the bytes of bodies, keys, other origins, and what is said of a request that fails.
//!
//! Invariant: nothing here knows a resource or the model.

pub mod access;
pub mod aside;
pub mod budget;
pub mod connections;
pub mod cors;
pub mod error;
mod frames;
pub mod intake;
pub mod listen;
pub mod request_id;
pub mod request_log;
pub mod run;
pub mod shown;
mod stream;
pub mod tls;
