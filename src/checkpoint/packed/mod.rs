//! The packed-weight file: matrices in the kernels' layout and the embedding, made once, then mapped by every process that
//! serves them.
//!
//! One page-aligned header (magic, version, checkpoint's fingerprint, a table of parts with checksums, where the model
//! lies, a checksum of its own), then the matrices and the embedding, each at a page boundary. The table says how a matrix
//! stands: as integers, as bfloat16 where it was that before, else as f32. The panels are the same for every instruction
//! set. Invariants: what is used is what was packed, and each precision has a file of its own. A file of another checkpoint
//! or version, a truncated or a changed one is found out before use and made anew. A file is written beside its place
//! (`slot`) and renamed, so that nobody's mapping changes; should somebody write into it all the same, [`Packed::check`]
//! tells. Where no file can be had, all stays in memory. A running model reads nothing of the checkpoint, which may change
//! or go away. Called by the model; `entry` tells the cache command what there is.

mod entry;
mod format;
mod matrix;
mod slot;

pub use entry::{Entry, Kind, entries, remove, remove_idle_locks};

use super::Checkpoint;
use super::fault::fail;
use super::tensor::{Backing, Tensor};
use crate::error::{Error, Result};
use crate::file::access;
use crate::precision::Precision;
use crate::progress;
use format::{ENTRY_WORDS, FIXED_WORDS, MAGIC, PAGE, VERSION, header_words};
use ironrank_kernels::{Cpu, MappedFile, NR, Storage, Weights};
use matrix::{Matrices, Shape};
use rustix::fs::statfs;
use slot::{Slot, Unfinished};
use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};
use xxhash_rust::xxh3::xxh3_64;

/// What is seen of the packing.
const PROGRESS: &str = "packing the weights {wide_bar} {pos}/{len} matrices, {eta} left";

/// tmpfs and ramfs, as `statfs` calls them.
const MEMORY_FILE_SYSTEMS: [i64; 2] = [0x0102_1994, 0x8584_58F6];

/// What a model reads while it runs.
pub struct Packed {
    /// The matrices of the first layer, as its architecture lists them, then those of the next, until a model has taken
    /// them.
    pub matrices: Vec<Weights>,
    /// The embedding, in the checkpoint's type.
    pub embedding: Tensor,
    /// `None` if all is in memory.
    file: Option<OpenFile>,
}

/// A mapped file as it was when its checksums were right.
struct OpenFile {
    /// Holds a lock that others share, which tells that the file is in use.
    file: File,
    path: PathBuf,
    bytes: u64,
    modified: SystemTime,
}

impl OpenFile {
    fn is_unchanged(&self) -> bool {
        let now = self.file.metadata().and_then(|facts| Ok((facts.len(), facts.modified()?)));
        now.is_ok_and(|now| now == (self.bytes, self.modified))
    }
}

impl Packed {
    /// An error if the file was written to since it was mapped, so that what it gave can't be trusted; one system call.
    /// A file that was removed or replaced stays as it was for those who have mapped it.
    pub fn check(&self) -> Result<()> {
        match &self.file {
            Some(file) if !file.is_unchanged() => {
                Err(fail(&file.path, "was changed while it was in use, expected the weights as they were mapped"))
            }
            _ => Ok(()),
        }
    }
}

/// The matrices and the embedding, from the file in the directory `cache`, all of which is checked; `None` if it is not
/// there or not what it should be.
pub fn open(cpu: &Cpu, checkpoint: &Checkpoint, precision: Precision, cache: &Path) -> Option<Packed> {
    let (embedding, shapes) = (checkpoint.embedding().ok()?, Matrices::of(checkpoint, precision).shapes());
    PackedFile::of(cache, checkpoint, precision, &shapes, &embedding).opened(cpu).ok()
}

