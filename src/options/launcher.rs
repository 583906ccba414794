//! What stood before the model where vLLM or TEI was started: `vllm serve`, Python and its module, a shell with the line in
//! one text; lines that have become one argument; and commands with letters out of place.
//!
//! Invariant: what can only mean one thing is taken for it; the rest is a sentence, never a model of that name. The name
//! of a directory that is there is a model. Called by `options::spelling`, before it looks for the command.

use std::path::Path;

/// Characters that a shell acts on where they are not quoted.
const FOR_A_SHELL: [char; 18] =
    ['$', '`', ';', '&', '|', '<', '>', '(', ')', '{', '}', '*', '?', '[', ']', '~', '#', '\n'];

/// Programs that run scripts.
const SHELLS: [&str; 5] = ["sh", "bash", "dash", "ash", "zsh"];

/// Rewrites the arguments behind the program's name; `commands` are the words that may stand first.
pub fn unwrap(args: Vec<String>, commands: &[&str]) -> Result<Vec<String>, String> {
    if let Some(sentence) = undivided(&args, commands) {
        return Err(sentence);
    }
    let (Some(first), second) = (args.first(), args.get(1).map(String::as_str)) else { return Ok(args) };
    let name = first.rsplit('/').next().unwrap_or(first);
    let behind = |n: usize| args[n..].to_vec();
    match (name, second) {
        ("vllm", Some("serve")) => return Ok(behind(1)),
        // The image's entry point is the program itself, as TEI's is.
        ("ironrank" | "text-embeddings-router" | "exec" | "--", Some(_)) if !is_directory(first) => {
            return unwrap(behind(1), commands);
        }
        (shell, Some(flags)) if SHELLS.contains(&shell) && is_script_flag(flags) => {
            return unwrap(script(name, &args[2..])?, commands);
        }
        _ if is_python(name) && !is_directory(first) => return module(name, &args[1..], commands),
        _ => {}
    }
    if is_directory(first) || commands.contains(&first.as_str()) {
        return Ok(args);
    }
    match (name, second) {
        // With its model in a variable.
        ("text-embeddings-router", None) => Ok(vec!["serve".to_owned()]),
        ("vllm", None) => Err("`vllm` needs a command here too: `vllm serve MODEL` is understood.".to_owned()),
        ("vllm", Some(flag)) if flag.starts_with('-') => Ok(behind(1)),
        ("vllm", Some(command)) => Err(format!(
            "`vllm {command}` has no counterpart here; `vllm serve MODEL` is understood, and `ironrank --help` lists \
             what there is."
        )),
        (shell, _) if SHELLS.contains(&shell) || shell.ends_with(".sh") => Err(no_shell(name)),
        _ if starts_vllm(&args[1..]) => Err(format!(
            "There is no `{name}` here, nor anything else than this program; give the arguments that vLLM would have: \
             `serve MODEL --port 8000`."
        )),
        _ => mistyped(first, second, commands).map_or(Ok(args), Err),
    }
}

/// Why an argument that holds a flag and its value, or a whole line, is neither: an item of a YAML list or of Docker's
/// `CMD [...]` is one argument, spaces and all.
fn undivided(args: &[String], commands: &[&str]) -> Option<String> {
    let name = |arg: &str| arg.split('=').next().unwrap_or_default().to_owned();
    let shown = |arg: &str| arg.chars().take(60).flat_map(char::escape_debug).collect::<String>();
    if let Some(arg) = args.iter().find(|arg| arg.starts_with("--") && name(arg).contains(char::is_whitespace)) {
        let flag = arg.split_whitespace().next().unwrap_or_default();
        return Some(format!(
            "'{}' is one argument, with a space in it. In a list (`command:`, `args:`) {flag} and its value are two items, \
             or one with = in place of the space.",
            shown(arg)
        ));
    }
    let is_line = |arg: &&String| {
        let words: Vec<&str> = arg.split_whitespace().collect();
        let starts = |first: &str| commands.contains(&first) || first.rsplit('/').next() == Some("vllm");
        let is_several = words.len() > 1 && (starts(words[0]) || words.iter().any(|word| word.starts_with("--")));
        is_several && !is_directory(arg)
    };
    // `vllm serve MODEL` is the longest beginning without a flag.
    let line = args.iter().take_while(|arg| !arg.starts_with('-')).take(3).find(is_line)?;
    Some(format!(
        "'{}' is one argument, with spaces in it. In a list (`command:`, `args:`) each word is an item of its own; or write \
         the line as the text of `command:`, without a list.",
        shown(line)
    ))
}

fn is_directory(text: &str) -> bool {
    Path::new(text).is_dir()
}

/// `-c`, also with other letters before it, as in `-lc`.
fn is_script_flag(text: &str) -> bool {
    text.strip_prefix('-').is_some_and(|flags| flags.ends_with('c') && flags.chars().all(|c| c.is_ascii_lowercase()))
}

