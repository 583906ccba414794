//! `ironrank embed`: vectors in their three layouts, and what a killed run leaves of each for the next. What it shares with
//! `score` has its tests there.
//!
//! With the synthetic `tiny` model, whose last state is taken for a vector.

mod files;

use crate::score::{Place, json_lines, model};
use ironrank::corpus::Outcome;
use ironrank::embed;
use ironrank::engine::QueueLimits;
use ironrank::error::Error;
use ironrank::options::{self, Command, EmbedOptions};
use ironrank::prompt::TextOptions;
use ironrank::startup::{self, Prompts, Wanted};
use ironrank::vectors::{self, Vectoriser};
use serde_json::{Value, json};
use std::future::pending;

/// Numbers in the model's vectors.
const WIDTH: usize = 64;

/// The arguments that make vectors of the input of `place` into `output`.
fn args(place: &Place, output: &str, more: &[&str]) -> Vec<String> {
    let files = [place.path("pairs.jsonl"), place.path(output)].map(|path| path.display().to_string());
    let [input, output] = &files;
    let fixed =
        ["embed", model(), "--task", "embed", "--threads", "1", "--weight-cache", "off", "--max-model-len", "64"];
    let files = ["--input", input.as_str(), "--output", output.as_str()];
    fixed.iter().chain(&files).chain(more).map(|arg| (*arg).to_owned()).collect()
}

fn options(place: &Place, output: &str, more: &[&str]) -> EmbedOptions {
    let args = std::iter::once("ironrank".to_owned()).chain(args(place, output, more));
    match options::parse(args, |_| None) {
        Command::Embed(options) => *options,
        other => panic!("{other:?}"),
    }
}

/// Runs a command to its end in this process.
fn run(options: &EmbedOptions) -> Result<Outcome, Error> {
    go_on(&Vectoriser::load(options)?, options)
}

/// The same with a model that is there.
fn go_on(vectoriser: &Vectoriser<'_>, options: &EmbedOptions) -> Result<Outcome, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop");
    runtime.block_on(vectoriser.embed(vectors::open(options)?, pending()))
}

/// Rows of texts, every tenth of them bad.
fn texts(count: usize) -> String {
    let row = |i: usize| match i % 10 {
        9 => format!("{{\"text\": \"row {i} has no end\""),
        3 => json!({"input": {"text": format!("an object of row {i}")}}).to_string(),
        _ => json!({"id": i, "text": "word ".repeat(i % 40 + 1)}).to_string(),
    };
    (0..count).map(|i| row(i) + "\n").collect()
}

/// The vector of a row of JSON.
fn vector(row: &Value) -> Vec<f32> {
    let numbers = row["embedding"].as_array().unwrap_or_else(|| panic!("{row}"));
    numbers.iter().map(|number| number.to_string().parse().expect("a number")).collect()
}

#[test]
fn rows_come_in_order_with_their_ids_and_the_vectors_that_the_engine_gives() {
    let input = texts(30);
    let place = Place::with(&input);
    let query = ["--prompt-name", "query", "--query-prompt", "Find:\\n", "--max-num-batched-tokens", "300"];
    for (more, dimensions, normalize, prefix) in [
        (&[][..], WIDTH, true, ""),
        (&["--dimensions", "7"], 7, true, ""),
        (&["--no-normalize", "--dimensions", "7"], 7, false, ""),
        (&query, WIDTH, true, "Find:\n"),
    ] {
        let output = format!("{dimensions}{normalize}{}.jsonl", prefix.len());
        let asked = options(&place, &output, more);
        let outcome = run(&asked).expect("it ends well");
        assert_eq!((outcome.done, outcome.rejected), (27, 3));
        let loaded =
            startup::load(&asked.engine, Prompts::default(), QueueLimits::default(), Wanted::Any).expect("it loads");
        let encoder = loaded.serves.embedder("the model").expect("it embeds").encoder;
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("an event loop");
        let written = json_lines(&place.read(&output));
        assert_eq!(written.len(), 27);
        let good = input.lines().enumerate().filter(|(i, _)| i % 10 != 9);
        for ((i, line), got) in good.zip(&written) {
            let row: Value = serde_json::from_str(line).expect("JSON");
            assert_eq!((got["line"].as_u64(), got.get("id")), (Some(i as u64 + 1), row.get("id")));
            let text = row["text"].as_str().or_else(|| row["input"]["text"].as_str()).expect("a text");
            let mut behind = encoder.behind(prefix, &TextOptions::default()).expect("no limit of its own");
            let (prompt, _) = behind.prompt(text).expect("it fits");
            let answers = runtime.block_on(loaded.engine.answers(vec![prompt], 0)).expect("the engine answers");
            assert_eq!(vector(got), embed::vector(&answers[0].row, Some(dimensions), normalize), "row {i}");
        }
    }
}