/// The matrices and the embedding: from the file in the directory `cache`, made if need be, or in memory when there is no
/// directory or no file can be had in it, which costs one line in the log.
pub fn load(cpu: &Cpu, checkpoint: &Checkpoint, precision: Precision, cache: Option<&Path>) -> Result<Packed> {
    let (embedding, matrices) = (checkpoint.embedding()?, Matrices::of(checkpoint, precision));
    let shapes = matrices.shapes();
    let pack = |i: usize| {
        let weights = matrices.pack(cpu, i)?;
        checkpoint.release();
        Ok(weights)
    };
    if let Some(dir) = cache {
        let file = PackedFile::of(dir, checkpoint, precision, &shapes, &embedding);
        match file.open_or_make(cpu, &pack) {
            Ok(packed) => return Ok(packed),
            Err(Failure::Checkpoint(err)) => return Err(err),
            Err(Failure::Cache(err)) => tracing::warn!(
                "{} cannot hold the packed weights ({}); they are packed into memory at every start",
                file.path.display(),
                access::explained(&file.path, &err)
            ),
        }
    }
    let progress = progress::bar(Some(shapes.len() as u64), PROGRESS);
    let matrices = (0..shapes.len()).map(|i| pack(i).inspect(|_| progress.inc(1))).collect::<Result<_>>()?;
    progress.finish_and_clear();
    let embedding = match embedding.stored() {
        Some(bytes) => embedding.from(Backing::Owned(bytes.into())),
        None => embedding,
    };
    checkpoint.release();
    Ok(Packed { matrices, embedding, file: None })
}

/// Bytes of the matrices as they are packed and of the embedding as it is: what the model reads while it runs.
pub fn bytes(checkpoint: &Checkpoint, precision: Precision) -> u64 {
    let embedding = checkpoint.embedding().map_or(0, |embedding| embedding.bytes());
    let matrices = Matrices::of(checkpoint, precision).shapes().into_iter().map(Shape::bytes);
    matrices.fold(embedding, usize::saturating_add) as u64
}

/// How the first matrix stands, as most do.
pub fn storage(checkpoint: &Checkpoint, precision: Precision) -> Storage {
    Matrices::of(checkpoint, precision).shapes()[0].storage
}

/// Whether the directory `dir` holds the packed weights of `checkpoint`, or can take their `bytes`; an error says why
/// they will take memory instead.
pub fn place(dir: &Path, checkpoint: &Checkpoint, precision: Precision, bytes: u64) -> io::Result<()> {
    let told = |err: io::Error| io::Error::new(err.kind(), access::explained(dir, &err));
    fs::create_dir_all(dir).map_err(told)?;
    let system = statfs(dir)?;
    if MEMORY_FILE_SYSTEMS.contains(&system.f_type) {
        return Err(io::Error::other(format!("{} itself lies in memory", dir.display())));
    }
    if find(dir, checkpoint, precision).is_some() {
        return Ok(());
    }
    let slot = Slot::of(dir, &source(checkpoint), precision.name());
    // What was left over takes none of the room.
    slot.sweep();
    drop(slot.begin().map_err(told)?);
    match system.f_bavail.saturating_mul(u64::try_from(system.f_bsize).unwrap_or(1)) {
        free if free < bytes => Err(io::Error::other(format!("only {:.2} GB are free there", free as f64 / 1e9))),
        _ => Ok(()),
    }
}

/// The file in the directory `dir` that holds the packed weights of `checkpoint`, as far as its header and its length
/// tell; `None` if the next start will make it.
pub fn find(dir: &Path, checkpoint: &Checkpoint, precision: Precision) -> Option<PathBuf> {
    let embedding = checkpoint.embedding().ok()?;
    let file = PackedFile::of(dir, checkpoint, precision, &[], &embedding);
    let map = MappedFile::open(&File::open(&file.path).ok()?).ok()?;
    // The number of matrices is the last of these words, and follows from the checkpoint.
    let expected = &file.fixed_words()[..FIXED_WORDS - 1];
    let found = map.get(..8 * expected.len())?.as_chunks().0.iter().map(|word| u64::from_ne_bytes(*word));
    (found.eq(expected.iter().copied()) && map.len() as u64 >= bytes(checkpoint, precision)).then_some(file.path)
}

/// Where the model lies, wherever it is looked at from.
fn source(checkpoint: &Checkpoint) -> String {
    let name = checkpoint.name();
    fs::canonicalize(name).map_or_else(|_| name.to_owned(), |path| path.to_string_lossy().into_owned())
}

/// Why there is no file.
enum Failure {
    /// The model's fault, which packing into memory would meet too.
    Checkpoint(Error),
    /// The place's.
    Cache(io::Error),
}

impl From<io::Error> for Failure {
    fn from(err: io::Error) -> Self {
        Self::Cache(err)
    }
}

struct PackedFile<'a> {
    slot: Slot,
    path: PathBuf,
    /// Where the model lies.
    source: String,
    checkpoint: &'a Checkpoint,
    shapes: &'a [Shape],
    embedding: &'a Tensor,
}

