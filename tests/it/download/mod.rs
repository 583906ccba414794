//! `ironrank download` against a hub of the test's own, which is slow, cut, wrong, busy or closed as it is told.

mod hub;
mod refused;
use crate::support;
use hub::{COMMIT, Fault, Hub, Seen};
use ironrank::download;
use ironrank::error::Result;
use ironrank::options::{DEFAULT_PATIENCE, DownloadOptions, LogFormat, LogOptions, Patience, Token};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::{TempDir, tempdir};

const WEIGHTS: &str = "model.safetensors";
const SIZE: usize = 700_000;

/// Waits for nothing that a test does not ask for.
const IMPATIENT: Patience = Patience { tries: 3, first_wait: Duration::ZERO, ..DEFAULT_PATIENCE };

/// Bytes without a pattern.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    (0..SIZE).map(|_| next()).collect()
}

/// The files of a model in one piece, as `files` borrows them.
struct Model {
    config: Vec<u8>,
    weights: Vec<u8>,
}

impl Model {
    fn new() -> Self {
        Self { config: support::config("tiny").to_string().into_bytes(), weights: noise(1) }
    }

    fn files(&self) -> Vec<(&str, &[u8])> {
        let files: [(&str, &[u8]); 9] = [
            ("README.md", b"# Not for a server"),
            ("config.json", &self.config),
            ("generation_config.json", b"{}"),
            ("onnx/model.safetensors", b"another model"),
            ("pytorch_model.bin", b"pickled"),
            ("tokenizer.json", b"{\"version\": \"1.0\"}"),
            ("tokenizer_config.json", b"{}"),
            ("vocab.json", b"{}"),
            (WEIGHTS, &self.weights),
        ];
        files.to_vec()
    }
}

fn options(hub: &Hub, dir: &Path) -> DownloadOptions {
    DownloadOptions {
        repo: "Org/Model".to_owned(),
        revision: "main".to_owned(),
        dir: dir.to_owned(),
        endpoint: format!("http://127.0.0.1:{}", hub.port),
        token: None,
        proxy: None,
        no_proxy: Vec::new(),
        authorities: None,
        patience: IMPATIENT,
        log: LogOptions { filter: "off".to_owned(), format: LogFormat::Text, colours: false, notices: Vec::new() },
    }
}

/// A place for a model that is not there yet.
fn place() -> (TempDir, PathBuf) {
    let temporary = tempdir().unwrap();
    let dir = temporary.path().join("models/m");
    (temporary, dir)
}

fn fetched(hub: &Hub, dir: &Path) -> Result<PathBuf> {
    download::run(&options(hub, dir))
}

/// Names in a directory, in order.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// What was sent of the weights, and from where each request asked for them.
fn weights_of(hub: &Hub) -> (usize, Vec<Option<String>>) {
    let seen = hub.seen(WEIGHTS);
    (seen.iter().map(|seen| seen.sent).sum(), seen.into_iter().map(|seen| seen.range).collect())
}

fn from(byte: usize) -> Option<String> {
    Some(format!("bytes={byte}-"))
}

