//! What lies in a directory of packed weights, for those who want to know and to tidy up.
//!
//! Invariant: a file is ours if its name and its first bytes both say so; nothing else is told of or removed. Called by
//! the cache command.

use super::format::{ENTRY_WORDS, FIXED_WORDS, MAGIC, VERSION, header_words};
use super::slot::{LOCK, UNFINISHED, WEIGHTS, is_locked, is_unfinished, left_over, stem_of};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use xxhash_rust::xxh3::xxh3_64;

/// Longest header that is looked at; that of the largest model has some 20 kB.
const LONGEST_HEADER: u64 = 16 << 20;

/// A file of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Directory of the model whose weights it holds, if it tells.
    pub model: Option<PathBuf>,
    /// Its length.
    pub bytes: u64,
    /// When it was written last.
    pub made: SystemTime,
    /// When it was last used by a start; when it was made, if that is not known.
    pub used: SystemTime,
    /// Whether a process uses or writes it; `None` where the file system does not tell.
    pub in_use: Option<bool>,
}

/// What a file of ours is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Packed weights.
    Weights,
    /// Those of another version of the program, which this one does not use.
    OtherVersion,
    /// What no version can use.
    Damaged,
    /// What is being made.
    Unfinished,
    /// What a start that was killed has left.
    LeftOver,
}

impl Kind {
    /// How people call it, and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::OtherVersion => "other version",
            Self::Damaged => "damaged",
            Self::Unfinished => "unfinished",
            Self::LeftOver => "left over",
        }
    }
}

/// The files of ours in `dir`, by name; none if there is no such directory.
pub fn entries(dir: &Path) -> io::Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = files(dir)?.into_iter().filter_map(look_at).collect();
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}

/// Removes a file of ours. Processes that have mapped it keep it until they end, and so does the disk.
pub fn remove(entry: &Entry) -> io::Result<()> {
    fs::remove_file(&entry.path)
}

/// Removes the locks of files that are gone.
pub fn remove_idle_locks(dir: &Path) -> io::Result<()> {
    for path in files(dir)? {
        let idle = stem_of(&path).is_some_and(|(_, kind)| kind == LOCK)
            && !path.with_extension(WEIGHTS).exists()
            && fs::symlink_metadata(&path).is_ok_and(|facts| facts.is_file() && facts.len() == 0)
            && is_locked(&path) == Some(false);
        if idle {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(err) => Err(err),
    }
}

/// What the file is; `None` if it is not ours, or gone meanwhile.
fn look_at(path: PathBuf) -> Option<Entry> {
    let (_, kind) = stem_of(&path)?;
    let facts = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file)?;
    let made = facts.modified().ok()?;
    let in_use = is_locked(&path);
    let (kind, model) = match kind {
        UNFINISHED if is_unfinished(&path) => {
            (if left_over(&path).is_some() { Kind::LeftOver } else { Kind::Unfinished }, None)
        }
        WEIGHTS => header(&path)?,
        _ => return None,
    };
    let started = fs::metadata(path.with_extension(LOCK)).and_then(|lock| lock.modified());
    let used = started.map_or(made, |started| started.max(made));
    Some(Entry { path, kind, model, bytes: facts.len(), made, used, in_use })
}

/// What the header of a file with weights tells; `None` if it is no header of ours.
fn header(path: &Path) -> Option<(Kind, Option<PathBuf>)> {
    let file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    let mut bytes = Vec::new();
    let mut file = file.take(LONGEST_HEADER);
    file.by_ref().take(8 * FIXED_WORDS as u64).read_to_end(&mut bytes).ok()?;
    let word = |bytes: &[u8], i: usize| bytes.as_chunks().0.get(i).map(|word| u64::from_ne_bytes(*word));
    match (word(&bytes, 0), word(&bytes, 1)) {
        // What a power failure leaves: its length, and nothing within.
        (Some(0) | None, _) => return bytes.iter().all(|byte| *byte == 0).then_some((Kind::Damaged, None)),
        (Some(MAGIC), Some(VERSION)) => {}
        (Some(MAGIC), _) => return Some((Kind::OtherVersion, None)),
        _ => return None,
    }
    let damaged = Some((Kind::Damaged, None));
    let count = |i: usize| word(&bytes, i).and_then(|word| usize::try_from(word).ok()).filter(|n| *n < 1 << 20);
    let (Some(text), Some(matrices)) = (count(FIXED_WORDS - 2), count(FIXED_WORDS - 1)) else { return damaged };
    let words = header_words(matrices, text);
    file.take(8 * (words - FIXED_WORDS + 1) as u64).read_to_end(&mut bytes).ok()?;
    let Some((body, checksum)) = bytes.split_at_checked(8 * words) else { return damaged };
    if xxh3_64(body).to_ne_bytes() != checksum {
        return damaged;
    }
    let table = &body[8 * FIXED_WORDS..];
    let last = ENTRY_WORDS * matrices;
    let embedding = word(table, last).zip(word(table, last + 2).zip(word(table, last + 3)));
    let end = embedding.and_then(|(start, (rows, bytes))| start.checked_add(rows.checked_mul(bytes)?));
    if end.is_none_or(|end| end > length) {
        return damaged;
    }
    let text = String::from_utf8_lossy(&table[8 * ENTRY_WORDS * (matrices + 1)..][..text]).into_owned();
    Some((Kind::Weights, Some(PathBuf::from(text))))
}
