//! Facts that decide what a score means, through the commands: `serve`, `score` and `check` end with one sentence where no
//! score could be right, say one where it may not be, and otherwise score as the files have it.

use crate::support::{self, write_checkpoint};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use std::fs;
use std::io::BufRead;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::OnceLock;
use tempfile::{TempDir, tempdir};

const WEIGHTS: &str = "model.safetensors";
const EMBEDDING: &str = "model.embed_tokens.weight";
/// The tokens of the model card.
const YES: u32 = 9693;
const NO: u32 = 2152;
const HIDDEN: usize = 64;

/// A copy of the synthetic model `tiny` that a test may spoil.
fn model() -> TempDir {
    static MODEL: OnceLock<TempDir> = OnceLock::new();
    let original = MODEL.get_or_init(|| {
        let dir = tempdir().unwrap();
        write_checkpoint("tiny", dir.path(), 1);
        dir
    });
    let copy = tempfile::Builder::new().prefix("tiny-reranker").tempdir().unwrap();
    for file in ["config.json", "tokenizer.json", WEIGHTS] {
        fs::copy(original.path().join(file), copy.path().join(file)).unwrap();
    }
    copy
}

fn set(dir: &Path, key: &str, value: Value) {
    let path = dir.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config[key] = value;
    fs::write(path, config.to_string()).unwrap();
}

fn write(dir: &Path, name: &str, value: &Value) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, value.to_string()).unwrap();
}

/// The bytes of a tensor, in place.
fn spoil(dir: &Path, tensor: &str, change: impl FnOnce(&mut [u8])) {
    let path = dir.join(WEIGHTS);
    let mut file = fs::read(&path).unwrap();
    let range = {
        let data = SafeTensors::deserialize(&file).unwrap().tensor(tensor).unwrap().data().as_ptr_range();
        let start = data.start as usize - file.as_ptr() as usize;
        start..start + (data.end as usize - data.start as usize)
    };
    change(&mut file[range]);
    fs::write(path, file).unwrap();
}

/// The bytes of a token's row.
fn row(id: u32) -> std::ops::Range<usize> {
    let size = 2 * HIDDEN;
    id as usize * size..(id as usize + 1) * size
}

/// Adds an output matrix: the embedding times 2.
fn add_doubled_output(dir: &Path) {
    let path = dir.join(WEIGHTS);
    let file = fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let embedding = tensors.tensor(EMBEDDING).unwrap();
    let doubled: Vec<u8> = embedding
        .data()
        .chunks(2)
        .flat_map(|b| half::bf16::from_f32(2.0 * half::bf16::from_le_bytes([b[0], b[1]]).to_f32()).to_le_bytes())
        .collect();
    let output = TensorView::new(Dtype::BF16, embedding.shape().to_vec(), &doubled).unwrap();
    let all = tensors.tensors().into_iter().chain([("lm_head.weight".to_owned(), output)]);
    safetensors::serialize_to_file(all, None, &path).unwrap();
}

fn logit_score(dir: &Path, yes: u32, no: Option<u32>) {
    let module = |name: &str| format!("sentence_transformers.{name}");
    let chain = json!([
        {"idx": 0, "path": "", "type": module("base.modules.transformer.Transformer")},
        {"idx": 1, "path": "1_LogitScore", "type": module("cross_encoder.modules.logit_score.LogitScore")},
    ]);
    write(dir, "modules.json", &chain);
    write(dir, "1_LogitScore/config.json", &json!({"true_token_id": yes, "false_token_id": no}));
}

fn ironrank(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ironrank")).args(args).output().expect("the program runs")
}

const QUIET: [&str; 4] = ["--weight-cache", "off", "--threads", "1"];

/// What `check` reports.
fn report(dir: &Path, more: &[&str]) -> Value {
    let output = ironrank(&[&["check", dir.to_str().unwrap(), "--json"], &QUIET[..], more].concat());
    serde_json::from_slice(&output.stdout).unwrap_or_else(|err| panic!("{err}: {output:?}"))
}

