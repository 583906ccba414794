//! `ironrank score`: order, scores, bad rows, shards, and what a killed run leaves for the next.
//!
//! With the synthetic `tiny` model; the real program where processes are killed, its library where many runs are needed.

mod files;
mod kill;
mod tables;

use crate::support;
use ironrank::checkpoint::Activation;
use ironrank::corpus::Outcome;
use ironrank::engine::QueueLimits;
use ironrank::error::Error;
use ironrank::options::{self, Command, ScoreOptions};
use ironrank::prompt::PromptOptions;
use ironrank::rerank;
use ironrank::score::Scorer;
use ironrank::startup::{self, Prompts, Wanted};
use serde_json::{Value, json};
use std::future::pending;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tempfile::TempDir;

/// The model directory of all tests.
pub fn model() -> &'static str {
    static MODEL: OnceLock<TempDir> = OnceLock::new();
    let dir = MODEL.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        support::write_checkpoint("tiny", dir.path(), 1);
        dir
    });
    dir.path().to_str().expect("the path is a text")
}

/// The arguments that name this model and keep the machine to the tests.
pub fn model_args() -> [&'static str; 8] {
    ["score", model(), "--threads", "1", "--weight-cache", "off", "--max-model-len", "256"]
}

/// A directory with an input.
pub struct Place {
    dir: TempDir,
}

impl Place {
    pub(crate) fn with(input: impl AsRef<[u8]>) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(dir.path().join("pairs.jsonl"), input).expect("written");
        Self { dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The arguments that score its input into its output.
    pub fn args(&self, more: &[&str]) -> Vec<String> {
        let files = [self.path("pairs.jsonl"), self.path("scores.jsonl")].map(|path| path.display().to_string());
        let [input, output] = &files;
        let files = ["--input", input.as_str(), "--output", output.as_str()];
        model_args().iter().chain(&files).chain(more).map(|arg| (*arg).to_owned()).collect()
    }

    pub(crate) fn options(&self, more: &[&str]) -> ScoreOptions {
        let args = std::iter::once("ironrank".to_owned()).chain(self.args(more));
        match options::parse(args, |_| None) {
            Command::Score(options) => *options,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|err| panic!("{name}: {err}"))
    }

    /// Scores, and rejected rows.
    pub fn results(&self) -> (Vec<u8>, Vec<u8>) {
        (self.read("scores.jsonl"), self.read("scores.jsonl.rejected.jsonl"))
    }
}

/// Runs a command to its end in this process.
pub fn score(options: &ScoreOptions) -> Result<Outcome, Error> {
    go_on(&Scorer::load(options).expect("the model loads"), options)
}

/// The same with a model that is there.
pub fn go_on(scorer: &Scorer<'_>, options: &ScoreOptions) -> Result<Outcome, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop");
    let files = ironrank::score::open(options)?;
    runtime.block_on(scorer.score(files, pending()))
}

pub(crate) fn json_lines(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).expect("the file is a text");
    assert!(text.is_empty() || text.ends_with('\n'), "every line is whole");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|err| panic!("{line}: {err}"))).collect()
}

/// Rows of all kinds, every tenth of them bad.
pub fn mixed_rows(count: usize) -> String {
    let row = |i: usize| match i % 10 {
        9 => format!("{{\"query\": \"row {i} has no end\""),
        3 => {
            let documents: Vec<String> = (0..i % 4 + 2).map(|j| format!("document {j} of row {i}")).collect();
            json!({"id": {"row": i}, "query": format!("query {}", i / 5), "documents": documents}).to_string()
        }
        7 => json!({"query": "a query", "document": format!("text {i}"), "instruction": "Find it."}).to_string(),
        _ => json!({"id": i, "query": format!("query {}", i / 5), "document": "word ".repeat(i % 40 + 1)}).to_string(),
    };
    (0..count).map(|i| row(i) + "\n").collect()
}

