//! Scores and hidden states against Hugging Face transformers in float64, in process and through the served binary,
//! and their independence of batch, order, threads and budget.

use crate::support::{Golden, config, goldens, head, write_checkpoint};
use ironrank::batch::Batch;
use ironrank::checkpoint::{Activation, Checkpoint, Overrides};
use ironrank::engine::{BatchLimits, Engine, QueueLimits, Turns};
use ironrank::model::{self, Model, Qwen3};
use ironrank::precision::Precision;
use ironrank::prompt::{Prompt, PromptEncoder, PromptOptions};
use ironrank::rerank;
use ironrank_kernels::{Cpu, Isa, Pool};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

const MAX_MODEL_LEN: usize = 8192;
const TINY: [&str; 3] = ["tiny", "tiny-untied", "tiny-mha"];

static ENCODER: LazyLock<PromptEncoder> = LazyLock::new(|| PromptEncoder::builtin(MAX_MODEL_LEN).unwrap());

/// The synthetic checkpoint of a shape, its weights made as they are read.
fn load(shape: &str, isa: Isa, threads: usize) -> Qwen3 {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), config(shape).to_string()).unwrap();
    let checkpoint = Checkpoint::dummy(Some(dir.path()), &Overrides::new()).unwrap();
    let cpu = Cpu::new(isa, Pool::new(Some(threads), false).unwrap());
    let packed = model::pack(&cpu, &checkpoint, Precision::Exact, None).unwrap();
    Qwen3::load(cpu, &checkpoint, packed, head(&checkpoint), MAX_MODEL_LEN).unwrap()
}

/// The short and the long cases of a shape.
fn cases(shape: &str) -> Vec<Golden> {
    let long = if shape == "0.6b" { Vec::new() } else { goldens(&format!("{shape}-long")) };
    goldens(shape).into_iter().chain(long).collect()
}

fn prompts(cases: &[Golden]) -> Vec<Prompt> {
    // The system prompt and a little more, which is about where a query ends.
    cases
        .iter()
        .map(|case| {
            let (head, tail) = case.token_ids.split_at(case.token_ids.len().min(80) - 1);
            Prompt::new(head.into(), tail)
        })
        .collect()
}

/// What float32 may err: twice PyTorch's own error on the case, and no less than `floor`.
#[track_caller]
fn assert_score(case: &Golden, score: f32, floor: f64, what: &str) {
    let error = (f64::from(score) - case.score).abs();
    let tolerance = floor.max(2.0 * case.float32_score_error);
    assert!(error <= tolerance, "{what}: {score} for '{}', float64 says {}: {error:.1e}", case.query, case.score);
}

fn check_scores(shape: &str, isa: Isa, floor: f64) {
    let mut model = load(shape, isa, 2);
    let cases = cases(shape);
    for case in &cases {
        let options = PromptOptions { instruction: case.instruction.clone(), ..PromptOptions::default() };
        let prompt = ENCODER.encode(&case.query, &case.document, &options).unwrap();
        assert_eq!(*prompt.token_ids(), case.token_ids, "token ids of '{}'", case.query);
    }
    let margins = model.run(Batch::of(&prompts(&cases))).values;
    for (case, margin) in cases.iter().zip(margins) {
        let error = (f64::from(margin) - (case.logit_yes - case.logit_no)).abs();
        let tolerance = (2.0 * case.float32_margin_error).max(4.0 * floor);
        assert!(error <= tolerance, "{shape} on {isa:?}: margin off by {error:.1e} > {tolerance:.1e}");
        assert_score(case, Activation::Sigmoid.of(margin), floor, &format!("{shape} on {isa:?}"));
    }
}

#[test]
fn tiny_models_score_as_in_float64_on_every_isa() {
    for isa in Isa::available() {
        TINY.iter().for_each(|shape| check_scores(shape, isa, 2e-6));
    }
}

#[test]
fn the_0_6b_shape_scores_as_in_float64_on_the_best_isa_and_another() {
    Isa::available().into_iter().take(2).for_each(|isa| check_scores("0.6b", isa, 4e-5));
}

#[test]
fn hidden_states_follow_float64_layer_by_layer() {
    for isa in Isa::available() {
        for shape in TINY {
            let mut model = load(shape, isa, 1);
            for case in goldens(shape) {
                let batch = Batch::of(&prompts(std::slice::from_ref(&case)));
                let want = case.last_token_hidden_states.expect("short tiny goldens carry hidden states");
                let got = model.last_hidden_states(batch).remove(0);
                assert_eq!(got.len(), want.len(), "depths of {shape}");
                for (depth, (got, want)) in got.iter().zip(&want).enumerate() {
                    assert_eq!(got.len(), want.len());
                    let distance = got.iter().zip(want).map(|(&x, y)| (f64::from(x) - y).powi(2)).sum::<f64>().sqrt();
                    let norm = want.iter().map(|y| y * y).sum::<f64>().sqrt();
                    // float32 has 6e-8; the attention of these models amplifies it up to a hundredfold.
                    let limit = if depth == 0 { 0.0 } else { 1e-5 };
                    assert!(
                        distance <= limit * norm,
                        "{shape} on {isa:?}, depth {depth}: off by {:.1e}",
                        distance / norm
                    );
                }
            }
        }
    }
}

