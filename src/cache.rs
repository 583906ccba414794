//! `ironrank cache`: the packed weights that starts have left in a directory, and what of them is of no use.
//!
//! Invariant: nothing is removed that is not ours (see `packed::Entry`), nor, unless all is to go, what a process uses.
//! To remove a mapped file harms nobody on this machine: its processes keep it until they end. Called by `main`.

use crate::checkpoint::packed::{self, Entry, Kind};
use crate::error::{Error, ErrorKind, Result};
use crate::file::access;
use crate::options::{CacheOptions, Prune};
use serde_json::{Value, json};
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What was found and done. [`fmt::Display`] is the table.
#[derive(Debug)]
pub struct Report {
    dir: PathBuf,
    now: SystemTime,
    /// Whether nothing was removed in earnest.
    dry_run: bool,
    files: Vec<File>,
}

#[derive(Debug)]
struct File {
    entry: Entry,
    /// Why it goes, or would go.
    goes: Option<String>,
    /// Why it could not be removed.
    failure: Option<String>,
}

/// Lists what there is and removes what is to be removed.
pub fn run(options: &CacheOptions) -> Result<Report> {
    let CacheOptions { dir, prune, .. } = options;
    let fail = |err: std::io::Error| {
        let why = access::explained(dir, &err);
        Error::new(ErrorKind::Machine, format!("The weight cache {} cannot be read: {why}.", dir.display()))
    };
    let now = SystemTime::now();
    let file = |entry: Entry| {
        let goes = prune.as_ref().and_then(|prune| reason(&entry, prune, now));
        let remove = goes.is_some() && prune.is_some_and(|prune| !prune.dry_run);
        let failure = remove.then(|| packed::remove(&entry).err()).flatten();
        let failure = failure.map(|err| access::explained(dir, &err));
        File { entry, goes, failure }
    };
    let files = packed::entries(dir).map_err(fail)?.into_iter().map(file).collect();
    if prune.is_some_and(|prune| !prune.dry_run) {
        packed::remove_idle_locks(dir).map_err(fail)?;
    }
    Ok(Report { dir: dir.clone(), now, dry_run: prune.is_some_and(|prune| prune.dry_run), files })
}

/// Why a file goes; `None` if it stays.
fn reason(entry: &Entry, prune: &Prune, now: SystemTime) -> Option<String> {
    let in_use = entry.in_use == Some(true);
    let unused = now.duration_since(entry.used).unwrap_or_default();
    // What does not lie in a directory was never there, or cannot be seen from here.
    let model_is_gone =
        entry.model.as_ref().is_some_and(|model| model.is_absolute() && model.try_exists().is_ok_and(|there| !there));
    match entry.kind {
        Kind::LeftOver => Some("left over by a start that was killed".to_owned()),
        Kind::Unfinished => None,
        _ if prune.all && in_use => Some("in use: its process keeps it until it ends".to_owned()),
        _ if prune.all => Some("all go".to_owned()),
        _ if in_use => None,
        Kind::OtherVersion => Some("of another version".to_owned()),
        Kind::Damaged => Some("damaged".to_owned()),
        Kind::Weights if model_is_gone => Some("its model is gone".to_owned()),
        Kind::Weights => {
            let limit = prune.older_than.filter(|limit| unused >= *limit)?;
            Some(format!("not used for {}, at least {}", age(unused), age(limit)))
        }
    }
}

impl Report {
    /// Whether all was removed that was to be removed.
    pub fn is_complete(&self) -> bool {
        self.files.iter().all(|file| file.failure.is_none())
    }

    /// One JSON object; units stand in the names, and what is not known is null.
    pub fn to_json(&self) -> Value {
        let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).map(|since| since.as_secs()).ok();
        let files = self.files.iter().map(|File { entry, goes, failure }| {
            json!({
                "file": entry.path,
                "kind": entry.kind.name(),
                "model": entry.model,
                "bytes": entry.bytes,
                "made_unix_s": seconds(entry.made),
                "used_unix_s": seconds(entry.used),
                "in_use": entry.in_use,
                "removed": goes.is_some() && failure.is_none() && !self.dry_run,
                "reason": goes,
                "failure": failure,
            })
        });
        json!({ "directory": self.dir, "dry_run": self.dry_run, "files": files.collect::<Vec<_>>() })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gb = |bytes: u64| format!("{:.2} GB", bytes as f64 / 1e9);
        let since = |time| age(self.now.duration_since(time).unwrap_or_default());
        let absent = if self.dir.exists() { "" } else { " (there is no such directory)" };
        writeln!(f, "{}{absent}", self.dir.display())?;
        for File { entry, goes, failure } in &self.files {
            let Entry { path, kind, model, bytes, made, used, in_use } = entry;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let what = if *kind == Kind::Weights { String::new() } else { format!("{}, ", kind.name()) };
            let in_use = match in_use {
                Some(true) => ", in use",
                Some(false) => "",
                None => ", may be in use",
            };
            let (made, used) = (since(*made), since(*used));
            writeln!(f, "  {name}\n    {what}{}, made {made} ago, last used {used} ago{in_use}", gb(*bytes))?;
            if let Some(model) = model {
                writeln!(f, "    of {}", model.display())?;
            }
            match (goes, failure) {
                (Some(why), None) if self.dry_run => writeln!(f, "    would be removed: {why}")?,
                (Some(why), None) => writeln!(f, "    removed: {why}")?,
                (Some(why), Some(failure)) => writeln!(f, "    could not be removed ({failure}): {why}")?,
                (None, _) => {}
            }
        }
        let sum = |files: &mut dyn Iterator<Item = &File>| {
            let (count, bytes) = files.fold((0, 0), |(count, bytes), file| (count + 1, bytes + file.entry.bytes));
            format!("{count} {}, {}", if count == 1 { "file" } else { "files" }, gb(bytes))
        };
        write!(f, "{}", sum(&mut self.files.iter()))?;
        let gone = sum(&mut self.files.iter().filter(|file| file.goes.is_some() && file.failure.is_none()));
        match (self.files.iter().any(|file| file.goes.is_some()), self.dry_run) {
            (false, _) => writeln!(f),
            (true, true) => writeln!(f, "; {gone} would be removed"),
            (true, false) => writeln!(f, "; {gone} removed"),
        }
    }
}

/// A length of time in its largest whole unit.
fn age(time: Duration) -> String {
    let seconds = time.as_secs();
    let (count, unit) = match seconds {
        0..120 => (seconds, "s"),
        120..7_200 => (seconds / 60, "min"),
        7_200..172_800 => (seconds / 3_600, "h"),
        _ => (seconds / 86_400, "days"),
    };
    format!("{count} {unit}")
}
