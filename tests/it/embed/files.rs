//! The files of `embed` in every layout: what is in them, and that they are continued from wherever they end.

use super::{WIDTH, args, go_on, options, run, texts, vector};
use crate::score::{Place, is_there, json_lines};
use ironrank::vectors::{self, Vectoriser};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use serde_json::Value;
use std::fs::{self, File};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

const HEADER_BYTES: usize = 128;

/// What NumPy reads of an array of vectors.
fn array(bytes: &[u8]) -> Vec<Vec<f32>> {
    let (magic, text) = bytes[..HEADER_BYTES].split_at(10);
    assert_eq!((magic, text.last()), (&b"\x93NUMPY\x01\x00\x76\x00"[..], Some(&b'\n')));
    let text = std::str::from_utf8(text).expect("a text").trim_end();
    let shape = text.strip_prefix("{'descr': '<f4', 'fortran_order': False, 'shape': (").expect("float32");
    let (rows, width) = shape.strip_suffix("), }").and_then(|shape| shape.split_once(", ")).expect("a shape");
    let (rows, width): (usize, usize) = (rows.parse().expect("a number"), width.parse().expect("a number"));
    // What it does not count may stand behind it.
    let numbers = &bytes[HEADER_BYTES..][..rows * width * 4];
    let numbers: Vec<f32> =
        numbers.chunks(4).map(|number| f32::from_le_bytes(number.try_into().expect("4 bytes"))).collect();
    numbers.chunks(width).map(<[f32]>::to_vec).collect()
}

/// Lines, ids and vectors of a Parquet file.
fn columns(place: &Place, name: &str) -> Vec<(i64, Option<String>, Vec<f32>)> {
    let reader = SerializedFileReader::new(File::open(place.path(name)).expect("it is there")).expect("a footer");
    let row = |row: Row| {
        let columns: Vec<(String, Field)> = row.into_columns();
        let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["line", "id", "truncated", "embedding"]);
        let (Field::Long(line), Field::ListInternal(list)) = (&columns[0].1, &columns[3].1) else {
            panic!("{columns:?}")
        };
        let id = match &columns[1].1 {
            Field::Str(id) => Some(id.clone()),
            Field::Null => None,
            other => panic!("{other:?}"),
        };
        let number = |field: &Field| match field {
            Field::Float(number) => *number,
            other => panic!("{other:?}"),
        };
        (*line, id, list.elements().iter().map(number).collect())
    };
    reader.get_row_iter(None).expect("rows").map(|read| row(read.expect("a row"))).collect()
}

/// Lines, ids and vectors of lines of JSON.
fn lines(place: &Place, name: &str) -> Vec<(i64, Option<String>, Vec<f32>)> {
    let row = |row: &Value| {
        let id = row.get("id").map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned));
        (row["line"].as_i64().expect("a number"), id, vector(row))
    };
    json_lines(&place.read(name)).iter().map(row).collect()
}

#[test]
fn the_three_layouts_hold_the_same() {
    let place =
        Place::with(texts(60) + "{\"text\": \"t\", \"id\": \"a \\u00e4\"}\n{\"text\": \"t\", \"id\": {\"a\":1}}\n");
    for output in ["out.jsonl", "out.npy", "out.parquet"] {
        let outcome = run(&options(&place, output, &[])).expect("it ends well");
        assert_eq!((outcome.done, outcome.rejected), (56, 6), "{output}");
    }
    let expected = lines(&place, "out.jsonl");
    assert_eq!(columns(&place, "out.parquet"), expected);
    let vectors: Vec<Vec<f32>> = expected.iter().map(|(.., vector)| vector.clone()).collect();
    assert_eq!(array(&place.read("out.npy")), vectors);
    let rows = json_lines(&place.read("out.npy.rows.jsonl"));
    for (row, (line, id, _)) in rows.iter().zip(&expected) {
        assert_eq!(
            (row["line"].as_i64(), row.get("id").is_some(), row.get("embedding")),
            (Some(*line), id.is_some(), None)
        );
    }
    assert_eq!(rows.len(), expected.len());
    run(&options(&place, "shouted.NPY", &[])).expect("it ends well");
    assert_eq!(place.read("shouted.NPY"), place.read("out.npy"));
}

