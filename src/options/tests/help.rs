//! The help, and clap's own look at the flags.

use super::*;

#[test]
fn help_is_short_and_grouped_and_ends_with_code_0() {
    for line in ["--help", "serve --help", "serve --help=ModelConfig", "--version"] {
        assert!(matches!(run(line, &[]), Command::Say { code: 0, .. }), "{line}");
    }
    let Command::Say { text, .. } = run("serve --help", &[]) else { panic!("no help") };
    for heading in ["Model:", "Scores:", "Embeddings:", "Server:", "TLS:", "Log:", "Speed:"] {
        assert!(text.contains(&format!("\n{heading}\n")), "{heading} is missing in {text}");
    }
    assert!(!text.contains("gpu"), "what means nothing is not listed");
    assert!(text.lines().count() < 240, "{} lines of at most 100 columns", text.lines().count());
}

/// All commands, as words behind the program's name; the program itself is none.
fn commands(command: &clap::Command, words: &str, into: &mut Vec<String>) {
    into.push(words.to_owned());
    for command in command.get_subcommands() {
        commands(command, &format!("{words} {}", command.get_name()), into);
    }
}

fn all_commands() -> Vec<String> {
    let mut all = Vec::new();
    commands(&command::command(), "", &mut all);
    assert!(all.len() >= 14, "{all:?}");
    all
}

fn said(line: &str) -> String {
    match run(line, &[]) {
        Command::Say { text, code: 0 } => text,
        other => panic!("'{line}' gave {other:?}"),
    }
}

#[test]
fn every_help_fits_a_hundred_columns_and_ends_with_an_example_that_is_right() {
    for words in all_commands() {
        let text = said(&format!("{words} --help"));
        let wide = text.lines().find(|line| line.chars().count() > 100);
        assert_eq!(wide, None, "of{words}");
        // `cache list` and `cache prune` have theirs in `cache`.
        if words.starts_with(" cache ") {
            continue;
        }
        let (_, example) = text.rsplit_once("\nExample:\n  ironrank ").unwrap_or_else(|| panic!("none in {text}"));
        let example = example.split(" > ").next().expect("a part").trim();
        assert!(!example.contains('\n'), "{example}");
        let done = run(example, &[]);
        assert!(!matches!(done, Command::Say { code: 1.., .. }), "'{example}' gave {done:?}");
    }
}

#[test]
fn every_command_has_a_manual_page_with_the_flags_of_its_help_and_no_others() {
    for words in all_commands() {
        let page = said(&format!("man{words}"));
        let title = format!(".TH ironrank{} 1", words.replace(' ', "-"));
        assert!(page.contains(&title), "no {title} in {page}");
        assert!(page.contains("\nExample:\n") || words.starts_with(" cache "), "{page}");
    }
    let page = said("man serve");
    assert!(page.contains("\\-\\-max\\-model\\-len"), "{page}");
    assert!(!page.contains("gpu") && !page.contains("\\-\\-no\\-trust"), "what no help shows");
    for line in ["man nothing", "man cache nothing", "man --nothing"] {
        assert!(matches!(run(line, &[]), Command::Say { code: 2, .. }), "{line}");
    }
}

#[test]
fn completions_know_the_flags_of_every_help_and_no_others() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = said(&format!("completions {shell}"));
        for word in ["max-model-len", "older-than", "health", "completions", "instruction"] {
            assert!(script.contains(word), "{shell} lacks {word}");
        }
        for word in ["tensor-parallel-size", "gpu", "no-trust-remote-code"] {
            assert!(!script.contains(word), "{shell} has {word}, which no help shows");
        }
    }
    for line in ["completions", "completions csh"] {
        assert!(matches!(run(line, &[]), Command::Say { code: 2, .. }), "{line}");
    }
}

#[test]
fn the_flags_are_consistent() {
    command::command().debug_assert();
}
