//! docs/flags.md is complete: every flag that a help shows stands there or in a page that it names for the command, and no
//! flag stands there that no command takes.

use super::*;
use std::collections::BTreeSet;
use std::path::Path;

/// Commands whose own flags stand in a page that docs/flags.md names for them.
const ELSEWHERE: [(&str, &str); 3] = [("score", "offline.md"), ("embed", "offline.md"), ("download", "models.md")];

/// What stands for any flag, where the page says how flags are spelt.
const ANY: [&str; 2] = ["--flag", "--no-x"];

/// The flags that a text has in code, without the values and keys behind them.
fn in_code(text: &str) -> BTreeSet<String> {
    let code = text.split('`').skip(1).step_by(2);
    let words = code.flat_map(|code| code.split(|c: char| !(c.is_ascii_alphanumeric() || "-_".contains(c))));
    words.filter(|word| word.starts_with("--")).map(|word| word.replace('_', "-")).collect()
}

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()))
}

/// The flags of `command` and of the commands in it: those that its help shows, or all of them.
fn flags(command: &clap::Command, hidden: bool) -> BTreeSet<String> {
    let own = command.get_arguments().filter(|arg| hidden || !arg.is_hide_set());
    let own = own.filter_map(|arg| Some(format!("--{}", arg.get_long()?)));
    own.chain(command.get_subcommands().flat_map(|command| flags(command, hidden))).collect()
}

#[test]
fn every_flag_of_a_help_stands_in_the_page_and_no_unknown_one_does() {
    let text = page("flags.md");
    let here = in_code(&text);
    for command in command::command().get_subcommands() {
        let name = command.get_name();
        let mut told = here.clone();
        for (_, other) in ELSEWHERE.iter().filter(|(command, _)| *command == name) {
            let row = text.lines().find(|line| line.starts_with(&format!("| `ironrank {name}")));
            assert!(
                row.is_some_and(|row| row.contains(&format!("]({other})"))),
                "docs/flags.md names no {other} for {name}"
            );
            told.extend(in_code(&page(other)));
        }
        let missing: Vec<String> = flags(command, false).difference(&told).cloned().collect();
        assert!(missing.is_empty(), "of `ironrank {name}` docs/flags.md lacks {missing:?}");
    }
    let known = flags(&command::command(), true);
    let unknown: Vec<&String> = here.difference(&known).filter(|flag| !ANY.contains(&flag.as_str())).collect();
    assert!(unknown.is_empty(), "docs/flags.md has flags that no command takes: {unknown:?}");
}
