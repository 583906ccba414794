//! Vectors against Hugging Face transformers in float64, their independence of all that is no part of a text, and what the
//! program says of an embedding model.

use crate::support::{golden_vectors, process, tokenizer_json, write_calm_embedder, write_embedder};
use ironrank::batch::Batch;
use ironrank::checkpoint::{Checkpoint, Overrides};
use ironrank::embed;
use ironrank::engine::{BatchLimits, Engine, QueueLimits, Turns};
use ironrank::model::{self, Head, Model};
use ironrank::precision::Precision;
use ironrank::prompt::{Prompt, TextEncoder, TextOptions};
use ironrank_kernels::{Cpu, Isa, Pool};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::LazyLock;
use tempfile::TempDir;

fn dir(write: fn(&Path)) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    dir
}

static TINY: LazyLock<TempDir> = LazyLock::new(|| dir(write_embedder));
static CALM: LazyLock<TempDir> = LazyLock::new(|| dir(write_calm_embedder));

fn load(dir: &TempDir, precision: Precision, isa: Isa, threads: usize) -> Box<dyn Model> {
    let checkpoint = Checkpoint::open(dir.path(), &Overrides::new()).unwrap();
    let cpu = Cpu::new(isa, Pool::new(Some(threads), false).unwrap());
    let packed = model::pack(&cpu, &checkpoint, precision, None).unwrap();
    model::load(cpu, &checkpoint, packed, Head::State, 4096).unwrap()
}

/// The prompts of the goldens, and more that share beginnings with them.
fn prompts() -> Vec<Prompt> {
    let ids: Vec<Vec<u32>> = golden_vectors().into_iter().map(|golden| golden.token_ids).collect();
    let starts = ids.iter().filter(|ids| ids.len() > 20).map(|ids| ids[..17].to_vec());
    ids.iter().cloned().chain(starts).map(Prompt::from).collect()
}

fn states(model: &mut dyn Model, prompts: &[Prompt]) -> Vec<Vec<f32>> {
    model.run(Batch::of(prompts)).iter().map(<[f32]>::to_vec).collect()
}

fn length(vector: &[f32]) -> f64 {
    vector.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt()
}

/// The first `dimensions` numbers of a golden, brought to length 1.
fn sliced(vector: &[f64], dimensions: usize) -> Vec<f64> {
    let length = vector[..dimensions].iter().map(|x| x * x).sum::<f64>().sqrt();
    vector[..dimensions].iter().map(|x| x / length).collect()
}

#[test]
fn vectors_are_those_of_float64_on_every_isa() {
    let goldens = golden_vectors();
    let encoder = TextEncoder::open(TINY.path(), 4096, BTreeMap::new()).unwrap();
    let options = TextOptions::default();
    let prompts: Vec<Prompt> =
        goldens.iter().map(|golden| encoder.behind("", &options).unwrap().prompt(&golden.text).unwrap().0).collect();
    for (golden, prompt) in goldens.iter().zip(&prompts) {
        assert_eq!(*prompt.token_ids(), golden.token_ids, "{}", golden.text);
    }
    for isa in Isa::available() {
        let mut model = load(&TINY, Precision::Exact, isa, 2);
        assert_eq!(model.width(), 64);
        for (golden, state) in goldens.iter().zip(states(&mut *model, &prompts)) {
            // All of it, and a slice as Matryoshka's models allow.
            for dimensions in [None, Some(64), Some(32), Some(1)] {
                let vector = embed::vector(&state, dimensions, true);
                let want = sliced(&golden.embedding, dimensions.unwrap_or(64));
                assert_eq!(vector.len(), want.len());
                let off =
                    vector.iter().zip(&want).map(|(&got, want)| (f64::from(got) - want).abs()).fold(0.0, f64::max);
                // A slice is longer again for having been cut.
                let limit = 3e-6 * if vector.len() == 64 { 1.0 } else { 2.0 };
                assert!(off <= limit, "'{}' on {isa:?}, {dimensions:?}: off by {off:.1e}", golden.text);
                assert!((length(&vector) - 1.0).abs() <= 1e-6, "{}", length(&vector));
            }
            assert!(length(&state) > 2.0, "a state is what the final norm makes it");
        }
    }
}

