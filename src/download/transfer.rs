//! One file: its part on disk, gone on with where it was cut, until size and checksum are the hub's.
//!
//! Invariant: [`fetch`] returns only when the part holds what the hub promised, and the disk has it. What is on disk is
//! read once before a part is gone on with, and never trusted for its length alone. Called by [`super::run`].

use super::hub::{Checksum, Fault, Hub, HubFile};
use super::progress::Progress;
use crate::error::{Error, ErrorKind, Result};
use crate::file::access;
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use ureq::http::{HeaderMap, header};

/// Bytes that are read and written together.
const BLOCK: usize = 256 << 10;
/// A part that turned out damaged is fetched anew, once.
const TIMES: usize = 2;

/// Whether `path` is a regular file with the size and the checksum of `file`.
pub(super) fn is_right(path: &Path, file: &HubFile) -> bool {
    let same_size = std::fs::metadata(path).is_ok_and(|facts| facts.is_file() && facts.len() == file.size);
    same_size && Part::open(path, file).is_ok_and(|part| part.checksum() == file.checksum.hex)
}

/// Fetches what `path` lacks of `file`.
pub(super) fn fetch(hub: &Hub, file: &HubFile, path: &Path) -> Result<()> {
    let full = |err: io::Error| cannot_write(path, &err);
    let mut part = Part::create(path, file).map_err(full)?;
    for _ in 0..TIMES {
        part.reached = part.len;
        let mut progress = Progress::new("fetching", &file.name, file.size);
        if part.len > 0 && part.len < file.size {
            progress.note(format_args!("going on at {}", super::progress::size(part.len)));
        }
        progress.begin_at(part.len);
        let progress = std::cell::RefCell::new(progress);
        hub.persist(
            |why| progress.borrow().warn(why),
            || {
                receive(hub, file, &mut part, &mut |done| progress.borrow_mut().set(done)).map_err(
                    |fault| match fault {
                        Stop::Hub(fault) => fault,
                        Stop::Disk(err) => Fault::Lasting(cannot_write(path, &err)),
                    },
                )
            },
        )?;
        let sum = part.checksum();
        if sum == file.checksum.hex {
            part.file.sync_all().map_err(full)?;
            progress.into_inner().finish(part.len);
            return Ok(());
        }
        progress.borrow().warn(format_args!("has the checksum {sum}, not the hub's; it is fetched anew"));
        part.restart().map_err(full)?;
    }
    let Checksum { hex, sha256 } = &file.checksum;
    let kind = if *sha256 { "SHA-256" } else { "git's SHA-1" };
    Err(Error::new(
        ErrorKind::Machine,
        format!(
            "{} came {TIMES} times with another checksum than the hub's ({kind} {hex}): something on the way changes it.",
            file.name
        ),
    ))
}

enum Stop {
    Hub(Fault),
    Disk(io::Error),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Hub(fault)
    }
}

/// One attempt at all that the part lacks.
fn receive(hub: &Hub, file: &HubFile, part: &mut Part, set: &mut dyn FnMut(u64)) -> std::result::Result<(), Stop> {
    let size = file.size;
    if part.len == size {
        return Ok(());
    }
    let answer = hub.open(file, part.len)?;
    let begun = match answer.status().as_u16() {
        206 => content_range(answer.headers()),
        416 => None,
        _ => Some((0, length(answer.headers()))),
    };
    let Some((offset, total)) = begun.filter(|(offset, _)| [0, part.len].contains(offset)) else {
        part.restart().map_err(Stop::Disk)?;
        return Err(Fault::passing(format!("{} was not sent from where it was cut", file.name)).into());
    };
    let wrong = |found: String| {
        let what = format!("{} has {size} bytes on the hub, but {found} are sent.", file.name);
        Fault::Lasting(Error::new(ErrorKind::Machine, what))
    };
    if let Some(total) = total.filter(|total| *total != size) {
        return Err(wrong(total.to_string()).into());
    }
    if offset != part.len {
        part.restart().map_err(Stop::Disk)?;
    }
    let (mut body, mut block, before) = (answer.into_body().into_reader(), vec![0; BLOCK], part.reached);
    let cut = |len: u64, why: String| Fault::Passing {
        why: format!("{} was cut at {len} of {size} bytes{why}", file.name),
        wait: None,
        progressed: len > before,
    };
    while part.len < size {
        let read = match body.read(&mut block) {
            Ok(0) => return Err(cut(part.len, String::new()).into()),
            Ok(read) => read,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            Err(err) => return Err(cut(part.len, format!(" ({err})")).into()),
        };
        if part.len + read as u64 > size {
            return Err(wrong("more".to_owned()).into());
        }
        part.write(&block[..read]).map_err(Stop::Disk)?;
        set(part.len);
    }
    Ok(())
}

