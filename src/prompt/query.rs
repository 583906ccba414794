//! The prompts of one query and its documents: which of the ways to make them a pair goes, and what they share.
//!
//! Invariant: a prompt does not depend on those that were made before it. Called by the server, and by `raw` and
//! `examine` for pairs of their own.

use super::encoder::PromptEncoder;
use super::model_card::{Heads, formatted, once};
use super::options::{Limit, PromptOptions};
use super::templated::Templated;
use super::token_ids::Prompt;
use crate::error::Result;
use std::borrow::Cow;

/// Makes the prompts of one query: what precedes the document is encoded once, and shared by all of them.
pub struct ForQuery<'e> {
    encoder: &'e PromptEncoder,
    query: &'e str,
    options: Cow<'e, PromptOptions>,
    limit: Limit,
    heads: Heads,
    templated: Option<Templated<'e>>,
}

/// The prompts of some documents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoded {
    /// One a document, in order.
    pub prompts: Vec<Prompt>,
    /// For how many of them something was cut off to keep within a limit of the whole prompt.
    pub shortened: usize,
}

impl PromptEncoder {
    /// The prompt of one pair, see [`ForQuery::prompt`].
    pub fn encode(&self, query: &str, document: &str, options: &PromptOptions) -> Result<Prompt> {
        Ok(self.for_query(query, options)?.prompt(document)?.0)
    }

    /// The prompts of one query and many documents, equal to [`Self::encode`] of each. The first document that does not
    /// fit fails the whole request, as with vLLM.
    pub fn encode_many(&self, query: &str, documents: &[&str], options: &PromptOptions) -> Result<Encoded> {
        let mut made = self.for_query(query, options)?;
        let mut encoded = Encoded::default();
        documents.iter().try_for_each(|document| made.prompt(document).map(|prompt| encoded.push(prompt)))?;
        Ok(encoded)
    }

    /// Begins the prompts of `query`.
    pub fn for_query<'e>(&'e self, query: &'e str, options: &'e PromptOptions) -> Result<ForQuery<'e>> {
        Ok(self.for_query_within(self.limit(options)?, query, options))
    }

    pub(super) fn for_query_within<'e>(
        &'e self,
        limit: Limit,
        query: &'e str,
        options: &'e PromptOptions,
    ) -> ForQuery<'e> {
        let options = self.instructed(options);
        ForQuery { encoder: self, query, options, limit, heads: Heads::default(), templated: None }
    }

    /// `options`, with the operator's instruction if they have none.
    pub(super) fn instructed<'o>(&self, options: &'o PromptOptions) -> Cow<'o, PromptOptions> {
        match &self.instruction {
            Some(instruction) if options.instruction.as_deref().is_none_or(str::is_empty) => {
                Cow::Owned(options.clone().instructed(instruction))
            }
            _ => Cow::Borrowed(options),
        }
    }
}

impl ForQuery<'_> {
    /// The prompt of the query and `document`, and whether something was cut off to keep within a limit of the whole.
    /// Control-token strings in the user's texts stay plain text.
    ///
    /// A pair that already is the whole prompt (the query starts with a system message and the document ends with the
    /// assistant's turn) is not wrapped again; white space after its end is brought to the model card's two newlines.
    /// Errors: [`ErrorKind::TooLong`](crate::error::ErrorKind::TooLong),
    /// [`ErrorKind::InvalidRequest`](crate::error::ErrorKind::InvalidRequest).
    pub fn prompt(&mut self, document: &str) -> Result<(Prompt, bool)> {
        let Self { encoder, query, options, limit, heads, templated } = self;
        match (formatted(query, document), &encoder.template) {
            (Some(pair), _) => encoder.formatted(pair, heads, options, *limit),
            (None, Some(template)) => {
                once(templated, || Templated::new(encoder, template, query, options, *limit))?.prompt(document)
            }
            (None, None) => encoder.wrapped(query, document, heads, options, *limit),
        }
    }
}

impl Encoded {
    /// Adds what [`ForQuery::prompt`] made.
    pub fn push(&mut self, (prompt, shortened): (Prompt, bool)) {
        self.prompts.push(prompt);
        self.shortened += usize::from(shortened);
    }
}