#[test]
fn score_does_not_depend_on_neighbours_order_threads_or_batching() {
    for isa in Isa::available() {
        for shape in TINY {
            let prompts = prompts(&cases(shape));
            let mut model = load(shape, isa, 1);
            let alone: Vec<f32> = prompts.iter().map(|prompt| model.run(Batch::of([prompt])).values[0]).collect();
            for threads in [1, 2, 3] {
                let mut model = load(shape, isa, threads);
                let all = model.run(Batch::of(&prompts)).values;
                assert_eq!(all, alone, "{shape} on {isa:?}, {threads} threads, all together");
                let mut reversed = model.run(Batch::of(prompts.iter().rev())).values;
                reversed.reverse();
                assert_eq!(reversed, alone, "{shape} on {isa:?}, {threads} threads, in reverse order");
            }
        }
    }
}

#[tokio::test]
async fn score_does_not_depend_on_the_token_budget_or_the_prefix_cache() {
    let prompts: Vec<Prompt> = prompts(&cases("tiny")).into_iter().cycle().take(40).collect();
    let mut model = load("tiny", Isa::best(), 1);
    let alone: Vec<f32> = prompts.iter().map(|prompt| model.run(Batch::of([prompt])).values[0]).collect();
    for (tokens, sequences, cache) in
        [(1, 9, 0), (64, 9, 1 << 20), (500, 3, 150_000), (2048, 128, 0), (2048, 128, 1 << 30), (1 << 20, usize::MAX, 4)]
    {
        let model = load("tiny", Isa::best(), 2);
        let limits = BatchLimits { tokens, sequences, prefix_cache_bytes: cache, answer_cache_bytes: 0 };
        let engine = Engine::start(Box::new(model), &Turns::default(), limits, QueueLimits::default()).unwrap();
        let margins = async |prompts, priority| -> Vec<f32> {
            engine.answers(prompts, priority).await.unwrap().iter().map(rerank::margin).collect()
        };
        // Two requests at once, so that batches also mix requests, and once more with what the cache has kept.
        for _ in 0..2 {
            let (first, second) = tokio::join!(margins(prompts.clone(), 0), margins(prompts[..7].to_vec(), -1));
            assert_eq!(first, alone, "{tokens} tokens, {sequences} sequences, {cache} bytes");
            assert_eq!(second, alone[..7]);
        }
        let work = engine.work();
        assert_eq!(work.computed_tokens < work.tokens, tokens > 1 || cache > 0, "equal pairs cost nothing: {work:?}");
        assert_eq!(work.cached_tokens > 0, cache > 4, "{work:?}");
        assert!(engine.prefix_cache_bytes() <= cache);
    }
}

#[tokio::test]
async fn a_score_that_was_kept_is_the_one_that_was_computed() {
    let prompts: Vec<Prompt> = prompts(&cases("tiny")).into_iter().take(40).collect();
    let mut model = load("tiny", Isa::best(), 1);
    let alone: Vec<f32> = prompts.iter().map(|prompt| model.run(Batch::of([prompt])).values[0]).collect();
    let limits = BatchLimits { answer_cache_bytes: 1 << 16, ..BatchLimits::default() };
    let engine =
        Engine::start(Box::new(load("tiny", Isa::best(), 2)), &Turns::default(), limits, QueueLimits::default())
            .unwrap();
    // Every third, those and the others, and all of them once more.
    for (every, computed) in [(3, true), (1, true), (1, false)] {
        let before = engine.work();
        let asked: Vec<Prompt> = prompts.iter().step_by(every).cloned().collect();
        let margins: Vec<f32> = engine.answers(asked, 0).await.unwrap().iter().map(rerank::margin).collect();
        assert_eq!(margins, alone.iter().step_by(every).copied().collect::<Vec<f32>>());
        assert_eq!(engine.work().since(&before).tokens > 0, computed);
    }
    assert_eq!(engine.work().answer_hits as usize, prompts.len().div_ceil(3) + prompts.len());
}

/// The binary, serving; killed when dropped.
struct Served {
    process: Child,
    address: String,
}

impl Served {
    fn start(args: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_ironrank"))
            .args(args)
            // Tests leave nothing in the user's cache directory.
            .args(["--host", "127.0.0.1", "--port", "0", "--weight-cache", "off"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = log
            .find_map(|line| Some(line.unwrap().split_once("on http://")?.1.to_owned()))
            .expect("the server says where it listens");
        // Read on, so that a full pipe never stops the server.
        std::thread::spawn(move || log.for_each(drop));
        Self { process, address }
    }

    fn post(&self, path: &str, body: &serde_json::Value) -> serde_json::Value {
        let body = body.to_string();
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        serde_json::from_str(body).unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn check_served(server: &Served, shape: &str, floor: f64) {
    for case in cases(shape) {
        let mut body = serde_json::json!({"query": case.query, "documents": [case.document]});
        if let Some(instruction) = &case.instruction {
            body["instruction"] = instruction.as_str().into();
        }
        let answer = server.post("/v1/rerank", &body);
        assert_eq!(answer["usage"]["total_tokens"], case.token_ids.len(), "usage of '{}'", case.query);
        let score = answer["results"][0]["relevance_score"].as_f64().unwrap();
        assert_score(&case, score as f32, floor, &format!("{shape}, served"));
    }
}

#[test]
fn the_served_binary_scores_as_in_float64() {
    for shape in TINY {
        let dir = tempfile::tempdir().unwrap();
        write_checkpoint(shape, dir.path(), if shape == "tiny" { 1 } else { 3 });
        let server = Served::start(&["serve", dir.path().to_str().unwrap(), "--max-model-len", "8192"]);
        check_served(&server, shape, 2e-6);
    }
}

#[test]
fn the_served_built_in_dummy_is_the_synthetic_0_6b_model() {
    check_served(&Served::start(&["serve", "--max-model-len", "8192"]), "0.6b", 4e-5);
}
