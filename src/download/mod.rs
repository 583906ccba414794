//! `ironrank download`: the files of a model, from the hub or a mirror into a plain directory that `serve` takes.
//!
//! Invariant: what stands in the directory under its name is whole and has the hub's checksum. Files are fetched beside
//! their place, in `.download`, where a run that was cut finds them again; they move into place together when all are
//! there, and `config.json`, without which nothing loads, comes last. Called by `main`; the server has no part in it.
//!
//! The transfer is ours, on the `ureq` client, because the `hf-hub` crate would not do: 0.5 keeps a cache of links
//! rather than a directory, and verifies nothing; 1.0 neither resumes nor verifies, and brings 250 more crates,
//! among them the second cryptography library (aws-lc) that this project does without.

mod hub;
mod progress;
mod transfer;

use crate::checkpoint::{self, Overrides};
use crate::error::{Error, ErrorKind, Result};
use crate::file::Locked;
use crate::file::directory::{CONFIG, INDEX, SINGLE, TOKENIZER};
use crate::options::DownloadOptions;
use hub::{Hub, HubFile, Listing};
use rustix::fs::statvfs;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use transfer::{cannot_write, fetch, is_right};

/// Fetches what is missing or wrong and answers the directory, which is then whole.
pub fn run(options: &DownloadOptions) -> Result<PathBuf> {
    let hub = Hub::new(options)?;
    let listing = hub.listing()?;
    let small = small_files(&listing).map_err(|why| unfit(options, &why))?;
    let mut target = Target::open(&options.dir)?;
    let mut taken = [SINGLE, INDEX].into_iter().chain(checkpoint::TASK_FILES);
    if let Some(name) = taken.find(|name| listing.find(name).is_none() && options.dir.join(name).exists()) {
        return Err(Error::new(
            ErrorKind::Checkpoint,
            format!(
                "{} holds a {name}, which {} does not have and the server would take: remove it, or give another --dir.",
                options.dir.display(),
                options.repo
            ),
        ));
    }
    for file in small {
        target.bring(&hub, file)?;
    }
    warn_if_unknown(&target, &listing);
    let weights = weight_files(&listing, &target.whereabouts(INDEX)).map_err(|why| unfit(options, &why))?;
    target.make_sure_of_room(&weights)?;
    for file in &weights {
        target.bring(&hub, file)?;
    }
    let (fetched, bytes) = (target.fetched.len(), target.fetched.iter().map(|file| file.size).sum());
    target.settle()?;
    tracing::info!(
        "{} of {} at {} is in {}: {} fetched; `ironrank check {3}` says whether it will load",
        options.revision,
        options.repo,
        listing.commit.get(..12).unwrap_or(&listing.commit),
        options.dir.display(),
        match fetched {
            0 => "all was there, nothing".to_owned(),
            1 => format!("1 file ({})", progress::size(bytes)),
            _ => format!("{fetched} files ({})", progress::size(bytes)),
        },
    );
    Ok(options.dir.clone())
}

/// The files that tell what the weights are: they come first.
fn small_files(listing: &Listing) -> std::result::Result<Vec<&HubFile>, String> {
    if listing.find(SINGLE).is_none() && listing.find(INDEX).is_none() {
        const NONE: &str = "has no safetensors files, the only weights that the server reads";
        if listing.files.iter().any(|file| file.name.ends_with(".safetensors")) {
            return Err(format!("has safetensors files, but neither {SINGLE} nor {INDEX}"));
        }
        let other = listing.others.iter().find(|name| name.ends_with(".bin") || name.ends_with(".gguf"));
        return Err(other.map_or_else(|| NONE.to_owned(), |other| format!("{NONE}, but {other}")));
    }
    let needed = |name: &str| listing.find(name).ok_or_else(|| format!("has no {name}, which the server needs"));
    let mut files = vec![needed(CONFIG)?, needed(TOKENIZER)?];
    files.extend(
        ["tokenizer_config.json", "chat_template.jinja", INDEX].into_iter().filter_map(|name| listing.find(name)),
    );
    files.extend(listing.files.iter().filter(|file| checkpoint::tells_of_task(&file.name)));
    Ok(files)
}

/// The one file of weights, or the shards that the index names.
fn weight_files<'l>(listing: &'l Listing, index: &Path) -> std::result::Result<Vec<&'l HubFile>, String> {
    // The index wins where there are both, as when the server reads them.
    if let (None, Some(single)) = (listing.find(INDEX), listing.find(SINGLE)) {
        return Ok(vec![single]);
    }
    let names = checkpoint::shard_names(index).map_err(|err| format!("has an index that cannot be used: {err}"))?;
    if names.is_empty() {
        return Err(format!("has no weights: its {INDEX} names no file"));
    }
    let shard = |name: &String| listing.find(name).ok_or_else(|| format!("lacks {name}, which its {INDEX} names"));
    names.iter().map(shard).collect()
}

