//! One error type for the whole program: a kind that says who can mend it, and a sentence that says how.
//!
//! Leaves make errors, `server::http::error` alone maps a kind to a status and a body, `main` maps it to an exit code.

use std::fmt;

/// Result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Who can mend an error, and roughly what went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    // --- the operator ---
    /// The command line, the environment or a configuration file.
    Options,
    /// The model directory: its configuration, tensors or tokenizer.
    Checkpoint,
    /// What the program asks of its surroundings and does not get: a port, memory, threads, a file, the network.
    Machine,
    // --- the client ---
    /// A request that breaks a rule of the API.
    InvalidRequest,
    /// A pair with more tokens than the model length.
    TooLong,
    /// A model name that is not served here.
    UnknownModel,
    // --- the client, by asking again ---
    /// The server is full or stopping, or its engine has failed.
    Busy,
    // --- us ---
    /// A bug of this program.
    Internal,
}

/// An error as a full sentence, with its [`ErrorKind`] and, for requests, the parameter at fault.
#[derive(Debug, Clone)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    param: Option<String>,
}

impl Error {
    /// An error of `kind`; `message` is a full sentence that names the value and the limit.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), param: None }
    }

    /// The same error, naming the request parameter that caused it.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// Who can mend it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The request parameter that caused it, if one did.
    pub fn param(&self) -> Option<&str> {
        self.param.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
