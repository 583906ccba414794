//! The crate from outside: through its library, through the server's application in process, and as the program that
//! its users run.
//!
//! One binary, because linking the program costs more than most of the tests. So a test may count on nothing that belongs
//! to the whole process: neither environment nor current directory, signals, limits, panic hook or subscriber of
//! `tracing`; what needs one of these runs the program in a process of its own (`support::process`).

mod bench;
mod cache;
mod check;
mod checkpoint;
mod compare;
mod download;
mod embed;
mod embedding;
mod engine;
mod golden;
mod http;
mod meaning;
mod packed;
mod pages;
mod precision;
mod prompt;
mod request_log;
mod score;
mod secrets;
mod service;
mod signals;
mod support;
mod synthetic;
mod terminal;
mod texts;
