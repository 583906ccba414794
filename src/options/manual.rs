//! `completions` and `man`: what packages install beside the program, made of the command line that clap reads.
//!
//! Invariant: nothing stands there that no help shows. Called by `options::parse`, with the whole command line.

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

/// The arguments of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Shell that is to read them
    pub shell: Shell,
}

/// The arguments of `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Command that the page is of, in one word or two [default: the program]
    pub command: Vec<String>,
}

/// The command `completions`.
pub fn completions_command() -> Command {
    CompletionsArgs::augment_args(Command::new("completions"))
        .about("Print what a shell needs to complete ironrank's command line")
        .after_help("Example:\n  ironrank completions bash > ~/.local/share/bash-completion/completions/ironrank")
}

/// The command `man`.
pub fn man_command() -> Command {
    ManArgs::augment_args(Command::new("man"))
        .about("Print a manual page, of the program or of one of its commands")
        .after_help("Example:\n  ironrank man serve > ~/.local/share/man/man1/ironrank-serve.1")
}

/// A shell's completions of `program`.
pub fn completions(program: Command, CompletionsArgs { shell }: CompletionsArgs) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut shown(program), "ironrank", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// A manual page of `program`, or of one of its commands.
pub fn page(program: Command, ManArgs { command: words }: ManArgs) -> Result<String, String> {
    let mut program = shown(program).disable_help_subcommand(true);
    program.build();
    let mut command = &program;
    for word in &words {
        command = command.find_subcommand(word).ok_or_else(|| format!("There is no command `{}`.", words.join(" ")))?;
    }
    let mut command = command.clone();
    let usage = command.render_usage().to_string();
    // All flags stand below.
    let command = command.override_usage(usage.trim_start_matches("Usage: ").to_owned());
    let mut page = Vec::new();
    let man = Man::new(command).source(format!("ironrank {}", env!("CARGO_PKG_VERSION"))).manual("ironrank");
    man.render(&mut page).map_err(|err| err.to_string())?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

/// A command with those of its arguments that its help shows, for completions would have the others too.
fn shown(command: Command) -> Command {
    let mut copy = Command::new(command.get_name().to_owned())
        .args(command.get_arguments().filter(|arg| !arg.is_hide_set()).cloned())
        .subcommands(command.get_subcommands().cloned().map(shown));
    if let Some(version) = command.get_version() {
        copy = copy.version(version.to_owned());
    }
    if let Some(about) = command.get_about() {
        copy = copy.about(about.clone());
    }
    if let Some(after) = command.get_after_help() {
        copy = copy.after_help(after.clone());
    }
    copy
}