#[test]
fn a_text_stands_in_the_field_that_is_named_in_lines_and_in_tables() {
    let rows = "{\"body\": \"a\", \"text\": \"b\"}\n{\"text\": \"a\"}\n{\"body\": \"a\", \"body\": \"a\"}\n";
    let place = Place::with(rows);
    let outcome = run(&options(&place, "out.jsonl", &["--field", "body"])).expect("it ends well");
    assert_eq!((outcome.done, outcome.rejected), (1, 2));
    let reasons = json_lines(&place.read("out.jsonl.rejected.jsonl"));
    for (row, words) in reasons.iter().zip(["missing field `body`", "duplicate field `body`"]) {
        assert!(row["reason"].as_str().is_some_and(|said| said.contains(words)), "{row}");
    }
    let expected = vector(&json_lines(&place.read("out.jsonl"))[0]);
    for table in ["text\na\n", "text\n\"a\"\n", "id,text\n1,a\n", "text\tsource\na\tb, c\n"] {
        let place = Place::with(table);
        run(&options(&place, "out.jsonl", &[])).expect("it ends well");
        assert_eq!(vector(&json_lines(&place.read("out.jsonl"))[0]), expected, "{table}");
    }
    let place = Place::with("body,source\na,b\n");
    let err = vectors::open(&options(&place, "out.jsonl", &[])).map(|_| ()).expect_err("no texts").to_string();
    assert!(err.contains("names \"body\", \"source\", expected text, once") && err.contains("{\"text\": "), "{err}");
}

#[test]
fn what_is_too_long_is_rejected_or_shortened_and_the_row_says_so() {
    let place = Place::with(json!({"text": "word ".repeat(100)}).to_string());
    let outcome = run(&options(&place, "a.jsonl", &[])).expect("it ends well");
    assert_eq!((outcome.done, outcome.rejected), (0, 1));
    run(&options(&place, "b.jsonl", &["--overflow", "truncate"])).expect("it ends well");
    assert_eq!(json_lines(&place.read("b.jsonl"))[0]["truncated"], 1);
}

#[test]
fn what_the_model_cannot_give_is_refused_with_what_it_can_before_its_weights_are_packed() {
    let place = Place::with(texts(1));
    let weights = place.path("weights");
    let into = ["--weight-cache", weights.to_str().expect("a path in UTF-8")];
    for (more, words) in [
        (
            &["--dimensions", "65"][..],
            "--dimensions 65: the model's vectors have 64 numbers, of which the first 1 to 64",
        ),
        (&["--dimensions", "0"], "--dimensions 0"),
        (&["--prompt-name", "passage"], "it has document, query."),
        (&["--task", "score"], "is a reranker, but an embedding model is needed here"),
    ] {
        let err = run(&options(&place, "out.jsonl", &[more, &into].concat())).expect_err("refused").to_string();
        assert!(err.contains(words), "{err}");
        let packed = std::fs::read_dir(&weights).map_or(0, Iterator::count);
        assert_eq!(packed, 0, "{more:?}");
    }
    run(&options(&place, "out.jsonl", &into)).expect("it is a model that makes vectors");
    assert!(std::fs::read_dir(&weights).expect("a directory").count() > 0, "weights are packed there");
}
