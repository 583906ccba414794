//! The documentation as its readers find it: every page is reached from the README, every link leads to a file and a
//! heading that are there, and no line of prose is wider than a terminal.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

/// The lines of a page, without blocks of code.
fn lines(page: &str) -> Vec<&str> {
    let mut is_code = false;
    let is_text = |line: &&str| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    };
    page.lines().filter(is_text).collect()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|err| panic!("{}: {err}", path.display()))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The pages of a directory.
fn pages(directory: &str) -> BTreeSet<PathBuf> {
    let entries = std::fs::read_dir(root().join(directory)).expect("the directory is there");
    let names = entries.map(|entry| Path::new(directory).join(entry.expect("an entry").file_name()));
    names.filter(|path| path.extension().is_some_and(|end| end == "md")).collect()
}

/// Where the links of a page lead: paths from the root, with the headings that they name. A link may go over two lines.
fn links(path: &Path, page: &str) -> Vec<(PathBuf, String)> {
    let text = lines(page).join("\n");
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    let here = targets.filter(|target| !target.contains("://"));
    here.map(|target| {
        let (file, heading) = target.split_once('#').unwrap_or((target, ""));
        let file = if file.is_empty() { path.to_owned() } else { path.parent().expect("a directory").join(file) };
        (plain(&file), heading.to_owned())
    })
    .collect()
}

/// Without `..`.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut plain, part| {
        match part {
            Component::ParentDir => assert!(plain.pop(), "{} leaves the repository", path.display()),
            part => plain.push(part),
        }
        plain
    })
}

/// The names of a page's headings, as links say them.
fn headings(page: &str) -> BTreeSet<String> {
    let titles = lines(page).into_iter().filter_map(|line| line.strip_prefix('#'));
    let titles = titles.map(|rest| rest.trim_start_matches('#').trim());
    let name = |title: &str| -> String {
        let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    titles.map(name).collect()
}

#[test]
fn every_page_is_reached_from_the_readme_and_no_link_leads_nowhere() {
    let mut read_pages = BTreeMap::new();
    let mut next = vec![PathBuf::from("README.md")];
    while let Some(path) = next.pop() {
        if read_pages.contains_key(&path) {
            continue;
        }
        let page = read(&path);
        for (target, _) in links(&path, &page) {
            assert!(root().join(&target).exists(), "{}: there is no {}", path.display(), target.display());
            if target.extension().is_some_and(|end| end == "md") {
                next.push(target);
            } else if root().join(&target).is_dir() {
                next.extend(pages(target.to_str().expect("a plain name")));
            }
        }
        read_pages.insert(path, page);
    }
    for (path, page) in &read_pages {
        for (target, heading) in links(path, page).into_iter().filter(|(_, heading)| !heading.is_empty()) {
            let there = read_pages.get(&target).is_some_and(|page| headings(page).contains(&heading));
            assert!(there, "{}: {} has no heading {heading}", path.display(), target.display());
        }
    }
    let all: BTreeSet<PathBuf> = pages("docs").into_iter().chain(pages("")).collect();
    let unreached: Vec<&PathBuf> = all.iter().filter(|path| !read_pages.contains_key(*path)).collect();
    assert!(all.len() > 20 && unreached.is_empty(), "no link leads to {unreached:?}");
}

#[test]
fn the_list_of_pages_has_all_of_them() {
    let page = read(Path::new("docs/README.md"));
    let listed: Vec<PathBuf> = links(Path::new("docs/README.md"), &page).into_iter().map(|(path, _)| path).collect();
    let here = pages("docs");
    let missing: Vec<&PathBuf> =
        here.iter().filter(|path| !path.ends_with("README.md") && !listed.contains(path)).collect();
    assert!(missing.is_empty(), "docs/README.md does not list {missing:?}");
}

#[test]
fn a_line_of_prose_fits_a_terminal() {
    let all: BTreeSet<PathBuf> = pages("docs").into_iter().chain(pages("")).collect();
    for path in all {
        let page = read(&path);
        let prose = lines(&page).into_iter().filter(|line| !line.starts_with('|'));
        let long: Vec<&str> = prose.filter(|line| line.chars().count() > 120).collect();
        assert!(long.is_empty(), "{}: longer than 120 characters: {long:#?}", path.display());
    }
}
