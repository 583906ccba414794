//! Typed readers for the fields of a JSON object, with the messages and the lax conversions of vLLM's validation.
//!
//! A reader never stops at the first mistake: it notes an [`Issue`] and goes on with a default, so that one answer
//! counts all mistakes and names the first. Invariant: a body with a million mistakes takes no more memory than one with
//! [`MAX_LISTED`]. Called by `wire`.

use super::halves;
use crate::server::http::error::{ApiError, Refusal};
use crate::server::http::shown::beginning;
use serde_json::{Map, Value};
use std::fmt::{Display, Write};

/// At most this many issues are spelled out in one answer.
const MAX_LISTED: usize = 10;
/// Longest quotation of a client's string, in characters.
const MAX_QUOTED: usize = 100;

/// One mistake in a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    kind: &'static str,
    loc: String,
    msg: String,
    input: String,
    ctx: Option<String>,
}

impl Issue {
    fn new(kind: &'static str, loc: impl Into<String>, msg: impl Into<String>, input: &Value) -> Self {
        Self { kind, loc: loc.into(), msg: msg.into(), input: summary(input), ctx: None }
    }

    /// A body that is empty or `null`.
    pub fn missing_body() -> Self {
        Self::new("missing", "body", "Field required", &Value::Null)
    }

    /// A body that is a list, a string or a number.
    pub fn not_an_object(value: &Value) -> Self {
        let msg = "Input should be a valid dictionary or object to extract fields from";
        Self::new("model_attributes_type", "body", msg, value)
    }

    /// A body that is not JSON, at this byte.
    pub fn json(offset: usize, reason: &str) -> Self {
        let mut issue =
            Self::new("json_invalid", format!("body.{offset}"), "JSON decode error", &Value::Object(Map::new()));
        issue.ctx = Some(format!("{{'error': {}}}", quoted(reason)));
        issue
    }

    /// A body whose fields do not go together, which the sentence says.
    pub fn of_the_whole(sentence: &str, body: &Map<String, Value>) -> Self {
        let ctx = format!("{{'error': ValueError({})}}", quoted(sentence));
        let issue = Self::new("value_error", "body", format!("Value error, {sentence}"), &Value::Null).with_ctx(ctx);
        Self { input: dict_summary(body.len()), ..issue }
    }

    fn with_ctx(mut self, ctx: String) -> Self {
        self.ctx = Some(ctx);
        self
    }
}

/// The mistakes in a body: how many there are, and the first of them.
#[derive(Debug, Default)]
pub struct Issues {
    count: usize,
    listed: Vec<Issue>,
    /// Where a text is wanted and half of a surrogate pair is found first.
    half: Option<String>,
}

impl Issues {
    /// One more, which is only made if it is listed.
    fn add(&mut self, issue: impl FnOnce() -> Issue) {
        self.count += 1;
        if self.listed.len() < MAX_LISTED {
            self.listed.push(issue());
        }
    }

    /// These, and then `more`.
    pub fn extend(&mut self, more: Self) {
        self.count += more.count;
        self.listed.extend(more.listed);
        self.listed.truncate(MAX_LISTED);
        self.half = self.half.take().or(more.half);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl From<Issue> for Issues {
    fn from(issue: Issue) -> Self {
        Self { count: 1, listed: vec![issue], half: None }
    }
}

/// The answer to a body with `issues`, of which the first names the parameter.
pub fn refuse(issues: impl Into<Issues>) -> ApiError {
    let Issues { count, listed, half } = issues.into();
    if let Some(place) = half {
        return halves::refusal(&place);
    }
    let mut message = format!("{count} validation error{}:", if count == 1 { "" } else { "s" });
    for issue in &listed {
        let Issue { kind, loc, msg, input, ctx } = issue;
        // Writing to a string cannot fail.
        let _ = write!(
            message,
            "\n  {{'type': '{kind}', 'loc': {}, 'msg': {}, 'input': {}",
            quoted(loc),
            quoted(msg),
            quoted(input)
        );
        if let Some(ctx) = ctx {
            let _ = write!(message, ", 'ctx': {ctx}");
        }
        message.push('}');
    }
    let error = ApiError::new(Refusal::Malformed, message);
    match listed.first() {
        Some(first) => error.with_param(first.loc.clone()),
        None => error,
    }
}

/// What a field holds; null counts as absent.
pub fn given<'a>(map: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    map.get(name).filter(|value| !value.is_null())
}

/// Reads the fields of an object, or of several as if they were one, and collects what is wrong with them.
pub struct Fields<'a> {
    objects: Objects<'a>,
    issues: Issues,
}

/// What is looked through for a field, in this order, each with its place and a dot behind that.
#[derive(Clone)]
struct Objects<'a>(Vec<(&'a Map<String, Value>, String)>);

