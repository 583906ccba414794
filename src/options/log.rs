//! The options of the log: what is written to it, and how.
//!
//! The flags that every command has, those that only a server has, and vLLM's variable. Called by the options of every
//! command.

use super::environment::Environment;
use clap::Args;

/// Least severe log level that is written.
pub const DEFAULT_LOG_LEVEL: &str = "info";

/// What is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOptions {
    /// A level, or `RUST_LOG` syntax.
    pub filter: String,
    /// Who reads it.
    pub format: LogFormat,
    /// Whether levels may be coloured, where the log is a terminal.
    pub colours: bool,
    /// One sentence for each thing that was accepted but means nothing here, to be logged first.
    pub notices: Vec<String>,
}

/// How a line of the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// A JSON object, for what collects logs.
    Json,
}

/// How every command writes its log.
#[derive(Debug, Args)]
#[command(next_help_heading = "Log")]
pub struct LogFormatArgs {
    /// text, or json: an object a line, for what collects logs [default: text; not in vLLM]
    #[arg(long, value_name = "text|json", value_parser = format)]
    pub log_format: Option<LogFormat>,
}

/// What a server writes to the log.
#[derive(Debug, Args)]
#[command(next_help_heading = "Log")]
pub struct LogArgs {
    #[command(flatten)]
    pub format: LogFormatArgs,
    /// One line per request, without its texts
    #[arg(long)]
    pub enable_log_requests: bool,
    #[arg(long, hide = true, overrides_with = "enable_log_requests")]
    pub disable_log_requests: bool,
    /// Level of the HTTP server's own lines: critical, error, warning, info, debug (every request) or trace
    #[arg(long, value_name = "LEVEL", value_parser = http_level)]
    pub uvicorn_log_level: Option<&'static str>,
}

/// The options of a command's log.
pub fn options(args: LogFormatArgs, env: Environment, notices: Vec<String>) -> LogOptions {
    with_http_level(args, None, env, notices)
}

/// The options of a server's log.
pub fn server_options(args: LogArgs, env: Environment, notices: Vec<String>) -> LogOptions {
    with_http_level(args.format, args.uvicorn_log_level, env, notices)
}

fn with_http_level(args: LogFormatArgs, http: Option<&str>, env: Environment, notices: Vec<String>) -> LogOptions {
    let filter = env.get("RUST_LOG").unwrap_or_else(|| filter(env.get("VLLM_LOGGING_LEVEL").as_deref(), http));
    // https://no-color.org
    let colours = env.get("NO_COLOR").is_none() && env.get("TERM").is_none_or(|terminal| terminal != "dumb");
    LogOptions { filter, format: args.log_format.unwrap_or(LogFormat::Text), colours, notices }
}

/// `--log-format`.
fn format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("'{text}' is not known; use text or json.")),
    }
}

/// `--uvicorn-log-level` as a level of our log.
fn http_level(text: &str) -> Result<&'static str, String> {
    match text {
        "critical" | "error" => Ok("error"),
        "warning" => Ok("warn"),
        "info" => Ok("info"),
        "debug" => Ok("debug"),
        "trace" => Ok("trace"),
        _ => Err(format!("'{text}' is not a level; use critical, error, warning, info, debug or trace.")),
    }
}

/// A filter from vLLM's (Python's) name of the level, which is the default if it is not known, and from that of the
/// HTTP server.
fn filter(level: Option<&str>, http: Option<&str>) -> String {
    let level = match level.map(|name| name.trim().to_ascii_uppercase()).as_deref() {
        Some("DEBUG") => "debug",
        Some("TRACE") => "trace",
        Some("WARNING" | "WARN") => "warn",
        Some("ERROR" | "CRITICAL" | "FATAL") => "error",
        _ => DEFAULT_LOG_LEVEL,
    };
    match (http, level) {
        (Some(http), _) => format!("{level},actix_server={http},actix_http={http},ironrank::server={http}"),
        // The HTTP library tells of its threads at these levels, which is no news to an operator, and calls it an error
        // of its own when what a client sends is not HTTP.
        (None, "info" | "debug") => format!("{level},actix_server=warn,actix_http=off"),
        (None, "trace") => level.to_owned(),
        (None, _) => format!("{level},actix_http=off"),
    }
}