/// First byte and whole length of `Content-Range: bytes 5-9/10`; the length may be `*`.
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let range = headers.get(header::CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    let (range, total) = range.split_once('/')?;
    Some((range.split_once('-')?.0.trim().parse().ok()?, total.trim().parse().ok()))
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// The beginning of a file, and the checksum of what it has so far.
struct Part {
    file: File,
    len: u64,
    /// The furthest that any attempt came. Only what passes it is progress: a server that always sends all from the start
    /// and cuts it at the same byte would else be asked for ever.
    reached: u64,
    sum: Context,
    /// What the checksum begins with, besides the file.
    prefix: Option<String>,
}

impl Part {
    /// The file at `path`, which is only read.
    fn open(path: &Path, file: &HubFile) -> io::Result<Self> {
        Self::new(File::open(path)?, file)
    }

    /// The part at `path`, empty if there was none.
    fn create(path: &Path, file: &HubFile) -> io::Result<Self> {
        let part = File::options().create(true).truncate(false).read(true).write(true).open(path)?;
        let mut part = Self::new(part, file)?;
        if part.len > file.size {
            part.restart()?;
        }
        Ok(part)
    }

    fn new(content: File, HubFile { name, size, checksum, .. }: &HubFile) -> io::Result<Self> {
        let prefix = (!checksum.sha256).then(|| format!("blob {size}\0"));
        let mut part = Self { file: content, len: 0, reached: 0, sum: begin(prefix.as_deref()), prefix };
        let mut progress = Progress::new("checking", name, *size);
        let mut block = vec![0; BLOCK];
        loop {
            let read = part.file.read(&mut block)?;
            if read == 0 {
                return Ok(part);
            }
            part.sum.update(&block[..read]);
            part.len += read as u64;
            progress.set(part.len);
        }
    }

    fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        (self.len, self.sum) = (0, begin(self.prefix.as_deref()));
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.sum.update(bytes);
        self.len += bytes.len() as u64;
        self.reached = self.reached.max(self.len);
        Ok(())
    }

    /// In lower-case hexadecimal digits.
    fn checksum(&self) -> String {
        self.sum.clone().finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// SHA-256, or SHA-1 after git's `prefix`.
fn begin(prefix: Option<&str>) -> Context {
    match prefix {
        None => Context::new(&SHA256),
        Some(prefix) => {
            let mut sum = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
            sum.update(prefix.as_bytes());
            sum
        }
    }
}

/// An error about a place that cannot be written to.
pub(super) fn cannot_write(path: &Path, err: &io::Error) -> Error {
    use io::ErrorKind::{FileTooLarge, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let why = match err.kind() {
        StorageFull | QuotaExceeded | FileTooLarge => {
            format!("{err}; make room, and the next download goes on where this one stopped")
        }
        ReadOnlyFilesystem | PermissionDenied => format!("{}; give another --dir", access::explained(path, err)),
        _ => err.to_string(),
    };
    Error::new(ErrorKind::Machine, format!("{} cannot be written to: {why}.", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_and_one_that_cannot_be_written_are_sentences() {
        let said = |kind: io::ErrorKind| cannot_write(Path::new("/models/m"), &kind.into()).to_string();
        assert!(said(io::ErrorKind::StorageFull).starts_with("/models/m cannot be written to: "));
        assert!(said(io::ErrorKind::StorageFull).ends_with("goes on where this one stopped."));
        assert!(said(io::ErrorKind::ReadOnlyFilesystem).ends_with("give another --dir."));
    }

    #[test]
    fn ranges_are_read_as_they_stand_in_the_standard() {
        let range = |text: &str| content_range(&HeaderMap::from_iter([(header::CONTENT_RANGE, text.parse().unwrap())]));
        assert_eq!(range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(range("bytes 0-9/*"), Some((0, None)));
        for text in ["bytes */10", "5-9/10", "bytes 5/10", "items 5-9/10"] {
            assert_eq!(range(text), None, "{text}");
        }
    }
}
