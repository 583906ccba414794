//! Tables as CSV and TSV: the rows of a file of JSON in another form.

use super::{Place, go_on, json_lines, score};
use ironrank::score::Scorer;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;

/// A header and records of all kinds, some over several lines, every tenth without a document.
pub fn mixed_table(count: usize) -> Vec<String> {
    let record = |i: usize| match i % 10 {
        9 => format!("{i},query without a document\n"),
        3 => format!("{i},query {},\"text {i},\n\nwhich \"\"goes\n\"\"on\"\"\"\r\n\n", i / 5),
        7 => format!("\"{i}\",\"a\nquery\",text {i}\n"),
        _ => format!("{i},query {},{}\n", i / 5, "word ".repeat(i % 40 + 1)),
    };
    std::iter::once("id,query,document\n".to_owned()).chain((0..count).map(record)).collect()
}

/// Rows as `separator` and `end` make a table of them, every field in quotes.
fn table(rows: &[[&str; 5]], separator: &str, end: &str) -> String {
    let quoted = |field: &&str| format!("\"{}\"", field.replace('"', "\"\""));
    rows.iter().map(|row| row.iter().map(quoted).collect::<Vec<_>>().join(separator) + end).collect()
}

const HEADER: [&str; 5] = ["ID", " query", "Document ", "instruction", "source"];

const ROWS: [[&str; 5]; 5] = [
    ["1", "capital of France", "Paris is the capital of France.", "", "a"],
    ["x-2", "capital of France", "The Nile,\nwhich is; a \"river\",\tflows.\r\n", "", ""],
    ["", "a \"query\"", "\"quoted\"", "Find it.", "c"],
    ["{\"row\": 4}", "", "", "Find\nit.", "d"],
    ["1", "\u{e4}\u{20ac}", " spaces ", "", "\n"],
];

/// Ids and scores.
fn scored(place: &Place) -> Vec<(Value, Value)> {
    json_lines(&place.read("scores.jsonl")).iter().map(|row| (row["id"].clone(), row["score"].clone())).collect()
}

fn packed(text: &str) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(text.as_bytes()).expect("written");
    packed.finish().expect("packed")
}

#[test]
fn a_table_has_the_scores_of_the_same_rows_in_json() {
    let rows = ROWS.map(|[id, query, document, instruction, source]| {
        let row = json!({"id": id, "query": query, "document": document, "instruction": instruction, "source": source});
        format!("{row}\n")
    });
    let place = Place::with(rows.concat());
    let options = place.options(&[]);
    let scorer = Scorer::load(&options).expect("the model loads");
    go_on(&scorer, &options).expect("it ends well");
    let expected = scored(&place);
    assert_eq!(expected.len(), ROWS.len());
    let all = [&[HEADER][..], &ROWS].concat();
    let plain = table(&all, ",", "\n");
    for input in [
        plain.clone().into_bytes(),
        plain.trim_end().as_bytes().to_vec(),
        table(&all, "\t", "\n").into_bytes(),
        table(&all, ";", "\r\n").into_bytes(),
        format!("\u{feff}{}", table(&all, ",", "\r\n\r\n")).into_bytes(),
        packed(&plain),
    ] {
        let place = Place::with(&input);
        let outcome = go_on(&scorer, &place.options(&[])).expect("it ends well");
        assert_eq!((outcome.done, outcome.rejected), (ROWS.len() as u64, 0));
        assert_eq!(scored(&place), expected, "{}", String::from_utf8_lossy(&input));
    }
}

#[test]
fn records_that_fit_no_header_are_set_aside_with_the_line_in_which_they_begin() {
    let long = format!("\"{}\",q\n", "word ".repeat(400));
    let bad: [(&[u8], &str); 7] = [
        (b"only one field\n", "It has 1 of the 2 fields that the header names."),
        (b"d,q,\n", "It has more than the 2 fields that the header names."),
        (b"\"a\nb\"\n", "It has 1 of the 2 fields"),
        (b"\xff\xfe,q\n", "It is not valid UTF-8 (byte 1)."),
        (b"\"A\" is a letter,q\n", "It has text behind a closing quote"),
        (b"document,query\n", "It is the header again."),
        (long.as_bytes(), "This model's maximum context length is 256 tokens."),
    ];
    let good: &[u8] = b"\"a\ntext\",q\r\n\n";
    let mut input = b"document,query\n".to_vec();
    let (mut lines, mut bad_lines) = (Vec::new(), Vec::new());
    let next = |input: &[u8]| 1 + input.iter().filter(|byte| **byte == b'\n').count() as u64;
    for (record, _) in bad {
        bad_lines.push(next(&input));
        input.extend(record);
        lines.push(next(&input));
        input.extend(good);
    }
    bad_lines.push(next(&input));
    input.extend(b"d,\"q\nd,q\n");
    let place = Place::with(&input);
    let outcome = score(&place.options(&[])).expect("it ends well");
    assert_eq!((outcome.done, outcome.rejected), (7, 8));
    let (scores, rejected) = place.results();
    let numbers = |rows: &[Value]| rows.iter().filter_map(|row| row["line"].as_u64()).collect::<Vec<_>>();
    let (scores, rejected) = (json_lines(&scores), json_lines(&rejected));
    assert_eq!((numbers(&scores), numbers(&rejected)), (lines, bad_lines));
    for (row, (record, reason)) in rejected.iter().zip(bad) {
        assert!(row["reason"].as_str().is_some_and(|said| said.contains(reason)), "{row}");
        assert_eq!(row["row"], String::from_utf8_lossy(record).trim_end());
    }
    assert_eq!(
        (&rejected[7]["reason"], &rejected[7]["row"]),
        (&json!("It has a quote that is not closed."), &json!("d,\"q\nd,q"))
    );
}

#[test]
fn a_table_that_grew_is_continued_and_one_that_changed_is_refused() {
    let place = Place::with(mixed_table(40).concat());
    let options = place.options(&[]);
    let scorer = Scorer::load(&options).expect("the model loads");
    go_on(&scorer, &options).expect("it ends well");
    let whole = mixed_table(60).concat();
    let write = |bytes: &[u8]| fs::write(place.path("pairs.jsonl"), bytes).expect("written");
    let before = place.results();
    for changed in [
        whole.replacen("id,", "no,", 1),
        whole.replacen("\n\nwhich", "\nwhich", 1),
        // What was read ends within a record now.
        whole.replacen("39,query", "39,\"query", 1),
    ] {
        write(changed.as_bytes());
        let err = go_on(&scorer, &options).expect_err("other rows").to_string();
        assert!(err.contains("lines are no longer those"), "{err}");
        assert!(place.results() == before, "nothing is touched");
    }
    // Also packed: the rows are the same.
    write(&packed(&whole));
    assert_eq!(go_on(&scorer, &options).expect("it ends well").done, 18);
    let at_once = Place::with(whole);
    go_on(&scorer, &at_once.options(&[])).expect("it ends well");
    assert_eq!(place.results(), at_once.results());
}
