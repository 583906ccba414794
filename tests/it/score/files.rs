//! The files of a command: continued from wherever they end, refused where they belong to other work.

use super::tables::mixed_table;
use super::{Place, go_on, is_there, json_lines, mixed_rows, score};
use crate::support;
use ironrank::error::ErrorKind;
use ironrank::score::Scorer;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn files_that_end_anywhere_are_continued_to_the_same_bytes() {
    for input in [mixed_rows(20), mixed_table(20).concat()] {
        let place = Place::with(input);
        let options = place.options(&[]);
        let scorer = Scorer::load(&options).expect("the model loads");
        go_on(&scorer, &options).expect("it ends well");
        let (scores, rejected) = place.results();
        let line = |row: &[u8]| json_lines(row)[0]["line"].as_u64().expect("a number");
        let rows: Vec<&[u8]> = scores.split_inclusive(|byte| *byte == b'\n').collect();
        let aside: Vec<&[u8]> = rejected.split_inclusive(|byte| *byte == b'\n').collect();
        let mut end = 0;
        for (i, row) in rows.iter().enumerate() {
            // Behind the row before, in the middle of this one, and with all of it but the newline.
            for cut in [end, end + row.len() / 2, end + row.len() - 1] {
                let last = i.checked_sub(1).map_or(0, |before| line(rows[before]));
                let needed: usize = aside.iter().filter(|bad| line(bad) < last).map(|bad| bad.len()).sum();
                // The rejected rows before the last whole row are there for sure, others perhaps, whole or not.
                for kept in [needed, (needed + 20).min(rejected.len()), rejected.len()] {
                    fs::write(place.path("scores.jsonl"), &scores[..cut]).expect("written");
                    fs::write(place.path("scores.jsonl.rejected.jsonl"), &rejected[..kept]).expect("written");
                    let outcome = go_on(&scorer, &options).expect("it ends well");
                    assert_eq!((outcome.done, outcome.rejected), ((rows.len() - i) as u64, aside.len() as u64));
                    assert_eq!(place.results(), (scores.clone(), rejected.clone()), "cut at {cut} and {kept}");
                }
            }
            end += row.len();
        }
    }
}

#[test]
fn an_input_that_grew_is_continued_and_one_that_changed_is_refused() {
    let input = mixed_rows(40);
    let place = Place::with(&input);
    let options = place.options(&[]);
    let scorer = Scorer::load(&options).expect("the model loads");
    go_on(&scorer, &options).expect("it ends well");
    let before = place.results();

    let write = |text: &str| fs::write(place.path("pairs.jsonl"), text).expect("written");
    write(&mixed_rows(50));
    assert_eq!(go_on(&scorer, &options).expect("it ends well").done, 9);
    let after = place.results();
    assert!(after.0.starts_with(&before.0) && after.0.len() > before.0.len());

    for (changed, words) in [
        (mixed_rows(50).replacen("row 9 has", "Row 9 has", 1), "its first 50 lines are no longer those"),
        (format!("\n{}", mixed_rows(50)), "its first 50 lines are no longer those"),
        (mixed_rows(20), "it has only 20 lines"),
        (String::new(), "it has only 0 lines"),
    ] {
        write(&changed);
        let err = go_on(&scorer, &options).expect_err("other rows");
        assert!(err.to_string().contains(words) && err.to_string().contains("another --output"), "{err}");
        assert!(place.results() == after, "nothing is touched");
    }
    // Not even rows that were read but not written are written before it is sure that the input is the same.
    let (scores, rejected) = &after;
    let begun = scores.len() / 2;
    fs::write(place.path("scores.jsonl"), &scores[..begun]).expect("written");
    write(&mixed_rows(50).replacen("query 0", "query 00", 1));
    go_on(&scorer, &options).expect_err("other rows");
    assert_eq!(place.results(), (scores[..begun].to_vec(), rejected.clone()));

    write(&mixed_rows(50));
    go_on(&scorer, &options).expect("it ends well");
    assert_eq!(place.results(), after);
    assert_eq!(go_on(&scorer, &options).expect("it ends well").done, 0);
    assert_eq!(place.results(), after);
}

