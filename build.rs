//! Tells the program which revision it is built from: IRONRANK_REVISION, or what git says of this directory.
//!
//! Without either, as in an unpacked archive, there is none. A development build does not ask git, for every commit
//! would compile it anew.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=IRONRANK_REVISION");
    let given = std::env::var("IRONRANK_REVISION").unwrap_or_default();
    let revision = match given.trim() {
        "" | "unknown" if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") => checked_out(),
        "" | "unknown" => None,
        given => Some(given.to_owned()),
    };
    if let Some(revision) = revision {
        println!("cargo:rustc-env=IRONRANK_BUILT_FROM={revision}");
    }
}

/// The commit that is checked out, if this directory, and not one that it was unpacked into, is a working copy.
fn checked_out() -> Option<String> {
    let here = std::env::var("CARGO_MANIFEST_DIR").ok()?;
    let top = git(&["rev-parse", "--show-toplevel"])?;
    if Path::new(&top).canonicalize().ok()? != Path::new(&here).canonicalize().ok()? {
        return None;
    }
    // HEAD changes when another branch is checked out, and its log with every commit.
    for name in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", name])?;
        if Path::new(&path).exists() {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}