#[test]
fn checksums_are_those_of_git_and_of_sha256sum() {
    assert_eq!(hub::git_sha1(b"hello\n"), "ce013625030ba8dba906f756967f9e9ca394464a");
    assert_eq!(hub::sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

#[test]
fn what_the_server_needs_is_fetched_and_nothing_else() {
    let (model, (_temporary, dir)) = (Model::new(), place());
    let hub = Hub::with(&model.files());
    assert_eq!(fetched(&hub, &dir).unwrap(), dir);
    assert_eq!(names(&dir), ["config.json", WEIGHTS, "tokenizer.json", "tokenizer_config.json"]);
    assert_eq!(fs::read(dir.join(WEIGHTS)).unwrap(), model.weights);
    assert_eq!(fs::read(dir.join("config.json")).unwrap(), model.config);
    let asked: Vec<String> = hub.seen("").into_iter().map(|seen| seen.path).collect();
    assert_eq!(asked[0], "/api/models/Org/Model/revision/main?blobs=true");
    // The branch may move on while files are fetched; the commit does not.
    assert!(asked[1..].iter().all(|path| path.starts_with(&format!("/Org/Model/resolve/{COMMIT}/"))), "{asked:?}");
    assert!(asked.last().unwrap().ends_with(WEIGHTS), "{asked:?}");
}

#[test]
fn the_files_that_tell_of_the_task_come_too_into_directories_of_their_own() {
    let (model, (_temporary, dir)) = (Model::new(), place());
    let chain = json!([{"path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"},
        {"path": "1_LogitScore", "type": "sentence_transformers.cross_encoder.modules.logit_score.LogitScore"}]);
    let chain = chain.to_string();
    let head = br#"{"true_token_id": 7}"#;
    let mut files = model.files();
    files.extend([
        ("modules.json", chain.as_bytes()),
        ("1_LogitScore/config.json", &head[..]),
        ("1_LogitScore/notes.txt", b"none"),
        ("deep/1_LogitScore/config.json", b"none"),
        ("config_sentence_transformers.json", b"{}"),
        ("chat_template.jinja", b"{{ messages[0].content }}"),
    ]);
    for round in ["the first", "again"] {
        fetched(&Hub::with(&files), &dir).unwrap();
        let there =
            ["1_LogitScore", "chat_template.jinja", "config.json", "config_sentence_transformers.json", WEIGHTS];
        assert_eq!(names(&dir), [&there[..], &["modules.json", "tokenizer.json", "tokenizer_config.json"]].concat());
        assert_eq!(names(&dir.join("1_LogitScore")), ["config.json"], "{round}");
        assert_eq!(fs::read(dir.join("1_LogitScore/config.json")).unwrap(), head);
    }
    // Those of another revision would change what scores are made of.
    let sentence = fetched(&Hub::with(&model.files()), &dir).expect_err("another revision").to_string();
    assert!(sentence.contains("holds a modules.json, which Org/Model does not have"), "{sentence}");
}

#[test]
fn the_index_is_what_counts_where_there_is_a_single_file_too() {
    let (model, (_temporary, dir)) = (Model::new(), place());
    let mut files = model.files();
    files.extend([
        ("model.safetensors.index.json", &br#"{"weight_map": {"a": "a.safetensors"}}"#[..]),
        ("a.safetensors", &b"x"[..]),
    ]);
    fetched(&Hub::with(&files), &dir).unwrap();
    assert!(dir.join("a.safetensors").exists() && !dir.join(WEIGHTS).exists(), "{:?}", names(&dir));
}

#[test]
fn a_second_run_fetches_only_what_is_missing_or_wrong() {
    let (model, (_temporary, dir)) = (Model::new(), place());
    let hub = Hub::with(&model.files());
    fetched(&hub, &dir).unwrap();
    let before = hub.seen("").len();
    fetched(&hub, &dir).unwrap();
    assert_eq!(hub.seen("").len(), before + 1, "the listing alone");

    // The same length, one byte wrong; and one file gone.
    let mut damaged = model.weights.clone();
    damaged[SIZE / 2] ^= 1;
    fs::write(dir.join(WEIGHTS), damaged).unwrap();
    fs::remove_file(dir.join("tokenizer.json")).unwrap();
    fetched(&hub, &dir).unwrap();
    let asked: Vec<String> = hub.seen("/resolve/").into_iter().map(|seen| seen.path).skip(4).collect();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked[0].ends_with("/tokenizer.json") && asked[1].ends_with(WEIGHTS));
    assert_eq!(fs::read(dir.join(WEIGHTS)).unwrap(), model.weights);
    assert_eq!(names(&dir).len(), 4);
}

#[test]
fn a_file_that_is_cut_goes_on_where_it_was_cut() {
    let (model, (_temporary, dir)) = (Model::new(), place());
    let cuts = [Fault::CutAt(100_000), Fault::CutAt(300_001)];
    let hub = Hub::with(&model.files()).faulty(WEIGHTS, &cuts);
    fetched(&hub, &dir).unwrap();
    // Not a byte comes twice.
    assert_eq!(weights_of(&hub), (SIZE, vec![None, from(100_000), from(300_001)]));
    assert_eq!(fs::read(dir.join(WEIGHTS)).unwrap(), model.weights);
}

#[test]
fn a_run_that_is_cut_looks_incomplete_and_the_next_one_goes_on() {
    let (model, (_temporary, dir)) = (Model::new(), place());
    let hub = Hub::with(&model.files()).faulty(WEIGHTS, &[Fault::CutAt(250_000)]);
    let once = DownloadOptions { patience: Patience { tries: 1, ..IMPATIENT }, ..options(&hub, &dir) };
    let said = download::run(&once).expect_err("cut").to_string();
    assert!(said.contains("was cut at 250000 of 700000 bytes") && said.contains("goes on where this one"), "{said}");
    assert_eq!(names(&dir), [".download"], "nothing has a name that a server looks for");
    download::run(&once).unwrap();
    assert_eq!(weights_of(&hub), (SIZE, vec![None, from(250_000)]));
    assert_eq!(hub.seen("config.json").len(), 2, "config.json and tokenizer_config.json, once each");
    assert_eq!(names(&dir).len(), 4);
}

#[test]
fn a_part_that_was_damaged_on_disk_is_fetched_anew() {
    let (model, (_temporary, dir)) = (Model::new(), place());
    let hub = Hub::with(&model.files()).faulty(WEIGHTS, &[Fault::CutAt(250_000)]);
    let once = DownloadOptions { patience: Patience { tries: 1, ..IMPATIENT }, ..options(&hub, &dir) };
    download::run(&once).expect_err("cut");
    let part = dir.join(format!(".download/{WEIGHTS}.{}.part", hub::sha256(&model.weights)));
    let mut bytes = fs::read(&part).unwrap();
    assert_eq!(bytes.len(), 250_000);
    bytes[7] ^= 1;
    fs::write(&part, bytes).unwrap();
    download::run(&once).unwrap();
    assert_eq!(weights_of(&hub).1, [None, from(250_000), None]);
    assert_eq!(fs::read(dir.join(WEIGHTS)).unwrap(), model.weights);
}

#[test]
fn a_server_that_falls_silent_is_asked_again() {
    let (model, (_temporary, dir)) = (Model::new(), place());
    let hub = Hub::with(&model.files()).faulty(WEIGHTS, &[Fault::HangAt(400_000)]);
    let patience = Patience { silence: Duration::from_secs(2), ..IMPATIENT };
    download::run(&DownloadOptions { patience, ..options(&hub, &dir) }).unwrap();
    assert_eq!(weights_of(&hub), (SIZE, vec![None, from(400_000)]));
}

#[test]
fn a_server_without_ranges_sends_all_again_and_it_is_right() {
    let (model, (_temporary, dir)) = (Model::new(), place());
    let hub = Hub::with(&model.files()).faulty(WEIGHTS, &[Fault::CutAt(100_000), Fault::Whole]);
    fetched(&hub, &dir).unwrap();
    assert_eq!(weights_of(&hub), (SIZE + 100_000, vec![None, from(100_000)]));
    assert_eq!(fs::read(dir.join(WEIGHTS)).unwrap(), model.weights);
}

#[test]
fn a_flipped_byte_is_noticed_and_the_file_fetched_anew() {
    let (model, (_temporary, dir)) = (Model::new(), place());
    // The first byte of a small file, which has git's checksum, and one of the weights.
    let hub =
        Hub::with(&model.files()).faulty("/config.json", &[Fault::Flip(0)]).faulty(WEIGHTS, &[Fault::Flip(650_000)]);
    fetched(&hub, &dir).unwrap();
    assert_eq!(weights_of(&hub), (2 * SIZE, vec![None, None]));
    assert_eq!(fs::read(dir.join(WEIGHTS)).unwrap(), model.weights);
    assert_eq!(fs::read(dir.join("config.json")).unwrap(), model.config);
}

#[test]
fn a_busy_hub_is_given_the_time_it_asks_for() {
    let (model, (_temporary, dir)) = (Model::new(), place());
    let busy = [Fault::Status(429, &[("retry-after", "1")]), Fault::Status(429, &[("ratelimit", "\"api\";r=0;t=0")])];
    let hub = Hub::with(&model.files()).faulty("/api/models/", &busy);
    let start = Instant::now();
    fetched(&hub, &dir).unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(hub.seen("/api/models/").len(), 3);
}

#[test]
fn an_error_of_the_server_that_passes_is_no_error() {
    let (model, (_temporary, dir)) = (Model::new(), place());
    let faults = [Fault::Status(500, &[]), Fault::CutAt(10), Fault::Status(503, &[])];
    let hub = Hub::with(&model.files()).faulty(WEIGHTS, &faults).faulty("/api/models/", &[Fault::Status(504, &[])]);
    fetched(&hub, &dir).unwrap();
    assert_eq!(weights_of(&hub), (SIZE, vec![None, None, from(10), from(10)]));
}

#[test]
fn the_token_goes_to_the_hub_and_not_to_where_it_redirects() {
    let (model, (_temporary, dir)) = (Model::new(), place());
    // Another name of this machine is another host.
    let cdn = Hub::with(&model.files()).faulty("/cdn/", &[Fault::CutAt(5000)]);
    let away = Fault::To(format!("http://localhost:{}/cdn/{WEIGHTS}?signature=s", cdn.port));
    let near = Fault::To(format!("/api/resolve-cache/models/Org/Model/{COMMIT}/tokenizer.json"));
    let hub = Hub::with(&model.files()).faulty(WEIGHTS, &[away.clone(), away]).faulty("/tokenizer.json", &[near]);
    let options = DownloadOptions { token: Some(Token("hf_secret".to_owned())), ..options(&hub, &dir) };
    download::run(&options).unwrap();
    let authorized = |seen: &Seen| seen.authorization.as_deref() == Some("Bearer hf_secret");
    assert!(hub.seen("").iter().all(authorized), "{:?}", hub.seen(""));
    let away = cdn.seen("/cdn/");
    assert!(away.iter().all(|seen| seen.authorization.is_none() && seen.host.starts_with("localhost:")), "{away:?}");
    assert_eq!(away.iter().map(|seen| seen.range.clone()).collect::<Vec<_>>(), [None, from(5000)]);
    assert_eq!(fs::read(dir.join(WEIGHTS)).unwrap(), model.weights);
}

#[test]
fn a_mirror_may_stand_below_a_path_and_a_revision_may_be_a_path() {
    let (model, (_temporary, dir)) = (Model::new(), place());
    let hub = Hub::with(&model.files());
    let endpoint = format!("http://127.0.0.1:{}/proxy/hub", hub.port);
    download::run(&DownloadOptions { endpoint, revision: "refs/pr/1".to_owned(), ..options(&hub, &dir) }).unwrap();
    let asked: Vec<String> = hub.seen("").into_iter().map(|seen| seen.path).collect();
    assert_eq!(asked[0], "/proxy/hub/api/models/Org/Model/revision/refs%2Fpr%2F1?blobs=true");
    assert!(asked[1..].iter().all(|path| path.starts_with("/proxy/hub/Org/Model/resolve/")), "{asked:?}");
}

#[test]
fn a_proxy_stands_between_unless_the_host_is_excepted() {
    let (model, (_temporary, dir)) = (Model::new(), place());
    let hub = Hub::with(&model.files());
    let by = |proxy: u16, endpoint: String, no_proxy: &[&str]| DownloadOptions {
        endpoint,
        proxy: Some(format!("http://user:secret@127.0.0.1:{proxy}")),
        no_proxy: no_proxy.iter().map(|&host| host.to_owned()).collect(),
        ..options(&hub, &dir)
    };
    // The name means nothing here, and need not: the proxy is asked for it.
    download::run(&by(hub.port, "http://hub.invalid".to_owned(), &["127.0.0.1"])).unwrap();
    assert!(!hub.seen("CONNECT hub.invalid:80").is_empty(), "{:?}", hub.seen(""));
    let (nobody, direct) = (hub::free_port(), options(&hub, &dir).endpoint);
    download::run(&by(nobody, direct.clone(), &["example.org", "127.0.0.1"])).unwrap();
    let said = download::run(&by(nobody, direct, &["example.org"])).expect_err("no proxy").to_string();
    assert!(said.contains(&format!("by the proxy 127.0.0.1:{nobody}")) && !said.contains("secret"), "{said}");
}

#[test]
fn shards_are_those_that_the_index_names() {
    let (model, (_temporary, dir)) = (Model::new(), place());
    let index = br#"{"metadata": {}, "weight_map": {"a": "model-2.safetensors", "b": "model-1.safetensors", "c": "model-2.safetensors"}}"#;
    let mut files = model.files();
    files.pop();
    files.extend([
        ("model-1.safetensors", &model.weights[..1000]),
        ("model-2.safetensors", &model.weights[1000..]),
        ("adapter.safetensors", &b"of another program"[..]),
        ("model.safetensors.index.json", &index[..]),
    ]);
    let hub = Hub::with(&files).faulty("model-2", &[Fault::CutAt(500)]);
    fetched(&hub, &dir).unwrap();
    let index = "model.safetensors.index.json";
    let expected =
        ["config.json", "model-1.safetensors", "model-2.safetensors", index, "tokenizer.json", "tokenizer_config.json"];
    assert_eq!(names(&dir), expected);
    assert_eq!(fs::read(dir.join("model-2.safetensors")).unwrap(), model.weights[1000..]);
}

#[test]
fn files_with_the_same_bytes_are_each_there() {
    let (model, (_temporary, dir)) = (Model::new(), place());
    let index = br#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;
    let mut files = model.files();
    files.pop();
    files.extend([
        ("model-1.safetensors", &model.weights[..1000]),
        ("model-2.safetensors", &model.weights[..1000]),
        ("model.safetensors.index.json", &index[..]),
    ]);
    fetched(&Hub::with(&files), &dir).unwrap();
    for name in ["model-1.safetensors", "model-2.safetensors"] {
        assert_eq!(fs::read(dir.join(name)).unwrap(), model.weights[..1000], "{name}");
    }
}

#[test]
fn another_revision_takes_the_place_of_the_first_as_a_whole() {
    let (model, (_temporary, dir)) = (Model::new(), place());
    let hub = Hub::with(&model.files());
    fetched(&hub, &dir).unwrap();
    let (newer, mut config) = (noise(2), model.config.clone());
    config.push(b'\n');
    let mut files = model.files();
    files.retain(|(name, _)| ![WEIGHTS, "config.json"].contains(name));
    files.extend([(WEIGHTS, &newer[..]), ("config.json", &config[..])]);
    hub.replace(&files);
    let hub = hub.faulty(WEIGHTS, &[Fault::CutAt(9), Fault::Status(404, &[])]);
    fetched(&hub, &dir).expect_err("cut");
    assert_eq!(fs::read(dir.join(WEIGHTS)).unwrap(), model.weights, "the first stays whole until the second is");
    assert_eq!(fs::read(dir.join("config.json")).unwrap(), model.config);
    fetched(&hub, &dir).unwrap();
    assert_eq!(fs::read(dir.join(WEIGHTS)).unwrap(), newer);
    assert_eq!(fs::read(dir.join("config.json")).unwrap(), config);
    assert_eq!(names(&dir).len(), 4);
}

#[test]
fn the_command_prints_the_directory_and_keeps_the_token_to_itself() {
    let (model, temporary) = (Model::new(), tempdir().unwrap());
    let hub = Hub::with(&model.files());
    let run = |more: &[(&str, &str)]| {
        std::process::Command::new(env!("CARGO_BIN_EXE_ironrank"))
            .args(["download", "Org/Model"])
            .current_dir(temporary.path())
            .env_clear()
            .env("HF_ENDPOINT", format!("http://127.0.0.1:{}/", hub.port))
            .env("HF_TOKEN", "hf_secret")
            .envs(more.iter().copied())
            .output()
            .unwrap()
    };
    let offline = run(&[("HF_HUB_OFFLINE", "1")]);
    assert_eq!(offline.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&offline.stderr).contains("HF_HUB_OFFLINE=1 forbids the network"));
    assert!(hub.seen("").is_empty());

    // Neither level opens what the HTTP client says of the bytes on the wire.
    for filter in ["trace", "info,ureq=trace,ureq::run=trace,ureq_proto=trace,ureq_proto::util=trace"] {
        let said = String::from_utf8(run(&[("RUST_LOG", filter)]).stderr).unwrap();
        assert!(said.contains("DEBUG") && !said.contains("TRACE ureq") && !said.contains("hf_secret"), "{said}");
    }
    for env in [&[][..], &[("VLLM_LOGGING_LEVEL", "WARNING")], &[("RUST_LOG", "error")]] {
        fs::remove_dir_all(temporary.path().join("Model")).unwrap();
        let said = String::from_utf8(run(env).stderr).unwrap();
        assert!(!said.contains("DEBUG") && !said.contains("TRACE") && said.is_empty() != env.is_empty(), "{said}");
    }

    fs::remove_dir_all(temporary.path().join("Model")).unwrap();
    let output = run(&[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "Model\n");
    assert_eq!(fs::read(temporary.path().join("Model").join(WEIGHTS)).unwrap(), model.weights);
    assert!(said.contains(WEIGHTS) && said.contains(&COMMIT[..12]), "{said}");
    assert!(said.contains("`ironrank check Model`"), "{said}");
    assert!(!said.contains("hf_secret"), "{said}");
    assert!(hub.seen("").iter().all(|seen| seen.authorization.as_deref() == Some("Bearer hf_secret")));
}
