//! The files of one model in the directory of packed weights: its name, whose turn it is to make it, who uses it, and
//! what killed starters have left.
//!
//! Invariant: no start harms another, whether locks have an effect in this directory or none (network file systems):
//! each writes a file of its own name, which is renamed when it is whole. Locks only save work and tell more, and nobody
//! waits for a lock whose holder does nothing. What is left over is removed when its maker is certainly gone, and there
//! are never more than [`MOST_UNFINISHED`] of it. Called by `packed` and `packed::entry`.

use crate::file::Locked;
use ironrank_kernels::MappedFile;
use rand::random;
use rustix::fs::fstatfs;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};
use xxhash_rust::xxh3::xxh3_64;

/// What the names of packed files end with, and of locks, whose time is that of the last start.
pub(super) const WEIGHTS: &str = "weights";
pub(super) const LOCK: &str = "lock";
pub(super) const UNFINISHED: &str = "unfinished";
/// The first bytes of a file that is being made.
const UNFINISHED_MAGIC: &[u8; 8] = b"irnkmake";

/// A maker that has written nothing for so long is not waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a waiting start looks.
const POLL: Duration = Duration::from_millis(50);
/// A file that was not written for so long is left over, also where locks tell nothing.
const LEFT: Duration = Duration::from_secs(600);
/// A file whose maker holds no lock on it, but might be on another machine that shares no locks with this one, is left
/// over when it was not written for so long.
const LEFT_UNLOCKED: Duration = Duration::from_secs(60);
/// Unfinished files of a model beyond this number are left over, the oldest first: one is as large as the weights.
const MOST_UNFINISHED: usize = 8;
/// Longest readable part of a name: file systems take 255 bytes.
const READABLE: usize = 64;
/// File systems of one machine, so that locks tell of all who use them, and which say at once when they are full: ext4,
/// XFS, Btrfs, F2FS, ZFS, overlay, tmpfs.
const LOCAL: [i64; 7] = [0xEF53, 0x5846_5342, 0x9123_683E, 0xF2F5_2010, 0x2FC1_2FC1, 0x794C_7630, 0x0102_1994];

/// The place of a model's packed weights.
pub(super) struct Slot {
    dir: PathBuf,
    /// Name of its files, without what it ends with.
    stem: String,
    patience: Duration,
}

impl Slot {
    /// The slot in `dir` of the model that lies at `place`: its readable name, the precision in which it is kept, and a
    /// digest of where it lies, so that models of one name keep apart and a new checkpoint takes the old one's place.
    pub fn of(dir: &Path, place: &str, precision: &str) -> Self {
        let stem = format!("{}-{precision}-{:016x}", readable(Path::new(place)), xxh3_64(place.as_bytes()));
        Self { dir: dir.to_owned(), stem, patience: PATIENCE }
    }

    /// Where the packed file is, or will be.
    pub fn path(&self) -> PathBuf {
        self.file(WEIGHTS)
    }

    /// Whether a file of ours is called by the same model, in whatever precision.
    pub fn is_of_the_same_model(&self, path: &Path) -> bool {
        stem_of(path).is_some_and(|(stem, _)| digest_of(stem) == digest_of(&self.stem))
    }

    fn file(&self, kind: &str) -> PathBuf {
        self.dir.join(format!("{}.{kind}", self.stem))
    }

    /// Waits while another start makes the same file, as far as locks tell and as long as something comes of it. What is
    /// returned is to be kept while the file is made; `None` where there is no lock to be had.
    pub fn turn(&self) -> Option<Locked> {
        let open = || File::options().create(true).truncate(false).write(true).open(self.file(LOCK)).ok();
        let start = Instant::now();
        let mut said = false;
        loop {
            match Locked::exclusive(open()?) {
                Ok(lock) => return Some(lock),
                Err(TryLockError::WouldBlock) if start.elapsed() < self.patience || self.grows() => {}
                Err(_) => return None,
            }
            if !said {
                tracing::info!("another start packs the weights into {}; waiting for it", self.path().display());
                said = true;
            }
            std::thread::sleep(POLL);
        }
    }