/// Scores one pair with `score`.
fn run_score(dir: &Path, more: &[&str]) -> (Output, Option<f64>) {
    let files = tempdir().unwrap();
    let input = files.path().join("pairs.jsonl");
    fs::write(&input, json!({"query": "a query", "document": "a document"}).to_string()).unwrap();
    let files = ["--input", input.to_str().unwrap(), "--output", "-"];
    let output = ironrank(&[&["score", dir.to_str().unwrap()], &files[..], &QUIET[..], more].concat());
    let score = serde_json::from_slice::<Value>(&output.stdout).ok().and_then(|row| row["score"].as_f64());
    (output, score)
}

fn score(dir: &Path, more: &[&str]) -> f64 {
    let (output, score) = run_score(dir, more);
    score.unwrap_or_else(|| panic!("no score: {}", String::from_utf8_lossy(&output.stderr)))
}

/// Asserts that all three commands end with a sentence that holds `words`.
fn assert_refused(case: &str, dir: &Path, more: &[&str], words: &[&str]) {
    let found = report(dir, more);
    let problems = found["problems"].as_array().unwrap();
    let holds = |sentence: &str| words.iter().all(|word| sentence.contains(word));
    assert!(problems.iter().any(|it| holds(it.as_str().unwrap())), "{case}: check says {problems:?}");
    assert_eq!(found["loads"], false, "{case}");
    let serve = ["serve", dir.to_str().unwrap(), "--host", "127.0.0.1", "--port", "0"];
    for (command, output) in
        [("score", run_score(dir, more).0), ("serve", ironrank(&[&serve[..], &QUIET[..], more].concat()))]
    {
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && output.stdout.is_empty(), "{case}: {command} went on: {said}");
        let last = said.lines().last().unwrap_or("");
        assert!(last.contains("ERROR") && holds(last), "{case}: {command} says {said}");
    }
}

/// Asserts that the model is served, and that `check` and `score` say a sentence that holds `words`.
fn assert_told(case: &str, dir: &Path, more: &[&str], words: &[&str]) {
    let holds = |sentence: &str| words.iter().all(|word| sentence.contains(word));
    let found = report(dir, more);
    assert_eq!(found["loads"], true, "{case}: {found}");
    let notices = found["notices"].as_array().unwrap();
    assert!(notices.iter().any(|it| holds(it.as_str().unwrap())), "{case}: check says {notices:?}");
    let (output, score) = run_score(dir, more);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(score.is_some(), "{case}: {said}");
    assert!(said.lines().any(|line| line.contains("WARN") && holds(line)), "{case}: score says {said}");
}

const LOGITS: [&str; 2] = ["--pooler-config.use_activation", "false"];

