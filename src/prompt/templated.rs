//! Prompts of one query under an operator's template: rendered whole for every document, encoded in parts.
//!
//! Invariant: tokens are those of the whole rendered text with the control tokens of the template itself, while texts
//! of the request are plain text: control tokens in them carry a guard character through the template, which is taken
//! out before encoding. So a template may trim, change or repeat texts; only one that measures or compares a text with
//! control tokens in it sees the guards. Documents are shortened before they are rendered, never the rendered text:
//! whatever a template makes of a text, its own words stay whole. What the renderings begin with alike is encoded once,
//! up to a border that `PlainText` knows; an empty document tells how far that is. Called by the prompt encoder.

use super::control::{ControlTokens, Marked};
use super::encoder::PromptEncoder;
use super::options::{Limit, PromptOptions, TruncationSide};
use super::template::{Renderer, Template};
use super::token_ids::Prompt;
use super::vocabulary::empty;
use crate::error::Result;
use serde_json::{Map, Value};
use std::sync::Arc;

pub(super) struct Templated<'e> {
    encoder: &'e PromptEncoder,
    template: &'e Template,
    query: &'e str,
    /// Whether the query was shortened.
    query_cut: bool,
    limit: Limit,
    max_tokens_per_doc: usize,
    side: TruncationSide,
    kwargs: Map<String, Value>,
    /// Guards that neither the template nor the query nor the variables contain, and the template with the variables guarded
    /// by one.
    guards: Vec<char>,
    renderer: Option<(char, Renderer)>,
    /// The prompt of an empty document, unless the template fails on that.
    empty: Option<Marked>,
    /// Tokens of the beginning of this many bytes.
    head: (usize, Arc<[u32]>),
}

impl<'e> Templated<'e> {
    pub fn new(
        encoder: &'e PromptEncoder,
        template: &'e Template,
        query: &'e str,
        options: &PromptOptions,
        limit: Limit,
    ) -> Result<Self> {
        let query = encoder.vocabulary.plain.cut(query, options.max_tokens_per_query)?;
        let kwargs = options.template_kwargs.clone();
        let guards = ControlTokens::guards_for(&[template.source(), query, &Value::Object(kwargs.clone()).to_string()]);
        let mut new = Self {
            encoder,
            template,
            query,
            query_cut: false,
            limit,
            max_tokens_per_doc: options.max_tokens_per_doc,
            side: options.truncation_side,
            kwargs,
            guards,
            renderer: None,
            empty: None,
            head: (0, Arc::default()),
        };
        if limit.query_too && new.whole(query, "")?.len() > limit.tokens {
            let shortened = new.shorten(query, TruncationSide::Right, |new, query| new.whole(query, ""))?;
            new.query = shortened.ok_or_else(|| encoder.vocabulary.no_room(limit))?.0;
            new.query_cut = true;
        }
        new.empty = new.render(new.query, "").ok();
        Ok(new)
    }

    /// The prompt of a document, and whether something was shortened for it.
    pub fn prompt(&mut self, document: &str) -> Result<(Prompt, bool)> {
        let document = self.encoder.vocabulary.plain.cut(document, self.max_tokens_per_doc)?;
        let rendered = self.render(self.query, document)?;
        let prompt = self.encode(&rendered)?;
        if prompt.is_empty() {
            return Err(empty());
        }
        if prompt.len() <= self.limit.tokens {
            return Ok((prompt, self.query_cut));
        }
        let (query, side) = (self.query, self.side);
        let fitting = match self.limit.truncate {
            true => self.shorten(document, side, |this, document| this.whole(query, document))?,
            false => None,
        };
        let (_, token_ids) = fitting.ok_or_else(|| self.encoder.vocabulary.no_room(self.limit))?;
        let prompt = match token_ids.strip_prefix(&*self.head.1) {
            Some(tail) => Prompt::new(self.head.1.clone(), tail),
            None => token_ids.into(),
        };
        Ok((prompt, true))
    }

    /// The longest part of `text` that this tries whose prompt fits, and its tokens; `None` if not even an empty one
    /// does.
    fn shorten<'t>(
        &mut self,
        text: &'t str,
        side: TruncationSide,
        prompt: impl Fn(&mut Self, &str) -> Result<Vec<u32>>,
    ) -> Result<Option<(&'t str, Vec<u32>)>> {
        let plain = &self.encoder.vocabulary.plain;
        let part = |text: &'t str, tokens| match side {
            TruncationSide::Right => plain.cut(text, tokens),
            TruncationSide::Left => plain.cut_left(text, tokens),
        };
        let mut text = part(text, self.limit.tokens)?;
        loop {
            let ids = prompt(self, text)?;
            let excess = ids.len().saturating_sub(self.limit.tokens);
            if excess == 0 && !ids.is_empty() {
                return Ok(Some((text, ids)));
            }
            if text.is_empty() {
                return Ok(None);
            }
            text = match plain.encode(text, usize::MAX)?.len().saturating_sub(excess.max(1)) {
                0 => "",
                fewer => part(text, fewer)?,
            };
        }
    }

    fn render(&mut self, query: &str, document: &str) -> Result<Marked> {
        let guard = ControlTokens::guard_for(&self.guards, document)?;
        let control = &self.encoder.vocabulary.control;
        let most = self.most_tokens();
        if self.renderer.as_ref().is_none_or(|(of, _)| *of != guard) {
            let guarded = |text: &str| control.guard(text, guard).into_owned();
            let kwargs = self.kwargs.iter().map(|(key, value)| (key.clone(), map_strings(value, &guarded)));
            self.renderer = Some((guard, self.template.with(kwargs.collect())));
        }
        let (_, renderer) = self.renderer.as_mut().expect("it has just been made");
        let rendered = renderer.render(&control.guard(query, guard), &control.guard(document, guard))?;
        // What is behind that no count of tokens asks for.
        Ok(control.parse(self.encoder.vocabulary.plain.start(&rendered, most), guard))
    }

    /// All tokens of a prompt; or so many that a text of as many as the limit could be left out and the rest still would
    /// not fit.
    fn whole(&mut self, query: &str, document: &str) -> Result<Vec<u32>> {
        let rendered = self.render(query, document)?;
        self.encoder.vocabulary.encode_marked(&rendered, 0..rendered.text.len(), self.most_tokens())
    }

    fn most_tokens(&self) -> usize {
        self.limit.tokens.saturating_mul(2).saturating_add(1)
    }

    /// The tokens of a prompt, or at least one more than the limit of them.
    fn encode(&mut self, rendered: &Marked) -> Result<Prompt> {
        let plain = &self.encoder.vocabulary.plain;
        let at = self.empty.as_ref().map_or(0, |empty| {
            let common = rendered.common(empty);
            let section = rendered.section_before(common);
            plain.last_border(&rendered.text, section, common).unwrap_or(section)
        });
        if self.head.0 != at {
            self.head = (at, self.encoder.vocabulary.encode_marked(rendered, 0..at, self.limit.tokens)?.into());
        }
        let rest = self.limit.tokens.saturating_sub(self.head.1.len());
        Ok(Prompt::new(
            self.head.1.clone(),
            self.encoder.vocabulary.encode_marked(rendered, at..rendered.text.len(), rest)?,
        ))
    }
}

/// `value` with `change` applied to every string in it.
fn map_strings(value: &Value, change: &impl Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(change(text)),
        Value::Array(items) => items.iter().map(|item| map_strings(item, change)).collect(),
        Value::Object(map) => {
            map.iter().map(|(key, item)| (key.clone(), map_strings(item, change))).collect::<Map<_, _>>().into()
        }
        other => other.clone(),
    }
}
