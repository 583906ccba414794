//! Any change to the file of packed weights: what is loaded are the weights that were packed, and a file in which a
//! weight or a word of the header differs is not used but made anew.
//!
//! Input: one change after the other, see `change`.
#![no_main]

use ironrank::checkpoint::{Checkpoint, Overrides, packed};
use ironrank::precision::Precision;
use ironrank_kernels::{Cpu, Isa, Pool, Weights};
use libfuzzer_sys::fuzz_target;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::LazyLock;
use tempfile::TempDir;
use xxhash_rust::xxh3::xxh3_64;

/// Of the one layer of the model: queries, keys and values; output; gate and up; down.
const MATRICES: usize = 4;
/// Magic, version, columns of a panel, fingerprint (two), bytes of the text, matrices; then five words a matrix and for the
/// embedding, the text, and a checksum. A synthetic checkpoint stores no embedding.
const HEADER_BYTES: usize = 8 * (7 + 5 * (MATRICES + 1) + TEXT.len().div_ceil(8) + 1);
/// Where the model lies.
const TEXT: &str = "The synthetic checkpoint";
const PAGE: usize = 4096;

static SUBJECT: LazyLock<Subject> = LazyLock::new(Subject::new);

fuzz_target!(|input: &[u8]| {
    let subject = &*SUBJECT;
    let mut file = subject.good.clone();
    let mut input = input;
    while let Some((&kind, rest)) = input.split_first() {
        input = change(&mut file, kind, rest);
    }
    std::fs::write(&subject.path, &file).expect("the file is written");
    let repacked = subject.load();
    assert_eq!(repacked, !subject.is_the_same(&file), "whether the weights were packed anew");
    let now = std::fs::read(&subject.path).expect("the file is there");
    assert!(now == if repacked { &subject.good } else { &file }.as_slice(), "the file was not mended");
});

struct Subject {
    dir: TempDir,
    cpu: Cpu,
    checkpoint: Checkpoint,
    path: PathBuf,
    good: Vec<u8>,
    weights: Vec<Vec<u8>>,
}

impl Subject {
    fn new() -> Self {
        let sizes = [
            ("num_hidden_layers", 1),
            ("hidden_size", 8),
            ("intermediate_size", 12),
            ("num_attention_heads", 2),
            ("num_key_value_heads", 1),
            ("head_dim", 4),
        ];
        let small: Overrides = sizes.map(|(key, size)| (key.to_owned(), size.into())).into_iter().collect();
        let mut subject = Self {
            dir: tempfile::tempdir().expect("there is a temporary directory"),
            cpu: Cpu::new(Isa::best(), Pool::new(Some(1), false).expect("threads")),
            checkpoint: Checkpoint::dummy(None, &small).expect("the configuration is good"),
            path: PathBuf::new(),
            good: Vec::new(),
            weights: Vec::new(),
        };
        let packed = packed::load(&subject.cpu, &subject.checkpoint, Precision::Exact, None)
            .expect("they are packed into memory");
        subject.weights = packed.matrices.iter().map(|weights| weights.as_bytes().to_vec()).collect();
        assert_eq!(subject.weights.len(), MATRICES);
        packed::load(&subject.cpu, &subject.checkpoint, Precision::Exact, Some(subject.dir.path()))
            .expect("they are packed");
        let files = std::fs::read_dir(subject.dir.path()).expect("the directory is readable");
        let mut files = files.map(|entry| entry.expect("the directory is readable").path());
        subject.path =
            files.find(|path| path.extension().is_some_and(|kind| kind == "weights")).expect("a file is made");
        subject.good = std::fs::read(&subject.path).expect("the file is readable");
        subject
    }

    /// Loads the weights, which must be the right ones, and says whether there is a new file of them.
    fn load(&self) -> bool {
        let file = || std::fs::metadata(&self.path).expect("the file is there").ino();
        let before = file();
        let packed = packed::load(&self.cpu, &self.checkpoint, Precision::Exact, Some(self.dir.path()));
        let packed = packed.unwrap_or_else(|e| panic!("no weights: {e}"));
        let bytes: Vec<&[u8]> = packed.matrices.iter().map(Weights::as_bytes).collect();
        assert!(bytes == self.weights, "the matrices are not what was packed");
        file() != before
    }

    /// Whether `file` differs from the good one in padding only.
    fn is_the_same(&self, file: &[u8]) -> bool {
        let lengths = [HEADER_BYTES].into_iter().chain(self.weights.iter().map(Vec::len));
        let mut spans = lengths.enumerate().map(|(page, length)| page * PAGE..page * PAGE + length);
        file.len() == self.good.len() && spans.all(|span| file[span.clone()] == self.good[span])
    }
}

/// Makes one change and returns what is left of the input: `x` at byte B by V, `w` word N becomes V (8 bytes), `t`runcated
/// to B bytes, `l`onger by B bytes, `s` sealed with a fresh checksum of the header, `r`eplaced by all that follows.
fn change<'i>(file: &mut Vec<u8>, kind: u8, rest: &'i [u8]) -> &'i [u8] {
    let take = |bytes: usize| rest.split_at_checked(bytes);
    let number = |bytes: &[u8]| usize::from(u16::from_le_bytes([bytes[0], bytes[1]]));
    match kind {
        b'x' => {
            let Some((args, rest)) = take(3) else { return &[] };
            if let Some(byte) = file.get_mut(number(args)) {
                *byte ^= args[2];
            }
            rest
        }
        b'w' => {
            let Some((args, rest)) = take(9) else { return &[] };
            if let Some(word) = file.as_chunks_mut::<8>().0.get_mut(usize::from(args[0])) {
                word.copy_from_slice(&args[1..]);
            }
            rest
        }
        b't' | b'l' => {
            let Some((args, rest)) = take(2) else { return &[] };
            let bytes = number(args);
            file.resize(if kind == b't' { bytes.min(file.len()) } else { (file.len() + bytes).min(8 * PAGE) }, 0);
            rest
        }
        b's' => {
            if let Some((body, checksum)) = file.get_mut(..HEADER_BYTES).map(|h| h.split_at_mut(HEADER_BYTES - 8)) {
                checksum.copy_from_slice(&xxh3_64(body).to_ne_bytes());
            }
            rest
        }
        b'r' => {
            *file = rest.to_vec();
            &[]
        }
        _ => rest,
    }
}
