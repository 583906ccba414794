//! `ironrank compare` as its users run it.

use crate::support::process::{ironrank, text};
use crate::support::{Golden, goldens, head, write_calm_checkpoint, write_checkpoint};
use ironrank::batch::Batch;
use ironrank::checkpoint::{Activation, Checkpoint, Overrides};
use ironrank::compare::{Agreement, Margins};
use ironrank::model;
use ironrank::precision::Precision;
use ironrank::prompt::Prompt;
use ironrank_kernels::{Cpu, Isa, Pool};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};
use tempfile::{TempDir, tempdir};

fn model() -> TempDir {
    let dir = tempdir().unwrap();
    write_checkpoint("tiny", dir.path(), 1);
    dir
}

fn compare(model: &Path, args: &[&str], input: &str) -> Output {
    let rules = ["compare", text(model), "--weight-cache", "off", "--threads", "1"];
    let mut command = ironrank(&[&rules[..], args].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().expect("the program runs");
    process.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
    process.wait_with_output().expect("it ends")
}

fn report(model: &Path, args: &[&str], input: &str) -> Value {
    let output = compare(model, &[&["--json"], args].concat(), input);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("stdout is one JSON object")
}

/// What two runs of the same arithmetic must say.
fn assert_same(report: &Value) {
    for key in ["score_difference_max", "score_difference_mean", "margin_error_rms", "margin_error_share"] {
        assert_eq!(report[key], 0.0, "{key}");
    }
    for key in ["kendall_tau", "ndcg_at_10", "top_1_agreement"] {
        assert_eq!(report[key], 1.0, "{key}");
    }
}

#[test]
fn float32_agrees_with_itself_on_the_built_in_set() {
    let report = report(model().path(), &["--dtype", "float32"], "");
    assert_same(&report);
    for (key, count) in [("queries", 40), ("pairs", 320), ("threads", 1)] {
        assert_eq!(report[key], count, "{key}");
    }
    assert_eq!((&report["input"], &report["top_10_agreement"]), (&"the built-in set".into(), &Value::Null));
    let number = |key: &str| report[key].as_f64().unwrap_or_else(|| panic!("{key} is {}", report[key]));
    assert!((320.0 * 80.0..320.0 * 400.0).contains(&number("tokens")), "{report}");
    assert!(number("tokens_per_s") > 0.0 && number("exact_tokens_per_s") > 0.0);
    assert!((number("tokens_per_s") / number("exact_tokens_per_s") / number("speedup") - 1.0).abs() < 1e-9);
}

#[test]
fn rows_of_one_query_belong_together_wherever_they_stand() {
    let rows: Vec<String> = (0..24).map(|i| format!("q{},passage {i} of the input\n", i % 2)).collect();
    let report = report(model().path(), &["--input", "-"], &format!("query,document\n{}", rows.concat()));
    assert_same(&report);
    assert_eq!(
        (&report["queries"], &report["pairs"], &report["input"]),
        (&2.into(), &24.into(), &"Standard input".into())
    );
    assert_eq!(report["top_10_agreement"], 1.0);
}

#[test]
fn a_single_document_has_no_order_and_the_table_says_so() {
    let dir = model();
    let rows = dir.path().join("rows.jsonl");
    fs::write(&rows, "{\"query\": \"a\", \"document\": \"b\"}\n").unwrap();
    let output = compare(dir.path(), &["--input", text(&rows)], "");
    let table = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for words in ["1 of 1 queries", "Kendall's tau     unknown", "no query has several documents", "1 thread of"] {
        assert!(table.contains(words), "no '{words}' in:\n{table}");
    }
    assert!(!table.contains("NaN") && !table.contains("standard deviation"), "{table}");
}

#[test]
fn what_cannot_be_compared_is_told_and_nothing_is_left_out() {
    let dir = model();
    let good = "{\"query\": \"a\", \"document\": \"b\"}\n";
    let long = format!("{good}{{\"query\": \"a\", \"document\": \"{}\"}}\n", "word ".repeat(500));
    for (input, code, words) in [
        (format!("{good}{{\"query\": \"a\"}}\n"), 2, "Line 2 of Standard input cannot be scored. It has neither"),
        (format!("{good}\n[1]\n"), 2, "Line 3 of Standard input cannot be scored. It is not a JSON object"),
        ("{\"query\": \"a\", \"documents\": []}\n".to_owned(), 2, "Standard input has no pairs"),
        (String::new(), 2, "Standard input has no pairs"),
        ("a text".to_owned(), 2, "holds no rows"),
        (long.clone(), 1, "Line 2 of Standard input cannot be scored. This model's maximum context length is 300"),
    ] {
        let output = compare(dir.path(), &["--input", "-", "--max-model-len", "300"], &input);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(words), "no '{words}' in: {said}");
        assert!(output.stdout.is_empty());
    }
    let shortened = report(dir.path(), &["--input", "-", "--max-model-len", "300", "--overflow", "truncate"], &long);
    assert_eq!(shortened["pairs"], 2);
    let missing = compare(dir.path(), &["--input", "/no/such/file"], "");
    assert!(String::from_utf8_lossy(&missing.stderr).contains("/no/such/file"));
    assert_eq!(missing.status.code(), Some(1));
}

