//! JSON in flags and variables, and why it is none: quotes go astray between a shell, YAML and an `--env-file`.
//!
//! Invariant: an error shows how the value begins and, where that can be told, what has happened to it. Called by
//! the options of the model, of scores and, as clap's value parser, of the server, and by `options::spelling`.

use super::values::bare;
use serde_json::{Map, Value};

/// Characters of a wrong value that an error shows.
const SHOWN: usize = 40;

/// What values are put between.
const QUOTES: [char; 3] = ['\'', '"', '`'];

/// A JSON object out of a flag or a variable called `name`; it may span several lines.
pub fn object(name: &str, text: &str) -> Result<Map<String, Value>, String> {
    let wrong = |why: &str| Err(format!("{name} {why}. Its value begins with {}.{}", beginning(text), cause(text)));
    match serde_json::from_str(bare(text)) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => wrong("must be a JSON object such as {\"num_labels\": 1}"),
        Err(err) => wrong(&format!("is not valid JSON: {err}")),
    }
}

/// A list of texts that is one value of a flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StringList(pub Vec<String>);

/// Reads a [`StringList`] from JSON, as vLLM asks for it.
pub fn string_list(text: &str) -> Result<StringList, String> {
    serde_json::from_str(bare(text)).map(StringList).map_err(|_| {
        let form = "is not a JSON list of texts; write it as [\"*\"] or [\"https://example.org\"].";
        format!("{} {form}{}", beginning(text), cause(text))
    })
}

/// Several JSON objects that are one value of a flag.
#[derive(Debug, Clone, PartialEq)]
pub struct Objects(pub Vec<Map<String, Value>>);

/// Reads [`Objects`] from a JSON list.
pub fn objects(text: &str) -> Result<Objects, String> {
    serde_json::from_str(bare(text)).map(Objects).map_err(|_| {
        let form = "is not a JSON list of objects; write it as [{\"model\": \"/models/x\", \"names\": [\"x\"]}].";
        format!("{} {form}{}", beginning(text), cause(text))
    })
}

/// The first characters of a value, on one line.
fn beginning(text: &str) -> String {
    let shown: String = bare(text).chars().take(SHOWN).flat_map(char::escape_debug).collect();
    // `escape_debug` is for Rust's quotes, of which there are none here.
    let shown = shown.replace("\\\"", "\"").replace("\\'", "'").replace("\\\\", "\\");
    if bare(text).chars().nth(SHOWN).is_some() { format!("`{shown}...`") } else { format!("`{shown}`") }
}

/// What has probably happened to a value that is not the JSON it should be, as a sentence with a space before it.
fn cause(text: &str) -> String {
    let text = bare(text);
    let inner = text.trim_start_matches(['{', '[']).trim_start();
    let is_json = |text: &str| matches!(serde_json::from_str(text), Ok(Value::Object(_) | Value::Array(_)));
    let holds = |marks: &[char]| text.contains(marks);
    let words = |word: &str| text.split(|c: char| !c.is_alphanumeric()).any(|part| part == word);
    // Quotes that are JSON's own stand before a name, not before a brace.
    let quoted = text.trim_start_matches(QUOTES).trim_start_matches('\\');
    let is_quoted = quoted.len() < text.len() && (quoted.is_empty() || quoted.starts_with(['{', '[']));
    let sentence = if text.is_empty() {
        "It is empty: leave it out where it has nothing to say."
    } else if text.starts_with('$') {
        "Nothing has replaced the variable: only a shell does, or what reads the compose file."
    } else if is_quoted || ["}'", "}\"", "]'", "]\""].iter().any(|end| text.ends_with(end)) {
        "The quotes around it have become a part of it: a shell takes them away, but a YAML list (`command:`, `args:`), an \
         `environment:` list and a file of variables do not. Write the value without them there."
    } else if inner.starts_with('\\') || text.contains("\\\"") && is_json(&text.replace("\\\"", "\"")) {
        "The backslashes before its quotes have become a part of it: only within double quotes does a shell take them away. \
         Write \" without them, and single quotes around the whole in a shell."
    } else if text.starts_with("{{") {
        "Its braces are doubled, as a template writes them that has not been filled in here."
    } else if text.contains("&quot;") || text.contains("&#34;") {
        "Its quotes are written as HTML writes them."
    } else if holds(&['\u{201c}', '\u{201d}', '\u{201e}', '\u{2018}', '\u{2019}', '\u{ab}', '\u{bb}', '\u{ff02}']) {
        "It has typographic quotes, as word processors and chats make them; JSON has \"."
    } else if text.contains('\u{a0}') && is_json(&text.replace('\u{a0}', " ")) {
        "It has no-break spaces, as web pages and word processors make them; write plain ones."
    } else if is_json(&format!("{{{text}}}")) {
        "The braces around it are missing."
    } else if inner.starts_with('\'')
        || [":'", ": '", "['", ", '"].iter().any(|part| text.contains(part))
        || ["True", "False", "None"].iter().any(|word| words(word))
    {
        "That is how Python writes it; JSON has double quotes, and true, false and null."
    } else if !text.contains(['{', '[', '\n']) && looks_like_a_file(text) {
        "That looks like the name of a file; what is wanted is what the file holds: \"$(cat FILE)\" in a shell."
    } else if text.starts_with(['{', '[']) && inner.starts_with(|c: char| c.is_alphabetic()) {
        "Its double quotes are gone, as a shell takes them: put single quotes around the whole in a shell."
    } else if serde_json::from_str::<Value>(text).is_err_and(|err| err.is_eof()) {
        "It ends too early: a space has perhaps divided it, where quotes around the whole were missing."
    } else {
        return String::new();
    };
    format!(" {sentence}")
}

fn looks_like_a_file(text: &str) -> bool {
    text.starts_with(['/', '.', '@', '~'])
        || [".json", ".yaml", ".yml", ".txt"].iter().any(|end| text.to_ascii_lowercase().ends_with(end))
        || std::path::Path::new(text).is_file()
}
