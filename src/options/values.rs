//! Values of flags and variables: human sizes, seconds, names of choices. Errors are sentences.
//!
//! Every function is pure; called by `options::build`, `json`, `keys`, `spelling` and, as clap's value parsers, by
//! `options::flags`.

use super::{ClientCertificates, DEFAULT_LOG_LEVEL, HealthOptions, Listen, LogFormat, Overflow};
use crate::file::BYTE_ORDER_MARK;
use actix_web::http::Uri;
use serde_json::Value;
use std::time::Duration;

/// A text without the white space and the byte order marks around it, which files and shells leave there.
pub fn bare(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || BYTE_ORDER_MARK.contains(c))
}

/// A count with vLLM's suffixes: `8k` is 8000, `8K` is 8192, `8.5k` is 8500; a fraction of a binary unit is refused.
pub fn human_count(text: &str) -> Result<usize, String> {
    let text = text.trim();
    let wrong = || format!("'{text}' is not a count; write it as 8192, 8k (8000) or 8K (8192).");
    let (digits, unit) = match text.char_indices().last() {
        Some((at, suffix)) if suffix.is_ascii_alphabetic() => {
            let unit: u64 = match suffix {
                'k' => 1000,
                'm' => 1_000_000,
                'g' => 1_000_000_000,
                't' => 1_000_000_000_000,
                'K' => 1 << 10,
                'M' => 1 << 20,
                'G' => 1 << 30,
                'T' => 1 << 40,
                _ => return Err(wrong()),
            };
            (&text[..at], (unit, suffix.is_ascii_lowercase()))
        }
        _ => (text, (1, false)),
    };
    let (unit, fraction_allowed) = unit;
    let count = match digits.parse::<u64>() {
        Ok(whole) => whole.checked_mul(unit).ok_or_else(wrong)?,
        Err(_) if fraction_allowed && digits.bytes().all(|b| b.is_ascii_digit() || b == b'.') => {
            let value = digits.parse::<f64>().map_err(|_| wrong())? * unit as f64;
            // Both bounds are exact in f64, so the cast neither wraps nor saturates.
            if !(0.0..=1e15).contains(&value) {
                return Err(wrong());
            }
            value.round() as u64
        }
        Err(_) => return Err(wrong()),
    };
    match usize::try_from(count) {
        Ok(0) => Err("0 is too small; the least is 1.".to_owned()),
        Ok(count) => Ok(count),
        Err(_) => Err(wrong()),
    }
}

/// More would not fit into the memory of any machine, whatever the model.
const MOST_BATCH_TOKENS: usize = 1 << 20;
/// More than any machine has cores.
const MOST_THREADS: usize = 4096;

/// `--max-num-batched-tokens`.
pub fn batch_tokens(text: &str) -> Result<usize, String> {
    at_most(human_count(text)?, MOST_BATCH_TOKENS)
}

/// `--threads`.
pub fn threads(text: &str) -> Result<usize, String> {
    at_most(human_count(text)?, MOST_THREADS)
}

fn at_most(count: usize, limit: usize) -> Result<usize, String> {
    if count > limit { Err(format!("{count} is too large; the most is {limit}.")) } else { Ok(count) }
}

/// A model length; `auto` and `-1` are what the model's configuration says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelLen(pub Option<usize>);

/// Reads a [`ModelLen`].
pub fn model_len(text: &str) -> Result<ModelLen, String> {
    match text.trim() {
        other if other == "-1" || other.eq_ignore_ascii_case("auto") => Ok(ModelLen(None)),
        other => human_count(other).map(|tokens| ModelLen(Some(tokens))),
    }
}

/// A whole number of MiB as bytes, zero included.
pub fn mebibytes(text: &str) -> Result<usize, String> {
    let bytes = text.trim().parse().ok().and_then(|mib: usize| mib.checked_mul(1 << 20));
    bytes.ok_or_else(|| format!("'{text}' is not a number of MiB; write a whole number such as 256."))
}

/// `--max-body-mib`: at least one, and no more than anybody means.
pub fn body_mebibytes(text: &str) -> Result<usize, String> {
    const MOST_MIB: usize = 1024;
    match mebibytes(text)? >> 20 {
        0 => Err("0 is too small; the least is 1.".to_owned()),
        mib => at_most(mib, MOST_MIB).map(|mib| mib << 20),
    }
}

/// Whole seconds, at least one.
pub fn whole_seconds(text: &str) -> Result<Duration, String> {
    match seconds(text)? {
        Duration::ZERO => Err("0 is too small; the least is 1.".to_owned()),
        time => Ok(time),
    }
}

/// Whole seconds, zero included.
pub fn seconds(text: &str) -> Result<Duration, String> {
    text.trim()
        .parse()
        .map(|whole: u32| Duration::from_secs(u64::from(whole)))
        .map_err(|_| format!("'{text}' is not a number of seconds; write a whole number such as 30."))
}

/// A length of time with its unit: 90min, 12h, 30d, 8w.
pub fn age(text: &str) -> Result<Duration, String> {
    let units = [("min", 60), ("h", 3_600), ("d", 86_400), ("w", 7 * 86_400)];
    let seconds = units.iter().find_map(|(unit, seconds)| {
        text.trim().strip_suffix(unit)?.trim_end().parse::<u64>().ok()?.checked_mul(*seconds)
    });
    seconds.map(Duration::from_secs).ok_or_else(|| {
        format!("'{text}' is not a length of time; write a whole number and its unit, such as 12h, 30d or 8w.")
    })
}

