//! Whole prompts for a reranker, as they stand, where messages are put into the prompt of pairs; texts for an embedding model.

use super::making::{Making, PromptRequest, at};
use crate::prompt::{Message, PromptEncoder};
use crate::server::http::error::ApiError;
use crate::server::served::Served;
use crate::server::wire::embed::EmbedRequest;
use crate::server::wire::input::{Input, InputRequest};
use crate::server::wire::pairs::{Common, Place};
use crate::serves::Serves;
use crate::task::Task;
use serde_json::{Map, Value};

impl PromptRequest for InputRequest {
    fn task(_: &Map<String, Value>) -> Option<Task> {
        Some(Task::Rerank)
    }

    fn read(body: &Map<String, Value>, _: &Served) -> Result<Self, ApiError> {
        Self::read(body)
    }

    fn refuses(&self, task: Task) -> Option<&'static str> {
        (task != Task::Rerank).then_some("The model does not support Classification API")
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn prompts(&self, making: &mut Making<'_>) -> Result<(), ApiError> {
        match making.serves() {
            Serves::Rerank(reranker) => whole(self, &reranker.encoder, making),
            Serves::Embed(_) => making.embed(&EmbedRequest::of(self.clone())),
        }
    }
}

fn whole(request: &InputRequest, encoder: &PromptEncoder, making: &mut Making<'_>) -> Result<(), ApiError> {
    let (options, place) = (making.options, request.place);
    match &request.input {
        Input::Messages(messages) => {
            making.begin(1)?;
            // The document's, or else the query's: the others are short, or nobody reads them.
            let last = |role: &str| messages.iter().rposition(|message| message.role == role);
            let place = Place { name: "messages", is_list: true };
            let index = last("document").or_else(|| last("query"));
            let place = index.map_or_else(|| place.name.to_owned(), |index| place.of(index));
            let [query, document] = Message::pair(messages);
            let _rendering = making.render(encoder, query, document)?;
            making.add(encoder.messages(messages, options).map_err(|err| at(err, &place))?)
        }
        Input::Texts(texts) if !texts.is_empty() => {
            making.begin(texts.len())?;
            texts.iter().enumerate().try_for_each(|(i, text)| {
                let made = encoder.raw(text, options).map_err(|err| at(err, &place.of(i)))?;
                making.add((made, false))
            })
        }
        Input::TokenIds(lists) if !lists.is_empty() => {
            making.begin(lists.len())?;
            lists.iter().enumerate().try_for_each(|(i, ids)| {
                let made = encoder.raw_ids(ids, options).map_err(|err| at(err, &place.of(i)))?;
                making.add((made, false))
            })
        }
        Input::Texts(_) | Input::TokenIds(_) => Err(ApiError::invalid("You must pass at least one prompt")),
    }
}
