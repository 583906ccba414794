//! Paths that should be model directories and are something else: what is said is what is there, and what to do.

use super::files::{Draft, INDEX, WEIGHTS};
use ironrank::checkpoint::{Checkpoint, Overrides};
use ironrank::prompt::PromptEncoder;
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Writes files, some of them in directories, with a text in each; configurations are good ones.
fn lay(dir: &Path, names: &[&str]) {
    for name in names {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        let text = if name.ends_with("config.json") { json!(Draft::new().config).to_string() } else { "{}".to_owned() };
        fs::write(path, text).expect("written");
    }
}

/// All that is wrong with a model directory, each in one line.
fn problems(path: &Path) -> Vec<String> {
    let problems = Checkpoint::inspect(path, &Overrides::new()).expect_err("no model");
    let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(Checkpoint::open(path, &Overrides::new()).expect_err("no model").to_string(), said[0]);
    assert!(said.iter().all(|said| said.lines().count() == 1 && said.len() < 700), "{said:?}");
    said
}

fn assert_said(path: &Path, facts: &[&str]) {
    let said = problems(path);
    assert_eq!(said.len(), 1, "once is enough: {said:?}");
    for fact in facts {
        assert!(said[0].contains(fact), "no {fact:?} in: {}", said[0]);
    }
}

#[test]
fn what_a_directory_holds_in_place_of_safetensors_is_named_with_what_to_do() {
    let cases: [(&[&str], &[&str]); 14] = [
        (&[], &["it is empty, as where a volume is not mounted."]),
        (&["qwen3-reranker-0.6b-q8_0.gguf"], &["q8_0.gguf", "llama.cpp", "`ironrank download"]),
        (&["config.json", "model.Q4.gguf"], &["model.Q4.gguf", "`ironrank download"]),
        (&["config.json", "model.onnx"], &["ONNX", "`ironrank download"]),
        (&["config.json", "onnx/model.onnx"], &["ONNX"]),
        (&["config.json", "openvino_model.xml", "openvino_model.bin"], &["OpenVINO"]),
        (&["config.json", "pytorch_model.bin"], &["pytorch_model.bin", "convert them to safetensors"]),
        (&["config.json", "pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json"], &["convert them"]),
        (&["config.json", "tf_model.h5"], &["tf_model.h5"]),
        (&["config.json", "model-00001-of-00002.safetensors"], &["model-00001-of-00002", INDEX, "fetch it too"]),
        (&["config.json", "weights.safetensors"], &["weights.safetensors", "rename it to model.safetensors"]),
        (&["config.json", "tokenizer.json", ".download/lock"], &["a download into it was cut"]),
        (&["model.tar.gz"], &["model.tar.gz: unpack it"]),
        (&["config.json", "model.safetensors.gz"], &["model.safetensors.gz: unpack or rename it"]),
    ];
    for (names, facts) in cases {
        let dir = tempfile::tempdir().unwrap();
        lay(dir.path(), names);
        assert_said(dir.path(), &[facts, &[&dir.path().display().to_string()]].concat());
    }
}

#[test]
fn an_adapter_names_the_model_that_it_is_to_be_merged_into() {
    let dir = tempfile::tempdir().unwrap();
    lay(dir.path(), &["adapter_model.safetensors", "tokenizer.json"]);
    fs::write(dir.path().join("adapter_config.json"), r#"{"base_model_name_or_path": "Qwen/Qwen3-Reranker-0.6B"}"#)
        .unwrap();
    assert_said(dir.path(), &["an adapter", "merge it into Qwen/Qwen3-Reranker-0.6B"]);
}

#[test]
fn a_model_that_lies_deeper_is_named_whichever_part_of_the_hubs_cache_was_given() {
    let dir = tempfile::tempdir().unwrap();
    let model = "hub/models--Qwen--Qwen3-Reranker-0.6B";
    for commit in ["0a", "ff"] {
        lay(
            dir.path(),
            &[&format!("{model}/snapshots/{commit}/config.json"), &format!("{model}/snapshots/{commit}/{WEIGHTS}")],
        );
    }
    lay(dir.path(), &[&format!("{model}/blobs/1")]);
    fs::create_dir_all(dir.path().join(model).join("refs")).unwrap();
    fs::write(dir.path().join(model).join("refs/main"), "ff").unwrap();
    let at = |part: &str| dir.path().join(part);
    for part in ["", "hub", model, "hub/models--Qwen--Qwen3-Reranker-0.6B/snapshots"] {
        let snapshot = |commit: &str| at(&format!("{model}/snapshots/{commit}")).display().to_string();
        // That of the branch comes first.
        assert_said(&at(part), &[&format!(" itself: give {} or {}.", snapshot("ff"), snapshot("0a"))]);
    }
    // A name that is not there, beside ones that are.
    let snapshots = at(model).join("snapshots");
    assert_said(&snapshots.join("fff"), &["does not exist", "such as", &snapshots.join("ff").display().to_string()]);
}

#[test]
fn links_of_the_hubs_cache_that_lead_nowhere_are_named_with_their_targets() {
    let dir = tempfile::tempdir().unwrap();
    let files = Draft::new().files();
    for lost in files.keys() {
        let snapshot = dir.path().join(format!("without-{lost}"));
        fs::create_dir(&snapshot).unwrap();
        for (name, bytes) in &files {
            match name == lost {
                true => symlink("../../blobs/5dd1", snapshot.join(name)).unwrap(),
                false => fs::write(snapshot.join(name), bytes).unwrap(),
            }
        }
        assert_said(&snapshot, &[lost, "is a link to ../../blobs/5dd1, which does not exist", "cp -rL"]);
    }
    symlink("/nowhere/blobs/1", dir.path().join("model")).unwrap();
    assert_said(&dir.path().join("model"), &["is a link to /nowhere/blobs/1, which does not exist"]);
}

#[test]
fn a_file_in_place_of_a_directory_says_which_directory_or_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    lay(dir.path(), &[WEIGHTS, "config.json", "notes.txt"]);
    fs::write(dir.path().join("model.gguf"), b"GGUF\x03\0\0\0").unwrap();
    fs::write(dir.path().join("model.zip"), b"PK\x03\x04\x14\0\0\0").unwrap();
    let here = format!(": give {}", dir.path().display());
    for (name, fact) in [
        (WEIGHTS, &*here),
        ("config.json", &here),
        ("model.gguf", "is a GGUF file"),
        ("model.zip", "is a zip archive"),
        ("notes.txt", "is not a directory, expected one with config.json"),
    ] {
        assert_said(&dir.path().join(name), &[name, "is not a directory", fact]);
    }
}

