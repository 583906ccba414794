//! Names of flags: the one spelling that stands for all of vLLM's, and the name that takes a switch back.
//!
//! Invariant: of an argument only the flag's name is changed, never its value. Called by `options::spelling`,
//! `config_file`, `command`, `ignored` and `options` itself.

/// vLLM's one-dash flags.
const SHORT: [(&str, &str); 22] = [
    ("-ac", "--attention-config"),
    ("-asc", "--api-server-count"),
    ("-cc", "--compilation-config"),
    ("-dcp", "--decode-context-parallel-size"),
    ("-dp", "--data-parallel-size"),
    ("-dpa", "--data-parallel-address"),
    ("-dpb", "--data-parallel-backend"),
    ("-dpe", "--data-parallel-external-lb"),
    ("-dph", "--data-parallel-hybrid-lb"),
    ("-dpl", "--data-parallel-size-local"),
    ("-dpn", "--data-parallel-rank"),
    ("-dpp", "--data-parallel-rpc-port"),
    ("-dpr", "--data-parallel-start-rank"),
    ("-ep", "--enable-expert-parallel"),
    ("-n", "--nnodes"),
    ("-O", "--optimization-level"),
    ("-pcp", "--prefill-context-parallel-size"),
    ("-pp", "--pipeline-parallel-size"),
    ("-q", "--quantization"),
    ("-r", "--node-rank"),
    ("-sc", "--speculative-config"),
    ("-tp", "--tensor-parallel-size"),
];

/// `--max_model_len=8k` is `--max-model-len=8k`; keys after a dot (`--hf-overrides.a_b`) keep their underscores.
pub fn flag_name(arg: &str) -> String {
    let (name, value) = arg.split_at(arg.find('=').unwrap_or(arg.len()));
    let (stem, keys) = name.split_at(name.find('.').unwrap_or(name.len()));
    if let Some((_, long)) = SHORT.iter().find(|(short, _)| *short == stem) {
        return format!("{long}{keys}{value}");
    }
    // `-O3` is a flag and its value in one.
    if let Some(level) = name.strip_prefix("-O") {
        return format!("--optimization-level={level}{value}");
    }
    // `--help=GROUP` is a search in vLLM's long help; this one is short.
    if name == "--help" {
        return name.to_owned();
    }
    if !name.starts_with("--") {
        return arg.to_owned();
    }
    format!("{}{keys}{value}", stem.replace('_', "-"))
}

/// The name that takes a switch back: `no-x` of `x`, and `x` of `no-x`.
pub fn twin(name: &str) -> String {
    name.strip_prefix("no-").map_or_else(|| format!("no-{name}"), str::to_owned)
}
