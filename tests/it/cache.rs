//! `ironrank cache` as its users run it.

use crate::support::{head, write_checkpoint};
use ironrank::checkpoint::{Checkpoint, Overrides};
use ironrank::model::{self, Model};
use ironrank::precision::Precision;
use ironrank_kernels::{Cpu, Isa, Pool};
use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};
use tempfile::{TempDir, tempdir};

const DIGEST: &str = "0123456789abcdef";

/// A cache with the packed weights of models that lie in `models`.
struct Cache {
    models: TempDir,
    dir: TempDir,
}

impl Cache {
    fn new() -> Self {
        Self { models: tempdir().unwrap(), dir: tempdir().unwrap() }
    }

    /// A model called `name` that has been loaded, so that its weights are packed and in use.
    fn load(&self, name: &str) -> Box<dyn Model> {
        let dir = self.models.path().join(name);
        fs::create_dir(&dir).unwrap();
        write_checkpoint("tiny-mha", &dir, 1);
        let cpu = Cpu::new(Isa::best(), Pool::new(Some(1), false).unwrap());
        let checkpoint = Checkpoint::open(&dir, &Overrides::new()).unwrap();
        let packed = model::pack(&cpu, &checkpoint, Precision::Exact, Some(self.dir.path())).unwrap();
        model::load(cpu, &checkpoint, packed, head(&checkpoint), 512).unwrap()
    }

    fn run(&self, args: &[&str]) -> Output {
        let dir = self.dir.path().to_str().unwrap();
        let args = [&["cache", "--weight-cache", dir], args].concat();
        Command::new(env!("CARGO_BIN_EXE_ironrank")).args(args).output().expect("the program runs")
    }

