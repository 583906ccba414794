//! Files that a person has brought: opened, read, and what is wrong with one said so that it can be mended.
//!
//! Invariants: a file is never waited for, a text never begins with a byte order mark, and what is not what it should be
//! (a pointer in place of the file, an error page, a compressed or cut copy, UTF-16) is known by its first bytes before
//! anybody parses it. A [`Fault`] goes on where a sentence has named the file. Used by everything that reads a file:
//! options, checkpoint, prompt, server (certificates), score, download; [`Locked`] also by what writes one.

pub mod access;
pub mod directory;
mod lock;
mod signature;
#[cfg(test)]
mod tests;
mod text;

pub use lock::Locked;
pub use signature::unlike;
pub use text::{BYTE_ORDER_MARK, beginning, without_mark};

use rustix::io::Errno;
use std::fmt;
use std::fs::{self, File, FileType, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// More than any text that a person writes: options, templates, certificates.
pub const MAX_TEXT_BYTES: u64 = 16 << 20;
/// So much is looked at to know a file by.
const FIRST_BYTES: usize = 512;

/// What is wrong with a file, as what follows its name in a sentence, without the full stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    kind: Kind,
    what: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Missing,
    Empty,
    Other,
}

impl Fault {
    fn other(what: impl Into<String>) -> Self {
        Self { kind: Kind::Other, what: what.into() }
    }

    fn empty() -> Self {
        Self { kind: Kind::Empty, what: "is empty (0 bytes)".to_owned() }
    }

    /// What `err` means for whoever wants to read `path`.
    pub fn of(path: &Path, err: &io::Error) -> Self {
        // A link that leads nowhere is there, and its own fault.
        let is_link = path.is_symlink();
        let missing = !is_link && matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
        Self { kind: if missing { Kind::Missing } else { Kind::Other }, what: reason(path, err, 0) }
    }

    /// Whether there is nothing of that name, not even a link.
    pub fn is_missing(&self) -> bool {
        self.kind == Kind::Missing
    }

    /// Whether the file is there with nothing in it.
    pub fn is_empty(&self) -> bool {
        self.kind == Kind::Empty
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// Opens a regular file that holds something and is nothing else by its first bytes.
pub fn open(path: &Path) -> Result<File, Fault> {
    let fail = |err: io::Error| Fault::of(path, &err);
    let facts = fs::metadata(path).map_err(fail)?;
    if !facts.is_file() {
        return Err(no_file(&facts));
    }
    let file = File::open(path).map_err(fail)?;
    let mut first = Vec::new();
    (&file).take(FIRST_BYTES as u64).read_to_end(&mut first).map_err(fail)?;
    match (first.is_empty(), unlike(&first)) {
        (true, _) => Err(Fault::empty()),
        (false, Some(what)) => Err(Fault::other(what)),
        (false, None) => Ok(file),
    }
}

/// Reads a text of at most `limit` bytes, without the byte order mark that it may begin with; whether it is UTF-8 is left
/// to its parser. A pipe of the shell (`<(...)`) is read as a file is; a named one is not, for that could be for ever.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Fault> {
    let fail = |err: io::Error| Fault::of(path, &err);
    let facts = fs::metadata(path).map_err(fail)?;
    // What the shell has opened has no path of its own.
    let is_shells = facts.file_type().is_fifo() && fs::canonicalize(path).is_err();
    if !facts.is_file() && !is_shells {
        return Err(no_file(&facts));
    }
    let too_large = |bytes: u64| {
        let found = if bytes > limit && facts.is_file() { bytes.to_string() } else { format!("more than {limit}") };
        Fault::other(format!("has {found} bytes, expected at most {limit}"))
    };
    if facts.len() > limit {
        return Err(too_large(facts.len()));
    }
    let mut bytes = Vec::with_capacity(facts.len() as usize + 1);
    File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes)).map_err(fail)?;
    if bytes.len() as u64 > limit {
        return Err(too_large(bytes.len() as u64));
    }
    if bytes.is_empty() {
        return Err(Fault::empty());
    }
    let what = unlike(&bytes[..bytes.len().min(FIRST_BYTES)]).or_else(|| signature::unlike_whole(&bytes));
    match what {
        Some(what) => Err(Fault::other(what)),
        None => {
            let marks = bytes.len() - without_mark(&bytes).len();
            bytes.drain(..marks);
            Ok(bytes)
        }
    }
}

/// Reads a file of at most `limit` bytes that holds JSON, as far as its first character tells.
pub fn read_json(path: &Path, limit: u64) -> Result<Vec<u8>, Fault> {
    let json = read(path, limit)?;
    match json.trim_ascii_start().first() {
        Some(b'{' | b'[') => Ok(json),
        None => Err(Fault::other("holds nothing but white space")),
        _ => Err(Fault::other(format!("is not valid JSON: it begins with {}", beginning(&json)))),
    }
}

/// Reads a file of at most `limit` bytes that holds text in UTF-8.
pub fn read_text(path: &Path, limit: u64) -> Result<String, Fault> {
    String::from_utf8(read(path, limit)?).map_err(|err| {
        let byte = err.utf8_error().valid_up_to() + 1;
        Fault::other(format!("is not valid UTF-8 (byte {byte}): save it as UTF-8"))
    })
}

/// Reads certificates and keys in PEM form: a file that was put together from several has a mark before each.
pub fn read_pem(path: &Path) -> Result<String, Fault> {
    let pem = read(path, MAX_TEXT_BYTES)?;
    Ok(String::from_utf8_lossy(&pem).replace(BYTE_ORDER_MARK, ""))
}

fn no_file(facts: &Metadata) -> Fault {
    let kind: FileType = facts.file_type();
    Fault::other(match () {
        () if kind.is_dir() => "is a directory, expected a file",
        () if kind.is_fifo() => "is a named pipe, expected a regular file",
        () if kind.is_socket() => "is a socket, expected a regular file",
        () => "is a device, expected a regular file",
    })
}

/// How long a chain of links is followed.
const MAX_LINKS: usize = 16;

fn reason(path: &Path, err: &io::Error, links: usize) -> String {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    if err.raw_os_error() == Some(Errno::LOOP.raw_os_error()) || links == MAX_LINKS {
        return "is a link that leads back to itself".to_owned();
    }
    if matches!(err.kind(), NotFound | PermissionDenied)
        && let Ok(target) = fs::read_link(path)
    {
        let there = path.parent().unwrap_or(Path::new("")).join(&target);
        let hint = match err.kind() {
            NotFound if links == 0 => ": copy what links point to as well (cp -rL), or mount the directory above both",
            _ => "",
        };
        return format!("is a link to {}, which {}{hint}", target.display(), reason(&there, err, links + 1));
    }
    let first_there = || path.ancestors().skip(1).find(|dir| dir.as_os_str().is_empty() || dir.exists());
    match err.kind() {
        NotFound => match first_there() {
            Some(dir) if path.parent().is_some_and(|parent| dir != parent) => {
                let missing = path.ancestors().take_while(|part| *part != dir).last().unwrap_or(path);
                format!("does not exist, for there is no {}", missing.display())
            }
            _ => "does not exist".to_owned(),
        },
        NotADirectory => match first_there() {
            Some(file) => format!("does not exist, for {} is no directory", file.display()),
            None => "does not exist".to_owned(),
        },
        PermissionDenied => format!("may not be read by {}", access::denied(path)),
        _ => format!("cannot be read: {err}"),
    }
}
