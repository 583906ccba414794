//! One spelling for every flag, before clap sees it: vLLM's parser takes more spellings than clap can.
//!
//! Invariant: values are never changed, only the names of flags, the position of the command, and where a value comes
//! from: the `--config` file's keys go before the command line's flags, which therefore win. Called by
//! `options::parse`.

use super::{command, config_file, json, launcher, names, values};
use serde_json::{Map, Value};

/// Commands; anything else in the first place means `serve`.
const COMMANDS: [&str; 16] = [
    "serve",
    "score",
    "embed",
    "bench",
    "check",
    "compare",
    "cache",
    "download",
    "health",
    "completions",
    "man",
    "help",
    "-h",
    "--help",
    "-V",
    "--version",
];

/// Rewrites the command line, `args[0]` being the program.
pub fn normalise(args: Vec<String>) -> Result<Vec<String>, String> {
    let mut args = args.into_iter();
    let program = args.next().unwrap_or_else(|| "ironrank".to_owned());
    let behind = launcher::unwrap(args.collect(), &COMMANDS)?;
    let mut args: Vec<String> =
        std::iter::once(program).chain(behind.iter().map(|arg| names::flag_name(arg))).collect();
    // `docker run IMAGE MODEL --port 8000` and `python -m ... --model MODEL` become `serve` without saying so.
    if args.get(1).is_some_and(|first| !COMMANDS.contains(&first.as_str())) {
        args.insert(1, "serve".to_owned());
    }
    if args.get(1).is_some_and(|command| command == "serve")
        && let Some(path) = value_of(&args, "--config")?
    {
        let from_file = config_file::arguments(&path, &command::command())?;
        // Behind the model, which a flag with several values would swallow.
        let at = if args.get(2).is_some_and(|arg| !arg.starts_with('-')) { 3 } else { 2 };
        args.splice(at..at, from_file);
    }
    merge_dotted(args)
}

/// The last value of `flag`.
fn value_of(args: &[String], flag: &str) -> Result<Option<String>, String> {
    let Some(at) = args.iter().rposition(|arg| arg == flag || split(arg).0 == flag) else { return Ok(None) };
    match (split(&args[at]).1, args.get(at + 1)) {
        (Some(value), _) => Ok(Some(value.to_owned())),
        (None, Some(value)) if !value.starts_with("--") => Ok(Some(value.clone())),
        _ => Err(format!("{flag} needs a value.")),
    }
}

/// Gathers `--name.key VALUE` of each name into one `--name JSON` at the end. They change the last `--name JSON`.
fn merge_dotted(args: Vec<String>) -> Result<Vec<String>, String> {
    let mut rest = Vec::with_capacity(args.len());
    let mut objects: Vec<(String, Map<String, Value>)> = Vec::new();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let (name, value) = split(&arg);
        let Some((flag, keys)) = name.split_once('.').filter(|_| name.starts_with("--")) else {
            rest.push(arg);
            continue;
        };
        let value = match value {
            Some(value) => value.to_owned(),
            None => args.next().ok_or_else(|| format!("{name} needs a value."))?,
        };
        let at = objects.iter().position(|(known, _)| known == flag).unwrap_or_else(|| {
            objects.push((flag.to_owned(), Map::new()));
            objects.len() - 1
        });
        insert(&mut objects[at].1, keys, &value).map_err(|why| format!("{name} {value}: {why}"))?;
    }
    for (flag, object) in objects {
        let whole = value_of(&rest, &flag)?.map(|text| json::object(&flag, &text)).transpose()?;
        let mut merged = whole.unwrap_or_default();
        merge(&mut merged, object);
        rest.push(format!("{flag}={}", Value::Object(merged)));
    }
    Ok(rest)
}

/// Puts `value` at the path `keys`; `keys+` appends to a list.
fn insert(object: &mut Map<String, Value>, keys: &str, value: &str) -> Result<(), String> {
    let (keys, value) = match keys.strip_suffix('+') {
        Some(keys) => (keys, Value::from_iter(value.split(','))),
        None => (keys, values::json_or_text(value)),
    };
    if keys.split('.').any(str::is_empty) {
        return Err("a key is missing; write it as --hf-overrides.num_labels 1.".to_owned());
    }
    let nested = keys.rsplit('.').fold(value, |value, key| Value::Object(Map::from_iter([(key.to_owned(), value)])));
    if let Value::Object(nested) = nested {
        merge(object, nested);
    }
    Ok(())
}

/// Objects are merged, lists are appended to, anything else is replaced.
fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => merge(old, new),
            (Some(Value::Array(old)), Value::Array(new)) => old.extend(new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

fn split(arg: &str) -> (&str, Option<&str>) {
    match arg.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (arg, None),
    }
}