#[test]
fn rows_come_in_order_with_their_ids_and_the_bits_that_the_engine_gives() {
    let input = mixed_rows(60);
    let place = Place::with(&input);
    let outcome = score(&place.options(&["--max-num-batched-tokens", "300"])).expect("it ends well");
    assert_eq!((outcome.done, outcome.rejected, outcome.stopped), (54, 6, None));

    let loaded = startup::load(&place.options(&[]).engine, Prompts::default(), QueueLimits::default(), Wanted::Any)
        .expect("the model loads");
    let encoder = loaded.serves.reranker("the model").expect("a reranker").encoder;
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("an event loop");
    let alone = |query: &str, document: &str, instruction: Option<&str>| {
        let options = PromptOptions { instruction: instruction.map(str::to_owned), ..PromptOptions::default() };
        let prompt = encoder.encode(query, document, &options).expect("the pair fits");
        let answers = runtime.block_on(loaded.engine.answers(vec![prompt], 0)).expect("the engine answers");
        // Read back as the output is: its digits are compared.
        let score = json!(f64::from(Activation::Sigmoid.of(rerank::margin(&answers[0])))).to_string();
        serde_json::from_str::<Value>(&score).expect("a number")
    };
    let mut written = json_lines(&place.read("scores.jsonl")).into_iter();
    for (i, line) in input.lines().enumerate().filter(|(i, _)| i % 10 != 9) {
        let (row, got): (Value, _) = (serde_json::from_str(line).expect("JSON"), written.next().expect("a row"));
        assert_eq!((got["line"].as_u64(), got.get("id")), (Some(i as u64 + 1), row.get("id")));
        let query = row["query"].as_str().expect("a text");
        let expected = |document: &Value| {
            alone(query, document.as_str().expect("a text"), row.get("instruction").and_then(Value::as_str))
        };
        match row.get("documents") {
            Some(documents) => {
                let documents = documents.as_array().expect("a list");
                assert_eq!(got["scores"], documents.iter().map(expected).collect::<Value>(), "row {i}");
            }
            None => assert_eq!(got["score"], expected(&row["document"]), "row {i}"),
        }
    }
    assert!(written.next().is_none());
}

#[test]
fn the_shards_of_a_file_are_the_whole_of_it_and_share_nothing() {
    for input in [mixed_rows(40), tables::mixed_table(40).concat()] {
        let place = Place::with(input);
        score(&place.options(&[])).expect("it ends well");
        let (whole, rejected) = place.results();
        assert_eq!((json_lines(&whole).len(), json_lines(&rejected).len()), (36, 4));
        let (mut lines, mut bad): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
        for shard in ["1/3", "2/3", "3/3"] {
            let output = place.path(&format!("part-{}.jsonl", &shard[..1])).display().to_string();
            let outcome = score(&place.options(&["--shard", shard, "--output", &output])).expect("it ends well");
            assert!((10..=14).contains(&outcome.done), "{outcome:?}");
            lines.extend(json_lines(&std::fs::read(&output).expect("the part is there")));
            bad.extend(json_lines(&std::fs::read(format!("{output}.rejected.jsonl")).expect("the part is there")));
        }
        let line = |row: &Value| row["line"].as_u64();
        lines.sort_by_key(line);
        bad.sort_by_key(line);
        assert_eq!((lines, bad), (json_lines(&whole), json_lines(&rejected)));
    }
}

