//! The bodies of requests as schemas: what clients should send. The readers in `wire` accept more, such as
//! numbers in strings, because clients in the wild send it.
//!
//! Here is what the schemas of several requests are made of; each request's stands with its route. Invariant: each field
//! of a schema is read; tests send every one of them with a wrong type.

use serde_json::Value;
use utoipa::openapi::schema::{
    AdditionalProperties, AllOfBuilder, AnyOfBuilder, Array, ArrayBuilder, Object, ObjectBuilder, RefBuilder, Schema,
    SchemaType, Type,
};
use utoipa::openapi::{Ref, RefOr};

/// A request's schema by name, with an example.
pub struct Request {
    /// Name of the schema.
    pub name: &'static str,
    /// What such a body looks like.
    pub schema: Schema,
    /// One that is answered with 200.
    pub example: Value,
    /// Those that its schema refers to.
    pub parts: Vec<Request>,
}

/// The fields of all scoring requests, which the others refer to.
pub const COMMON: &str = "CommonFields";
/// A query or a document.
pub const TEXT: &str = "Text";
/// One message.
pub const MESSAGE: &str = "Message";

/// Schemas that requests refer to.
pub fn parts() -> Vec<(String, RefOr<Schema>)> {
    let of_object = object([("text", string().into())]).required("text").description(Some("An object with a text."));
    let text = AnyOfBuilder::new().item(string()).item(of_object).description(Some("A query or a document."));
    let part = object([("type", string().into()), ("text", string().into())]).required("text");
    let content = AnyOfBuilder::new().item(string()).item(list(part.build()));
    let message = object([("role", string().into()), ("content", RefOr::T(Schema::AnyOf(content.build())))])
        .required("role")
        .required("content")
        .description(Some("A message; the roles query, document and system make the prompt."));
    [(COMMON, Schema::from(common())), (TEXT, Schema::AnyOf(text.build())), (MESSAGE, Schema::Object(message.build()))]
        .map(|(name, schema)| (name.to_owned(), RefOr::T(schema)))
        .into()
}

fn common() -> Object {
    let kwargs = || {
        ObjectBuilder::new()
            .schema_type(nullable(Type::Object))
            .additional_properties(Some(AdditionalProperties::FreeForm(true)))
    };
    object([
        ("model", described(nullable_string(), "A served name; absent, null and empty are the first.")),
        ("user", described(nullable_string(), "Has no effect.")),
        ("request_id", described(nullable_string(), "Name of the answer; the header X-Request-Id stands over it.")),
        ("priority", described(integer(), "Among waiting requests, lower values go first.")),
        (
            "truncate_prompt_tokens",
            described(nullable_integer().minimum(Some(-1)), "Longest prompt in tokens, -1 for the model's: the document is shortened, never the template. 0 is refused."),
        ),
        ("truncation_side", described(choice(&["left", "right"]), "Which end is cut off.")),
        ("padding", described(choice(&["max_length", "do_not_pad"]), "Has no effect: padding would spoil the number.")),
        ("mm_processor_kwargs", described(kwargs(), "Has to be empty.")),
        ("cache_salt", described(nullable_string().min_length(Some(1)).max_length(Some(128)), "Has no effect.")),
        ("use_activation", described(nullable_boolean(), "false for raw logits in place of probabilities.")),
        ("max_tokens_per_query", described(integer().minimum(Some(0)), "Longest query in tokens, 0 for no limit.")),
        ("max_tokens_per_doc", described(integer().minimum(Some(0)), "Longest document in tokens, 0 for no limit.")),
        ("instruction", described(nullable_string(), "What makes a document relevant, in place of the model card's.")),
        ("chat_template_kwargs", described(kwargs(), "Its `instruction` stands over the field of that name.")),
        ("instruct", described(nullable_string(), "The instruction, in the words of other servers.")),
        ("raw_scores", described(nullable_boolean(), "The opposite of use_activation, in the words of other servers.")),
        ("truncation", described(nullable_boolean(), "true for truncate_prompt_tokens -1, as TEI's `truncate`.")),
    ])
    .description(Some("Fields that all scoring requests share. Unknown fields are ignored."))
    .build()
}

