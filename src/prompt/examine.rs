//! Whether prompts can be right at all, asked once at start: before a client is answered with scores that mean nothing.
//!
//! Called by the start-up code and by `check`.

use super::encoder::PromptEncoder;
use super::options::{Limit, PromptOptions};
use super::template::Template;
use crate::error::{Error, ErrorKind, Result};

impl PromptEncoder {
    /// An error of kind [`ErrorKind::Options`] if no pair can get a right score; else what the operator should know, in
    /// sentences.
    pub fn examine(&self) -> Result<Vec<String>> {
        // Of a request that says nothing of its own.
        let usual = PromptOptions::default();
        let usual = self.instructed(&usual);
        let notices = self.template.as_ref().map_or(Ok(Vec::new()), |template| shown(template, &usual))?;
        let limit = Limit { tokens: usize::MAX, truncate: false, query_too: false, requested: false };
        let max = self.vocabulary.max_model_len;
        // A template may refuse empty texts; requests will tell then.
        let least = self.for_query_within(limit, "", &usual).prompt("").ok();
        match least.map(|(prompt, _)| prompt.len()).filter(|&tokens| tokens > max) {
            Some(tokens) => Err(Error::new(
                ErrorKind::Options,
                format!(
                    "--max-model-len {max} leaves no room: the prompt of an empty query and an empty document takes \
                     {tokens} tokens already."
                ),
            )),
            None => Ok(notices),
        }
    }
}

/// Whether the prompt depends on the texts: what it makes of them is the template's own business.
fn shown(template: &Template, options: &PromptOptions) -> Result<Vec<String>> {
    let mut renderer = template.with(options.template_kwargs.clone());
    let mut render = |query, document| renderer.render(query, document);
    let (plain, query, document) = match (render("apple", "apple"), render("pear", "apple"), render("apple", "pear")) {
        (Ok(plain), Ok(query), Ok(document)) => (plain, query, document),
        // It may do so on purpose, of such texts.
        (Err(err), ..) | (_, Err(err), _) | (.., Err(err)) => {
            return Ok(vec![format!("Tried at start with two words: {err}")]);
        }
    };
    let mistake = |what: &str| {
        Err(Error::new(
            ErrorKind::Options,
            format!(
                "--chat-template shows {what}: write {{{{ messages[0].content }}}} where the query is to stand and \
                 {{{{ messages[1].content }}}} where the document is; their roles are `query` and `document`."
            ),
        ))
    };
    match (plain != query, plain != document) {
        (false, false) => mistake("neither query nor document, so that all pairs would have one score"),
        (_, false) => mistake("no document, so that all documents would have one score"),
        (false, true) => {
            Ok(vec!["--chat-template does not show the query: scores depend on the document alone.".to_owned()])
        }
        (true, true) => Ok(Vec::new()),
    }
}