#[test]
fn a_vector_does_not_depend_on_neighbours_order_or_threads() {
    let prompts = prompts();
    for isa in Isa::variants() {
        for precision in [Precision::Exact, Precision::Int16, Precision::Int8] {
            let mut model = load(&CALM, precision, isa.same_bits(), 1);
            let alone: Vec<Vec<f32>> =
                prompts.iter().map(|prompt| states(&mut *model, std::slice::from_ref(prompt)).remove(0)).collect();
            for threads in [1, 3] {
                let mut model = load(&CALM, precision, isa, threads);
                let what = format!("{precision:?} on {}, {threads} threads", isa.name());
                assert_eq!(states(&mut *model, &prompts), alone, "{what}");
                let mut reversed: Vec<Prompt> = prompts.clone();
                reversed.reverse();
                let mut reversed = states(&mut *model, &reversed);
                reversed.reverse();
                assert_eq!(reversed, alone, "{what}, in reverse order");
            }
        }
    }
}

#[tokio::test]
async fn a_vector_does_not_depend_on_the_token_budget_the_prefix_cache_or_the_answer_cache() {
    let prompts: Vec<Prompt> = prompts().into_iter().cycle().take(40).collect();
    // Some share what precedes their own, as texts behind an instruction do.
    let headed = |prompt: &Prompt| {
        let ids = prompt.token_ids().into_owned();
        let (head, tail) = ids.split_at(ids.len().min(18) - 1);
        Prompt::new(head.into(), tail)
    };
    let prompts: Vec<Prompt> = prompts.iter().map(headed).collect();
    let mut model = load(&TINY, Precision::Exact, Isa::best(), 1);
    let alone: Vec<Vec<f32>> =
        prompts.iter().map(|prompt| states(&mut *model, std::slice::from_ref(prompt)).remove(0)).collect();
    for (tokens, sequences, prefix_cache_bytes, answer_cache_bytes) in
        [(1, 9, 0, 0), (64, 9, 1 << 20, 0), (500, 3, 150_000, 1 << 12), (2048, usize::MAX, 1 << 30, 1 << 20)]
    {
        let limits = BatchLimits { tokens, sequences, prefix_cache_bytes, answer_cache_bytes };
        let model = load(&TINY, Precision::Exact, Isa::best(), 2);
        let engine = Engine::start(model, &Turns::default(), limits, QueueLimits::default()).unwrap();
        for _ in 0..2 {
            let answers = engine.answers(prompts.clone(), 0).await.unwrap();
            let got: Vec<Vec<f32>> = answers.into_iter().map(|answer| answer.row.into()).collect();
            assert_eq!(got, alone, "{limits:?}");
            assert!(engine.answer_cache_bytes() <= answer_cache_bytes);
        }
        // A row of 64 numbers takes 256 bytes and more, so that the small cache keeps some of the 15 and the large one all.
        let hits = engine.work().answer_hits;
        let expected = match answer_cache_bytes {
            0 => hits == 0,
            small if small < 1 << 19 => hits < 40,
            _ => hits == 40,
        };
        assert!(expected, "{hits} of {limits:?}");
    }
}

#[test]
fn vectors_of_integers_point_where_exact_ones_do() {
    let prompts = prompts();
    for isa in Isa::variants() {
        let mut exact = load(&CALM, Precision::Exact, isa, 2);
        let exact = states(&mut *exact, &prompts);
        // Of so few channels a byte keeps little: a single token is the worst.
        for (precision, mean, least) in [(Precision::Int16, 0.9999, 0.9998), (Precision::Int8, 0.98, 0.8)] {
            let mut model = load(&CALM, precision, isa, 2);
            let states = states(&mut *model, &prompts);
            let cosines: Vec<f32> = states.iter().zip(&exact).map(|(a, b)| embed::cosine(a, b)).collect();
            let got = (cosines.iter().sum::<f32>() / cosines.len() as f32, cosines.iter().copied().fold(1.0, f32::min));
            assert!(got.0 >= mean && got.1 >= least && got.1 < 1.0, "{precision:?} on {isa:?}: {got:?}");
        }
    }
}

