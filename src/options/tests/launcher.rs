//! What starts vLLM starts this, or is told what to write; a mistyped command is no model.

use super::*;

fn parsed(args: &[&str]) -> Command {
    parse(std::iter::once("ironrank").chain(args.iter().copied()), |_| None)
}

fn sentence(args: &[&str]) -> String {
    match parsed(args) {
        Command::Say { text, code: 2 } => text,
        other => panic!("{args:?} gave {other:?}"),
    }
}

#[test]
fn what_starts_vllm_starts_this() {
    let expected = parsed(&["serve", "/m", "--port", "81"]);
    assert!(matches!(expected, Command::Serve(_)));
    let api_server = "vllm.entrypoints.openai.api_server";
    for args in [
        &["vllm", "serve", "/m", "--port", "81"][..],
        &["/opt/venv/bin/vllm", "serve", "/m", "--port=81"],
        &["ironrank", "serve", "/m", "--port", "81"],
        &["/usr/local/bin/ironrank", "/m", "--port", "81"],
        &["python", "-m", api_server, "--model", "/m", "--port", "81"],
        &["python3", "-u", "-m", api_server, "--model=/m", "--port", "81"],
        &["/usr/bin/python3.12", "-O", "-u", "-m", api_server, "--port", "81", "--model", "/m"],
        &["python3", "-m", "vllm.entrypoints.cli.main", "serve", "/m", "--port", "81"],
        &["python3", "-m", "vllm", "serve", "/m", "--port", "81"],
        &["exec", "vllm", "serve", "/m", "--port", "81"],
        &["bash", "-c", "vllm serve /m --port 81"],
        &["/bin/sh", "-c", " exec python3 -m vllm.entrypoints.openai.api_server --model '/m' \\\n  --port \"81\"\n"],
        &["bash", "-lc", "serve /m --port=81"],
        &["sh", "-ec", "/m --port 81"],
    ] {
        assert_eq!(parsed(args), expected, "{args:?}");
    }
    let quoted = "vllm serve /m --hf-overrides '{\"a\": [\"$HOME\", \"*\"]}' --chat-template \"{{ 'a;b' }}\"";
    let plain = ["serve", "/m", "--hf-overrides", "{\"a\": [\"$HOME\", \"*\"]}", "--chat-template", "{{ 'a;b' }}"];
    assert_eq!(parsed(&["sh", "-c", quoted]), parsed(&plain), "what is quoted is plain");
    assert!(matches!(parsed(&["vllm", "--version"]), Command::Say { code: 0, .. }));
}

#[test]
fn what_cannot_be_started_here_is_a_sentence() {
    for (args, words) in [
        (&["bash", "-c", "vllm serve $MODEL"][..], "its line has a '$'"),
        (&["bash", "-c", "vllm serve \"$MODEL\""], "its line has a '$'"),
        (&["bash", "-c", "vllm serve \"it's $MODEL's\""], "its line has a '$'"),
        (&["sh", "-c", "cd /m && vllm serve ."], "its line has a '&'"),
        (&["sh", "-c", "vllm serve /m; sleep 1"], "its line has a ';'"),
        (&["sh", "-c", "vllm serve /m\nsleep 1"], "its line has a '\\n'"),
        (&["sh", "-c", "VLLM_API_KEY=k vllm serve /m"], "its line has a '='"),
        (&["sh", "-c", "vllm serve '/m"], "a quote without its end"),
        (&["sh", "-c", ""], "its line is empty"),
        (&["sh", "-c", "vllm serve /m", "name", "argument"], "There is no `sh` here"),
        (&["sh", "-c"], "There is no `sh` here"),
        (&["bash", "start.sh"], "There is no `bash` here"),
        (&["bash"], "There is no `bash` here"),
        (&["/bin/sh"], "There is no `sh` here"),
        (&["/entrypoint.sh", "--port", "81"], "There is no `entrypoint.sh` here"),
        (&["ls"], "'ls' is neither a command nor a directory. The commands are `serve`, "),
        (&["python3", "server.py"], "There is no `python3` here"),
        (&["python3", "-m", "http.server"], "`python3 -m http.server` cannot be run here"),
        (&["python3", "-m", "vllm.entrypoints.openai.run_batch"], "there is no Python"),
        (&["numactl", "-C", "0-3", "vllm", "serve", "/m"], "There is no `numactl` here"),
        (&["/usr/bin/tini", "--", "/opt/bin/vllm", "serve", "/m"], "There is no `tini` here"),
        (&["nice", "-n", "5", "python3", "-m", "vllm.entrypoints.openai.api_server"], "There is no `nice` here"),
        (&["uv", "run", "vllm", "serve", "/m"], "There is no `uv` here"),
        (&["vllm"], "`vllm serve MODEL` is understood"),
        (&["vllm", "chat"], "`vllm chat` has no counterpart here"),
        (&["vllm", "bench", "serve"], "`vllm bench` has no counterpart here"),
    ] {
        let said = sentence(args);
        assert!(said.contains(words) && said.starts_with("error: "), "{args:?}: {said}");
    }
}

