//! The keys of the API as the operator meant them, from a flag, the `--config` file, a variable or a credential that
//! systemd hands to the service.
//!
//! Invariants: a key is what a client can send in a header, without the white space and the byte order mark that files
//! and secrets have around it; one that is empty ends the start, for the server would be open to all where its
//! operator thinks it closed; no sentence holds a key, nor does `Debug`. Called by the options of `serve`.

use super::environment::Environment;
use super::values::bare;
use crate::file;
use std::fmt;
use std::path::Path;

/// The variable.
const VARIABLE: &str = "VLLM_API_KEY";
/// The credential, a file with a key a line in the directory that this variable names.
const CREDENTIAL: &str = "ironrank.api-key";
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// The flag.
const FLAG: &str = "--api-key";

/// Keys, and where they were given.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ApiKeys {
    /// Empty leaves the API open to all.
    pub keys: Vec<String>,
    /// For people; empty without keys.
    pub from: String,
}

/// Shows how many there are, for options are logged and held up against each other in tests.
impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeys({} from {:?})", self.keys.len(), self.from)
    }
}

/// The keys of `flag`, where `config` is the file that it may have come from, else that of the variable, else those of
/// the credential.
pub fn api_keys(flag: Vec<String>, config: Option<&str>, env: Environment) -> Result<ApiKeys, String> {
    let (given, from) = match (flag, env.even_empty(VARIABLE)) {
        (flag, _) if !flag.is_empty() => match config {
            Some(file) => (flag, format!("{FLAG} or {file}")),
            None => (flag, FLAG.to_owned()),
        },
        (_, Some(key)) => (vec![key], VARIABLE.to_owned()),
        (_, None) => match credential(env)? {
            Some(keys) => (keys, format!("the credential {CREDENTIAL}")),
            None => return Ok(ApiKeys::default()),
        },
    };
    let keys = given.iter().map(|key| one(key, &from)).collect::<Result<_, _>>()?;
    Ok(ApiKeys { keys, from })
}

/// The lines of the credential, where there is one.
fn credential(env: Environment) -> Result<Option<Vec<String>>, String> {
    let Some(directory) = env.get(CREDENTIALS) else { return Ok(None) };
    match file::read_text(&Path::new(&directory).join(CREDENTIAL), file::MAX_TEXT_BYTES) {
        // A file of white space is one empty key, which is refused.
        Ok(text) => Ok(Some(bare(&text).split('\n').map(str::to_owned).collect())),
        // systemd sets the variable for other credentials too.
        Err(fault) if fault.is_missing() => Ok(None),
        Err(fault) => Err(format!("The credential {CREDENTIAL} {fault}.")),
    }
}

/// What keys hold that their operator has hardly meant.
pub fn doubts(ApiKeys { keys, from }: &ApiKeys) -> Vec<String> {
    let doubt = |key: &String| {
        let is_between = |a, b| key.len() > 1 && key.starts_with(a) && key.ends_with(b);
        let what = if is_between('"', '"') || is_between('\'', '\'') {
            "has quotes around it, as a file of variables keeps them"
        } else if key.starts_with("${") && key.ends_with('}') {
            "is the name of a variable that nothing has replaced"
        } else if key.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("bearer ")) {
            "begins with 'Bearer', which clients put before a key"
        } else {
            return None;
        };
        Some(format!("A key of {from} {what}: clients have to send it as it is."))
    };
    keys.iter().filter_map(doubt).collect()
}

