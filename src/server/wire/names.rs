//! Which served name a request means. Clients write one name in several ways, and all of them mean the model that is here.
//!
//! Invariant: a name means nothing but what ends like a served one: nothing is guessed from its middle. Called by
//! `models`.

use super::embed::{DOCUMENT, QUERY};

/// A name of more bytes means nothing but itself.
const LONGEST: usize = 4096;

/// What is `served` under the name that `asked` means: the name itself; one with RAGFlow's `___PROVIDER` behind it, where the
/// name may hold `___` too, since ModelScope's directories do (`Qwen3-Reranker-0___6B`); or a path whose last part is the
/// same. The name itself counts before what else it may mean, and the longest that it may mean before shorter ones.
pub fn meant<'a, T, N: Iterator<Item = (&'a str, T)>>(asked: &str, served: impl Fn() -> N) -> Option<T> {
    // Every reading goes over the name again, so that one without end is not read in other ways.
    let readings = || (asked.len() <= LONGEST).then(|| readings(asked)).into_iter().flatten();
    let itself = served().find(|(name, _)| *name == asked);
    let meant = || readings().find_map(|reading| served().find(|(name, _)| same(name, reading)));
    itself.or_else(meant).map(|(_, model)| model)
}

/// What stands before the name of a prompt in `asked`, and that name: `MODEL:query`, also with a provider's suffix behind it.
pub fn prompt(asked: &str) -> Option<(&str, &'static str)> {
    let name = asked.trim();
    [QUERY, DOCUMENT].into_iter().find_map(|prompt| {
        let (model, behind) = name.rsplit_once(':')?;
        let behind = behind.strip_prefix(prompt)?;
        (behind.is_empty() || behind.starts_with("___")).then_some((model, prompt))
    })
}

/// `asked` without the white space of a form around it and the slashes at its end, what stands before each `___` of it
/// from the right, and before the first.
fn readings(asked: &str) -> impl Iterator<Item = &str> {
    let whole = asked.trim().trim_end_matches('/');
    // Of four underscores and more, the two directions find different ones.
    let places = whole.rmatch_indices("___").chain(whole.match_indices("___").take(1));
    std::iter::once(whole).chain(places.map(|(at, _)| &whole[..at]))
}

/// Whether the last parts of two paths are one name.
pub fn same(served: &str, reading: &str) -> bool {
    !last(reading).is_empty() && last(served) == last(reading)
}

fn last(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{meant, prompt};

    #[track_caller]
    fn check(served: &str, asked: &[&str], others: &[&str]) {
        let names = || [(served, ())].into_iter();
        for asked in asked {
            assert!(meant(asked, names).is_some(), "{asked} is {served}");
        }
        for other in others {
            assert!(meant(other, names).is_none(), "{other} is not {served}");
        }
    }

    #[test]
    fn of_several_names_the_one_that_is_meant_most_literally_counts() {
        let all = ["a", "a___b", "x/c___d", "x/c"];
        for (asked, name) in [
            ("a", "a"),
            ("a___VLLM", "a"),
            ("a___b", "a___b"),
            ("a___b___VLLM", "a___b"),
            ("c", "x/c"),
            ("y/c___d", "x/c___d"),
            ("c___e", "x/c"),
        ] {
            assert_eq!(meant(asked, || all.map(|name| (name, name)).into_iter()), Some(name), "{asked}");
        }
    }

    #[test]
    fn a_providers_suffix_is_taken_off_a_name_that_holds_underscores_itself() {
        check(
            "Qwen3-Reranker-0___6B",
            &["Qwen3-Reranker-0___6B", "Qwen3-Reranker-0___6B___VLLM", "Qwen/Qwen3-Reranker-0___6B___OpenAI-API"],
            &["Qwen3-Reranker-0", "Qwen3-Reranker-0___8B", "___VLLM", "Qwen3-Reranker-0.6B"],
        );
        check(
            "tiny",
            &["tiny___VLLM", "tiny___OpenAI___API", "tiny___", "tiny____VLLM"],
            &["tiny__VLLM", "tin___VLLM"],
        );
        check("a___b", &["a___b___c", "a___b___c___d", "a___b"], &["a", "a___c", "b"]);
    }

    #[test]
    fn white_space_around_a_name_is_no_part_of_it() {
        check("tiny", &["tiny ", " tiny", "tiny\n", "x/tiny\t", "tiny___VLLM "], &["ti ny", " ", "\n"]);
    }

    #[test]
    fn a_prompt_may_stand_behind_a_name() {
        for (asked, is) in [
            ("tiny:query", Some(("tiny", "query"))),
            (" org/tiny:0.6b:document ", Some(("org/tiny:0.6b", "document"))),
            ("tiny:query___OpenAI-API", Some(("tiny", "query"))),
            ("tiny:queryx", None),
            ("tiny:latest", None),
            ("query", None),
        ] {
            assert_eq!(prompt(asked), is, "{asked}");
        }
    }

    #[test]
    fn a_name_of_megabytes_is_read_once() {
        check("tiny", &[], &["tiny___".repeat(1_000_000).as_str(), "___".repeat(2_000_000).as_str()]);
    }

    #[test]
    fn a_path_is_known_by_its_last_part_and_with_slashes_at_its_end() {
        check(
            "/models/x",
            &["/models/x", "/models/x/", "/models/x//", "x", "x/", "models/x", "org/x", "x___VLLM", "x/___VLLM", "/x"],
            &["y", "models", "/models", "/models/", "x/y", "/", "//", "", "/models/x/y"],
        );
        check("/models/x/", &["/models/x/", "/models/x", "x", "./x", "x/___VLLM"], &["models", "y"]);
        check("x", &["/models/x", "org/x", "x/"], &["org/y", "xx", "X"]);
        check("0___6B/x", &["0___6B/x", "x", "0___6B/x___LocalAI"], &["0", "0___6B", "6B/y"]);
    }
}