#[test]
fn a_name_of_a_hub_says_what_to_type() {
    for name in [
        "Qwen/Qwen3-Reranker-0.6B",
        "Qwen/Qwen3-Reranker-0.6B/",
        "https://huggingface.co/Qwen/Qwen3-Reranker-0.6B",
        "https://modelscope.cn/models/Qwen/Qwen3-Reranker-0.6B/summary",
        "hf.co/Qwen/Qwen3-Reranker-0.6B",
        "huggingface.co/Qwen/Qwen3-Reranker-0.6B/tree/main",
        "www.modelscope.cn/models/Qwen/Qwen3-Reranker-0.6B/",
        "hf://Qwen/Qwen3-Reranker-0.6B",
    ] {
        assert_said(
            Path::new(name),
            &[
                "`ironrank download Qwen/Qwen3-Reranker-0.6B --dir DIR`",
                "models--Qwen--Qwen3-Reranker-0.6B/snapshots/COMMIT",
                "`modelscope download --model Qwen/Qwen3-Reranker-0.6B --local_dir DIR`",
            ],
        );
    }
}

#[test]
fn a_path_that_only_looks_like_a_name_of_a_hub_is_told_of_as_a_path() {
    // As `models/NAME` is where there is a directory `models`.
    let here = std::env::current_dir().unwrap();
    let dir = tempfile::Builder::new().prefix("models").tempdir_in(&here).unwrap();
    lay(dir.path(), &["reranker/config.json", &format!("reranker/{WEIGHTS}")]);
    let models = dir.path().strip_prefix(&here).unwrap();
    let there = models.join("reranker");
    assert_said(&models.join("rerankr"), &["does not exist", "such as", &there.display().to_string()]);
    for (name, fact) in [
        ("/Qwen/Qwen3-Reranker-0.6B", "give a directory with"),
        ("s3://bucket/model", "give a directory with"),
        ("file:///models/m", "give /models/m, a path"),
        ("~/models/m", "by a shell alone: give the whole path"),
        ("$HOME/models/m", "by a shell alone: give the whole path"),
        ("\"Qwen/Qwen3-Reranker-0.6B\"", "give Qwen/Qwen3-Reranker-0.6B."),
        ("/models/m ", "give /models/m."),
    ] {
        assert_said(Path::new(name), &[name, "does not exist", fact]);
        assert!(!problems(Path::new(name))[0].contains("ironrank download"), "{name}");
    }
}

#[test]
fn what_the_hubs_cache_keeps_beside_a_model_leads_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("models--Qwen--Qwen3-Reranker-0.6B");
    let snapshot = model.join("snapshots/0a");
    lay(&model, &["blobs/1", "refs/main", "snapshots/0a/tokenizer.json"]);
    for name in ["config.json", WEIGHTS] {
        symlink("../../blobs/5dd1", snapshot.join(name)).unwrap();
    }
    let lead = format!("give {}.", snapshot.display());
    // What the links lead to may be missing: that is said of the snapshot.
    for part in ["", "blobs", "refs", "snapshots"] {
        assert_said(&model.join(part), &[&lead]);
    }
    fs::remove_file(snapshot.join(WEIGHTS)).unwrap();
    fs::write(model.join("blobs/5dd1"), json!(Draft::new().config).to_string()).unwrap();
    fs::write(model.join("blobs/77.incomplete"), "half of it").unwrap();
    assert_said(&snapshot, &["has neither model.safetensors", "was cut, which left", "blobs/77.incomplete"]);
}

#[test]
fn a_tokenizer_that_is_not_there_says_what_is() {
    let said = |path: &Path| PromptEncoder::open(path, 512).err().expect("no tokenizer").to_string();
    let dir = tempfile::tempdir().unwrap();
    let lone = |name: &str, names: &[&str]| {
        let place = dir.path().join(name);
        lay(&place, names);
        said(&place)
    };
    for (said, fact) in [
        (lone("slow", &["config.json", "vocab.json", "merges.txt"]), "save_pretrained"),
        (lone("packed", &["config.json", "tokenizer.json.gz"]), "has no tokenizer.json, but tokenizer.json.gz: unpack"),
        (lone("none", &["config.json", WEIGHTS]), "none has no tokenizer.json."),
        (said(&dir.path().join("slow/config.json")), "is not a directory"),
        (said(Path::new("Qwen/Qwen3-Reranker-0.6B")), "`ironrank download Qwen/Qwen3-Reranker-0.6B --dir DIR`"),
        (lone("file", &["tokenizer.json/inside"]), "tokenizer.json is a directory"),
    ] {
        assert!(said.contains(fact), "{said}");
    }
}
