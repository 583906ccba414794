//! Any change to the file of packed weights: what is loaded are the weights that were packed, and a file in which a
//! weight or a word of the header differs is not used but made anew.
//!
//! Input: one change after the other, see `change`.
#![no_main]

use ironrank::checkpoint::packed::{self, Shape};
use ironrank::checkpoint::{Checkpoint, Overrides};
use ironrank_kernels::{Cpu, Isa, Pool, Storage, Weights};
use libfuzzer_sys::fuzz_target;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;
use xxhash_rust::xxh3::xxh3_64;

const SHAPES: [Shape; 2] = [(3, 7), (5, 40)];
/// Magic, version, columns of a panel, fingerprint (two), bytes of the text, matrices; then four words a matrix and for the
/// embedding, the text, and a checksum. A synthetic checkpoint stores no embedding.
const HEADER_BYTES: usize = 8 * (7 + 4 * (SHAPES.len() + 1) + TEXT.len().div_ceil(8) + 1);
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
    assert_eq!(repacked > 0, !subject.is_the_same(&file), "{repacked} matrices were packed anew");
    let now = std::fs::read(&subject.path).expect("the file is there");
    assert!(now == if repacked > 0 { &subject.good } else { &file }.as_slice(), "the file was not mended");
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
        let mut subject = Self {
            dir: tempfile::tempdir().expect("there is a temporary directory"),
            cpu: Cpu::new(Isa::best(), Pool::new(Some(1), false).expect("threads")),
            checkpoint: Checkpoint::dummy(None, &Overrides::new()).expect("the built-in configuration is good"),
            path: PathBuf::new(),
            good: Vec::new(),
            weights: Vec::new(),
        };
        subject.weights = (0..SHAPES.len()).map(|i| pack(&subject.cpu, i).as_bytes().to_vec()).collect();
        assert_eq!(subject.load(), SHAPES.len(), "the first time all are packed");
        let files = std::fs::read_dir(subject.dir.path()).expect("the directory is readable");
        let mut files = files.map(|entry| entry.expect("the directory is readable").path());
        subject.path =
            files.find(|path| path.extension().is_some_and(|kind| kind == "weights")).expect("a file is made");
        subject.good = std::fs::read(&subject.path).expect("the file is readable");
        subject
    }

    /// Loads the weights, which must be the right ones, and counts the matrices that were packed for that.
    fn load(&self) -> usize {
        let packed = AtomicUsize::new(0);
        let again = |i: usize| {
            packed.fetch_add(1, Ordering::Relaxed);
            Ok(pack(&self.cpu, i))
        };
        let weights = packed::load(&self.cpu, &self.checkpoint, Some(self.dir.path()), &SHAPES, again);
        let weights = weights.unwrap_or_else(|e| panic!("no weights: {e}"));
        assert_eq!(weights.matrices.len(), SHAPES.len());
        for (i, weights) in weights.matrices.iter().enumerate() {
            assert_eq!((weights.k(), weights.n()), SHAPES[i]);
            assert!(weights.as_bytes() == self.weights[i], "matrix {i} is not what was packed");
        }
        packed.into_inner()
    }

    /// Whether `file` differs from the good one in padding only.
    fn is_the_same(&self, file: &[u8]) -> bool {
        let starts = [0, PAGE, 2 * PAGE];
        let lengths = [HEADER_BYTES, self.weights[0].len(), self.weights[1].len()];
        let mut spans = starts.into_iter().zip(lengths).map(|(start, length)| start..start + length);
        file.len() == self.good.len() && spans.all(|span| file[span.clone()] == self.good[span])
    }
}

fn pack(cpu: &Cpu, i: usize) -> Weights {
    let (k, n) = SHAPES[i];
    Weights::pack(cpu, Storage::F32, k, n, |row, out| {
        out.iter_mut().zip(row * k..).for_each(|(x, at)| *x = (at * (i + 1)) as f32)
    })
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