#[test]
fn bad_rows_are_set_aside_with_their_line_and_reason_and_the_rest_goes_on() {
    let long = json!({"query": "q", "documents": ["short", "word ".repeat(400)]}).to_string();
    let bad: [(&[u8], &str); 9] = [
        (b"no JSON", "It is not a JSON object."),
        (b"{\"query\": \"q\", \"document\": 5}", "expected a string"),
        (b"{\"document\": \"d\"}", "missing field `query`"),
        (b"{\"query\": \"q\"}", "neither `document` nor `documents`"),
        (b"{\"query\": \"q\", \"document\": \"d\", \"documents\": []}", "both"),
        (b"{\"query\": \"q\", \"document\": \"\xff\xfe\"}", "It is not valid UTF-8 (byte 29)."),
        (b"{\"query\": \"q\", \"document\": \"a\0b\"}", "It is not JSON: control character"),
        (b"{\"query\": \"q\", \"document\": \"\\ud800\"}", "It is not JSON"),
        (long.as_bytes(), "documents[1]: This model's maximum context length is 256 tokens."),
    ];
    let good = b"\n{\"query\": \"q\", \"document\": \"d\", \"id\": null}\r\n  \n";
    let input: Vec<u8> = bad.iter().flat_map(|(row, _)| [*row, &good[..]].concat()).collect();
    let place = Place::with(input);
    let outcome = score(&place.options(&[])).expect("it ends well");
    assert_eq!((outcome.done, outcome.rejected), (9, 9));
    let (scores, rejected) = place.results();
    for (i, row) in json_lines(&scores).iter().enumerate() {
        assert_eq!((row["line"].as_u64(), row.get("id")), (Some(3 * i as u64 + 2), Some(&Value::Null)), "{row}");
    }
    for (i, (row, (text, reason))) in json_lines(&rejected).iter().zip(&bad).enumerate() {
        assert_eq!(row["line"].as_u64(), Some(3 * i as u64 + 1), "{row}");
        assert!(row["reason"].as_str().is_some_and(|said| said.contains(reason)), "{row} is not: {reason}");
        assert_eq!(row["row"].as_str(), Some(&*String::from_utf8_lossy(text)));
    }
}

#[test]
fn what_is_too_long_is_shortened_where_that_is_asked_for_and_the_row_says_so() {
    let long = "word ".repeat(400);
    let rows = [
        json!({"query": "q", "documents": ["short", long, long]}),
        json!({"query": "q", "documents": []}),
        json!({"query": "q", "document": "short"}),
    ];
    let place = Place::with(rows.map(|row| row.to_string()).join("\n"));
    let raw = ["--overflow", "truncate", "--pooler-config.use_activation", "false"];
    assert_eq!(score(&place.options(&raw)).expect("it ends well").rejected, 0);
    let rows = json_lines(&place.read("scores.jsonl"));
    let scores = rows[0]["scores"].as_array().expect("a list");
    assert_eq!((scores.len(), rows[0]["truncated"].as_u64()), (3, Some(2)));
    assert_eq!(scores[1], scores[2]);
    assert_eq!((&rows[1]["scores"], rows[1].get("truncated")), (&json!([]), None));
    assert_eq!(rows[2]["score"], scores[0]);
}

#[test]
fn the_instruction_of_the_command_is_that_of_rows_without_one() {
    let row = |instruction: &Value| json!({"query": "q", "document": "d", "instruction": instruction}).to_string();
    let place = Place::with([row(&Value::Null), row(&json!("Find it."))].join("\n"));
    score(&place.options(&["--instruction", "Find it."])).expect("it ends well");
    let rows = json_lines(&place.read("scores.jsonl"));
    assert_eq!(rows[0]["score"], rows[1]["score"]);
    let plain = Place::with(row(&Value::Null));
    score(&plain.options(&[])).expect("it ends well");
    assert_ne!(json_lines(&plain.read("scores.jsonl"))[0]["score"], rows[0]["score"]);
}