#[test]
fn no_rows_are_an_array_and_a_table_of_none_that_grow_when_there_are_some() {
    let place = Place::with("");
    for (input, count) in [("", 0), ("", 0), ("{\"id\": 1, \"text\": \"a\"}\n", 1)] {
        fs::write(place.path("pairs.jsonl"), input).expect("written");
        for output in ["out.npy", "out.parquet"] {
            run(&options(&place, output, &[])).expect("it ends well, or goes on");
        }
        assert_eq!((array(&place.read("out.npy")).len(), columns(&place, "out.parquet").len()), (count, count));
    }
}

#[test]
fn an_array_and_its_rows_that_end_anywhere_are_continued_to_the_same_bytes() {
    let place = Place::with(texts(12));
    let options = options(&place, "out.npy", &[]);
    let vectoriser = Vectoriser::load(&options).expect("the model loads");
    go_on(&vectoriser, &options).expect("it ends well");
    let files = ["out.npy", "out.npy.rows.jsonl", "out.npy.rejected.jsonl"];
    let whole = files.map(|name| place.read(name));
    let rows: Vec<&[u8]> = whole[1].split_inclusive(|byte| *byte == b'\n').collect();
    let row_bytes = WIDTH * 4;
    for kept in 0..=rows.len() {
        let end: usize = rows[..kept].iter().map(|row| row.len()).sum();
        // The array has what the rows count, and perhaps more, whole or not; or less, if the machine went down.
        for vectors in [kept * row_bytes, kept * row_bytes + 9, rows.len() * row_bytes, kept * row_bytes / 2] {
            for torn in [0, 5] {
                let cut = (end + torn).min(whole[1].len());
                fs::write(place.path(files[0]), &whole[0][..(HEADER_BYTES + vectors).min(whole[0].len())])
                    .expect("written");
                fs::write(place.path(files[1]), &whole[1][..cut]).expect("written");
                fs::write(place.path(files[2]), &whole[2]).expect("written");
                let there = kept.min(vectors / row_bytes);
                let outcome = go_on(&vectoriser, &options).expect("it ends well");
                assert_eq!(outcome.done, (rows.len() - there) as u64, "{kept} rows, {vectors} bytes of vectors");
                if there < rows.len() {
                    assert_eq!(files.map(|name| place.read(name)), whole, "{kept} rows, {vectors} bytes of vectors");
                }
            }
        }
    }
    // A header that was not written to its end.
    fs::write(place.path(files[0]), &whole[0][..60]).expect("written");
    fs::write(place.path(files[1]), b"").expect("written");
    go_on(&vectoriser, &options).expect("it ends well");
    assert_eq!(files.map(|name| place.read(name)), whole);
}

#[test]
fn a_killed_run_goes_on_in_every_layout_and_its_array_is_one_at_any_time() {
    let input = texts(400);
    let undisturbed = Place::with(&input);
    for output in ["out.npy", "out.parquet"] {
        run(&options(&undisturbed, output, &[])).expect("it ends well");
        let array_name = if output == "out.npy" { output } else { "out.parquet.vectors.npy" };
        let whole = array(&undisturbed.read(array_name));
        for least in [1, 100] {
            let place = Place::with(&input);
            let program = |more: &[&str]| {
                let mut program = Command::new(env!("CARGO_BIN_EXE_ironrank"));
                let more = [&["--max-num-batched-tokens", "64"], more].concat();
                program.args(args(&place, output, &more)).stdin(Stdio::piped()).stderr(Stdio::null());
                program
            };
            // It waits for the rest of its input, so that it is there to be killed.
            let mut child = program(&["--input", "-"]).spawn().expect("the program runs");
            let mut pipe = child.stdin.take().expect("a pipe");
            let part: String = input.split_inclusive('\n').take(300).collect();
            pipe.write_all(part.as_bytes()).expect("it reads");
            let rows = place.path(&format!("{output}.rows.jsonl"));
            let written = || fs::read(&rows).map_or(0, |rows| rows.iter().filter(|byte| **byte == b'\n').count());
            while written() < least {
                assert!(child.try_wait().expect("it can be asked").is_none(), "it is not to end yet");
                std::thread::sleep(Duration::from_millis(2));
            }
            child.kill().expect("it can be killed");
            child.wait().expect("it ends");
            let left = array(&place.read(array_name));
            assert!(left.len() <= written() && whole.starts_with(&left), "{} vectors, {} rows", left.len(), written());
            assert!(!is_there(&place.path("out.parquet")));
            assert_eq!(program(&[]).status().expect("the program runs").code(), Some(3));
            for name in [array_name, &format!("{output}.rows.jsonl"), &format!("{output}.rejected.jsonl")] {
                assert_eq!(place.read(name), undisturbed.read(name), "{name} after {least}");
            }
        }
    }
}

