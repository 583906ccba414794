//! Prompts of texts, for an embedding model.

use super::making::{Making, at};
use crate::prompt::{NO_TEMPLATE, Prompt, TextEncoder};
use crate::server::http::error::ApiError;
use crate::server::wire::embed::EmbedRequest;
use crate::server::wire::input::Input;
use crate::server::wire::pairs::Place;
use crate::serves::{Embedder, Serves};
use std::sync::Once;

/// Said once.
static IDS: Once = Once::new();

impl Making<'_> {
    /// Makes the prompts of a request for vectors.
    pub fn embed(&mut self, request: &EmbedRequest) -> Result<(), ApiError> {
        let Serves::Embed(embedder) = self.serves() else { unreachable!("a model for another task has been refused") };
        let Embedder { encoder, width, dimensions, .. } = embedder;
        let dimensions = request.size.of(dimensions, *width, self.name())?;
        let width = dimensions.unwrap_or(*width);
        if request.as_bits && !width.is_multiple_of(8) {
            return Err(ApiError::invalid(format!(
                "Vectors of {width} numbers cannot be returned as bits, eight to a byte: ask for a number of dimensions \
                 that is a multiple of 8."
            )));
        }
        let prompts = encoder.prompts();
        let by_model = self.prompt().and_then(|name| prompts.get(name)).map_or("", String::as_str);
        let prefix = request.prompt.as_ref().map_or(Ok(by_model), |name| name.of(prompts))?;
        let (place, bare) = (request.input.place, !request.input.special_tokens);
        let texts = match &request.input.input {
            Input::Texts(texts) => texts.len(),
            Input::TokenIds(lists) => lists.len(),
            Input::Messages(_) => {
                return Err(ApiError::invalid(NO_TEMPLATE).and("(An embedding model takes texts: send them as input.)"));
            }
        };
        self.begin(texts)?;
        self.wants(dimensions, texts, request.number_bytes * width)?;
        match &request.input.input {
            Input::Texts(texts) => self.texts(encoder, prefix, bare, texts.iter().map(String::as_str), place)?,
            Input::TokenIds(lists) => self.ids(encoder, lists, place)?,
            Input::Messages(_) => {}
        }
        match (request.most_tokens, self.longest()) {
            (Some(most), longest) if longest > most => Err(ApiError::invalid(format!(
                "Input of {longest} tokens exceeds max_tokens={most} with truncate=NONE. Set truncate to END or START to \
                 allow truncation."
            ))),
            _ => Ok(()),
        }
    }

    /// Makes the prompts of texts behind `prefix`; `bare` is without what the tokenizer appends.
    pub fn texts<'t>(
        &mut self,
        encoder: &TextEncoder,
        prefix: &str,
        bare: bool,
        mut texts: impl Iterator<Item = &'t str>,
        place: Place,
    ) -> Result<(), ApiError> {
        let first = self.made();
        let mut behind = encoder.behind(prefix, &self.of_texts(bare))?;
        texts.try_for_each(|text| {
            let prompt = behind.prompt(text).map_err(|err| at(err, &place.of(self.made() - first)))?;
            self.add(prompt)
        })
    }

    /// Makes prompts of token ids, as they are.
    fn ids(&mut self, encoder: &TextEncoder, lists: &[Vec<u32>], place: Place) -> Result<(), ApiError> {
        IDS.call_once(|| {
            tracing::warn!(
                "a client sends token ids in place of texts; if they are of another model's tokenizer, such as those of \
                 LangChain's OpenAIEmbeddings without check_embedding_ctx_length=False, its vectors mean nothing (this is \
                 said once)"
            );
        });
        let options = self.of_texts(true);
        lists.iter().enumerate().try_for_each(|(i, ids)| {
            let prompt = encoder.ids(ids, &options).map_err(|err| at(err, &place.of(i)))?;
            self.add(prompt)
        })
    }

    /// Tokens of the longest prompt so far.
    fn longest(&self) -> usize {
        self.prompts().iter().map(Prompt::len).max().unwrap_or(0)
    }
}