#[test]
fn other_options_are_refused_by_name() {
    let place = Place::with(mixed_rows(10));
    score(&place.options(&[])).expect("it ends well");
    let before = place.results();
    // The same tokens in another spelling: no other bytes will do.
    let tokenizer = tempfile::tempdir().expect("a temporary directory");
    let json = [support::tokenizer_json(), b"\n".to_vec()].concat();
    fs::write(tokenizer.path().join("tokenizer.json"), json).expect("written");
    let tokenizer = tokenizer.path().to_str().expect("the path is a text");
    for (more, words) in [
        (&["--tokenizer", tokenizer][..], "was begun with tokenizer \""),
        (&["--overflow", "truncate"], "was begun with overflow \"error\", which is \"truncate\" now"),
        (&["--instruction", "Find it."], "was begun with instruction null, which is \"Find it.\" now"),
        (&["--shard", "1/2"], "was begun with shard \"1/1\", which is \"1/2\" now"),
        (&["--max-model-len", "128"], "was begun with max_model_len 256, which is 128 now"),
        (&["--hf-overrides.rope_theta", "5000"], "was begun with model"),
        (&["--chat-template", "{{ messages }}"], "was begun with chat_template null"),
        (&["--pooler-config.logit_mean", "1"], "was begun with logit_mean \"0\", which is \"1\" now"),
        (&["--isa", "portable"], "which is \"portable\" now. Take --isa "),
        (&["--quantization", "int8"], "with precision \"exact\", which is \"int8\" now. Take --dtype float32 to go on"),
    ] {
        let err = score(&place.options(more)).expect_err("other options");
        assert_eq!(err.kind(), ErrorKind::Options);
        assert!(err.to_string().contains(words), "{err}");
        assert_eq!(place.results(), before);
    }
    // What changes no score may differ.
    let same = ["--max-num-batched-tokens", "100", "--prefix-cache-mib", "0"];
    assert_eq!(score(&place.options(&same)).expect("it ends well").done, 0);
}

#[test]
fn an_output_begun_before_records_named_the_instruction_set_takes_that_of_its_next_rows() {
    let place = Place::with(mixed_rows(10));
    score(&place.options(&["--isa", "portable"])).expect("it ends well");
    let record = place.path("scores.jsonl.job");
    let mut old: Value = serde_json::from_slice(&fs::read(&record).expect("read")).expect("JSON");
    assert_eq!(old["job"].as_object_mut().expect("an object").remove("isa"), Some(json!("portable")));
    fs::write(&record, old.to_string()).expect("written");
    fs::write(place.path("pairs.jsonl"), mixed_rows(20)).expect("written");
    assert!(score(&place.options(&[])).expect("it ends well").done > 0);
    let err = score(&place.options(&["--isa", "portable"])).expect_err("another instruction set").to_string();
    assert!(err.contains("was begun with isa"), "{err}");
}

#[test]
fn an_output_begun_before_records_named_the_precision_has_exact_scores() {
    let place = Place::with(mixed_rows(10));
    score(&place.options(&[])).expect("it ends well");
    let record = place.path("scores.jsonl.job");
    let mut old: Value = serde_json::from_slice(&fs::read(&record).expect("read")).expect("JSON");
    assert_eq!(old["job"].as_object_mut().expect("an object").remove("precision"), Some(json!("exact")));
    fs::write(&record, old.to_string()).expect("written");
    fs::write(place.path("pairs.jsonl"), mixed_rows(20)).expect("written");
    let err = score(&place.options(&["--quantization", "int8"])).expect_err("another precision").to_string();
    assert!(err.contains("was begun with precision \"exact\""), "{err}");
    assert!(score(&place.options(&[])).expect("it ends well").done > 0);
}

#[test]
fn files_of_others_are_left_as_they_are() {
    let refused = |place: &Place, more: &[&str], words: &[&str]| {
        let err = ironrank::score::open(&place.options(more)).map(|_| ()).expect_err("refused").to_string();
        assert!(words.iter().all(|word| err.contains(word)), "{err}");
    };
    let place = Place::with("");
    let write = |name: &str, text: &str| fs::write(place.path(name), text).expect("written");
    write("scores.jsonl", "{\"line\":1,\"score\":0.5}\n");
    refused(&place, &[], &["scores.jsonl is there already, without the record (.job)"]);
    write("scores.jsonl", "line,score\n1,0.5\n");
    refused(&place, &[], &["Line 1 of", "is not a row that this program wrote"]);
    assert_eq!(place.read("scores.jsonl"), b"line,score\n1,0.5\n");
    write("scores.jsonl", "");
    write("scores.jsonl.rejected.jsonl", "{\"line\":1}\n");
    refused(&place, &[], &["rejected.jsonl is there already"]);
    write("scores.jsonl.rejected.jsonl", "");
    write("scores.jsonl.job", "{}");
    refused(&place, &[], &["scores.jsonl.job is not a record of this program"]);
    write("scores.jsonl.job", &json!({"version": 9, "job": {}, "input": {"lines": 0, "xxh3": ""}}).to_string());
    refused(&place, &[], &["scores.jsonl.job was written by another version"]);

    let dir = place.path("").display().to_string();
    refused(&place, &["--output", &dir], &["Cannot write", "Is a directory"]);
    refused(&place, &["--output", "/nowhere/scores.jsonl"], &["Cannot write /nowhere/scores.jsonl: No such file"]);
    refused(
        &place,
        &["--input", "/nowhere/pairs.jsonl"],
        &["/nowhere/pairs.jsonl does not exist, for there is no /nowhere"],
    );
    refused(&place, &["--input", &dir], &["is a directory, expected a file"]);
    // Not even root writes there.
    if is_there(Path::new("/proc/self")) {
        refused(&place, &["--output", "/proc/scores.jsonl"], &["Cannot write /proc/scores.jsonl"]);
    }
}

