//! The commands beside `serve`: their own flags, and those of the engine that they share with it.

use super::*;

/// The model and the machine of a server.
fn engine(line: &str) -> EngineOptions {
    let Options { mut models, machine, .. } = options(line, &[]);
    EngineOptions { model: models.remove(0).model, machine }
}

/// An engine whose speed is measured: it must compute what comes again.
fn that_keeps_nothing(line: &str) -> EngineOptions {
    let mut engine = engine(line);
    engine.machine.answer_cache_bytes = Some(0);
    engine
}

#[test]
fn bench_takes_the_flags_of_the_engine_and_none_of_the_server() {
    let bench = |line: &str| match run(line, &[]) {
        Command::Bench(bench) => *bench,
        other => panic!("'{line}' gave {other:?}"),
    };
    let plain = bench("bench");
    assert_eq!((plain.workload, plain.requests, plain.json), (None, None, false));
    assert_eq!((plain.engine, plain.log), (that_keeps_nothing("serve"), options("serve", &[]).log));
    let full = bench("bench /m --workload short --requests 3 --json --isa sse2 --threads 2 --hf-overrides.a 1");
    assert_eq!((full.workload, full.requests, full.json), (Some(Workload::Short), Some(3), true));
    assert_eq!(full.engine, that_keeps_nothing("serve /m --isa sse2 --threads 2 --hf-overrides.a 1"));
    for line in [
        "bench --workload huge",
        "bench --port 8000",
        "bench --requests 0",
        "bench --config c.yaml",
        "bench --answer-cache-mib 1",
    ] {
        assert!(matches!(run(line, &[]), Command::Say { code: 2, .. }), "'{line}' was accepted");
    }
}

#[test]
fn score_takes_its_files_and_the_flags_of_the_engine() {
    let score = |line: &str| match run(line, &[]) {
        Command::Score(score) => *score,
        other => panic!("'{line}' gave {other:?}"),
    };
    let plain = score("score --load-format dummy --input - --output -");
    assert_eq!((&plain.corpus.input, &plain.corpus.output, &plain.corpus.rejected), (&None, &None, &None));
    assert_eq!((plain.corpus.shard, plain.overflow, plain.instruction), (Shard::WHOLE, Overflow::Error, None));
    assert_eq!(plain.engine, engine("serve"));
    let full = score("score /m --input a --output b --shard 2/4 --overflow truncate --isa sse2 --answer-cache-mib 2");
    assert_eq!((full.corpus.input, full.corpus.output), (Some("a".into()), Some("b".into())));
    assert_eq!(
        (full.corpus.rejected, full.corpus.shard),
        (Some("b.rejected.jsonl".into()), Shard { index: 2, count: 4 })
    );
    assert_eq!(full.engine, engine("serve /m --isa sse2 --answer-cache-mib 2"));
    assert_eq!(score("score m --input - --output - --instruction Find!").instruction.as_deref(), Some("Find!"));
    for line in [
        "score m --input a",
        "score m --output b",
        "score m --input a --output b --shard 0/4",
        "score m --input a --output b --shard 5/4",
        "score m --input a --output b --shard 1",
        "score m --input a --output=",
        "score m --input= --output b",
        "score m --input a --output b --port 8000",
    ] {
        assert!(matches!(run(line, &[]), Command::Say { code: 2, .. }), "'{line}' was accepted");
    }
}

#[test]
fn embed_takes_its_files_and_the_flags_of_the_engine() {
    let embed = |line: &str| match run(line, &[("IRONRANK_QUERY_PROMPT", "Q:\\n")]) {
        Command::Embed(embed) => *embed,
        other => panic!("'{line}' gave {other:?}"),
    };
    let plain = embed("embed /m --input - --output -");
    assert_eq!((&plain.field, plain.dimensions, plain.raw, plain.overflow), (&None, None, false, Overflow::Error));
    assert_eq!((plain.prompt_name.as_str(), plain.prompts.query.as_deref()), ("document", Some("Q:\n")));
    assert_eq!(plain.engine, engine("serve /m"));
    let full = embed("embed /m --input a --output b.npy --input-type query --dimensions 5 --no-normalize --field body");
    assert_eq!((full.prompt_name.as_str(), full.dimensions, full.raw), ("query", Some(5), true));
    assert_eq!((full.field.as_deref(), full.corpus.output), (Some("body"), Some("b.npy".into())));
    assert!(!embed("embed /m --input a --output b --no-normalize --normalize").raw);
    for line in
        ["embed m --input a", "embed m --input a --output b --dimensions x", "embed m --input a --output b --port 1"]
    {
        assert!(matches!(run(line, &[]), Command::Say { code: 2, .. }), "'{line}' was accepted");
    }
}