#[test]
fn a_parquet_file_is_made_anew_when_rows_have_come_and_left_alone_when_it_cannot_be() {
    let place = Place::with(texts(20));
    let options = options(&place, "out.parquet", &[]);
    let vectoriser = Vectoriser::load(&options).expect("the model loads");
    go_on(&vectoriser, &options).expect("it ends well");
    let before = columns(&place, "out.parquet");
    assert_eq!(go_on(&vectoriser, &options).expect("it ends well").done, 0);
    fs::write(place.path("pairs.jsonl"), texts(30)).expect("written");
    assert_eq!(go_on(&vectoriser, &options).expect("it ends well").done, 9);
    let after = columns(&place, "out.parquet");
    assert!(after.starts_with(&before) && after.len() == 27);
    // Killed before it was made.
    fs::remove_file(place.path("out.parquet")).expect("removed");
    assert_eq!(go_on(&vectoriser, &options).expect("it ends well").done, 0);
    assert_eq!(columns(&place, "out.parquet"), after);
    let bytes = place.read("out.parquet");
    fs::remove_file(place.path("out.parquet.rows.jsonl")).expect("removed");
    let err = vectors::open(&options).map(|_| ()).expect_err("refused").to_string();
    assert!(err.contains("without") && err.contains("out.parquet.rows.jsonl"), "{err}");
    assert_eq!(place.read("out.parquet"), bytes);
}

#[test]
fn other_options_and_files_of_others_are_refused_by_name() {
    let place = Place::with(texts(20));
    run(&options(&place, "out.npy", &[])).expect("it ends well");
    let before = place.read("out.npy");
    for (more, part) in [
        (&["--dimensions", "8"][..], "dimensions"),
        (&["--no-normalize"], "normalize"),
        (&["--prompt-name", "query"], "prompt"),
        (&["--field", "text"], "field"),
        (&["--overflow", "truncate"], "overflow"),
    ] {
        let err = run(&options(&place, "out.npy", more)).expect_err("refused").to_string();
        assert!(err.contains(&format!("out.npy was begun with {part} ")), "{err}");
    }
    assert_eq!(place.read("out.npy"), before);
    for (output, own) in [("a.npy", "a.npy.rows.jsonl"), ("a.parquet", "a.parquet.vectors.npy")] {
        let own = place.path(own).display().to_string();
        let err = vectors::open(&options(&place, output, &["--rejected", &own])).map(|_| ()).expect_err("refused");
        assert!(err.to_string().contains("names a file that --output"), "{err}");
    }
    fs::write(place.path("other.npy"), [b'x'; 400]).expect("written");
    let err = vectors::open(&options(&place, "other.npy", &[])).map(|_| ()).expect_err("refused").to_string();
    assert!(err.contains("other.npy is not an array that this program wrote"), "{err}");
    fs::copy(place.path("out.npy"), place.path("copy.npy")).expect("copied");
    let err = vectors::open(&options(&place, "copy.npy", &[])).map(|_| ()).expect_err("refused").to_string();
    assert!(err.contains("copy.npy is there already, without the record"), "{err}");
}
