//! What a dialect is: how its bodies are read, and what their answers look like.

use crate::server::http::error::{ApiError, ErrorForm};
use crate::server::scoring::rows::{Answered, RowRequest, Written};
use crate::server::scoring::{Making, PromptRequest};
use crate::server::served::Served;
use crate::server::wire::embed::EmbedRequest;
use crate::server::wire::pairs::Common;
use crate::task::Task;
use serde_json::{Map, Value};

/// Whose words a body is in, and the answer to it.
pub trait Dialect: Sized + Send + 'static {
    /// Reads a body.
    fn read(body: &Map<String, Value>) -> Result<Self, ApiError>;
    /// What it asks for.
    fn request(&self) -> &EmbedRequest;
    /// The answer.
    fn write(&self, answered: &Answered<'_>) -> Result<Written, ApiError>;
    /// How the client of such a body reads errors.
    fn error_form(_: &Map<String, Value>) -> ErrorForm {
        ErrorForm::Object
    }
}

/// A body in the words of a dialect, as what becomes prompts and rows.
pub struct Asked<D>(D);

impl<D: Dialect> PromptRequest for Asked<D> {
    fn task(_: &Map<String, Value>) -> Option<Task> {
        Some(Task::Embed)
    }

    fn read(body: &Map<String, Value>, _: &Served) -> Result<Self, ApiError> {
        D::read(body).map(Self)
    }

    fn refuses(&self, task: Task) -> Option<&'static str> {
        (task != Task::Embed).then_some("The model does not support Embeddings API")
    }

    fn common(&self) -> &Common {
        &self.0.request().input.common
    }

    fn error_form(body: &Map<String, Value>) -> ErrorForm {
        D::error_form(body)
    }

    fn prompts(&self, making: &mut Making<'_>) -> Result<(), ApiError> {
        making.embed(self.0.request())
    }
}

impl<D: Dialect> RowRequest for Asked<D> {
    fn write(&self, answered: &Answered<'_>) -> Result<Written, ApiError> {
        self.0.write(answered)
    }
}
