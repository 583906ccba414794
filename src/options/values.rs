//! Values of flags and variables: texts, human sizes, seconds, names of choices. Errors are sentences.
//!
//! Every function is pure; most are clap's value parsers, so that a flag's value is typed when it leaves clap. Called by
//! the options of every command, `json`, `keys` and `spelling`.

use crate::file::BYTE_ORDER_MARK;
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// A flag's value, or the word that leaves it to the default: vLLM's `None`, an empty text, `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrNone<T>(pub Option<T>);

impl OrNone<String> {
    /// The text of a flag that is given and has one.
    pub fn text(flag: &Option<Self>) -> Option<&str> {
        flag.as_ref()?.0.as_deref()
    }
}

/// A text; vLLM reads an empty one and `None` as not given.
pub fn text(text: &str) -> Result<OrNone<String>, String> {
    Ok(OrNone(Some(text).filter(|text| !text.is_empty() && *text != "None").map(str::to_owned)))
}

/// The path of a file or a directory, where a text is given.
pub fn path(text: &str) -> Result<OrNone<PathBuf>, String> {
    self::text(text).map(|text| OrNone(text.0.map(PathBuf::from)))
}

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
pub const MOST_THREADS: usize = 4096;

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

/// The value of a dotted key: JSON, a human size, or else a text.
pub fn json_or_text(text: &str) -> Value {
    serde_json::from_str(text).ok().or_else(|| human_count(text).ok().map(Value::from)).unwrap_or_else(|| text.into())
}

/// The value of the choice with this name.
pub fn one_of<T: Copy>(text: &str, choices: &[(&str, T)], why: &str) -> Result<T, String> {
    choices.iter().find(|(name, _)| *name == text).map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        format!("'{text}' is not possible, because {why}; use one of {}.", names.join(", "))
    })
}
