//! One spelling for every flag, before clap sees it: vLLM's parser takes more spellings than clap can.
//!
//! Invariant: values are never changed, only the names of flags and the position of the command. Called by
//! `options::parse`. Further spellings (dotted JSON, `--config FILE`) are further steps of [`normalise`].

/// Commands; anything else in the first place means `serve`.
const COMMANDS: [&str; 7] = ["serve", "bench", "help", "-h", "--help", "-V", "--version"];

/// vLLM's one-dash flags of more than one letter.
const SHORT: [(&str, &str); 4] = [
    ("-tp", "--tensor-parallel-size"),
    ("-pp", "--pipeline-parallel-size"),
    ("-dp", "--data-parallel-size"),
    ("-asc", "--api-server-count"),
];

/// Rewrites the command line, `args[0]` being the program.
pub fn normalise(args: Vec<String>) -> Vec<String> {
    let mut args: Vec<String> = args.into_iter().map(|arg| flag_name(&arg)).collect();
    if args.is_empty() {
        args.push("ironrank".to_owned());
    }
    // `docker run IMAGE MODEL --port 8000` and `python -m ... --model MODEL` become `serve` without saying so.
    if args.get(1).is_some_and(|first| !COMMANDS.contains(&first.as_str())) {
        args.insert(1, "serve".to_owned());
    }
    args
}

/// `--max_model_len=8k` is `--max-model-len=8k`; keys after a dot (`--hf-overrides.a_b`) keep their underscores.
fn flag_name(arg: &str) -> String {
    if let Some((_, long)) = SHORT.iter().find(|(short, _)| *short == arg) {
        return (*long).to_owned();
    }
    if !arg.starts_with("--") {
        return arg.to_owned();
    }
    let end = arg.find(['=', '.']).unwrap_or(arg.len());
    format!("{}{}", arg[..end].replace('_', "-"), &arg[end..])
}
