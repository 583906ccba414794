//! Where a server is found. Called by the options of `serve`, which listens there, and of `health`, which asks there.

use std::path::PathBuf;

/// Address to listen on.
pub const DEFAULT_HOST: &str = "0.0.0.0";
/// TCP port to listen on.
pub const DEFAULT_PORT: u16 = 8000;

/// Where clients find the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// An address and a port, 0 being any free one.
    Tcp {
        /// Name or address of the interface.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl Default for Listen {
    fn default() -> Self {
        Self::Tcp { host: DEFAULT_HOST.to_owned(), port: DEFAULT_PORT }
    }
}

/// A TCP port; 0 asks the system for a free one.
pub fn port(text: &str) -> Result<u16, String> {
    text.trim().parse().map_err(|_| format!("'{text}' is not a TCP port; ports go from 0 (any free one) to 65535."))
}