/// Whether vLLM is started somewhere in there.
fn starts_vllm(args: &[String]) -> bool {
    let is_vllm = |word: &str| word == "vllm" || word.ends_with("/vllm") || word.starts_with("vllm.entrypoints.");
    args.windows(2).any(|pair| match [pair[0].as_str(), pair[1].as_str()] {
        ["-m", module] => is_vllm(module),
        [program, command] => is_vllm(program) && command == "serve",
    })
}

/// `python`, `python3`, `python3.12`.
fn is_python(name: &str) -> bool {
    name.strip_prefix("python").is_some_and(|version| version.chars().all(|c| c.is_ascii_digit() || c == '.'))
}

/// The words of a shell's line, if a shell would change none of them.
fn script(shell: &str, args: &[String]) -> Result<Vec<String>, String> {
    let [line] = args else { return Err(no_shell(shell)) };
    // A line that goes on behind a backslash is one.
    let line = line.replace("\\\n", " ");
    let line = line.trim();
    // In the first word it assigns a variable; in the flags behind it is plain.
    let assigns = line.split_whitespace().next().is_some_and(|word| word.contains('='));
    match acted_on(line).or(assigns.then_some('=')) {
        Some(c) => Err(format!(
            "`{shell} -c` is no shell here, and its line has a {c:?}, which one would act on. Give the arguments \
             themselves: `serve MODEL --port 8000`."
        )),
        None => shlex::split(line)
            .filter(|words| !words.is_empty())
            .ok_or_else(|| format!("`{shell} -c`: its line is empty or has a quote without its end.")),
    }
}

/// The first character of a line that a shell would act on, besides quotes and spaces.
fn acted_on(line: &str) -> Option<char> {
    let (mut quote, mut chars) = (None, line.chars());
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None | Some('"'), '\\') => drop(chars.next()),
            (None, '\'' | '"') => quote = Some(c),
            (Some(opened), _) if c == opened => quote = None,
            (None, _) if FOR_A_SHELL.contains(&c) => return Some(c),
            (Some('"'), '$' | '`') => return Some(c),
            _ => {}
        }
    }
    None
}

fn no_shell(shell: &str) -> String {
    format!("There is no `{shell}` here, nor any script; give the arguments themselves: `serve MODEL --port 8000`.")
}

/// What follows `python -m MODULE`, where that is one of vLLM's that serve.
fn module(python: &str, args: &[String], commands: &[&str]) -> Result<Vec<String>, String> {
    // `-u` and the like change how Python runs, of which there is none.
    let plain = args.iter().take_while(|arg| arg.starts_with('-') && arg.as_str() != "-m" && arg.len() == 2).count();
    match &args[plain..] {
        [m, module, rest @ ..] if m == "-m" => match module.as_str() {
            "vllm.entrypoints.openai.api_server" => Ok([&["serve".to_owned()], rest].concat()),
            "vllm" | "vllm.entrypoints.cli.main" => unwrap([&["vllm".to_owned()], rest].concat(), commands),
            other => Err(format!(
                "`{python} -m {other}` cannot be run here: there is no Python. `{python} -m \
                 vllm.entrypoints.openai.api_server --model MODEL` is understood, as `serve MODEL` is."
            )),
        },
        _ => Err(format!("There is no `{python}` here, nor any script; give the arguments themselves: `serve MODEL`.")),
    }
}

/// Why a word that is neither a command nor a directory is no model either.
fn mistyped(word: &str, second: Option<&str>, commands: &[&str]) -> Option<String> {
    if word.is_empty()
        || !word.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        || word.starts_with('-')
    {
        return None;
    }
    let lower = word.to_ascii_lowercase();
    let names = || commands.iter().filter(|command| !command.starts_with('-'));
    // `benchmark`, `healthcheck`, `score-file`; and `version`, which is a flag.
    let longer = names().find(|command| lower.starts_with(**command));
    let flag = || commands.iter().find(|command| command.strip_prefix("--") == Some(lower.as_str()));
    let far = |command: &&&str| strsim::osa_distance(&lower, command);
    let near = || names().min_by_key(far).filter(|command| far(command) <= if word.len() > 5 { 2 } else { 1 });
    if let Some(command) = longer.or_else(flag).or_else(near) {
        return Some(format!("'{word}' is neither a command nor a directory. Did you mean `{command}`?"));
    }
    let all = || names().map(|command| format!("`{command}`")).collect::<Vec<_>>().join(", ");
    match second {
        // A model is followed by flags.
        Some(second) if !second.starts_with('-') => {
            Some(format!("'{word}' is not a command; the commands are {}.", all()))
        }
        // Names of models have more in them than small letters.
        _ if word.len() > 1 && word.chars().all(|c| c.is_ascii_lowercase()) => Some(format!(
            "'{word}' is neither a command nor a directory. The commands are {}; a model is a directory with config.json, \
             tokenizer.json and safetensors files.",
            all()
        )),
        _ => None,
    }
}
