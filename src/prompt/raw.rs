//! Prompts that the client wrote itself: raw text, token ids, messages with roles.
//!
//! Invariant: raw text is the one place where control tokens of a client count, because a client that writes the whole
//! prompt needs them. Called by the server.

use super::encoder::PromptEncoder;
use super::options::{Limit, PromptOptions, TruncationSide};
use super::token_ids::Prompt;
use super::vocabulary::Vocabulary;
use crate::error::{Error, ErrorKind, Result};

/// What vLLM says to messages that its server has no template for.
pub const NO_TEMPLATE: &str = "As of transformers v4.44, default chat template is no longer allowed, so you must provide a \
                           chat template if the tokenizer does not define one.";

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// `query`, `document` or `system`; a prompt has no place for others.
    pub role: String,
    /// Its text.
    pub content: String,
}

impl Message {
    /// The texts of the query and of the document among `messages`; empty where there is none.
    pub fn pair(messages: &[Self]) -> [&str; 2] {
        ["query", "document"].map(|role| Self::last(messages, role).map_or("", |message| &message.content))
    }

    fn last<'m>(messages: &'m [Self], role: &str) -> Option<&'m Self> {
        messages.iter().rfind(|message| message.role == role)
    }
}

impl PromptEncoder {
    /// The prompt that consists of `text` alone; of the options, those of the whole prompt count.
    pub fn raw(&self, text: &str, options: &PromptOptions) -> Result<Prompt> {
        let Vocabulary { plain, .. } = &self.vocabulary;
        let limit = self.raw_limit(options)?;
        if !limit.truncate && plain.surely_exceeds(text, limit.tokens) {
            return Err(self.vocabulary.no_room(limit));
        }
        let ids = match limit.truncate && options.truncation_side == TruncationSide::Left {
            true => self.vocabulary.tokens(plain.end(text, limit.tokens), usize::MAX)?,
            false => self.vocabulary.tokens(text, limit.tokens)?,
        };
        Ok(self.vocabulary.prompt_of(&ids, options.truncation_side, limit)?.0)
    }

    /// The prompt that consists of these tokens.
    pub fn raw_ids(&self, ids: &[u32], options: &PromptOptions) -> Result<Prompt> {
        Ok(self.vocabulary.prompt_of(ids, options.truncation_side, self.raw_limit(options)?)?.0)
    }

    /// A prompt that has no document to shorten is only cut where the request says so.
    fn raw_limit(&self, options: &PromptOptions) -> Result<Limit> {
        let limit = self.limit(options)?;
        Ok(Limit { truncate: limit.requested, ..limit })
    }

    /// The prompt of a query and a document that come as messages; a message of the system is the instruction, unless
    /// the options have one. The second is whether something was shortened.
    pub fn messages(&self, messages: &[Message], options: &PromptOptions) -> Result<(Prompt, bool)> {
        self.messages_within(self.limit(options)?, messages, options)
    }

    /// The prompt of a query and a document that come as messages, an error if it has more than so many tokens, whatever
    /// the model length is: for counting tokens.
    pub fn messages_of_at_most(&self, tokens: usize, messages: &[Message], options: &PromptOptions) -> Result<Prompt> {
        let limit = Limit { tokens, truncate: false, query_too: false, requested: false };
        Ok(self.messages_within(limit, messages, options)?.0)
    }

    fn messages_within(&self, limit: Limit, messages: &[Message], options: &PromptOptions) -> Result<(Prompt, bool)> {
        if ["query", "document"].iter().all(|role| Message::last(messages, role).is_none()) {
            let sentence = format!(
                "{NO_TEMPLATE} (The prompt of a reranker is made of messages with the roles query and document.)"
            );
            return Err(Error::new(ErrorKind::InvalidRequest, sentence));
        }
        let mut options = options.clone();
        let system = messages.iter().find(|message| message.role == "system" && !message.content.is_empty());
        if let (Some(system), None) = (system, options.instruction.as_deref().filter(|own| !own.is_empty())) {
            options = options.instructed(&system.content);
        }
        let [query, document] = Message::pair(messages);
        self.for_query_within(limit, query, &options).prompt(document)
    }
}