#[test]
fn what_it_says_of_the_calm_model_follows_from_its_goldens() {
    let dir = tempdir().unwrap();
    write_calm_checkpoint(dir.path());
    let cases = goldens("calm-tiny");
    let row = |case: &Golden| json!({"query": case.query, "document": case.document}).to_string() + "\n";
    let rows: String = cases.iter().map(row).collect();
    let checkpoint = Checkpoint::open(dir.path(), &Overrides::new()).unwrap();
    for (args, precision) in
        [(&["--dtype", "float32"][..], Precision::Exact), (&["--quantization", "int8"], Precision::Int8)]
    {
        let report = report(dir.path(), &[args, &["--input", "-"]].concat(), &rows);
        assert_eq!(report["precision"], precision.name());
        let cpu = Cpu::new(Isa::best(), Pool::new(Some(1), false).unwrap());
        let packed = model::pack(&cpu, &checkpoint, precision, None).unwrap();
        let mut model = model::load(cpu, &checkpoint, packed, head(&checkpoint), 4096).unwrap();
        let prompt = |case: &Golden| Prompt::new(case.token_ids[..79].into(), &case.token_ids[79..]);
        let prompts: Vec<Prompt> = cases.iter().map(prompt).collect();
        let margins = model.run(Batch::of(&prompts)).values;
        let queries: Vec<(&Golden, f32)> = cases.iter().zip(margins).collect();
        // Rows of a query stand together in the goldens.
        let queries: Vec<Margins> = queries
            .chunk_by(|(a, _), (b, _)| a.query == b.query)
            .map(|same| Margins {
                exact: same.iter().map(|(case, _)| (case.logit_yes - case.logit_no) as f32).collect(),
                other: same.iter().map(|(_, margin)| *margin).collect(),
            })
            .collect();
        let expected = Agreement::of(&queries, |margin| Activation::Sigmoid.of(margin));
        assert_eq!(report["queries"], queries.len());
        for (key, expected) in [
            ("score_difference_max", Some(expected.score_difference_max)),
            ("score_difference_mean", Some(expected.score_difference_mean)),
            ("margin_error_rms", Some(expected.margin_error_rms)),
            ("margin_error_share", expected.margin_error_share),
            ("kendall_tau", expected.kendall_tau),
            ("ndcg_at_10", expected.ndcg_at_10),
            ("top_1_agreement", expected.top_1),
            ("top_10_agreement", expected.top_10),
        ] {
            let (got, expected) = (report[key].as_f64().expect(key), expected.expect(key));
            // The goldens are of float64, from which float32 is some 1e-7 away.
            assert!((got - expected).abs() < 1e-5, "{key}: {got}, the goldens say {expected}");
        }
    }
}