#[test]
fn compare_takes_pairs_and_the_flags_of_the_engine_and_of_scores() {
    let compare = |line: &str| match run(line, &[]) {
        Command::Compare(compare) => *compare,
        other => panic!("'{line}' gave {other:?}"),
    };
    let plain = compare("compare /m");
    assert_eq!((&plain.compared, plain.json, plain.overflow), (&Compared::BuiltIn, false, Overflow::Error));
    assert_eq!(plain.engine, that_keeps_nothing("serve /m"));
    let full = compare("compare /m --input a.jsonl --json --threads 2 --overflow truncate --instruction Find!");
    assert_eq!((full.compared, full.json, full.overflow), (Compared::File("a.jsonl".into()), true, Overflow::Truncate));
    assert_eq!(full.instruction.as_deref(), Some("Find!"));
    assert_eq!(full.engine, that_keeps_nothing("serve /m --threads 2"));
    assert_eq!(compare("compare /m --input -").compared, Compared::StandardInput);
    for line in ["compare /m --output b", "compare /m --input None", "compare /m --port 8000", "compare /m --shard 1/2"]
    {
        assert!(matches!(run(line, &[]), Command::Say { code: 2, .. }), "'{line}' was accepted");
    }
}

#[test]
fn a_model_that_is_mistyped_or_forgotten_is_refused_before_it_gives_meaningless_scores() {
    for line in [
        "score --input - --output -",
        "check",
        "check --json",
        "compare",
        "score --load-format auto --input - --output -",
    ] {
        refused(line, &[], "needs a MODEL directory; --load-format dummy");
    }
    for command in ["serve", "check", "bench", "score --input - --output -"] {
        refused(&format!("{command} --model="), &[], "--model is '', which names no model");
        refused(&format!("{command} --model None"), &[], "--model is 'None', which names no model");
    }
    for empty in ["", "  ", "None"] {
        for command in ["serve", "check", "bench"] {
            let args = ["ironrank", command, empty].map(str::to_owned);
            match parse(args, |_| None) {
                Command::Say { text, code: 2 } => assert!(text.contains("MODEL is '"), "{command} '{empty}': {text}"),
                other => panic!("{command} '{empty}' gave {other:?}"),
            }
        }
    }
    for line in ["check --load-format dummy", "check m", "score --model m --input - --output -", "bench", "serve"] {
        assert!(!matches!(run(line, &[]), Command::Say { .. }), "'{line}' was refused");
    }
}

#[test]
fn every_line_is_in_one_shard() {
    let shards: Vec<Shard> = (1..=4).map(|index| Shard { index, count: 4 }).collect();
    for line in 1..=20 {
        assert_eq!(shards.iter().filter(|shard| shard.has(line)).count(), 1);
    }
    assert_eq!((1..=10).filter(|line| shards[1].has(*line)).collect::<Vec<_>>(), [2, 6, 10]);
    assert!((1..=10).all(|line| Shard::WHOLE.has(line)));
}

#[test]
fn health_asks_the_server_that_it_is_told() {
    let tcp = |host: &str, port| Listen::Tcp { host: host.to_owned(), port };
    let of = |listen| Some(HealthOptions::of(listen));
    for (line, expected) in [
        ("health", None),
        ("health --port 9000", of(tcp("0.0.0.0", 9000))),
        ("health --uds /run/i.sock", of(Listen::Unix("/run/i.sock".into()))),
        ("health --url http://h:81", of(tcp("h", 81))),
        ("health --url http://[::1]:81/", of(tcp("[::1]", 81))),
        (
            "health --url https://h/x/health?a=1",
            Some(HealthOptions { listen: tcp("h", 443), tls: true, path: "/x/health?a=1".to_owned() }),
        ),
    ] {
        assert_eq!(run(line, &[]), Command::Health(expected), "{line}");
    }
}

#[test]
fn every_command_says_its_log_in_the_form_that_is_asked_for() {
    let log = |line: &str, env: Env| match run(line, env) {
        Command::Serve(options) => options.log,
        Command::Bench(options) => options.log,
        Command::Check(options) => options.log,
        Command::Compare(options) => options.log,
        Command::Download(options) => options.log,
        Command::Score(options) => options.log,
        other => panic!("'{line}' gave {other:?}"),
    };
    for line in
        ["serve /m", "/m", "bench /m", "check /m", "compare /m", "download a/b", "score /m --input - --output -"]
    {
        let plain = log(line, &[]);
        assert_eq!((plain.format, plain.colours), (LogFormat::Text, true), "{line}");
        assert_eq!(
            plain.filter, "info,actix_server=warn,actix_http=off",
            "{line}: nothing opens a library's own lines"
        );
        assert_eq!(log(&format!("{line} --log-format json"), &[]).format, LogFormat::Json, "{line}");
        assert_eq!(log(&format!("{line} --log-format json --log_format=text"), &[]).format, LogFormat::Text, "{line}");
        refused(&format!("{line} --log-format xml"), &[], "'xml' is not known; use text or json");
        for env in [("NO_COLOR", "1"), ("NO_COLOR", "false"), ("TERM", "dumb")] {
            assert!(!log(line, &[env]).colours, "{line} {env:?}");
        }
        for env in [("NO_COLOR", ""), ("TERM", "xterm-256color")] {
            assert!(log(line, &[env]).colours, "{line} {env:?}");
        }
    }
}
