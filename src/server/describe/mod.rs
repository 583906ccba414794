//! What the description of the API says of a route: it stands in the route's row, beside its handler.
//!
//! Invariant: every status that a route answers stands in its description. Read by `routes::openapi`.

pub mod schema;

use super::http::error::{self, ErrorForm, Refusal};
use schema::Request;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

/// What is said of one method of a route.
#[derive(Clone, Copy)]
pub struct Description {
    /// The heading that it stands under.
    pub tag: &'static str,
    /// What it is for.
    pub summary: &'static str,
    /// More of it, where a line is not enough.
    pub about: Option<&'static str>,
    /// The body that it reads.
    pub request: Option<fn() -> Request>,
    /// What it answers when all is well.
    pub answer: Content,
    /// What it refuses, besides who has no key and other methods.
    pub refusals: &'static [Refusal],
    /// In which forms the clients that may be refused read errors.
    pub error_forms: &'static [ErrorForm],
}

/// What a good answer holds.
#[derive(Clone, Copy)]
pub enum Content {
    /// Nothing.
    Empty,
    /// JSON of one of these shapes.
    Json(&'static [Shape]),
    /// JSON of one of these shapes, or bytes.
    JsonOrBytes(&'static [Shape]),
    /// JSON of no fixed form.
    Object,
    /// Prometheus' text format.
    Metrics,
}

/// A type of answers, which [`shape`] adds to the schemas, with all that it refers to; returns its name.
pub type Shape = fn(&mut Schemas) -> String;
/// Schemas by name.
pub type Schemas = Vec<(String, RefOr<Schema>)>;

/// The [`Shape`] of a type.
pub fn shape<T: ToSchema + PartialSchema>(schemas: &mut Schemas) -> String {
    T::schemas(schemas);
    let name = T::name().into_owned();
    schemas.push((name.clone(), T::schema()));
    name
}

impl Description {
    /// Of what reads a body, which may be refused for everything.
    pub const fn reads(tag: &'static str, summary: &'static str, request: fn() -> Request, answer: Content) -> Self {
        let (refusals, error_forms) = (&error::EVERY, &[ErrorForm::Object]);
        Self { tag, summary, about: None, request: Some(request), answer, refusals, error_forms }
    }

    /// Of what tells of the server.
    pub const fn tells(summary: &'static str, answer: Content, refusals: &'static [Refusal]) -> Self {
        let error_forms = &[ErrorForm::Object];
        Self { tag: "Server", summary, about: None, request: None, answer, refusals, error_forms }
    }
}
