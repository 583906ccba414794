//! An operator's Jinja template: a pair of texts becomes the text of a prompt, as vLLM renders score templates.
//!
//! Invariant: rendering is Hugging Face's: blocks are trimmed, one newline at the end of the file is dropped, nothing
//! is escaped. A template sees `messages` (roles `query` and `document`), `chat_template_kwargs` with the request's
//! instruction among them, and Qwen3's `eos_token` and `pad_token`. Strings have Python's methods; `raise_exception` and
//! `tojson` are there, `strftime_now` and `{% generation %}` are not. Made before anything is loaded, called by
//! `templated`.

use crate::error::{Error, ErrorKind, Result};
use crate::file;
use crate::python_json::{self, NonAscii};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, ValueKind};
use minijinja::{Environment, Output, State, Value, context, escape_formatter};
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Map, Value as Json, json};

const NAME: &str = "chat_template";

/// How much a template may do for one prompt, so that what a request sends can take neither a thread nor memory for long:
/// text of so many bytes, or an instruction for every [`INSTRUCTION`] of them, and so many for each byte of the pair.
const BYTES: usize = 16 << 20;
const PER_BYTE: usize = 3;
/// What minijinja takes for an instruction, in bytes.
const INSTRUCTION: usize = 64;
/// Bytes that a rendering takes for each byte of its pair: what is above, its result, and copies of the texts.
pub(super) const BYTES_PER_BYTE: usize = 2 * PER_BYTE + 2;

/// A template that was parsed.
pub struct Template {
    environment: Environment<'static>,
    source: String,
}

impl Template {
    /// Parses the text of a template; a mistake in it is the operator's.
    pub fn parse(source: &str) -> Result<Self> {
        let mut environment = Environment::new();
        let unusable = |e: minijinja::Error| {
            Error::new(ErrorKind::Options, format!("--chat-template is not a Jinja template: {e}."))
        };
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(unusable)?;
        environment.set_syntax(syntax);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_formatter(format);
        environment.add_filter("tojson", to_json);
        environment.add_function(
            "raise_exception",
            |message: String| -> std::result::Result<Value, minijinja::Error> {
                Err(minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, message))
            },
        );
        // As Jinja2 reads files, but for the mark, which would be part of every prompt.
        let source = source.trim_start_matches(file::BYTE_ORDER_MARK).replace("\r\n", "\n").replace('\r', "\n");
        environment.add_template_owned(NAME, source.clone()).map_err(unusable)?;
        Ok(Self { environment, source })
    }

    /// Its text.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// The template with what it knows besides the texts of a pair: `kwargs`, which may replace what every template knows.
    pub fn with(&self, kwargs: Map<String, Json>) -> Renderer {
        let defaults = json!({
            "tools": null, "documents": null, "add_generation_prompt": false,
            "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>",
        });
        let mut variables = defaults.as_object().cloned().unwrap_or_default();
        variables.extend(kwargs);
        Renderer { environment: self.environment.clone(), variables: Value::from(Serde(variables)) }
    }
}

/// A template and its variables; made once for all pairs of a request, which may send much of them.
pub struct Renderer {
    /// A copy, for how much may be done is a property of it.
    environment: Environment<'static>,
    variables: Value,
}

impl Renderer {
    /// The text of the prompt. The request is at fault where the template fails.
    pub fn render(&mut self, query: &str, document: &str) -> Result<String> {
        let fail = |e: minijinja::Error| {
            Error::new(ErrorKind::InvalidRequest, format!("The chat template fails on this request: {e}."))
        };
        let message = |role: &str, content: &str| context! { role, content };
        let messages = [message("query", query), message("document", document)];
        let bytes = BYTES.saturating_add(PER_BYTE.saturating_mul(query.len() + document.len()));
        self.environment.set_fuel(Some((bytes / INSTRUCTION) as u64));
        let template = self.environment.get_template(NAME).map_err(fail)?;
        template.render(context! { messages, ..self.variables.clone() }).map_err(fail)
    }
}

/// Prints values as Python does where Jinja's own printing differs.
fn format(out: &mut Output, state: &mut State, value: &Value) -> std::result::Result<(), minijinja::Error> {
    match value.kind() {
        ValueKind::Bool => out.write_str(if value.is_true() { "True" } else { "False" }).map_err(Into::into),
        ValueKind::None => out.write_str("None").map_err(Into::into),
        _ => escape_formatter(out, state, value),
    }
}