/// A TCP port; 0 asks the system for a free one.
pub fn port(text: &str) -> Result<u16, String> {
    text.trim().parse().map_err(|_| format!("'{text}' is not a TCP port; ports go from 0 (any free one) to 65535."))
}

/// `http://HOST[:PORT][/PATH]`, or https; the path is `/health` where there is none.
pub fn health_url(text: &str) -> Result<HealthOptions, String> {
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

/// The value of a dotted key: JSON, a human size, or else a text.
pub fn json_or_text(text: &str) -> Value {
    serde_json::from_str(text).ok().or_else(|| human_count(text).ok().map(Value::from)).unwrap_or_else(|| text.into())
}

/// `--root-path`: empty, or with a `/` before and none behind.
pub fn root_path(text: &str) -> Result<String, String> {
    match text.trim_end_matches('/') {
        "" | "None" => Ok(String::new()),
        path if path.starts_with('/') => Ok(path.to_owned()),
        _ => Err(format!("'{text}' is not a path; it begins with a slash, as /reranker does.")),
    }
}

/// `--overflow`.
pub fn overflow(text: &str) -> Result<Overflow, String> {
    match text {
        "error" => Ok(Overflow::Error),
        "truncate" => Ok(Overflow::Truncate),
        _ => Err(format!("'{text}' is not known; use error or truncate.")),
    }
}

/// `--log-format`.
pub fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("'{text}' is not known; use text or json.")),
    }
}

/// `--ssl-cert-reqs`.
pub fn cert_reqs(text: &str) -> Result<ClientCertificates, String> {
    match text {
        "0" => Ok(ClientCertificates::Ignored),
        "1" => Ok(ClientCertificates::Optional),
        "2" => Ok(ClientCertificates::Required),
        _ => Err(format!("'{text}' is not known; use 0 (not asked for), 1 (optional) or 2 (required).")),
    }
}

/// What `VLLM_CPU_OMP_THREADS_BIND` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binding {
    /// Threads are pinned, to cores of our choice.
    Auto,
    /// Threads are not pinned.
    Free,
    /// Threads are pinned to these CPUs.
    Cores {
        /// CPUs of the first process.
        first: Vec<usize>,
        /// Whether there are lists for further processes.
        more: bool,
    },
}

/// Reads a [`Binding`]: `auto` (`all` in old versions), `nobind`, or `0-9|10-19`, a list for each process.
pub fn binding(text: &str) -> Result<Binding, String> {
    let wrong = || {
        format!(
            "VLLM_CPU_OMP_THREADS_BIND={text} is not understood; write auto, nobind or a list such as 0-9 or 0,2,4."
        )
    };
    match text.trim().to_ascii_lowercase().as_str() {
        "auto" | "all" => return Ok(Binding::Auto),
        "nobind" => return Ok(Binding::Free),
        _ => {}
    }
    let mut lists = text.split('|');
    let mut first = Vec::new();
    for part in lists.next().unwrap_or_default().split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to): (usize, usize) =
            (from.trim().parse().map_err(|_| wrong())?, to.trim().parse().map_err(|_| wrong())?);
        if to < from || to >= MOST_THREADS {
            return Err(wrong());
        }
        first.extend(from..=to);
    }
    first.sort_unstable();
    first.dedup();
    Ok(Binding::Cores { first, more: lists.next().is_some() })
}

/// `--quantization`: none yet.
pub fn quantization(text: &str) -> Result<String, String> {
    match text {
        "" | "none" | "None" => Ok(text.to_owned()),
        _ => Err(format!("'{text}' is not possible, because the model is computed in float32; leave the flag out.")),
    }
}

/// `--task`: what reranks is accepted, anything else would be a misunderstanding.
pub fn task(text: &str) -> Result<String, String> {
    one_of(text, &["auto", "score", "classify", "rerank"], "this server only reranks")
}

/// `--runner`.
pub fn runner(text: &str) -> Result<String, String> {
    one_of(text, &["auto", "pooling"], "this server only reranks")
}

/// `--convert`.
pub fn convert(text: &str) -> Result<String, String> {
    one_of(text, &["auto", "none", "classify"], "this server only reranks")
}

/// `--dtype`, with vLLM's names.
pub fn dtype(text: &str) -> Result<String, String> {
    one_of(text, &["auto", "float", "float32", "bfloat16", "half", "float16"], "the model is computed in float32")
}

/// `--load-format`.
pub fn load_format(text: &str) -> Result<String, String> {
    one_of(text, &["auto", "safetensors", "dummy"], "weights are read from safetensors files")
}

/// `--numa`: whether memory nodes are looked at.
pub fn numa(text: &str) -> Result<bool, String> {
    one_of(text, &["auto", "off"], "memory nodes are used or not").map(|choice| choice == "auto")
}

fn one_of(text: &str, choices: &[&str], why: &str) -> Result<String, String> {
    if choices.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(format!("'{text}' is not possible, because {why}; use one of {}.", choices.join(", ")))
}

/// `1`, `true`, `yes` and `on` in any case.
pub fn truthy(text: &str) -> bool {
    ["1", "true", "yes", "on"].contains(&text.trim().to_ascii_lowercase().as_str())
}

/// `--uvicorn-log-level` as a level of our log.
pub fn uvicorn_log_level(text: &str) -> Result<&'static str, String> {
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
pub fn log_filter(level: Option<&str>, http: Option<&str>) -> String {
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
