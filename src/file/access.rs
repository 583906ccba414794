//! Who this process is to the system, and who may do what with a file.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Who is refused access to `path`, and to whom it or the directory on the way to it belongs: "user 65534: /models
/// belongs to user 0 with mode 0700".
pub fn denied(path: &Path) -> String {
    let user = rustix::process::geteuid().as_raw();
    // What cannot even be asked for lies in a directory that may not be entered.
    let mut parts = path.ancestors().map(|part| if part.as_os_str().is_empty() { Path::new(".") } else { part });
    let known = parts.find_map(|part| Some((part, fs::metadata(part).ok()?)));
    match known {
        Some((part, facts)) => {
            let name = if part == path { "it".to_owned() } else { part.display().to_string() };
            let (owner, mode) = (facts.uid(), facts.mode() & 0o7777);
            format!("user {user}: {name} belongs to user {owner} with mode {mode:04o}")
        }
        None => format!("user {user}"),
    }
}

/// An error of the system about a path that is written to or listed, with whom it keeps out.
pub fn explained(path: &Path, err: &io::Error) -> String {
    match err.kind() {
        io::ErrorKind::PermissionDenied => format!("{err} for {}", denied(path)),
        _ => err.to_string(),
    }
}