impl Objects<'_> {
    /// The place of a field, or of what is in it: where it stands, or where it is missed first.
    fn place(&self, loc: impl Display) -> String {
        let loc = loc.to_string();
        let name = loc.split('.').next().unwrap_or_default();
        let object = self.0.iter().find(|(map, _)| given(map, name).is_some()).or(self.0.first());
        format!("{}{loc}", object.map_or("", |(_, place)| place))
    }
}

impl<'a> Fields<'a> {
    /// A reader of `map`, the body of a request.
    pub fn new(map: &'a Map<String, Value>) -> Self {
        Self::within(map, &[])
    }

    /// A reader of the objects that `body` holds under `names`, and of `body` itself: a field is that of the first which
    /// has it.
    pub fn within(body: &'a Map<String, Value>, names: &[&str]) -> Self {
        let object = |name: &&str| Some((body.get(*name)?.as_object()?, format!("body.{name}.")));
        let objects = names.iter().filter_map(object).chain([(body, "body.".to_owned())]).collect();
        Self { objects: Objects(objects), issues: Issues::default() }
    }

    /// Whatever a field holds; null counts as absent.
    pub fn any(&self, name: &str) -> Option<&'a Value> {
        self.objects.0.iter().find_map(|(map, _)| given(map, name))
    }

    /// Whether a field is there.
    pub fn has(&self, name: &str) -> bool {
        self.any(name).is_some()
    }

    /// Everything that was wrong so far.
    pub fn into_issues(self) -> Issues {
        self.issues
    }

    /// Whether nothing was wrong so far.
    pub fn is_clean(&self) -> bool {
        self.issues.is_empty()
    }

    /// Notes a mistake in field `loc` of the object.
    pub fn note(&mut self, kind: &'static str, loc: impl Display, msg: &str, input: &Value) {
        if self.issues.half.is_none()
            && let Some(within) = halves::place(input)
        {
            self.issues.half = Some(readable(&self.objects.place(&loc)) + &within);
        }
        self.issues.add(|| Issue::new(kind, self.objects.place(loc), msg, input));
    }

    /// The value of a field that must be there.
    pub fn required(&mut self, name: &str) -> Option<&'a Value> {
        let value = self.any(name).or_else(|| self.objects.0.iter().find_map(|(map, _)| map.get(name)));
        if value.is_none() {
            let missing = || Issue::new("missing", self.objects.place(name), "Field required", &Value::Null);
            let fields = self.objects.0.first().map_or(0, |(map, _)| map.len());
            self.issues.add(|| Issue { input: dict_summary(fields), ..missing() });
        }
        value
    }

    /// A string, or nothing.
    pub fn string(&mut self, name: &str) -> Option<String> {
        match self.any(name)? {
            Value::String(text) => Some(text.clone()),
            other => {
                self.note("string_type", name, "Input should be a valid string", other);
                None
            }
        }
    }

    /// A string that nobody looks into, or nothing.
    pub fn unused_string(&mut self, name: &str) {
        if self.any(name).and_then(halves::place).is_none() {
            self.string(name);
        }
    }

    /// A string that must be there.
    pub fn required_string(&mut self, name: &str) -> Option<String> {
        match self.required(name)? {
            Value::String(text) => Some(text.clone()),
            other => {
                self.note("string_type", name, "Input should be a valid string", other);
                None
            }
        }
    }

    /// One of `choices`, or nothing.
    pub fn choice(&mut self, name: &str, choices: &[&str]) -> Option<&'a str> {
        let value = self.any(name)?;
        if let Some(text) = value.as_str().filter(|text| choices.contains(text)) {
            return Some(text);
        }
        let mut expected = choices.iter().map(|choice| format!("'{choice}'")).collect::<Vec<_>>().join(", ");
        if let Some(comma) = expected.rfind(", ") {
            expected.replace_range(comma..comma + 2, " or ");
        }
        self.issues.add(|| {
            let (loc, msg) = (self.objects.place(name), format!("Input should be {expected}"));
            Issue::new("literal_error", loc, msg, value).with_ctx(format!("{{'expected': {}}}", quoted(&expected)))
        });
        None
    }

    /// An object whose strings are texts, or nothing.
    pub fn object(&mut self, name: &str) -> Option<&'a Map<String, Value>> {
        match self.any(name)? {
            value @ Value::Object(map) if halves::place(value).is_none() => Some(map),
            other => {
                self.note("dict_type", name, "Input should be a valid dictionary", other);
                None
            }
        }
    }

    /// A truth value, or nothing; `"yes"`, `"off"`, `1` and their like are converted.
    pub fn boolean(&mut self, name: &str) -> Option<bool> {
        let value = self.any(name)?;
        let truth = truth(value);
        if truth.is_none() {
            let (kind, msg) = match value {
                Value::String(_) | Value::Number(_) => {
                    ("bool_parsing", "Input should be a valid boolean, unable to interpret input")
                }
                _ => ("bool_type", "Input should be a valid boolean"),
            };
            self.note(kind, name, msg, value);
        }
        truth
    }

    /// A truth value in a field that vLLM does not know, and therefore takes whatever it holds.
    pub fn boolean_if_any(&self, name: &str) -> Option<bool> {
        truth(self.any(name)?)
    }

    /// A whole number in a field that vLLM does not know: what is none counts as absent.
    pub fn integer_if_any(&self, name: &str) -> Option<i64> {
        Self { objects: self.objects.clone(), issues: Issues::default() }.integer(name)
    }

    /// A whole number, or nothing; `"2"`, `2.0` and `true` are converted, and what exceeds 64 bits is the largest.
    pub fn integer(&mut self, name: &str) -> Option<i64> {
        let value = self.any(name)?;
        let (kind, msg) = match value {
            Value::Bool(truth) => return Some(i64::from(*truth)),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => return Some(whole),
                // The cast saturates, which is what is wanted of a number that no limit here can reach.
                (None, Some(float)) if float.fract() == 0.0 => return Some(float as i64),
                _ => ("int_from_float", "Input should be a valid integer, got a number with a fractional part"),
            },
            Value::String(text) => match text.trim().parse() {
                Ok(whole) => return Some(whole),
                Err(_) if ["NaN", "Infinity", "-Infinity"].contains(&text.as_str()) => {
                    ("finite_number", "Input should be a finite number")
                }
                Err(_) => ("int_parsing", "Input should be a valid integer, unable to parse string as an integer"),
            },
            _ => ("int_type", "Input should be a valid integer"),
        };
        self.note(kind, name, msg, value);
        None
    }

    /// A whole number or nothing; one below `least` is noted as a mistake.
    pub fn integer_from(&mut self, name: &str, least: i64) -> Option<i64> {
        let number = self.integer(name)?;
        if number >= least {
            return Some(number);
        }
        let value = self.any(name)?;
        self.issues.add(|| {
            let (loc, msg) = (self.objects.place(name), format!("Input should be greater than or equal to {least}"));
            Issue::new("greater_than_equal", loc, msg, value).with_ctx(format!("{{'ge': {least}}}"))
        });
        None
    }
}