    /// Whether somebody has written lately.
    fn grows(&self) -> bool {
        let unfinished = self.unfinished_files();
        unfinished.iter().any(|(_, written)| written.elapsed().is_ok_and(|since| since < self.patience))
    }

    /// A new file, of a name that nobody else has, that can be mapped.
    pub fn begin(&self) -> io::Result<Unfinished> {
        loop {
            let path = self.file(&format!("{:016x}.{UNFINISHED}", random::<u64>()));
            let file = match File::options().create_new(true).read(true).write(true).open(&path) {
                Err(err) if err.kind() == io::ErrorKind::AlreadyExists => continue,
                file => file?,
            };
            let unfinished = Unfinished { file, path };
            // Tells others that its maker is there, where locks tell anything. Who looked meanwhile may have removed it.
            if matches!(unfinished.file.try_lock(), Err(TryLockError::WouldBlock)) || !unfinished.path.exists() {
                continue;
            }
            (&unfinished.file).write_all(UNFINISHED_MAGIC)?;
            // Rather now than when gigabytes are written.
            MappedFile::open(&unfinished.file)?;
            return Ok(unfinished);
        }
    }

    /// Notes that the packed file is used now.
    pub fn used(&self) {
        let lock = File::options().create(true).truncate(false).write(true).open(self.file(LOCK));
        // A directory that is only read notes nothing.
        let _ = lock.and_then(|lock| lock.set_modified(SystemTime::now()));
    }

    /// Removes what killed starters have left.
    pub fn sweep(&self) {
        let mut unfinished = self.unfinished_files();
        unfinished.sort_by_key(|(_, written)| std::cmp::Reverse(*written));
        for (i, (path, _)) in unfinished.iter().enumerate() {
            let maker_is_gone = left_over(path);
            if i >= MOST_UNFINISHED || maker_is_gone.is_some() {
                let _ = fs::remove_file(path);
            }
        }
    }

    /// Files that are being made, or were, and when they were written last.
    fn unfinished_files(&self) -> Vec<(PathBuf, SystemTime)> {
        let Ok(entries) = fs::read_dir(&self.dir) else { return Vec::new() };
        let ours = |path: &Path| stem_of(path) == Some((&self.stem, UNFINISHED)) && is_unfinished(path);
        let written = |path: PathBuf| Some((path.clone(), fs::metadata(&path).ok()?.modified().ok()?));
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| ours(path)).filter_map(written).collect()
    }
}

/// A file that is being made; it is removed unless it is finished.
pub(super) struct Unfinished {
    pub file: File,
    path: PathBuf,
}

