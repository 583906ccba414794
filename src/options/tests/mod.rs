//! The parser as tables: command lines and variables, good and bad, and what becomes of them; a claim a file.

mod cache;
mod commands;
mod config_file;
mod defaults;
mod download;
mod help;
mod json;
mod launcher;
mod lines;
mod page;
mod several;
mod tei;
mod template;
mod variables;
mod without_effect;

use super::*;
use serde_json::Value;

const OVERRIDES: &str = "{\n  \"architectures\": [\"Qwen3ForSequenceClassification\"],\n  \"classifier_from_token\": \
                         [\"no\", \"yes\"],\n  \"is_original_qwen3_reranker\": true\n}\n";

type Env<'a> = &'a [(&'a str, &'a str)];

/// What a line changes in the options of `serve m`.
type Change = fn(&mut Options);

/// In the home directory `/h`, unless `env` has another.
fn run(line: &str, env: Env) -> Command {
    run_without_home(line, &[env, &[("HOME", "/h")]].concat())
}

/// With no other variable than these, of which the first of a name counts.
fn run_without_home(line: &str, env: Env) -> Command {
    let args = std::iter::once("ironrank").chain(line.split_whitespace());
    parse(args, |name| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
}

fn options(line: &str, env: Env) -> Options {
    match run(line, env) {
        Command::Serve(options) => *options,
        Command::Say { text, .. } => panic!("'{line}' was refused: {text}"),
        other => panic!("'{line}' is no server but {other:?}"),
    }
}

/// Checks that `line` differs from `serve m` by `change`, and has these notices, each of which holds its text.
fn check(line: &str, env: Env, notices: &[&str], change: Change) {
    let mut got = options(line, env);
    let said = std::mem::take(&mut got.log.notices);
    assert_eq!(said.len(), notices.len(), "'{line}' {env:?} notes {said:?}");
    for (notice, text) in said.iter().zip(notices) {
        assert!(notice.contains(text), "'{line}' {env:?} notes {said:?}, not {text}");
    }
    let mut expected = options("serve m", &[]);
    change(&mut expected);
    assert_eq!(got, expected, "'{line}' {env:?}");
}

fn refused(line: &str, env: Env, named: &str) {
    match run(line, env) {
        Command::Say { text, code: 2 } => assert!(text.contains(named), "'{line}' {env:?} says: {text}"),
        other => panic!("'{line}' {env:?} gave {other:?}"),
    }
}

fn texts(items: &[&str]) -> Vec<String> {
    items.iter().map(|&item| item.to_owned()).collect()
}

fn keys(options: &mut Options, from: &str, keys: &[&str]) {
    options.server.api_keys = ApiKeys { keys: texts(keys), from: from.to_owned() };
}

fn overrides(options: &mut Options, value: Value) {
    options.models[0].model.hf_overrides = value.as_object().expect("an object").clone();
}