/// A place as people write it: `body.documents.37` is `documents[37]`.
fn readable(place: &str) -> String {
    let mut out = String::with_capacity(place.len());
    for part in place.strip_prefix("body.").unwrap_or(place).split('.') {
        match part.bytes().all(|c| c.is_ascii_digit()) {
            true => out.extend(["[", part, "]"]),
            false => out.extend([if out.is_empty() { "" } else { "." }, part]),
        }
    }
    out
}

/// The truth value that `value` can be converted to, as pydantic does.
fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(*truth),
        Value::Number(number) if number.as_f64() == Some(0.0) => Some(false),
        Value::Number(number) if number.as_f64() == Some(1.0) => Some(true),
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "1" | "t" | "true" | "y" | "yes" | "on" => Some(true),
            "0" | "f" | "false" | "n" | "no" | "off" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn dict_summary(len: usize) -> String {
    format!("<dict of {len} items>")
}

/// A value as it is quoted in a message: never a whole document.
fn summary(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => beginning(text, MAX_QUOTED).into_owned(),
        Value::Array(items) => format!("<list of {} items>", items.len()),
        Value::Object(map) => dict_summary(map.len()),
    }
}

/// A string as Python's `repr` shows it.
fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Counts how often it is written.
    struct Place<'a>(&'a Cell<usize>);

    impl Display for Place<'_> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            self.0.set(self.0.get() + 1);
            f.write_str("documents")
        }
    }

    #[test]
    fn every_mistake_counts_and_only_those_that_are_shown_are_made() {
        let (map, written) = (Map::new(), Cell::new(0));
        let mut issues = Issues::default();
        for _shape in 0..4 {
            let mut fields = Fields::new(&map);
            for _ in 0..100_000 {
                fields.note("string_type", Place(&written), "Input should be a valid string", &Value::Null);
            }
            issues.extend(fields.into_issues());
        }
        assert_eq!((issues.count, issues.listed.len(), written.get()), (400_000, MAX_LISTED, 4 * MAX_LISTED));
        let said = refuse(issues).message().to_owned();
        assert!(said.starts_with("400000 validation errors:\n"), "{said}");
        assert_eq!(said.lines().count(), 1 + MAX_LISTED);
    }
}