/// Says before gigabytes are fetched that they will not be served; overrides may still change that, so it is no error.
fn warn_if_unknown(target: &Target, listing: &Listing) {
    if let Err(err) = checkpoint::Checkpoint::dummy_of(&|name| target.whereabouts(name), (&Overrides::new()).into()) {
        // By the names that the files will have.
        let place = |name: &str| target.whereabouts(name).display().to_string();
        let mut sentence = err.to_string();
        for file in &listing.files {
            sentence = sentence.replace(&place(&file.name), &file.name);
        }
        tracing::warn!("this server will not take the model as it is: {sentence}");
    }
}

fn unfit(options: &DownloadOptions, why: &str) -> Error {
    let DownloadOptions { repo, revision, .. } = options;
    let revision = if revision == "main" { String::new() } else { format!(" at {revision}") };
    Error::new(ErrorKind::Checkpoint, format!("{repo}{revision} {why}."))
}

/// The directory and what has been fetched for it so far.
struct Target<'a> {
    dir: &'a Path,
    staging: PathBuf,
    /// Whole and verified, but still in `staging`.
    fetched: Vec<HubFile>,
    /// Held by one run at a time; the system lets go of it when the process ends, however it ends.
    _lock: Locked,
}

impl<'a> Target<'a> {
    fn open(dir: &'a Path) -> Result<Self> {
        let staging = dir.join(".download");
        fs::create_dir_all(&staging).map_err(|err| cannot_write(dir, &err))?;
        let lock = staging.join("lock");
        let file = File::options().create(true).truncate(false).write(true).open(&lock);
        let file = file.map_err(|err| cannot_write(dir, &err))?;
        let lock = Locked::exclusive(file).map_err(|_| {
            Error::new(ErrorKind::Machine, format!("Another download into {} is running.", dir.display()))
        })?;
        Ok(Self { dir, staging, fetched: Vec::new(), _lock: lock })
    }

    /// Where a file that was brought is now.
    fn whereabouts(&self, name: &str) -> PathBuf {
        match self.fetched.iter().find(|file| file.name == name) {
            Some(file) => self.part(file),
            None => self.dir.join(name),
        }
    }

    /// The name says what it will be, so that no part of another revision is gone on with, and no other file's that has
    /// the same bytes.
    fn part(&self, file: &HubFile) -> PathBuf {
        self.staging.join(format!("{}.{}.part", file.name.replace('/', "."), file.checksum.hex))
    }

    /// Fetches `file` unless it is there already.
    fn bring(&mut self, hub: &Hub, file: &HubFile) -> Result<()> {
        if is_right(&self.dir.join(&file.name), file) {
            tracing::info!("{} is there already", file.name);
            return Ok(());
        }
        fetch(hub, file, &self.part(file))?;
        self.fetched.push(file.clone());
        Ok(())
    }

    /// An error if `files` need more room than there is; a part counts as what it has.
    fn make_sure_of_room(&self, files: &[&HubFile]) -> Result<()> {
        let there = |file: &HubFile| {
            let length = |path: PathBuf| fs::metadata(path).map_or(0, |facts| facts.len());
            // What has the right size is most likely right, and is looked at soon.
            if length(self.dir.join(&file.name)) == file.size { file.size } else { length(self.part(file)) }
        };
        let needed: u64 = files.iter().map(|file| file.size.saturating_sub(there(file))).sum();
        let Ok(disk) = statvfs(self.dir) else { return Ok(()) };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if needed <= free {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Machine,
            format!(
                "{} needs {} more, but {} are free there: make room, or give another --dir.",
                self.dir.display(),
                progress::size(needed),
                progress::size(free)
            ),
        ))
    }

    /// Moves a file into its place, which may be a directory of its own.
    fn place(&self, file: &HubFile) -> io::Result<()> {
        let place = self.dir.join(&file.name);
        place.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::rename(self.part(file), place)
    }

    /// Moves what was fetched into place. `config.json` leaves first and comes last, so that a mixture of two revisions
    /// is never taken for a model.
    fn settle(mut self) -> Result<()> {
        let failed = |err: io::Error| cannot_write(self.dir, &err);
        let config = self.dir.join(CONFIG);
        match self.fetched.iter().position(|file| file.name == CONFIG) {
            Some(at) => {
                let last = self.fetched.remove(at);
                self.fetched.push(last);
                if config.exists() {
                    fs::remove_file(&config).map_err(failed)?;
                }
                self.fetched.iter().try_for_each(|file| self.place(file)).map_err(failed)?;
            }
            None if self.fetched.is_empty() => {}
            None => {
                let aside = self.staging.join(CONFIG);
                fs::rename(&config, &aside).map_err(failed)?;
                self.fetched.iter().try_for_each(|file| self.place(file)).map_err(failed)?;
                fs::rename(&aside, &config).map_err(failed)?;
            }
        }
        // Parts of other revisions go too. What cannot be removed is in nobody's way.
        let _ = fs::remove_dir_all(&self.staging);
        Ok(())
    }
}
