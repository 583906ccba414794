//! Any bytes as the files of a model directory: opening them gives tensors that can be read to the last row, or one
//! sentence.
//!
//! Input: a letter, then parts with a NUL between them. `v`: config.json, the bytes of model.safetensors. `h`: config.json,
//! its header, its data (the length of the header is put in front). `i`: config.json, the index, and header and data of
//! part-0.safetensors and of part-1.safetensors. Data may hold NULs where it comes last.
#![no_main]

use ironrank::checkpoint::{Checkpoint, Overrides, packed};
use ironrank::error::{Error, ErrorKind};
use ironrank::precision::Precision;
use libfuzzer_sys::{Corpus, fuzz_target};
use std::path::Path;
use std::sync::LazyLock;
use tempfile::TempDir;

static DIR: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("there is a temporary directory"));

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some((&kind, rest)) = input.split_first() else { return Corpus::Reject };
    let dir = DIR.path();
    let written = match kind {
        b'v' => parts(rest).map(|[config, file]| files(dir, &[("config.json", config), (SINGLE, file)])),
        b'h' => parts(rest).map(|[config, header, data]| {
            files(dir, &[("config.json", config), (SINGLE, safetensors(header, data).as_slice())]);
        }),
        b'i' => parts(rest).map(|[config, index, header0, data0, header1, data1]| {
            let shards = [safetensors(header0, data0), safetensors(header1, data1)];
            files(
                dir,
                &[
                    ("config.json", config),
                    (INDEX, index),
                    (SHARDS[0], shards[0].as_slice()),
                    (SHARDS[1], shards[1].as_slice()),
                ],
            );
        }),
        _ => None,
    };
    if written.is_none() {
        return Corpus::Reject;
    }
    match Checkpoint::open(dir, &Overrides::new()) {
        Ok(checkpoint) => read(&checkpoint),
        Err(error) => check(&error),
    }
    // The configuration by itself: sizes that no file has to back.
    match Checkpoint::dummy(Some(dir), &Overrides::new()) {
        Ok(checkpoint) => assert!(checkpoint.bytes() > 0 && packed::bytes(&checkpoint, Precision::Int8) > 0),
        Err(error) => check(&error),
    }
    Corpus::Keep
});

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const SHARDS: [&str; 2] = ["part-0.safetensors", "part-1.safetensors"];

/// `N` parts with NULs between them; the last may hold more.
fn parts<const N: usize>(bytes: &[u8]) -> Option<[&[u8]; N]> {
    bytes.splitn(N, |&byte| byte == 0).collect::<Vec<_>>().try_into().ok()
}

fn safetensors(header: &[u8], data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header, data].concat()
}

/// Makes these the files of `dir`, and no others.
fn files(dir: &Path, files: &[(&str, &[u8])]) {
    for name in [SINGLE, INDEX].into_iter().filter(|name| files.iter().all(|(other, _)| other != name)) {
        // It may not be there.
        let _ = std::fs::remove_file(dir.join(name));
    }
    for (name, bytes) in files {
        std::fs::write(dir.join(name), bytes).expect("a file is written");
    }
}

/// All rows of all tensors.
fn read(checkpoint: &Checkpoint) {
    let mut bytes = 0;
    for (name, shape) in checkpoint.tensors() {
        let tensor = checkpoint.tensor(&name, &shape).expect("an open checkpoint has its tensors");
        let mut row = vec![0.0; tensor.cols()];
        (0..tensor.rows()).for_each(|i| tensor.read_row(i, &mut row));
        bytes += tensor.rows() * tensor.cols() * tensor.dtype().bytes();
    }
    assert_eq!(bytes as u64, checkpoint.bytes());
}

fn check(error: &Error) {
    let sentence = error.to_string();
    assert_eq!(error.kind(), ErrorKind::Checkpoint, "{sentence}");
    assert!(!sentence.contains(['\n', '\r']) && sentence.ends_with('.'), "not one line: {sentence}");
    assert!(sentence.len() < 1500, "too long: {sentence}");
}
