//! The `--config` file: YAML whose keys are the names of flags, as arguments.
//!
//! Invariant: only what YAML can say and a command line can't is decided here (switches, lists, objects); whether a flag
//! exists and a value makes sense is clap's to say. Called by `options::spelling`.

use super::names;
use crate::file;
use clap::{Arg, ArgAction, Command};
use serde_json::{Map, Value};
use std::path::Path;

/// Reads `path` into arguments for `command`'s `serve`.
pub fn arguments(path: &str, command: &Command) -> Result<Vec<String>, String> {
    if !path.ends_with(".yaml") && !path.ends_with(".yml") {
        return Err(format!("--config {path} must be a file that ends in .yaml or .yml."));
    }
    let text = match file::read_text(Path::new(path), file::MAX_TEXT_BYTES) {
        // No flags, as in one that has only comments.
        Err(fault) if fault.is_empty() => String::new(),
        text => text.map_err(|fault| format!("--config {path} {fault}."))?,
    };
    // Otherwise `[no, yes]`, which are tokens of the model here, would be false and true.
    let rules = serde_saphyr::options! { strict_booleans: true };
    let keys: Option<Map<String, Value>> = serde_saphyr::from_str_with_options(&text, rules)
        .map_err(|err| format!("--config {path} is not a YAML mapping of flags to values: {err}"))?;
    let serve = command.find_subcommand("serve").unwrap_or_else(|| unreachable!("there is a command `serve`"));
    let mut arguments = Vec::new();
    for (key, value) in keys.unwrap_or_default() {
        arguments.extend(flag(&key, value, serve)?);
    }
    Ok(arguments)
}

/// The arguments that give the flag `key` of `command` this value.
pub fn flag(key: &str, value: Value, command: &Command) -> Result<Vec<String>, String> {
    let flag = names::flag_name(&format!("--{key}"));
    let name = flag.trim_start_matches("--");
    if name == "config" {
        return Err("A --config file cannot name another.".to_owned());
    }
    let is_called = |arg: &&Arg| arg.get_long_and_visible_aliases().is_some_and(|names| names.contains(&name));
    let arg = command.get_arguments().find(is_called);
    let is_switch = arg.is_some_and(|arg| matches!(arg.get_action(), ArgAction::SetTrue));
    let takes_several = arg.and_then(|arg| arg.get_num_args()).is_some_and(|range| range.max_values() > 1);
    let switched = match &value {
        Value::Bool(on) => Some(*on),
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "yes" | "on" => Some(true),
            "no" | "off" => Some(false),
            _ => None,
        },
        _ => None,
    };
    Ok(match value {
        // What a variable that is not set leaves behind.
        Value::Null if name == "model" => return Err("--config: model is empty, which names no model.".to_owned()),
        Value::Null if name == "api-key" => vec![format!("{flag}=")],
        Value::Null => Vec::new(),
        _ if is_switch && switched == Some(true) => vec![flag],
        _ if is_switch && switched == Some(false) => vec![format!("--{}", names::twin(name))],
        Value::Array(items) if arg.is_some_and(|arg| matches!(arg.get_action(), ArgAction::Append)) => {
            items.into_iter().map(|item| format!("{flag}={}", text(item))).collect()
        }
        Value::Array(items) if takes_several => {
            let items = items.into_iter().map(text);
            if items.len() == 0 { Vec::new() } else { std::iter::once(flag).chain(items).collect() }
        }
        // With `=`, a value may begin with a dash.
        value => vec![format!("{flag}={}", text(value))],
    })
}

/// A scalar as it would be typed, a list or an object as JSON.
fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