#[test]
fn what_no_right_score_can_come_of_ends_every_command_with_one_sentence() {
    let good = model();
    let turned = &["takes 'no' for the token of a relevant document", "turned round", "[\"no\", \"yes\"]"];
    let swapped = ["--hf-overrides", r#"{"classifier_from_token": ["yes", "no"]}"#];
    assert_refused("swapped tokens", good.path(), &swapped, turned);
    let unknown = ["--hf-overrides", r#"{"classifier_from_token": ["no", "yessss"]}"#];
    assert_refused("an unknown token", good.path(), &unknown, &["no token 'yessss'", "classifier_from_token"]);
    let template = |text| ["--chat-template", text];
    let neither = template("<|im_start|>user\nIs it relevant?<|im_end|>\n{{ bos }}");
    assert_refused("neither text", good.path(), &neither, &["--chat-template shows neither query nor document"]);
    let chat = template("{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}");
    assert_refused("another role", good.path(), &chat, &["neither query nor document", "their roles are"]);
    let query = template("{{ messages[0].content }}");
    assert_refused("no document", good.path(), &query, &["--chat-template shows no document"]);
    let short = ["--max-model-len", "40"];
    assert_refused("too short", good.path(), &short, &["--max-model-len 40 leaves no room", "takes 73 tokens already"]);
    let short = [
        "--max-model-len",
        "9",
        "--chat-template",
        "{{ messages[0].content }} {{ messages[1].content }} one two three four five six seven eight nine",
    ];
    assert_refused("too short for the template", good.path(), &short, &["--max-model-len 9 leaves no room"]);

    for (case, yes, no, words) in [
        ("swapped ids", NO, Some(YES), &turned[..2]),
        ("beyond", YES, Some(151_669), &["151669", "beyond", "1_LogitScore/config.json"]),
    ] {
        let dir = model();
        logit_score(dir.path(), yes, no);
        assert_refused(case, dir.path(), &[], words);
    }
    let dir = model();
    set(dir.path(), "sbert_ce_default_activation_function", json!("torch.nn.modules.activation.GELU"));
    assert_refused("an activation", dir.path(), &[], &["sbert_ce_default_activation_function", "GELU"]);
    let dir = model();
    spoil(dir.path(), "model.layers.1.mlp.up_proj.weight", |bytes| bytes.fill(0));
    assert_refused("zeros", dir.path(), &[], &["nothing but zeros in tensor model.layers.1.mlp.up_proj.weight"]);
    let dir = model();
    let length = fs::metadata(dir.path().join(WEIGHTS)).unwrap().len();
    let file = fs::OpenOptions::new().write(true).open(dir.path().join(WEIGHTS)).unwrap();
    file.set_len(length / 2).unwrap();
    file.set_len(length).unwrap();
    assert_refused("a sparse tail", dir.path(), &[], &[WEIGHTS, "nothing but zeros", "fetch it again"]);
    let dir = model();
    spoil(dir.path(), EMBEDDING, |bytes| {
        bytes[row(YES)].fill(0);
        bytes[row(NO)].fill(0);
    });
    assert_refused("an empty head", dir.path(), &[], &["The head", "is zero", "the same score"]);
    let dir = model();
    spoil(dir.path(), EMBEDDING, |bytes| bytes[row(YES)][..2].copy_from_slice(&[0xC0, 0x7F]));
    assert_refused("a head without numbers", dir.path(), &[], &["The head", "NaN or infinity"]);
}

#[test]
fn a_number_that_is_none_is_found_wherever_it_is_when_its_matrix_is_packed() {
    let mut config = support::config("tiny");
    config["intermediate_size"] = 2000.into();
    let dir = tempfile::Builder::new().prefix("reranker").tempdir().unwrap();
    support::write_checkpoint_of(&config, dir.path(), 1);
    let usual = score(dir.path(), &LOGITS);
    assert!(usual.is_finite());
    for (tensor, bits) in [("mlp.gate_proj", 0x7FC0u16), ("mlp.up_proj", 0xFF80), ("mlp.down_proj", 0x7F80)] {
        let name = format!("model.layers.1.{tensor}.weight");
        let mut before = Vec::new();
        spoil(dir.path(), &name, |bytes| {
            let at = bytes.len() / 4;
            before = bytes.to_vec();
            bytes[at..at + 2].copy_from_slice(&bits.to_le_bytes());
        });
        let (output, _) = run_score(dir.path(), &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && output.stdout.is_empty(), "{tensor}: {said}");
        assert!(said.contains("NaN or infinity in a matrix of layer 1"), "{tensor}: {said}");
        spoil(dir.path(), &name, |bytes| bytes.copy_from_slice(&before));
    }
    assert_eq!(score(dir.path(), &LOGITS), usual);
}

#[test]
fn made_up_weights_are_told_of_in_the_line_that_says_ready() {
    let dir = model();
    let serve = ["serve", dir.path().to_str().unwrap(), "--load-format", "dummy", "--host", "127.0.0.1", "--port", "0"];
    for (task, says) in [
        ("rerank", "(made-up weights: scores carry no meaning)"),
        ("embed", "(made-up weights: vectors carry no meaning)"),
    ] {
        let mut server = Command::new(env!("CARGO_BIN_EXE_ironrank"))
            .args(serve)
            .args(["--task", task])
            .args(QUIET)
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("the program runs");
        let lines = std::io::BufReader::new(server.stderr.take().unwrap()).lines().map_while(Result::ok);
        let ready = lines.into_iter().find(|line| line.contains("ready: serving") || line.contains("ERROR"));
        server.kill().unwrap();
        server.wait().unwrap();
        let ready = ready.expect("a line");
        assert!(ready.contains("ready: serving") && ready.contains(says), "{ready}");
    }
}

#[test]
fn a_template_that_fails_is_told_of_at_start() {
    let fails = ["--chat-template", "{{ today() }}{{ messages[0].content }}{{ messages[1].content }}"];
    let found = report(model().path(), &fails);
    let notice = found["notices"][0].as_str().unwrap_or_default();
    assert!(notice.starts_with("Tried at start with two words: ") && notice.contains("today is unknown"), "{found}");
}

#[test]
fn what_may_not_be_as_it_was_meant_is_said_and_served() {
    let dir = model();
    let document = ["--chat-template", "{{ messages[1].content }}"];
    assert_told("no query", dir.path(), &document, &["--chat-template does not show the query"]);
    add_doubled_output(dir.path());
    assert_told("a stored head", dir.path(), &[], &["lm_head.weight is stored and differs", "as transformers does"]);
    let dir = model();
    logit_score(dir.path(), 9454, None);
    assert_told("other tokens", dir.path(), &[], &["other tokens than yes and no", "--chat-template"]);
    let dir = model();
    let own = json!({"model_type": "CrossEncoder", "default_prompt_name": "q", "prompts": {"q": "Find laws."}});
    write(dir.path(), "config_sentence_transformers.json", &own);
    assert_told("an instruction", dir.path(), &[], &["Find laws.", "--instruction"]);
    assert_eq!(report(dir.path(), &["--instruction", "Find laws."])["notices"], json!([]));
    let plain = tempdir().unwrap();
    for file in ["config.json", "tokenizer.json", WEIGHTS] {
        fs::copy(dir.path().join(file), plain.path().join(file)).unwrap();
    }
    assert_told(
        "a model without a name",
        plain.path(),
        &[],
        &["says that it is a reranker", "is_original_qwen3_reranker"],
    );
    assert_eq!(report(plain.path(), &["--hf-overrides.is_original_qwen3_reranker", "true"])["notices"], json!([]));
}

#[test]
fn scores_are_made_of_the_head_and_the_activation_that_the_files_name() {
    let dir = model();
    let head = |dir: &Path| report(dir, &[])["head"].as_str().unwrap().to_owned();
    let (logit, usual) = (score(dir.path(), &LOGITS), score(dir.path(), &[]));
    let near =
        |case: &str, got: f64, expected: f64| assert!((got - expected).abs() < 1e-5, "{case}: {got}, not {expected}");
    near("sigmoid", usual, 1.0 / (1.0 + (-logit).exp()));
    assert_eq!(
        head(dir.path()),
        "sigmoid of logit of 'yes' (9693) minus logit of 'no' (2152), named by the model card"
    );

    set(dir.path(), "problem_type", json!("regression"));
    near("regression", score(dir.path(), &[]), logit);
    assert!(head(dir.path()).starts_with("raw, logit of 'yes'"), "{}", head(dir.path()));
    // What the operator says of the activation is whether it is used.
    near("regression and activation", score(dir.path(), &["--pooler-config.use_activation", "true"]), logit);
    set(dir.path(), "problem_type", json!(null));
    set(dir.path(), "sentence_transformers", json!({"activation_fn": "torch.nn.modules.activation.Tanh"}));
    near("tanh", score(dir.path(), &[]), logit.tanh());
    near("tanh without it", score(dir.path(), &LOGITS), logit);
    set(dir.path(), "sentence_transformers", json!(null));

    logit_score(dir.path(), YES, Some(NO));
    assert_eq!(score(dir.path(), &[]), usual);
    assert!(head(dir.path()).ends_with("1_LogitScore/config.json"), "{}", head(dir.path()));
    logit_score(dir.path(), YES, None);
    let yes = score(dir.path(), &LOGITS);
    logit_score(dir.path(), NO, None);
    let no = score(dir.path(), &LOGITS);
    near("two logits", yes - no, logit);
    let named = ["--hf-overrides", r#"{"classifier_from_token": ["no", "yes"]}"#];
    near("named over LogitScore", score(dir.path(), &[&LOGITS[..], &named[..]].concat()), logit);

    let dir = model();
    add_doubled_output(dir.path());
    near("the stored head", score(dir.path(), &LOGITS), 2.0 * logit);
}
