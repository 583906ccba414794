//! The options of `health`: which server is asked. Called by `options::parse`.

use super::listen::{self, DEFAULT_HOST, Listen};
use actix_web::http::Uri;
use clap::{Args, Command};
use std::path::PathBuf;

/// Which server `health` asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthOptions {
    /// Where it listens.
    pub listen: Listen,
    /// Whether it speaks https.
    pub tls: bool,
    /// What is asked for, `/` first.
    pub path: String,
}

impl HealthOptions {
    /// Asks the server on `listen` for `/health`.
    pub fn of(listen: Listen) -> Self {
        Self { listen, tls: false, path: "/health".to_owned() }
    }
}

/// The arguments of `health`.
#[derive(Debug, Args)]
pub struct HealthArgs {
    /// Address to ask, as in http://HOST:PORT/health; the certificate of an https server is not checked
    #[arg(long, value_name = "URL", conflicts_with_all = ["port", "uds"])]
    pub url: Option<String>,
    /// TCP port on this machine
    #[arg(long, value_parser = listen::port, conflicts_with = "uds")]
    pub port: Option<u16>,
    /// Unix socket
    #[arg(long, value_name = "PATH")]
    pub uds: Option<String>,
}

/// The command.
pub fn command() -> Command {
    HealthArgs::augment_args(Command::new("health"))
        .about("Ask a server whether it is well: exit code 0 if it is, 1 if not")
        .after_help(
            "Without an option the server is the one that runs as process 1, as in a container, found by its own \
             command line; where there is none, port 8000 is asked.\n\nExample:\n  ironrank health --url http://rerank:8000/health",
        )
        .args_override_self(true)
}

/// The server that is to be asked; `None` is the one of this container.
pub fn options(args: HealthArgs) -> Result<Option<HealthOptions>, String> {
    let listen = match args {
        HealthArgs { url: Some(url), .. } => return address(&url).map(Some),
        HealthArgs { port: Some(port), .. } => Listen::Tcp { host: DEFAULT_HOST.to_owned(), port },
        HealthArgs { uds: Some(path), .. } => Listen::Unix(PathBuf::from(path)),
        HealthArgs { .. } => return Ok(None),
    };
    Ok(Some(HealthOptions::of(listen)))
}

/// `http://HOST[:PORT][/PATH]`, or https; the path is `/health` where there is none.
fn address(text: &str) -> Result<HealthOptions, String> {
    let bad = || format!("--url {text} is not an address such as http://localhost:8000/health.");
    let url: Uri = text.trim().parse().map_err(|_| bad())?;
    let tls = match url.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(bad()),
    };
    let host = url.host().filter(|host| !host.is_empty()).ok_or_else(bad)?.to_owned();
    let port = url.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let path = match url.path_and_query().map(|path| path.as_str()) {
        None | Some("" | "/") => "/health".to_owned(),
        Some(path) => path.to_owned(),
    };
    Ok(HealthOptions { listen: Listen::Tcp { host, port }, tls, path })
}
