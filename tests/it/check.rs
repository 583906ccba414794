//! `ironrank check` as its users run it.

use crate::support::{self, write_checkpoint};
use ironrank_kernels::Isa;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::tempdir;

fn ironrank(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ironrank")).args(args).output().expect("the program runs")
}

/// The report on `model`, and the exit code.
fn checked(model: &Path, args: &[&str]) -> (Value, Option<i32>) {
    let output = ironrank(&[&["check", model.to_str().unwrap(), "--json", "--threads", "1"], args].concat());
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|err| panic!("{err}: {}", String::from_utf8_lossy(&output.stderr)));
    (report, output.status.code())
}

fn problems(report: &Value) -> Vec<&str> {
    report["problems"].as_array().unwrap().iter().map(|problem| problem.as_str().unwrap()).collect()
}

#[test]
fn a_model_that_will_load_is_described_and_nothing_is_packed() {
    let (model, cache) = (tempdir().unwrap(), tempdir().unwrap());
    write_checkpoint("tiny", model.path(), 2);
    let cache_dir = cache.path().to_str().unwrap();
    let (report, code) = checked(model.path(), &["--weight-cache", cache_dir, "--max-model-len", "1000"]);
    assert_eq!((&report["loads"], code), (&true.into(), Some(0)), "{report}");
    assert_eq!(problems(&report), [""; 0]);
    for (key, value) in [("layers", 3), ("hidden_size", 64), ("max_model_len", 1000), ("threads", 1), ("passages", 64)]
    {
        assert_eq!(report[key], value, "{key}");
    }
    let number = |key: &str| report[key].as_f64().unwrap_or_else(|| panic!("{key} is {}", report[key]));
    assert!(number("private_memory_bytes") > 100e6 && number("private_memory_bytes") < number("memory_bytes"));
    assert!(number("matmul_gflops") > 0.1 && number("passages_s") > 0.0);
    assert!((number("tokens_per_s") * number("passages_s") - 64.0 * 512.0).abs() < 1.0);
    assert_eq!(report["packed_weights"], "to_be_packed");
    assert_eq!(report["precision"], "exact");
    let gains = Isa::best().gains_by_int16();
    assert_eq!(report["int16_product_speedup"].as_f64().is_some_and(|times| times > 0.1), gains, "{report}");
    assert!(number("int8_product_speedup") > 0.1);
    assert!(number("int8_packed_weights_bytes") < number("packed_weights_bytes"), "{report}");
    let files = || fs::read_dir(cache.path()).unwrap().map(|file| file.unwrap().path());
    assert!(!files().any(|path| path.extension().is_some_and(|end| end == "weights")), "a check packs nothing");

    let bench =
        ["bench", model.path().to_str().unwrap(), "--weight-cache", cache_dir, "--threads", "1", "--requests", "1"];
    assert!(ironrank(&[&bench[..], &["--workload", "pair"]].concat()).status.success());
    assert_eq!(checked(model.path(), &["--weight-cache", cache_dir]).0["packed_weights"], "packed");
    // Another checkpoint in the same place has other packed weights.
    let overrides = ["--weight-cache", cache_dir, "--hf-overrides", r#"{"rms_norm_eps": 1e-5}"#];
    assert_eq!(checked(model.path(), &overrides).0["packed_weights"], "to_be_packed");
    assert_eq!(checked(model.path(), &["--weight-cache", "off"]).0["packed_weights"], "in_memory");
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let model = tempdir().unwrap();
    write_checkpoint("tiny", model.path(), 3);
    let shard = |i: usize| model.path().join(format!("model-0000{i}-of-00003.safetensors"));
    fs::remove_file(shard(1)).unwrap();
    let cut = fs::read(shard(2)).unwrap();
    fs::write(shard(2), &cut[..cut.len() - 1]).unwrap();
    fs::remove_file(model.path().join("tokenizer.json")).unwrap();
    let args = ["--max-model-len", "50000", "--isa", "mmx", "--weight-cache", "off", "--prefix-cache-mib", "99999999"];
    let (report, code) = checked(model.path(), &args);
    assert_eq!((&report["loads"], code), (&false.into(), Some(1)));
    let said = problems(&report);
    for words in [
        "mmx",
        "model-00001-of-00003.safetensors does not exist, but model.safetensors.index.json names it",
        "model-00002-of-00003.safetensors has",
        "--max-model-len 50000 is more than the 40960 positions",
        "tokenizer.json",
    ] {
        assert!(said.iter().any(|problem| problem.contains(words)), "no '{words}' in {said:?}");
    }
    assert_eq!(said.len(), 5, "{said:?}");
    assert!(report["isa"].is_null() && report["passages_s"].is_null());

    let (report, _) = checked(model.path(), &args[4..]);
    let said = problems(&report);
    assert!(said.iter().any(|problem| problem.contains("of memory of its own")), "{said:?}");
}

#[test]
fn tensors_that_are_missing_wrong_and_unknown_are_counted() {
    let model = tempdir().unwrap();
    write_checkpoint("tiny", model.path(), 1);
    let mut config = support::config("tiny");
    // A layer more than there is, and another width of the MLP.
    config["num_hidden_layers"] = 4.into();
    config["intermediate_size"] = 161.into();
    fs::write(model.path().join("config.json"), config.to_string()).unwrap();
    let (report, code) = checked(model.path(), &["--weight-cache", "off"]);
    let said = problems(&report);
    assert_eq!(code, Some(1));
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("lacks tensor model.layers.3.input_layernorm.weight") && said[0].contains("and 10 more"));
    assert!(said[1].contains("has tensor model.layers.0.mlp.gate_proj.weight of shape [160, 64], expected [161, 64]"));
    assert!(said[1].contains("and 8 more"), "{}", said[1]);
    // What the weights would take is told all the same.
    assert!(report["packed_weights_bytes"].as_u64().unwrap() > 0 && report["layers"] == 4);
}

