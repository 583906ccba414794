//! Models in integers of 16 and of 8 bits: how far they are from float64 on the calm checkpoint, that nothing but the pair
//! decides a score, and that the files of two precisions leave each other alone.

use crate::support::{Golden, goldens, head, write_calm_checkpoint};
use ironrank::batch::Batch;
use ironrank::checkpoint::{Activation, Checkpoint, Overrides, packed};
use ironrank::compare::{Agreement, Margins};
use ironrank::engine::{BatchLimits, Engine, QueueLimits, Turns};
use ironrank::model::{self, Model};
use ironrank::precision::Precision;
use ironrank::prompt::Prompt;
use ironrank::rerank;
use ironrank_kernels::{Cpu, Isa, Pool};
use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use tempfile::{TempDir, tempdir};

const INTEGERS: [Precision; 2] = [Precision::Int16, Precision::Int8];

static CALM: LazyLock<TempDir> = LazyLock::new(|| {
    let dir = tempdir().unwrap();
    write_calm_checkpoint(dir.path());
    dir
});

fn calm() -> Checkpoint {
    Checkpoint::open(CALM.path(), &Overrides::new()).unwrap()
}

fn load(precision: Precision, isa: Isa, threads: usize, cache: Option<&Path>) -> Box<dyn Model> {
    let cpu = Cpu::new(isa, Pool::new(Some(threads), false).unwrap());
    let checkpoint = calm();
    let found = cache.and_then(|dir| model::find(&cpu, &checkpoint, precision, dir));
    let packed = found.map_or_else(|| model::pack(&cpu, &checkpoint, precision, cache), Ok).unwrap();
    model::load(cpu, &checkpoint, packed, head(&checkpoint), 4096).unwrap()
}

/// The calm pairs: 20 documents of one query, and others.
fn cases() -> Vec<Golden> {
    goldens("calm-tiny")
}

fn prompts() -> Vec<Prompt> {
    let prompt = |case: Golden| Prompt::new(case.token_ids[..79].into(), &case.token_ids[79..]);
    cases().into_iter().map(prompt).collect()
}

fn margins(model: &mut dyn Model) -> Vec<f32> {
    model.run(Batch::of(&prompts())).values
}

/// How well margins of the calm pairs agree with float64.
fn agreement(margins: &[f32]) -> Agreement {
    let cases = cases();
    let exact: Vec<f32> = cases.iter().map(|case| (case.logit_yes - case.logit_no) as f32).collect();
    let of_one_query = cases.iter().take_while(|case| case.query == cases[0].query).count();
    assert_eq!(of_one_query, 20);
    let query = Margins { exact: exact[..20].to_vec(), other: margins[..20].to_vec() };
    Agreement::of(&[query], |margin| Activation::Sigmoid.of(margin))
}

#[test]
fn integers_keep_to_what_they_may_err_on_every_isa() {
    for isa in Isa::variants() {
        for (precision, share, tau) in
            [(Precision::Exact, 1e-5, 1.0), (Precision::Int16, 0.012, 0.98), (Precision::Int8, 0.1, 0.93)]
        {
            let of = agreement(&margins(&mut *load(precision, isa, 2, None)));
            let (got_share, got_tau) = (of.margin_error_share.unwrap(), of.kendall_tau.unwrap());
            assert!(got_share <= share && got_tau >= tau, "{precision:?} on {isa:?}: {of:?}");
            assert_eq!(got_share > 1e-5, precision != Precision::Exact, "{precision:?} on {isa:?}: {of:?}");
        }
    }
}

#[test]
fn a_score_of_integers_does_not_depend_on_neighbours_order_threads_or_vnni() {
    let prompts = prompts();
    for precision in INTEGERS {
        for isa in Isa::variants() {
            let mut model = load(precision, isa.same_bits(), 1, None);
            let alone: Vec<f32> = prompts.iter().map(|prompt| model.run(Batch::of([prompt])).values[0]).collect();
            for threads in [1, 2, 3] {
                let mut model = load(precision, isa, threads, None);
                let what = format!("{precision:?} on {}, {threads} threads", isa.name());
                assert_eq!(model.run(Batch::of(&prompts)).values, alone, "{what}");
                let mut reversed = model.run(Batch::of(prompts.iter().rev())).values;
                reversed.reverse();
                assert_eq!(reversed, alone, "{what}, in reverse order");
            }
        }
    }
}

#[tokio::test]
async fn a_score_of_integers_does_not_depend_on_the_token_budget_or_the_prefix_cache() {
    let prompts: Vec<Prompt> = prompts().into_iter().cycle().take(40).collect();
    for precision in INTEGERS {
        let mut model = load(precision, Isa::best(), 1, None);
        let alone: Vec<f32> = prompts.iter().map(|prompt| model.run(Batch::of([prompt])).values[0]).collect();
        for (tokens, sequences, cache) in [(1, 9, 0), (64, 9, 1 << 20), (500, 3, 150_000), (2048, usize::MAX, 1 << 30)]
        {
            let limits = BatchLimits { tokens, sequences, prefix_cache_bytes: cache, answer_cache_bytes: 0 };
            let model = load(precision, Isa::best(), 2, None);
            let engine = Engine::start(model, &Turns::default(), limits, QueueLimits::default()).unwrap();
            // Once more with what the cache has kept.
            for _ in 0..2 {
                let answers = engine.answers(prompts.clone(), 0).await.unwrap();
                let got: Vec<f32> = answers.iter().map(rerank::margin).collect();
                assert_eq!(got, alone, "{precision:?}: {tokens} tokens, {sequences} sequences, {cache} bytes");
            }
        }
    }
}

#[test]
fn two_precisions_of_a_model_have_a_file_each() {
    let cache = tempdir().unwrap();
    let all = [Precision::Exact, Precision::Int16, Precision::Int8];
    let expected = all.map(|precision| margins(&mut *load(precision, Isa::best(), 2, None)));
    assert!(expected[0] != expected[1] && expected[1] != expected[2]);
    for file in ["made", "there"] {
        for (precision, expected) in all.iter().zip(&expected) {
            let got = margins(&mut *load(*precision, Isa::best(), 2, Some(cache.path())));
            assert_eq!(got, *expected, "{precision:?}: the file is {file}");
        }
    }
    let checkpoint = calm();
    let files = all.map(|precision| packed::find(cache.path(), &checkpoint, precision).expect("it is there"));
    for (file, precision) in files.iter().zip(all) {
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(name.contains(&format!("-{}-", precision.name())), "{name}");
        assert!(fs::metadata(file).unwrap().len() >= packed::bytes(&checkpoint, precision));
    }
    // Of a shape whose depth is whole blocks, which that of so small a model is not.
    let usual = Checkpoint::dummy(None, &Overrides::new()).unwrap();
    let matrices = all.map(|precision| packed::bytes(&usual, precision) - usual.embedding().unwrap().bytes() as u64);
    assert!(matrices[1] * 100 < matrices[0] * 103 && matrices[2] * 100 < matrices[0] * 54, "{matrices:?}");
}