fn one(given: &str, from: &str) -> Result<String, String> {
    let key = bare(given);
    if key.is_empty() {
        return Err(format!(
            "A key of {from} is empty, which would open the API to all; give it a key, or leave {from} out."
        ));
    }
    if key.contains(char::REPLACEMENT_CHARACTER) {
        return Err(format!("A key of {from} is not UTF-8, so that nobody knows what clients would have to send."));
    }
    if key.chars().any(char::is_control) {
        return Err(format!(
            "A key of {from} has a line break or another control character in it, which no client can send."
        ));
    }
    Ok(key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{ApiKeys, Environment, api_keys, doubts};

    fn keys(flag: &[&str], variable: Option<&str>) -> Result<(Vec<String>, String), String> {
        let flag = flag.iter().map(|&key| key.to_owned()).collect();
        api_keys(flag, None, Environment(&|_| variable.map(str::to_owned))).map(|keys| (keys.keys, keys.from))
    }

    #[test]
    fn what_files_have_around_a_key_is_no_part_of_it() {
        for given in ["k", "k\n", "k\r\n", " k ", "\u{feff}k", "\u{feff}k\n", "\tk"] {
            assert_eq!(keys(&[given], None), Ok((vec!["k".to_owned()], "--api-key".to_owned())), "{given:?}");
            assert_eq!(keys(&[], Some(given)), Ok((vec!["k".to_owned()], "VLLM_API_KEY".to_owned())), "{given:?}");
        }
        assert_eq!(keys(&["k"], Some("")).expect("the variable is not looked at").0, ["k"]);
        assert_eq!(keys(&["a b"], None).expect("a space may stand inside").0, ["a b"]);
    }

    #[test]
    fn an_empty_key_never_opens_the_server() {
        for given in ["", " ", "\n", "\u{feff}", "\u{feff}\n"] {
            for said in [keys(&[given], Some("k")), keys(&["secret", given], None), keys(&[], Some(given))] {
                let said = said.expect_err("refused");
                assert!(said.contains("empty") && !said.contains("secret"), "{given:?}: {said}");
            }
        }
    }

    #[test]
    fn a_credential_has_a_key_a_line_and_opens_nothing_when_it_is_empty() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let directory = dir.path().to_str().expect("text").to_owned();
        let keys = |flag: &[&str], variable: Option<&str>| {
            let env = |name: &str| match name {
                "CREDENTIALS_DIRECTORY" => Some(directory.clone()),
                _ => variable.map(str::to_owned),
            };
            api_keys(flag.iter().map(|&key| key.to_owned()).collect(), None, Environment(&env)).map(|keys| keys.keys)
        };
        assert_eq!(keys(&[], None), Ok(Vec::new()), "systemd has handed over others");
        let write = |text: &str| std::fs::write(dir.path().join("ironrank.api-key"), text).expect("written");
        write("\u{feff}a\r\n b \n\n");
        assert_eq!(keys(&[], None).as_deref(), Ok(&["a".to_owned(), "b".to_owned()][..]));
        assert_eq!(keys(&["f"], Some("v")).as_deref(), Ok(&["f".to_owned()][..]));
        assert_eq!(keys(&[], Some("v")).as_deref(), Ok(&["v".to_owned()][..]));
        for nothing in ["", "\n", " \n\n", "\u{feff}", "a\n\nb"] {
            write(nothing);
            let said = keys(&[], None).expect_err("refused");
            assert!(said.contains("ironrank.api-key") && said.contains("empty"), "{nothing:?}: {said}");
        }
    }

    #[test]
    fn a_key_that_nobody_meant_is_told_of_without_being_told() {
        let doubts = |key: &str| doubts(&ApiKeys { keys: vec![key.to_owned()], from: "VLLM_API_KEY".to_owned() });
        for (key, words) in [
            ("\"secret\"", "has quotes around it"),
            ("'secret'", "has quotes around it"),
            ("${secret}", "nothing has replaced"),
            ("Bearer secret", "begins with 'Bearer'"),
            ("bearer secret", "begins with 'Bearer'"),
        ] {
            let said = doubts(key).join("\n");
            assert!(said.starts_with("A key of VLLM_API_KEY ") && said.contains(words), "{key}: {said}");
            assert!(!said.contains("secret"), "{said}");
        }
        for key in ["k", "\"", "bearer", "$ecret", "se'cret'", "schlüssel"] {
            assert!(doubts(key).is_empty(), "{key}");
        }
    }

    #[test]
    fn a_key_that_no_header_can_hold_is_refused_without_being_told() {
        let said = keys(&["sec\nret"], None).expect_err("refused");
        assert!(said.contains("line break") && !said.contains("sec"), "{said}");
    }
}
