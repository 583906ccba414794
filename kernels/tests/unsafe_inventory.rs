//! The list of all `unsafe` in docs/safety.md is complete: one row a file, its counts those of the source.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

/// What a file has of each kind.
#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
struct Counts {
    blocks: usize,
    functions: usize,
    impls: usize,
}

/// As in the table.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} | {} | {}", self.blocks, self.functions, self.impls)
    }
}

impl Counts {
    /// Counts the word in Rust source, comments and strings left out.
    fn of(source: &str) -> Self {
        let mut counts = Self::default();
        let code: String = source.lines().flat_map(|line| [line.split("//").next().unwrap_or(""), "\n"]).collect();
        let code = code.split('"').step_by(2).collect::<Vec<_>>().join(" ");
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        for (at, _) in code.match_indices("unsafe") {
            let (before, after) = (&code[..at], &code[at + "unsafe".len()..]);
            if before.ends_with(is_word) || after.starts_with(is_word) {
                continue;
            }
            match after.trim_start() {
                rest if rest.starts_with('{') => counts.blocks += 1,
                rest if rest.starts_with("fn") || rest.starts_with("extern") => counts.functions += 1,
                rest if rest.starts_with("impl") || rest.starts_with("trait") => counts.impls += 1,
                rest => panic!("what is this: unsafe {rest:.40}"),
            }
        }
        counts
    }
}

/// Counts of the Rust files below `dir` that have any, by their path from `root`.
fn inventory(root: &Path, dir: &Path, found: &mut BTreeMap<String, Counts>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            inventory(root, &path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let counts = Counts::of(&fs::read_to_string(&path).unwrap());
            if counts != Counts::default() {
                found.insert(path.strip_prefix(root).unwrap().display().to_string(), counts);
            }
        }
    }
}

#[test]
fn the_table_in_the_docs_counts_every_unsafe() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for root in ["src/lib.rs", "src/main.rs"] {
        let source = fs::read_to_string(repository.join(root)).unwrap();
        assert!(source.contains("\n#![forbid(unsafe_code)]\n"), "{root} does not forbid unsafe code");
    }
    let mut found = BTreeMap::new();
    inventory(repository, &repository.join("kernels/src"), &mut found);

    let page = fs::read_to_string(repository.join("docs/safety.md")).unwrap();
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `kernels/src/")).collect();
    for (file, counts) in &found {
        let row = format!("| `{file}` | {counts} | ");
        assert!(rows.iter().any(|line| line.starts_with(&row)), "docs/safety.md lacks the row: {row}");
    }
    assert_eq!(rows.len(), found.len(), "docs/safety.md has rows for files without unsafe, or several for one");
}

#[test]
fn comments_strings_and_other_words_are_not_counted() {
    let source = "// unsafe {\nunsafe_code; \"unsafe {\" unsafe fn a() { unsafe { b } }\nunsafe impl Sync for C {}";
    assert_eq!(Counts::of(source), Counts { blocks: 1, functions: 1, impls: 1 });
}