#[test]
fn a_mistyped_command_is_no_model() {
    for (word, command) in [
        ("serev", "serve"),
        ("Serve", "serve"),
        ("server", "serve"),
        ("benhc", "bench"),
        ("dowload", "download"),
        ("donwload", "download"),
        ("chekc", "check"),
        ("scoer", "score"),
        ("heath", "health"),
        ("hlep", "help"),
        ("benchmark", "bench"),
        ("healthcheck", "health"),
        ("health-check", "health"),
        ("version", "--version"),
    ] {
        for args in [&[word][..], &[word, "/m"], &[word, "--port", "81"]] {
            let said = sentence(args);
            assert!(said.contains(&format!("Did you mean `{command}`?")), "{args:?}: {said}");
        }
    }
    let said = sentence(&["start", "/m"]);
    assert!(said.contains("'start' is not a command; the commands are `serve`, `score`, "), "{said}");
    for args in [&["start"][..], &["fetch", "--port", "81"]] {
        let said = sentence(args);
        assert!(said.contains("The commands are `serve`, `score`, ") && said.contains("config.json"), "{said}");
        assert!(!said.contains("Did you mean"), "{said}");
    }
    // A model may have any name that is not near a command's, with or without a slash.
    for model in ["qwen3-reranker", "./serev", "models/serev", "m"] {
        assert!(matches!(parsed(&[model, "--port", "81"]), Command::Serve(_)), "{model}");
    }
}

#[test]
fn a_line_that_has_become_one_argument_is_told_of() {
    for args in [
        &["--model /m", "--port 81"][..],
        &["/m", "--port 81"],
        &["serve", "/m", "--trust-remote-code "],
        &["/m", "--hf-overrides {\"a\": 1}"],
        &["/m", "--task score --dtype=float32"],
    ] {
        let said = sentence(args);
        assert!(
            said.contains("' is one argument, with a space in it.") && said.contains("two items"),
            "{args:?}: {said}"
        );
    }
    for args in [
        &["/m --port 81"][..],
        &["serve", "/m --port 81 --load-format dummy"],
        &["serve /m"],
        &["vllm serve /m --port 81"],
        &["vllm", "serve", "/m\n--port 81 --task score"],
    ] {
        let said = sentence(args);
        assert!(
            said.contains("' is one argument, with spaces in it.") && !said.contains("download"),
            "{args:?}: {said}"
        );
    }
    for args in [
        &["/m", "--served-model-name", "a b", "serve it"][..],
        &["/my models/qwen", "--instruction=Find what -- helps."],
        &["--model", "/my models/qwen", "--chat-template", "{{ a }} --b"],
    ] {
        assert!(matches!(parsed(args), Command::Serve(_)), "{args:?}");
    }
}

#[test]
fn a_directory_that_is_there_is_a_model_whatever_its_name() {
    // Tests run where the manifest is.
    assert!(std::path::Path::new("deploy").is_dir() && std::path::Path::new("src").is_dir());
    let commands = ["serve", "deploi", "srk"];
    for name in ["deploy", "src"] {
        let args = vec![name.to_owned(), "x".to_owned()];
        assert_eq!(super::super::launcher::unwrap(args.clone(), &commands), Ok(args));
    }
}