#[test]
fn rejected_rows_may_go_where_nothing_is_kept() {
    let place = Place::with(mixed_rows(20));
    let options = place.options(&["--rejected", "/dev/null"]);
    let scorer = Scorer::load(&options).expect("the model loads");
    assert_eq!(go_on(&scorer, &options).expect("it ends well").rejected, 2);
    assert_eq!(go_on(&scorer, &options).expect("it ends well").done, 0);

    let (scores, pipe) = (place.path("other.jsonl").display().to_string(), place.path("pipe"));
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    let options = place.options(&["--output", &scores, "--rejected", pipe.to_str().expect("the path is a text")]);
    let reader = std::thread::spawn(move || fs::read(pipe).expect("it can be read"));
    assert_eq!(score(&options).expect("it ends well").rejected, 2);
    assert_eq!(json_lines(&reader.join().expect("it ends")).len(), 2);
}

#[test]
fn rejected_rows_of_another_output_are_not_cut() {
    let place = Place::with(mixed_rows(20));
    let [a, b, shared] = ["a.jsonl", "b.jsonl", "shared.jsonl"].map(|name| place.path(name).display().to_string());
    let options = place.options(&["--output", &b]);
    let scorer = Scorer::load(&options).expect("the model loads");
    go_on(&scorer, &options).expect("it ends well");
    // As if it had been stopped after its first row.
    let rows = fs::read_to_string(&b).expect("a text");
    fs::write(&b, rows.split_inclusive('\n').next().expect("a row")).expect("written");
    score(&place.options(&["--output", &a, "--rejected", &shared])).expect("it ends well");
    let before = place.read("shared.jsonl");
    assert_eq!(json_lines(&before).len(), 2);
    let err = score(&place.options(&["--output", &b, "--rejected", &shared])).expect_err("another's");
    assert!(err.to_string().contains("was begun with rejected null, which is \"/"), "{err}");
    assert_eq!(place.read("shared.jsonl"), before);
    // The same place in other words.
    let same = format!("{}/./b.jsonl.rejected.jsonl", place.path("").display());
    assert_eq!(score(&place.options(&["--output", &b, "--rejected", &same])).expect("it ends well").rejected, 2);
}

#[test]
fn rejected_rows_do_not_go_into_a_file_of_the_output() {
    let place = Place::with(mixed_rows(20));
    for name in ["scores.jsonl", "scores.jsonl.job"] {
        let same = format!("{}/./{name}", place.path("").display());
        let err = ironrank::score::open(&place.options(&["--rejected", &same])).map(|_| ()).expect_err("refused");
        assert_eq!(err.kind(), ironrank::error::ErrorKind::Options);
        assert!(err.to_string().contains("names a file that --output"), "{err}");
    }
    assert!(!place.path("scores.jsonl").exists(), "nothing is made");
}

#[test]
fn a_name_that_promises_another_form_is_refused() {
    let place = Place::with(mixed_rows(20));
    for (flag, name, instead) in [
        ("--output", "a.jsonl.gz", "Name it a.jsonl."),
        ("--output", "a.ZST", "compress the file when it is whole. Name it a.jsonl."),
        ("--output", "a.parquet", "each a JSON object. Name it a.jsonl."),
        ("--output", "a.csv", "each a JSON object"),
        ("--rejected", "a.tsv", "each a JSON object"),
    ] {
        let err = ironrank::score::open(&place.options(&[flag, name])).map(|_| ()).expect_err("refused");
        assert_eq!(err.kind(), ironrank::error::ErrorKind::Options);
        assert!(err.to_string().contains(instead), "{err}");
    }
    for name in ["out.txt", "out", "out.ndjson"] {
        let path = place.path(name).display().to_string();
        ironrank::score::open(&place.options(&["--output", &path])).map(|_| ()).expect("no other form");
    }
}

#[test]
fn two_processes_do_not_write_one_file() {
    let place = Place::with(mixed_rows(10));
    let options = place.options(&[]);
    let _first = ironrank::score::open(&options).expect("nobody else has them");
    let err = ironrank::score::open(&options).map(|_| ()).expect_err("somebody else has them");
    assert!(err.to_string().contains("Another process is writing"), "{err}");
}