/// `input` or `messages`.
pub fn prompts() -> Schema {
    let ids = || list(integer().minimum(Some(0)).build());
    let input = AnyOfBuilder::new()
        .item(string())
        .item(ArrayBuilder::from(list(string().build())).min_items(Some(1)))
        .item(ArrayBuilder::from(ids()).min_items(Some(1)))
        .item(ArrayBuilder::from(list(Schema::Array(ids()))).min_items(Some(1)))
        .description(Some("A text, token ids, or a list of either: the whole prompt, in which control tokens count."));
    let raw = object([
        ("input", RefOr::T(Schema::AnyOf(input.build()))),
        (
            "add_special_tokens",
            described(
                nullable_boolean(),
                "false for an embedding model's text without what its tokenizer appends; a reranker's appends nothing.",
            ),
        ),
    ]);
    let chat = object([
        ("messages", RefOr::T(Schema::Array(list_of(MESSAGE)))),
        ("add_generation_prompt", described(nullable_boolean(), "Has no effect.")),
        ("continue_final_message", described(nullable_boolean(), "Has no effect.")),
    ]);
    Schema::AnyOf(AnyOfBuilder::new().item(raw.required("input")).item(chat.required("messages")).build())
}

/// A request of this name.
pub fn request(name: &'static str, schema: Schema, example: Value) -> Request {
    Request { name, schema, example, parts: Vec::new() }
}

/// Any of these requests, with the example of the first.
pub fn any(name: &'static str, parts: Vec<Request>) -> Request {
    let schema = parts.iter().fold(AnyOfBuilder::new(), |any, part| any.item(Ref::from_schema_name(part.name)));
    let example = parts.first().map_or(Value::Null, |first| first.example.clone());
    Request { parts, ..request(name, Schema::AnyOf(schema.build()), example) }
}

/// A schema with the fields of all scoring requests.
pub fn with_common(own: Schema) -> Schema {
    Schema::AllOf(AllOfBuilder::new().item(Ref::from_schema_name(COMMON)).item(own).build())
}

/// A text, with what is said of it.
pub fn text(what: &str) -> RefOr<Schema> {
    RefOr::Ref(RefBuilder::new().ref_location_from_schema_name(TEXT).description(Some(what)).build())
}

/// A text or several, with what is said of them.
pub fn texts(what: &str) -> RefOr<Schema> {
    let some = ArrayBuilder::from(list_of(TEXT)).min_items(Some(1));
    let either = AnyOfBuilder::new().item(Ref::from_schema_name(TEXT)).item(some).description(Some(what));
    RefOr::T(Schema::AnyOf(either.build()))
}

/// An object with these fields.
pub fn object<const N: usize>(properties: [(&str, RefOr<Schema>); N]) -> ObjectBuilder {
    let object = ObjectBuilder::new().schema_type(Type::Object);
    properties.into_iter().fold(object, |object, (name, schema)| object.property(name, schema))
}

/// With what is said of it.
pub fn described(schema: ObjectBuilder, what: &str) -> RefOr<Schema> {
    schema.description(Some(what)).into()
}

/// A list or null, with what is said of it.
pub fn described_list(items: ObjectBuilder, what: &str) -> RefOr<Schema> {
    let array = ArrayBuilder::new().schema_type(nullable(Type::Array)).items(items).description(Some(what));
    RefOr::T(Schema::Array(array.build()))
}

/// What has this name.
pub fn reference(name: &str) -> RefOr<Schema> {
    RefOr::Ref(Ref::from_schema_name(name))
}

/// A list of these.
pub fn list(items: impl Into<Schema>) -> Array {
    ArrayBuilder::new().items(RefOr::T(items.into())).build()
}

/// A list of what has this name.
pub fn list_of(name: &str) -> Array {
    ArrayBuilder::new().items(reference(name)).build()
}

/// A type, or null.
pub fn nullable(kind: Type) -> SchemaType {
    SchemaType::from_iter([kind, Type::Null])
}

/// A string.
pub fn string() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

/// An integer.
pub fn integer() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Integer)
}

/// A string or null.
pub fn nullable_string() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(nullable(Type::String))
}

/// An integer or null.
pub fn nullable_integer() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(nullable(Type::Integer))
}

/// A boolean or null.
pub fn nullable_boolean() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(nullable(Type::Boolean))
}

/// One of these names. That null counts as absent is not said: generators make a type of it for every such field.
pub fn choice(names: &[&str]) -> ObjectBuilder {
    string().enum_values(Some(names.iter().copied()))
}