#[test]
fn a_tokenizer_that_appends_nothing_is_told_of_before_vectors_are_served() {
    let dir = dir(write_embedder);
    std::fs::write(dir.path().join("tokenizer.json"), tokenizer_json()).unwrap();
    let model = process::text(dir.path());
    let json = ironrank(&["check", model, "--json", "--threads", "1"]);
    let report: Value = serde_json::from_slice(&json.stdout).unwrap();
    let notices = report["notices"].to_string();
    assert!(report["loads"] == true && notices.contains("appends nothing to a text"), "{report}");
    let serve = ["serve", model, "--host", "127.0.0.1", "--port", "0", "--weight-cache", "off", "--threads", "1"];
    let mut served = process::Process::start(&mut process::ironrank(&serve));
    let line = served.wait_for("appends nothing to a text");
    assert!(line.contains("WARN"), "{line}");
    served.wait_for("vectors: 64 numbers of the last token, of length 1");
    served.wait_for("ready: ");
}

#[test]
fn a_benchmark_has_texts_of_512_tokens_that_share_nothing() {
    let model = TINY.path().to_str().unwrap();
    let said = ironrank(&["bench", model, "--json", "--weight-cache", "off", "--threads", "1"]);
    let report: Value = serde_json::from_slice(&said.stdout).expect("stdout is one JSON object");
    for (key, value) in [("task", Value::from("embed")), ("workload", "texts".into()), ("pairs", 64.into())] {
        assert_eq!(report[key], value, "{report}");
    }
    let tokens = report["tokens"].as_u64().unwrap();
    assert_eq!(tokens, 64 * 512);
    // Two texts may begin with the same word.
    assert!(report["computed_tokens"].as_u64().unwrap() > tokens - 64, "{report}");
    assert!(report["work_share_of_peak"].is_number() && report["passages"].is_null(), "{report}");
    let said = ironrank(&["bench", model, "--workload", "rag"]);
    let text = String::from_utf8_lossy(&said.stderr);
    assert!(text.contains("is an embedding model, but a reranker is needed here"), "{text}");
}

fn ironrank(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ironrank")).args(args).output().expect("the program runs")
}

#[test]
fn a_check_tells_what_an_embedding_model_is_and_what_makes_pairs_refuses_it() {
    let model = TINY.path().to_str().unwrap();
    let said = ironrank(&["check", model, "--threads", "1"]);
    let table = String::from_utf8_lossy(&said.stdout).into_owned();
    for words in ["an embedding model", "vectors         64 numbers of the last token, of length 1", "It will load."] {
        assert!(table.contains(words), "no '{words}' in {table}");
    }
    assert!(!table.contains("To know"), "{table}");
    let json =
        ironrank(&["check", model, "--json", "--threads", "1", "--instruction", "Find!", "--query-prompt", "q:"]);
    let report: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&report["task"], &report["loads"]), (&"embed".into(), &true.into()), "{report}");
    assert_eq!(report["notices"].as_array().unwrap().len(), 1, "{report}");
    assert!(report["notices"][0].as_str().unwrap().contains("--instruction has no effect"), "{report}");
    for args in [["check", model, "--task", "score"], ["serve", model, "--task", "score"]] {
        let said = ironrank(&args);
        let text = [said.stdout, said.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert!(said.status.code() == Some(1) && text.contains("is an embedding model by the module"), "{text}");
    }
    let dir = tempfile::tempdir().unwrap();
    let (input, output) = (dir.path().join("pairs.jsonl"), dir.path().join("scores.jsonl"));
    std::fs::write(&input, "{\"query\": \"a\", \"document\": \"b\"}\n").unwrap();
    let (input, output) = (input.to_str().unwrap(), output.to_str().unwrap());
    for args in [&["score", model, "--input", input, "--output", output][..], &["compare", model, "--input", input]] {
        let said = ironrank(args);
        let text = String::from_utf8_lossy(&said.stderr);
        assert!(said.status.code() == Some(1), "{args:?}: {text}");
        assert!(text.contains("is an embedding model, but a reranker is needed here"), "{args:?}: {text}");
    }
}
