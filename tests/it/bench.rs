//! `ironrank bench` as its users run it.

use crate::support::write_checkpoint;
use serde_json::Value;
use std::process::{Command, Output};

fn bench(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ironrank")).arg("bench").args(args).output().expect("the program runs")
}

fn measured(args: &[&str]) -> Value {
    let dir = tempfile::tempdir().unwrap();
    write_checkpoint("tiny", dir.path(), 1);
    let model = dir.path().to_str().unwrap();
    let output = bench(&[&[model, "--json", "--weight-cache", "off", "--threads", "1"], args].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("stdout is one JSON object")
}

#[test]
fn the_figures_of_a_run_belong_together() {
    let report = measured(&["--workload", "short", "--requests", "3"]);
    let number = |key: &str| report[key].as_f64().unwrap_or_else(|| panic!("{key} is {}", report[key]));
    assert_eq!((number("requests"), number("pairs"), number("threads")), (3.0, 96.0, 1.0));
    let close = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-9;
    assert!(close(number("tokens_per_s"), number("tokens") / number("seconds")));
    assert!(close(number("work_share_of_peak"), number("work_gflops") / number("fma_peak_gflops")));
    // 80 of about 136 tokens are shared by the documents of a request.
    assert!((0.2..0.7).contains(&(number("computed_tokens") / number("tokens"))), "{report}");
    assert!(number("naive_gflops") > number("work_gflops"));
    assert!(number("p50_s") <= number("p95_s") && number("p95_s") <= number("seconds"));
    assert!(number("peak_memory_bytes") >= number("private_memory_bytes"));
    assert!(number("memory_gb_per_s") > 0.1 && number("ready_s") > 0.0 && number("passages_s") > 0.0);
    assert_eq!((number("passages"), number("passage_tokens")), (64.0, 512.0));
    assert_eq!(number("passages_in_30_s"), (30.0 / (number("passages_s") / 64.0)).floor());
    assert!((0.0..=1.0).contains(&number("other_cpu_share")) && (0.0..=1.0).contains(&number("stolen_cpu_share")));
}

#[test]
fn integers_are_measured_beside_the_peak_of_integers() {
    let report = measured(&["--workload", "pair", "--requests", "2", "--quantization", "int8"]);
    let number = |key: &str| report[key].as_f64().unwrap_or_else(|| panic!("{key} is {}", report[key]));
    assert_eq!(report["precision"], "int8");
    assert!((number("work_share_of_peak") * number("product_peak_gops") / number("work_gflops") - 1.0).abs() < 1e-9);
    assert!(number("fma_peak_gflops") > 0.0 && number("fma_peak_gflops") != number("product_peak_gops"));
}

#[test]
fn portable_code_is_measured_without_a_peak() {
    let report = measured(&["--workload", "pair", "--requests", "2", "--isa", "portable"]);
    assert_eq!(report["isa"], "portable");
    assert!(report["fma_peak_gflops"].is_null() && report["work_share_of_peak"].is_null());
    assert!(report["tokens_per_s"].as_f64().unwrap() > 0.0);
}

#[test]
fn what_cannot_be_measured_is_said() {
    for (args, words) in [
        (&["--workload", "huge"][..], "huge"),
        (&["--isa", "mmx"][..], "mmx"),
        (&["/no/such/model"][..], "/no/such/model"),
    ] {
        let output = bench(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(words), "{args:?}: {said}");
        assert!(output.stdout.is_empty());
    }
}