impl<'a> PackedFile<'a> {
    fn of(
        dir: &Path,
        checkpoint: &'a Checkpoint,
        precision: Precision,
        shapes: &'a [Shape],
        embedding: &'a Tensor,
    ) -> Self {
        let source = source(checkpoint);
        let slot = Slot::of(dir, &source, precision.name());
        Self { path: slot.path(), slot, source, checkpoint, shapes, embedding }
    }

    fn open_or_make(
        &self,
        cpu: &Cpu,
        pack: &impl Fn(usize) -> Result<Weights>,
    ) -> std::result::Result<Packed, Failure> {
        if let Ok(packed) = self.opened(cpu) {
            return Ok(packed);
        }
        let packed = self.wait_or_make(cpu, pack)?;
        self.slot.used();
        self.slot.sweep();
        Ok(packed)
    }

    /// Maps the file and checks all of it; then it has been used.
    fn opened(&self, cpu: &Cpu) -> io::Result<Packed> {
        let packed = self.open(cpu)?;
        self.slot.used();
        self.slot.sweep();
        Ok(packed)
    }

    fn wait_or_make(
        &self,
        cpu: &Cpu,
        pack: &impl Fn(usize) -> Result<Weights>,
    ) -> std::result::Result<Packed, Failure> {
        if let Some(dir) = self.path.parent() {
            fs::create_dir_all(dir)?;
        }
        let _turn = self.slot.turn();
        // Whoever had its turn before may have made it.
        match self.open(cpu) {
            Ok(packed) => return Ok(packed),
            Err(why) if why.kind() == io::ErrorKind::NotFound => {}
            Err(why) => tracing::info!("{} is packed anew: {why}", self.path.display()),
        }
        self.slot.sweep();
        let unfinished = self.slot.begin()?;
        self.make(&unfinished, pack)?;
        let finished = unfinished.finish(&self.slot).map(|()| self.remove_older());
        // Also if it could not be finished, another start may have made it.
        self.open(cpu).map_err(|err| Failure::Cache(finished.err().unwrap_or(err)))
    }

    /// Removes what other versions of the program have made of this model: the new file takes its place.
    fn remove_older(&self) {
        let Some(dir) = self.path.parent() else { return };
        let older = |entry: &Entry| entry.kind == Kind::OtherVersion && self.slot.is_of_the_same_model(&entry.path);
        for entry in entries(dir).into_iter().flatten().filter(older) {
            // A directory in which nothing may be removed keeps it.
            let _ = remove(&entry).and_then(|()| remove_idle_locks(dir));
        }
    }

    fn make(
        &self,
        unfinished: &Unfinished,
        pack: &impl Fn(usize) -> Result<Weights>,
    ) -> std::result::Result<(), Failure> {
        let progress = progress::bar(Some(self.shapes.len() as u64 + 1), PROGRESS);
        tracing::info!("packing the weights into {}, once", self.path.display());
        let mut out = BufWriter::new(&unfinished.file);
        let mut start = self.header_bytes();
        let mut table = Vec::with_capacity(ENTRY_WORDS * (self.shapes.len() + 1));
        let mut write = |out: &mut BufWriter<&File>, kind: [u64; 3], bytes: &[u8]| -> io::Result<()> {
            out.seek(SeekFrom::Start(start as u64))?;
            out.write_all(bytes)?;
            table.push(start as u64);
            table.extend(kind);
            table.push(xxh3_64(bytes));
            start = (start + bytes.len()).next_multiple_of(PAGE);
            progress.inc(1);
            Ok(())
        };
        for (i, shape) in self.shapes.iter().enumerate() {
            let weights = pack(i).map_err(Failure::Checkpoint)?;
            let packed = Shape { storage: weights.storage(), depth: weights.k(), outputs: weights.n() };
            assert_eq!(packed, *shape, "matrix {i} is not what was announced");
            write(&mut out, shape.words(), weights.as_bytes())?;
        }
        write(&mut out, self.embedding_words(), self.embedding.stored().unwrap_or_default())?;
        self.checkpoint.release();
        self.checkpoint.check_unchanged().map_err(Failure::Checkpoint)?;
        let mut header = self.fixed_words().to_vec();
        header.extend(table);
        let mut bytes: Vec<u8> = header.iter().flat_map(|word| word.to_ne_bytes()).collect();
        bytes.extend(self.text());
        bytes.extend(xxh3_64(&bytes).to_ne_bytes());
        out.seek(SeekFrom::Start(0))?;
        out.write_all(&bytes)?;
        out.flush()?;
        out.get_ref().set_len(start as u64)?;
        progress.finish_and_clear();
        Ok(())
    }

