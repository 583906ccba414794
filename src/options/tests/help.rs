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
    assert!(text.lines().count() < 160, "{} lines", text.lines().count());
}

#[test]
fn the_flags_are_consistent() {
    command::command().debug_assert();
}