/// Python's `json.dumps(value, ensure_ascii=False, indent=indent)`.
fn to_json(value: &Value, kwargs: minijinja::value::Kwargs) -> std::result::Result<String, minijinja::Error> {
    let indent: Option<usize> = kwargs.get("indent")?;
    kwargs.assert_all_used()?;
    let fail = |e: &dyn std::error::Error| minijinja::Error::new(minijinja::ErrorKind::BadSerialization, e.to_string());
    let Some(width) = indent else {
        return python_json::to_string(value, NonAscii::Kept).map_err(|e| fail(&e));
    };
    let (mut bytes, spaces) = (Vec::new(), " ".repeat(width));
    let indented = PrettyFormatter::with_indent(spaces.as_bytes());
    value.serialize(&mut Serializer::with_formatter(&mut bytes, indented)).map_err(|e| fail(&e))?;
    String::from_utf8(bytes).map_err(|e| fail(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(template: &str, kwargs: Json) -> String {
        let kwargs = kwargs.as_object().cloned().unwrap_or_default();
        Template::parse(template).unwrap().with(kwargs).render("the query", "a <b> & \"c\"").unwrap()
    }

    #[test]
    fn templates_render_as_in_python() {
        for (template, kwargs, expected) in [
            ("{{ messages[0].role }}: {{ messages[0]['content'] }}\n", json!({}), "query: the query"),
            (
                "{{ messages | selectattr('role', 'eq', 'document') | map(attribute='content') | first }}\n\n",
                json!({}),
                "a <b> & \"c\"\n",
            ),
            ("  {% if true %}\n  x\n  {% endif %}\ny", json!({}), "  x\ny"),
            ("{{ flag }} {{ nothing }} {{ absent }}.", json!({"flag": true, "nothing": null}), "True None ."),
            ("{{ instruction | default('usual', true) }}", json!({"instruction": ""}), "usual"),
            ("{{ messages[0].content.strip().upper().startswith('THE') }}", json!({}), "True"),
            (
                "{% for m in messages %}{% if loop.last %}{% break %}{% endif %}{{ m.role }}{% endfor %}",
                json!({}),
                "query",
            ),
            ("{{ x | tojson }}", json!({"x": {"a": [1, "<é>"], "b": null}}), r#"{"a": [1, "<é>"], "b": null}"#),
            ("{{ tools }}{{ messages | length }}{{ eos_token }}", json!({"messages": 1, "tools": "t"}), "t2<|im_end|>"),
        ] {
            assert_eq!(rendered(template, kwargs), expected, "{template}");
        }
    }

    #[test]
    fn a_template_that_is_none_is_the_operators_mistake_and_one_that_fails_the_requests() {
        let e = Template::parse("{% if %}").err().unwrap();
        assert_eq!(e.kind(), ErrorKind::Options);
        assert!(e.to_string().starts_with("--chat-template is not a Jinja template: "), "{e}");
        let template = Template::parse("{{ raise_exception('no documents like ' ~ messages[1].content) }}").unwrap();
        let e = template.with(Map::new()).render("q", "this").unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidRequest);
        assert!(e.to_string().contains("no documents like this"), "{e}");
    }

    #[test]
    fn a_template_without_end_is_ended_and_one_over_a_large_text_is_not() {
        for template in [
            "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
            "{% set ns = namespace(x='x') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
            "{{ 'x' * 9999999999 }}",
            "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
        ] {
            let e = Template::parse(template).unwrap().with(Map::new()).render("q", "d").unwrap_err();
            assert_eq!(e.kind(), ErrorKind::InvalidRequest, "{template}: {e}");
        }
        // What is made is bounded by what is sent, and a little that is always allowed.
        let template = Template::parse("{% for i in range(times) %}{{ messages[1].content }}{% endfor %}").unwrap();
        for (bytes, times, works) in
            [(1_000, 10_000, true), (1_000, 17_000, false), (8_000_000, 4, true), (8_000_000, 6, false)]
        {
            let mut renderer = template.with(Map::from_iter([("times".to_owned(), times.into())]));
            // What one pair has done is not taken from the next one's.
            for _ in 0..2 {
                assert_eq!(renderer.render("q", &"x".repeat(bytes)).is_ok(), works, "{bytes} bytes");
            }
        }
        let text = "word ".repeat(6_000_000);
        let template = Template::parse("{{ messages[0].content | trim | upper }}{{ messages[1].content }}").unwrap();
        assert_eq!(template.with(Map::new()).render(&text, &text).unwrap().len(), 2 * text.len() - 1);
    }
}