    fn report(&self, args: &[&str]) -> Value {
        let output = self.run(&[args, &["--json"]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("stdout is one JSON object")
    }

    /// Name, reason and whether it was removed, of each file that goes.
    fn pruned(&self, args: &[&str]) -> Vec<(String, String, bool)> {
        let report = self.report(&[&["prune"], args].concat());
        let text = |file: &Value, key: &str| file[key].as_str().unwrap_or_default().to_owned();
        let name = |file: &Value| Path::new(&text(file, "file")).file_name().unwrap().to_str().unwrap().to_owned();
        let files = report["files"].as_array().unwrap().iter().filter(|file| !file["reason"].is_null());
        files.map(|file| (name(file), text(file, "reason"), file["removed"] == true)).collect()
    }

    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn a_file_is_told_with_its_model_its_times_and_whether_it_is_in_use() {
    let cache = Cache::new();
    let model = cache.load("Reranker v2");
    let one = |report: Value| report["files"].as_array().unwrap()[0].clone();
    let file = one(cache.report(&["list"]));
    let path = PathBuf::from(file["file"].as_str().unwrap());
    assert!(path.file_name().unwrap().to_str().unwrap().starts_with("reranker-v2-"), "{file}");
    assert_eq!((file["kind"].as_str(), file["in_use"].as_bool()), (Some("weights"), Some(true)));
    let place = fs::canonicalize(cache.models.path().join("Reranker v2")).unwrap();
    assert_eq!(file["model"].as_str(), place.to_str());
    assert_eq!(file["bytes"].as_u64(), Some(fs::metadata(&path).unwrap().len()));
    assert!(file["made_unix_s"].as_u64() <= file["used_unix_s"].as_u64() && file["made_unix_s"].as_u64().is_some());
    let table = String::from_utf8(cache.run(&[]).stdout).unwrap();
    for words in ["reranker-v2-", "made ", "last used ", ", in use", place.to_str().unwrap(), "1 file, "] {
        assert!(table.contains(words), "no '{words}' in:\n{table}");
    }
    drop(model);
    assert_eq!(one(cache.report(&["list"]))["in_use"], false);
}

#[test]
fn what_no_start_can_use_is_pruned_and_what_one_can_stays() {
    let cache = Cache::new();
    drop(cache.load("kept"));
    drop(cache.load("gone"));
    let named =
        |start: &str| cache.names().into_iter().find(|name| name.starts_with(start) && name.ends_with("weights"));
    let (kept, gone) = (named("kept-").unwrap(), named("gone-").unwrap());
    fs::remove_dir_all(cache.models.path().join("gone")).unwrap();
    let good = fs::read(cache.dir.path().join(&kept)).unwrap();
    let mut older = good.clone();
    older[8] = 2;
    cache.put(&format!("{DIGEST}.weights"), &older);
    cache.put(&format!("cut-{DIGEST}.weights"), &good[..good.len() / 2]);
    cache.put(&format!("short-{DIGEST}.weights"), &good[..100]);
    cache.put(&format!("zeros-{DIGEST}.weights"), &[0; 10_000]);
    cache.put(&format!("killed-{DIGEST}.{DIGEST}.unfinished"), b"irnkmake and more");

    let dry = cache.pruned(&["--dry-run"]);
    assert!(dry.iter().all(|(_, _, removed)| !removed));
    let before = cache.names();
    let gone_for_good = cache.pruned(&[]);
    assert_eq!(cache.names().len(), before.len() - 7, "with the lock of one: {before:?} {:?}", cache.names());
    let reasons = |files: &[(String, String, bool)]| -> Vec<(String, String)> {
        files.iter().map(|(name, reason, _)| (name.clone(), reason.clone())).collect()
    };
    assert_eq!(reasons(&dry), reasons(&gone_for_good));
    let expected = [
        (format!("{DIGEST}.weights"), "of another version"),
        (format!("cut-{DIGEST}.weights"), "damaged"),
        (gone, "its model is gone"),
        (format!("killed-{DIGEST}.{DIGEST}.unfinished"), "left over by a start that was killed"),
        (format!("short-{DIGEST}.weights"), "damaged"),
        (format!("zeros-{DIGEST}.weights"), "damaged"),
    ];
    assert_eq!(gone_for_good, expected.map(|(name, reason)| (name, reason.to_owned(), true)));
    assert!(cache.names().contains(&kept));
}

#[test]
fn files_of_others_are_neither_told_of_nor_removed() {
    let cache = Cache::new();
    let good = [&b"irnkpack"[..], &[0; 5000]].concat();
    for (name, bytes) in [
        ("model.safetensors".to_owned(), &good[..]),
        ("model.weights".to_owned(), &good),
        (format!("m-{DIGEST}.weights"), b"somebody's own weights"),
        (format!("m-{DIGEST}.{DIGEST}.unfinished"), b"somebody's own notes"),
        (format!("m-{DIGEST}.lock"), b"with something in it"),
        ("yarn.lock".to_owned(), b""),
    ] {
        cache.put(&name, bytes);
    }
    let elsewhere = tempdir().unwrap();
    fs::write(elsewhere.path().join("packed"), &good).unwrap();
    std::os::unix::fs::symlink(elsewhere.path().join("packed"), cache.dir.path().join(format!("l-{DIGEST}.weights")))
        .unwrap();
    fs::create_dir(cache.dir.path().join(format!("d-{DIGEST}.weights"))).unwrap();
    let before = cache.names();
    assert_eq!(cache.report(&["list"])["files"], Value::Array(Vec::new()));
    assert!(cache.pruned(&["--all"]).is_empty());
    assert_eq!(cache.names(), before);
}

#[test]
fn a_file_that_is_in_use_goes_only_with_all_and_its_process_goes_on() {
    let cache = Cache::new();
    let model = cache.load("m");
    let old = SystemTime::now() - Duration::from_secs(40 * 86_400);
    for name in cache.names() {
        File::options().write(true).open(cache.dir.path().join(name)).unwrap().set_modified(old).unwrap();
    }
    assert!(cache.pruned(&["--older-than", "30d"]).is_empty(), "it is in use");
    let [(_, reason, true)] = &cache.pruned(&["--all"])[..] else { panic!("{:?}", cache.names()) };
    assert!(reason.starts_with("in use: its process keeps it"), "{reason}");
    assert!(cache.names().is_empty(), "{:?}", cache.names());
    // Its time of change was set back above, which nobody does to a file in use.
    drop(model);
}

#[test]
fn what_was_not_used_for_long_goes_when_it_is_asked() {
    let cache = Cache::new();
    drop(cache.load("old"));
    drop(cache.load("new"));
    let age = |start: &str, kind: &str, days: u64| {
        let name = cache.names().into_iter().find(|name| name.starts_with(start) && name.ends_with(kind)).unwrap();
        let file = File::options().write(true).open(cache.dir.path().join(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(days * 86_400)).unwrap();
    };
    // Both were made long ago; one was used lately.
    age("old-", "weights", 90);
    age("new-", "weights", 90);
    age("old-", "lock", 40);
    age("new-", "lock", 3);
    assert!(cache.pruned(&[]).is_empty());
    assert!(cache.pruned(&["--older-than", "8w"]).is_empty());
    let [(name, reason, true)] = &cache.pruned(&["--older-than", "30d"])[..] else { panic!("{:?}", cache.names()) };
    assert!(name.starts_with("old-") && reason.starts_with("not used for 40 days"), "{name}: {reason}");
}

#[test]
fn no_directory_is_no_files_and_no_error() {
    let cache = Cache::new();
    let nowhere = cache.dir.path().join("nowhere");
    let args = ["cache", "prune", "--weight-cache", nowhere.to_str().unwrap()];
    let output = Command::new(env!("CARGO_BIN_EXE_ironrank")).args(args).output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8(output.stdout).unwrap().ends_with(" (there is no such directory)\n0 files, 0.00 GB\n"));
    assert!(!nowhere.exists());
    let file = cache.put("file", b"");
    let args = ["cache", "--weight-cache", file.to_str().unwrap()];
    let output = Command::new(env!("CARGO_BIN_EXE_ironrank")).args(args).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("cannot be read: Not a directory"), "{said}");
}