    /// Maps the file and checks all of it.
    fn open(&self, cpu: &Cpu) -> io::Result<Packed> {
        let file = File::open(&self.path)?;
        let facts = file.metadata()?;
        let opened = OpenFile { file, path: self.path.clone(), bytes: facts.len(), modified: facts.modified()? };
        share(&opened.file);
        let file = Arc::new(MappedFile::open(&opened.file)?);
        file.prefer_huge_pages();
        let stale = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let words = header_words(self.shapes.len(), self.source.len());
        let header = file.get(..8 * (words + 1)).ok_or_else(|| stale("it is truncated"))?;
        let (body, checksum) = header.split_at(8 * words);
        let header: Vec<u64> = body.as_chunks().0.iter().map(|word| u64::from_ne_bytes(*word)).collect();
        if header[..FIXED_WORDS] != self.fixed_words() || !body.ends_with(&self.text()) {
            return Err(stale("it belongs to another checkpoint or version"));
        }
        if xxh3_64(body).to_ne_bytes() != checksum {
            return Err(stale("its header is damaged"));
        }
        let mut start = self.header_bytes();
        let mut spans = Vec::with_capacity(self.shapes.len() + 1);
        let parts = self.shapes.iter().map(|shape| (shape.words(), shape.bytes()));
        let parts = parts.chain([(self.embedding_words(), self.embedding.bytes())]);
        for (entry, (kind, bytes)) in header[FIXED_WORDS..].as_chunks::<ENTRY_WORDS>().0.iter().zip(parts) {
            let [first, found @ .., checksum] = *entry;
            if (first, found) != (start as u64, kind) {
                return Err(stale("it holds other matrices"));
            }
            let end = start + bytes;
            spans.push((start..end, checksum));
            start = end.next_multiple_of(PAGE);
        }
        if file.len() != start {
            return Err(stale("it is truncated"));
        }
        let (next, sound) = (AtomicUsize::new(0), AtomicBool::new(true));
        let check = || {
            while let Some((span, checksum)) = spans.get(next.fetch_add(1, Ordering::Relaxed)) {
                if xxh3_64(&file[span.clone()]) != *checksum {
                    sound.store(false, Ordering::Relaxed);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..cpu.threads() {
                // Where the system refuses more threads, fewer check it.
                let _ = std::thread::Builder::new().spawn_scoped(scope, check);
            }
            check();
        });
        if !sound.into_inner() || !opened.is_unchanged() {
            return Err(stale("its weights are damaged"));
        }
        let embedding = match (self.embedding.stored(), spans.last()) {
            (Some(_), Some((span, _))) => self.embedding.from(Backing::Mapped { map: file.clone(), start: span.start }),
            _ => self.embedding.clone(),
        };
        let matrices = spans.iter().zip(self.shapes);
        let matrices = matrices.map(|((span, _), shape)| shape.mapped(&file, span.start)).collect();
        Ok(Packed { matrices, embedding, file: Some(opened) })
    }

    /// What the table says of the embedding: its rows and bytes of a row; none of one that is stored nowhere.
    fn embedding_words(&self) -> [u64; 3] {
        let row = self.embedding.cols() * self.embedding.dtype().bytes();
        self.embedding.stored().map_or([0; 3], |_| [0, self.embedding.rows() as u64, row as u64])
    }

    /// Where the model lies, filled up to whole words.
    fn text(&self) -> Vec<u8> {
        let mut text = self.source.clone().into_bytes();
        text.resize(text.len().next_multiple_of(8), 0);
        text
    }

    fn fixed_words(&self) -> [u64; FIXED_WORDS] {
        let fingerprint = self.checkpoint.fingerprint();
        let (high, low) = ((fingerprint >> 64) as u64, fingerprint as u64);
        [MAGIC, VERSION, NR as u64, high, low, self.source.len() as u64, self.shapes.len() as u64]
    }

    fn header_bytes(&self) -> usize {
        (8 * (header_words(self.shapes.len(), self.source.len()) + 1)).next_multiple_of(PAGE)
    }
}

/// Tells others that the file is in use, as long as it is open, where locks tell anything.
fn share(file: &File) {
    // Who looks whether it is in use holds the lock for a moment.
    for _ in 0..10 {
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
            Ok(()) | Err(TryLockError::Error(_)) => return,
        }
    }
}