impl Unfinished {
    /// Puts the file into its place.
    pub fn finish(self, slot: &Slot) -> io::Result<()> {
        // Where the disk may turn out to be full later, now is the time. Elsewhere the checksums find what a power failure
        // leaves, and nobody need wait for a slow disk.
        if !is_local(&self.file) {
            self.file.sync_all()?;
        }
        fs::rename(&self.path, slot.path())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Half a file is of no use and may fill the disk. One that was renamed is not there.
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether a file of such a name is one that was being made: it begins so, or nothing was written there yet.
pub(super) fn is_unfinished(path: &Path) -> bool {
    let is_file = fs::symlink_metadata(path).is_ok_and(|facts| facts.is_file());
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(8).read_to_end(&mut start));
    is_file && read.is_ok() && (start.iter().all(|byte| *byte == 0) || start == UNFINISHED_MAGIC)
}

/// The unfinished file `path`, locked where locks tell anything, if its maker is certainly gone.
pub(super) fn left_over(path: &Path) -> Option<File> {
    let file = File::open(path).ok()?;
    let written = file.metadata().and_then(|facts| facts.modified());
    let since = written.ok().and_then(|written| written.elapsed().ok()).unwrap_or_default();
    let free = free(path, &file) == Some(true);
    (since > LEFT || free && (is_local(&file) || since > LEFT_UNLOCKED)).then_some(file)
}

/// Whether somebody holds a lock on a file; `None` where locks do not tell, as on some network file systems.
pub(super) fn is_locked(path: &Path) -> Option<bool> {
    free(path, &File::open(path).ok()?).map(|free| !free)
}

/// Whether nobody else holds a lock on `file`, which is at `path`; then `file` does.
fn free(path: &Path, file: &File) -> Option<bool> {
    match file.try_lock() {
        // Does it keep others out?
        Ok(()) => matches!(File::open(path).ok()?.try_lock(), Err(TryLockError::WouldBlock)).then_some(true),
        Err(TryLockError::WouldBlock) => Some(false),
        Err(TryLockError::Error(_)) => None,
    }
}

fn is_local(file: &File) -> bool {
    fstatfs(file).is_ok_and(|system| LOCAL.contains(&system.f_type))
}

/// The name and the kind of a file of ours, by its name: `NAME-PRECISION-DIGEST.weights`, `.lock` or `.RANDOM.unfinished`.
/// Older ones say no precision, or are the digest alone.
pub(super) fn stem_of(path: &Path) -> Option<(&str, &str)> {
    let (stem, kind) = path.file_name()?.to_str()?.rsplit_once('.')?;
    let hexadecimal = |text: &str| text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let stem = match (kind, stem.rsplit_once('.')) {
        (WEIGHTS | LOCK, _) => stem,
        (UNFINISHED, Some((stem, random))) if hexadecimal(random) => stem,
        (UNFINISHED, _) => stem,
        _ => return None,
    };
    hexadecimal(digest_of(stem)).then_some((stem, kind))
}

/// What a name ends with.
fn digest_of(stem: &str) -> &str {
    stem.rsplit('-').next().unwrap_or(stem)
}

/// What people call the model at `place`, in characters that every file system takes: the directory's name, or the
/// repository's where the hub's cache has the commit there.
fn readable(place: &Path) -> String {
    let names: Vec<String> = place
        .components()
        .filter(|component| matches!(component, Component::Normal(_)))
        .map(|component| component.as_os_str().to_string_lossy().into_owned())
        .collect();
    let name = match names.as_slice() {
        [.., repository, snapshots, _] if snapshots == "snapshots" && repository.starts_with("models--") => {
            repository.rsplit("--").next().unwrap_or_default()
        }
        [.., name] => name,
        [] => "",
    };
    let mut readable = String::new();
    for c in name.chars() {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() || "._".contains(c) => readable.push(c),
            _ if readable.ends_with('-') => {}
            _ => readable.push('-'),
        }
    }
    readable.truncate(READABLE);
    match readable.trim_matches(['-', '.']) {
        "" => "model".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unfinished(slot: &Slot) -> usize {
        slot.unfinished_files().len()
    }

    #[test]
    fn names_are_readable_and_keep_models_of_one_name_apart() {
        for (place, name) in [
            ("/models/Qwen3-Reranker-0.6B", "qwen3-reranker-0.6b"),
            ("/hub/models--Qwen--Qwen3-Reranker-4B/snapshots/0123abcd", "qwen3-reranker-4b"),
            ("/hub/Qwen/Qwen3-Reranker-0___6B/", "qwen3-reranker-0___6b"),
            ("/models/重排序 模型", "model"),
            ("/models/reranker v2 (最终)", "reranker-v2"),
            ("/", "model"),
            ("/models/..", "models"),
            ("The synthetic checkpoint", "the-synthetic-checkpoint"),
        ] {
            let path = Slot::of(Path::new("/cache"), place, "exact").path();
            let (stem, kind) = stem_of(&path).unwrap_or_else(|| panic!("{} is not ours", path.display()));
            assert_eq!((stem[..stem.len() - 17].strip_suffix("-exact"), kind), (Some(name), WEIGHTS), "{place}");
        }
        let name = |place: &str| Slot::of(Path::new(""), place, "exact").stem;
        assert_ne!(name("/a/reranker"), name("/b/reranker"));
        assert_ne!(name("/models/模型"), name("/models/重排"));
        let (one, other) = (Slot::of(Path::new(""), "/m", "exact"), Slot::of(Path::new(""), "/m", "int8"));
        assert!(one.stem != other.stem && one.is_of_the_same_model(&other.path()));
        assert!(!one.is_of_the_same_model(&Slot::of(Path::new(""), "/n", "exact").path()));
        let long = name(&format!("/models/{}", "x".repeat(250)));
        assert!(long.len() < 100 && long.starts_with("xxx"), "{long}");
    }

    #[test]
    fn other_files_are_not_ours() {
        let digest = "0123456789abcdef";
        for name in [
            format!("m-{digest}.weights"),
            format!("m-{digest}.lock"),
            format!("qwen3-0.6b-{digest}.{digest}.unfinished"),
            format!("{digest}.weights"),
            format!("{digest}.unfinished"),
        ] {
            assert!(stem_of(Path::new(&name)).is_some(), "{name}");
        }
        for name in [
            "model.weights".to_owned(),
            "yarn.lock".to_owned(),
            format!("m-{digest}"),
            format!("m-{digest}.safetensors"),
            format!("m-{}.weights", &digest[1..]),
            format!("m{digest}.weights"),
        ] {
            assert!(stem_of(Path::new(&name)).is_none(), "{name}");
        }
    }

    #[test]
    fn what_a_living_start_makes_stays_and_what_a_killed_one_left_goes() {
        let dir = tempfile::tempdir().unwrap();
        let slot = Slot::of(dir.path(), "/models/m", "exact");
        let living = slot.begin().unwrap();
        fs::write(slot.file(&format!("{:016x}.{UNFINISHED}", 1)), UNFINISHED_MAGIC).unwrap();
        fs::write(slot.file(&format!("{:016x}.{UNFINISHED}", 2)), [0; 4096]).unwrap();
        // Such a name, but somebody else's bytes.
        let foreign = slot.file(&format!("{:016x}.{UNFINISHED}", 3));
        fs::write(&foreign, "notes").unwrap();
        slot.sweep();
        assert!(living.path.exists() && foreign.exists());
        assert_eq!(unfinished(&slot), 1);
        drop(living);
        assert_eq!(unfinished(&slot), 0);
    }

    #[test]
    fn leftovers_do_not_grow_where_locks_tell_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let slot = Slot::of(dir.path(), "/models/m", "exact");
        // A lock that is held stands for one that tells nothing: the maker might be there.
        let makers: Vec<Unfinished> = (0..MOST_UNFINISHED + 3).map(|_| slot.begin().unwrap()).collect();
        slot.sweep();
        assert_eq!(unfinished(&slot), MOST_UNFINISHED);
        for maker in &makers {
            maker.file.set_modified(SystemTime::now() - 2 * LEFT).unwrap();
        }
        slot.sweep();
        assert_eq!(unfinished(&slot), 0);
    }

    #[test]
    fn nobody_waits_for_a_lock_whose_holder_does_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let slot = Slot { patience: Duration::ZERO, ..Slot::of(dir.path(), "/models/m", "exact") };
        let held = slot.turn().expect("the lock is free");
        assert!(slot.turn().is_none());
        drop(held);
        assert!(slot.turn().is_some());
        // Nor for one that cannot be had at all.
        fs::remove_file(slot.file(LOCK)).unwrap();
        fs::create_dir(slot.file(LOCK)).unwrap();
        assert!(slot.turn().is_none());
    }
}