#[test]
fn a_row_in_the_words_of_any_of_the_servers_routes_has_the_same_scores() {
    let plain = [
        json!({"query": "q", "document": "a", "instruction": "Find it."}),
        json!({"query": "q", "documents": ["a", "b"]}),
        json!({"query": "p", "document": "a"}),
    ];
    let rows = [
        (
            json!({"query": {"text": "q"}, "document": {"text": "a", "title": "t"}, "instruct": "Find it."}),
            vec![(0, 0)],
        ),
        (json!({"text_1": "q", "text_2": "a", "instruction": "Find it."}), vec![(0, 0)]),
        (json!({"query": "q", "documents": [{"text": "a"}, "b"]}), vec![(1, 0), (1, 1)]),
        (json!({"query": "q", "texts": ["a", "b"]}), vec![(1, 0), (1, 1)]),
        (json!({"text_1": "q", "text_2": ["a", "b"]}), vec![(1, 0), (1, 1)]),
        (json!({"data_1": ["q", "p"], "data_2": ["a", "a"]}), vec![(1, 0), (2, 0)]),
        (json!({"queries": "q", "items": ["b"], "document": null}), vec![(1, 1)]),
        (json!({"queries": ["q"], "documents": "a", "model": "m", "top_n": 1}), vec![(1, 0)]),
    ];
    let bad = [
        (json!({"queries": ["q", "p"], "documents": ["a"]}), "It has 2 queries and 1 documents"),
        (json!({"query": "q", "document": {"content": []}}), "an object without `text`"),
        (json!({"query": "q", "text_1": "q", "document": "a"}), "duplicate field `query`"),
    ];
    let all = plain.iter().chain(rows.iter().map(|(row, _)| row)).chain(bad.iter().map(|(row, _)| row));
    let place = Place::with(all.map(|row| format!("\u{feff}{row}\r\n")).collect::<String>());
    let outcome = score(&place.options(&[])).expect("it ends well");
    assert_eq!((outcome.done, outcome.rejected), (11, 3));
    let written = json_lines(&place.read("scores.jsonl"));
    let scores: Vec<Vec<Value>> = written
        .iter()
        .map(|row| match &row["scores"] {
            Value::Array(scores) => scores.clone(),
            _ => vec![row["score"].clone()],
        })
        .collect();
    for ((row, expected), got) in rows.iter().zip(&scores[3..]) {
        let expected: Vec<Value> =
            expected.iter().map(|&(row, index): &(usize, usize)| scores[row][index].clone()).collect();
        assert_eq!(*got, expected, "{row}");
    }
    for ((_, reason), row) in bad.iter().zip(json_lines(&place.read("scores.jsonl.rejected.jsonl"))) {
        assert!(row["reason"].as_str().is_some_and(|said| said.contains(reason)), "{row}");
    }
}

#[test]
fn rows_that_are_compressed_are_scored_as_they_are_and_gone_on_with() {
    let input = mixed_rows(40);
    let plain = Place::with(&input);
    score(&plain.options(&[])).expect("it ends well");
    let packed = |text: &str| {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut packed, text.as_bytes()).expect("written");
        packed.finish().expect("packed")
    };
    let half: String = input.split_inclusive('\n').take(20).collect();
    let place = Place::with(packed(&half));
    let scorer_options = place.options(&[]);
    let scorer = Scorer::load(&scorer_options).expect("the model loads");
    go_on(&scorer, &scorer_options).expect("it ends well");
    // Packed anew, with more rows: what is done is passed over.
    std::fs::write(place.path("pairs.jsonl"), packed(&input)).expect("written");
    assert_eq!(go_on(&scorer, &scorer_options).expect("it ends well").done, 18);
    assert_eq!(place.results(), plain.results());
    let cut = packed(&input);
    let place = Place::with(&cut[..cut.len() - 20]);
    let err = go_on(&scorer, &place.options(&[])).expect_err("it is cut");
    assert!(err.to_string().contains("Cannot read"), "{err}");
}

#[test]
fn an_input_without_rows_is_refused_before_a_model_is_looked_for() {
    for (bytes, words) in [
        (&b"PAR1\x15\x04\x15\x10"[..], "is a Parquet file"),
        (b"query\tpassage\nq\td\n", "looks like TSV, but its header names \"query\", \"passage\", expected query and"),
        (b"[{\"query\": \"q\", \"document\": \"d\"}]", "is a JSON array"),
    ] {
        let place = Place::with(bytes);
        let mut options = place.options(&[]);
        options.engine.model.dir = Some("/nowhere".into());
        let err = ironrank::score::open(&options).map(|_| ()).expect_err("no rows");
        assert!(err.to_string().contains(words), "{err}");
        assert!(!is_there(&place.path("scores.jsonl")), "nothing is made");
    }
}

/// Whether a path exists.
pub fn is_there(path: &Path) -> bool {
    path.try_exists().expect("the path can be asked for")
}