#[test]
fn the_table_says_it_in_words() {
    let model = tempdir().unwrap();
    write_checkpoint("tiny", model.path(), 1);
    let path = model.path().to_str().unwrap();
    let output = ironrank(&["check", path, "--weight-cache", "off", "--threads", "1"]);
    let table = String::from_utf8(output.stdout).unwrap();
    for words in ["3 layers of 64 channels", "1 thread of ", "64 passages of 512 tokens", "\nIt will load.\n"] {
        assert!(table.contains(words), "no '{words}' in:\n{table}");
    }
    let nowhere = ironrank(&["check", "/no/such/model"]);
    let table = String::from_utf8(nowhere.stdout).unwrap();
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(table.contains("It will not load:\n- /no/such/model does not exist as a directory here"), "{table}");
    assert_eq!(table.matches("\n- ").count(), 1, "{table}");
}

/// Sets it at its end.
struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_machine_that_is_busy_with_other_things_is_told_of() {
    let model = tempdir().unwrap();
    write_checkpoint("tiny", model.path(), 1);
    let done = AtomicBool::new(false);
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let (report, table) = std::thread::scope(|scope| {
        for _ in 0..cpus {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    std::hint::spin_loop()
                }
            });
        }
        // Also if the check fails.
        let _done = OnDrop(&done);
        let (report, _) = checked(model.path(), &["--weight-cache", "off"]);
        let table = ironrank(&["check", model.path().to_str().unwrap(), "--weight-cache", "off"]);
        (report, String::from_utf8(table.stdout).unwrap())
    });
    // As many others as there are CPUs take a half of them, or what is their part beside still more.
    assert!(report["other_cpu_share"].as_f64().unwrap() > 0.05, "{report}");
    assert!(table.contains("The machine was busy with other things meanwhile: other processes took "), "{table}");
    assert!(table.contains("RAGFlow waits 30 s for a question of 64 to 90 passages; "), "{table}");
    let fit = (30.0 / (report["passages_s"].as_f64().unwrap() / 64.0)).floor();
    assert_eq!(report["passages_in_30_s"].as_f64().unwrap(), fit);
}

#[test]
fn a_weight_cache_that_cannot_be_written_is_told_of_and_the_model_loads() {
    let (model, blocked) = (tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
    write_checkpoint("tiny", model.path(), 1);
    // A file in the directory's place, a file system without files, and a name that is too long.
    let below = blocked.path().join("cache");
    let long = model.path().join("x".repeat(300));
    for dir in [below.to_str().unwrap(), "/proc/sys", long.to_str().unwrap()] {
        let (report, code) = checked(model.path(), &["--weight-cache", dir]);
        assert_eq!((&report["packed_weights"], code), (&"in_memory".into(), Some(0)), "{dir}: {report}");
        let table = ironrank(&["check", model.path().to_str().unwrap(), "--weight-cache", dir]);
        let table = String::from_utf8(table.stdout).unwrap();
        assert!(table.contains(&format!("because the weight cache {dir} cannot hold them: ")), "{table}");
    }
}
