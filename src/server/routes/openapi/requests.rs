//! The bodies of requests as schemas: what clients should send. The readers in `wire` accept more, such as
//! numbers in strings, because clients in the wild send it.
//!
//! Invariant: each field here is read there; tests send every one of them with a wrong type.

use serde_json::{Value, json};
use utoipa::openapi::schema::{
    AdditionalProperties, AllOfBuilder, AnyOfBuilder, Array, ArrayBuilder, Object, ObjectBuilder, Schema, SchemaType,
    Type,
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
}

/// The fields of all scoring requests, which the others refer to.
pub const COMMON: &str = "CommonFields";
/// A query or a document.
const TEXT: &str = "Text";
/// One message.
const MESSAGE: &str = "Message";

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

/// The requests of all routes.
pub fn all() -> Vec<Request> {
    vec![
        rerank(),
        texts_rerank(),
        input_rerank(),
        any_rerank(),
        score(),
        input(),
        pooling(),
        invocation(),
        tokenize(),
        detokenize(),
    ]
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
        ("padding", described(choice(&["max_length", "do_not_pad"]), "Has no effect: padding would spoil the score.")),
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

fn rerank() -> Request {
    let own = object([
        ("query", reference(TEXT)),
        ("documents", texts()),
        ("top_n", described(nullable_integer(), "How many results to return; null, 0 and less are all.")),
        ("rank_fields", described_list(string(), "Fields of documents that are objects, in the place of `text`.")),
        ("top_k", described(nullable_integer(), "The same for Voyage's clients; the answer then has `data` as well.")),
        ("return_documents", described(nullable_boolean(), "Documents are always returned, but for those of `data`.")),
    ]);
    let own = own.required("query").required("documents");
    let example = json!({"query": "Which river flows through Vienna?", "documents": ["The Danube flows through Vienna.", "The Seine flows through Paris."], "top_n": 2});
    request("RerankRequest", with_common(own.into()), example)
}

/// TEI's.
fn texts_rerank() -> Request {
    let own = object([
        ("query", string().into()),
        ("texts", RefOr::T(Schema::Array(ArrayBuilder::from(list(string())).min_items(Some(1)).build()))),
        ("top_n", described(nullable_integer(), "How many results to return; null, 0 and less are all.")),
        ("raw_scores", described(nullable_boolean(), "Logits in place of probabilities.")),
        ("return_text", described(nullable_boolean(), "Whether the answer holds the texts.")),
        ("truncate", described(nullable_boolean(), "Whether a text that is too long is shortened.")),
        ("truncation_direction", described(choice(&["left", "right", "Left", "Right"]), "Which end is cut off.")),
    ]);
    let own = own.required("query").required("texts");
    let example = json!({"query": "Which river flows through Vienna?", "texts": ["The Danube flows through Vienna.", "The Seine flows through Paris."]});
    request("TextsRerankRequest", own.into(), example)
}

/// DashScope's.
fn input_rerank() -> Request {
    let input = object([("query", reference(TEXT)), ("documents", texts())]).required("query").required("documents");
    let parameters = object([
        ("top_n", described(nullable_integer(), "How many results to return.")),
        ("return_documents", described(nullable_boolean(), "Whether the answer holds the documents.")),
        ("instruct", described(nullable_string(), "What makes a document relevant.")),
    ]);
    let own = object([("model", nullable_string().into()), ("input", input.into()), ("parameters", parameters.into())]);
    let example = json!({"input": {"query": "Which river flows through Vienna?", "documents": ["The Danube flows through Vienna."]}, "parameters": {"top_n": 1}});
    request("InputRerankRequest", own.required("input").into(), example)
}

fn any_rerank() -> Request {
    let names = ["RerankRequest", "TextsRerankRequest", "InputRerankRequest"];
    let any = names.into_iter().fold(AnyOfBuilder::new(), |any, name| any.item(Ref::from_schema_name(name)));
    request("AnyRerankRequest", Schema::AnyOf(any.build()), rerank().example)
}

fn score() -> Request {
    let shapes = [("queries", "documents"), ("queries", "items"), ("data_1", "data_2"), ("text_1", "text_2")];
    let own = shapes.into_iter().fold(AnyOfBuilder::new(), |all, (left, right)| {
        all.item(object([(left, texts()), (right, texts())]).required(left).required(right))
    });
    let example =
        json!({"queries": "Which river flows through Vienna?", "documents": ["The Danube flows through Vienna."]});
    request("ScoreRequest", with_common(Schema::AnyOf(own.build())), example)
}

/// `input` or `messages`.
fn prompts() -> Schema {
    let ids = || list(integer().minimum(Some(0)).build());
    let input = AnyOfBuilder::new()
        .item(string())
        .item(ArrayBuilder::from(list(string().build())).min_items(Some(1)))
        .item(ArrayBuilder::from(ids()).min_items(Some(1)))
        .item(ArrayBuilder::from(list(Schema::Array(ids()))).min_items(Some(1)))
        .description(Some("A text, token ids, or a list of either: the whole prompt, in which control tokens count."));
    let raw = object([
        ("input", RefOr::T(Schema::AnyOf(input.build()))),
        ("add_special_tokens", described(nullable_boolean(), "Has no effect: the tokenizer adds none.")),
    ]);
    let chat = object([
        ("messages", RefOr::T(Schema::Array(list_of(MESSAGE)))),
        ("add_generation_prompt", described(nullable_boolean(), "Has no effect.")),
        ("continue_final_message", described(nullable_boolean(), "Has no effect.")),
    ]);
    Schema::AnyOf(AnyOfBuilder::new().item(raw.required("input")).item(chat.required("messages")).build())
}

fn input() -> Request {
    request("InputRequest", with_common(prompts()), json!({"input": ["The Danube flows through Vienna."]}))
}

fn pooling() -> Request {
    let own = object([
        ("task", described(choice(&["classify"]), "The only one that a reranker has.")),
        ("encoding_format", described(choice(&["float", "base64", "bytes", "bytes_only"]), "Form of the answer.")),
        (
            "embed_dtype",
            described(
                choice(&["float32", "float16", "bfloat16", "fp8_e4m3", "fp8_e5m2"]),
                "Numbers in base64 and bytes.",
            ),
        ),
        ("endianness", described(choice(&["native", "big", "little"]), "Their byte order.")),
    ]);
    let all = AllOfBuilder::new().item(Ref::from_schema_name(COMMON)).item(prompts()).item(own);
    let example = json!({"input": ["The Danube flows through Vienna."], "encoding_format": "float"});
    request("PoolingRequest", Schema::AllOf(all.build()), example)
}

fn invocation() -> Request {
    let names = ["InputRequest", "RerankRequest", "TextsRerankRequest", "ScoreRequest", "PoolingRequest"];
    let any = names.into_iter().fold(AnyOfBuilder::new(), |any, name| any.item(Ref::from_schema_name(name)));
    request("InvocationRequest", Schema::AnyOf(any.build()), rerank().example)
}

fn tokenize() -> Request {
    let options = || {
        object([
            ("model", nullable_string().into()),
            ("add_special_tokens", described(nullable_boolean(), "Has no effect: the tokenizer adds none.")),
            ("return_token_strs", described(nullable_boolean(), "Whether to return the vocabulary's entries.")),
        ])
    };
    let prompt = options().property("prompt", string()).required("prompt");
    let messages = options().property("messages", Schema::Array(list_of(MESSAGE))).required("messages");
    let schema = AnyOfBuilder::new().item(prompt).item(messages).build();
    request("TokenizeRequest", Schema::AnyOf(schema), json!({"prompt": "Hello, world!", "return_token_strs": true}))
}

fn detokenize() -> Request {
    let ids = list(integer().minimum(Some(0)).build());
    let schema =
        object([("model", nullable_string().into()), ("tokens", RefOr::T(Schema::Array(ids)))]).required("tokens");
    request("DetokenizeRequest", schema.into(), json!({"tokens": [9707, 11, 1879, 0]}))
}

fn request(name: &'static str, schema: Schema, example: Value) -> Request {
    Request { name, schema, example }
}

fn with_common(own: Schema) -> Schema {
    Schema::AllOf(AllOfBuilder::new().item(Ref::from_schema_name(COMMON)).item(own).build())
}

fn texts() -> RefOr<Schema> {
    let some = ArrayBuilder::from(list_of(TEXT)).min_items(Some(1));
    RefOr::T(Schema::AnyOf(AnyOfBuilder::new().item(Ref::from_schema_name(TEXT)).item(some).build()))
}

fn object<const N: usize>(properties: [(&str, RefOr<Schema>); N]) -> ObjectBuilder {
    let object = ObjectBuilder::new().schema_type(Type::Object);
    properties.into_iter().fold(object, |object, (name, schema)| object.property(name, schema))
}

fn described(schema: ObjectBuilder, what: &str) -> RefOr<Schema> {
    schema.description(Some(what)).into()
}

fn described_list(items: ObjectBuilder, what: &str) -> RefOr<Schema> {
    let array = ArrayBuilder::new().schema_type(nullable(Type::Array)).items(items).description(Some(what));
    RefOr::T(Schema::Array(array.build()))
}

fn reference(name: &str) -> RefOr<Schema> {
    RefOr::Ref(Ref::from_schema_name(name))
}

fn list(items: impl Into<Schema>) -> Array {
    ArrayBuilder::new().items(RefOr::T(items.into())).build()
}

fn list_of(name: &str) -> Array {
    ArrayBuilder::new().items(reference(name)).build()
}

fn nullable(kind: Type) -> SchemaType {
    SchemaType::from_iter([kind, Type::Null])
}

fn string() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn integer() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Integer)
}

fn nullable_string() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(nullable(Type::String))
}

fn nullable_integer() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(nullable(Type::Integer))
}

fn nullable_boolean() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(nullable(Type::Boolean))
}

fn choice(names: &[&str]) -> ObjectBuilder {
    let names = names.iter().map(|&name| Some(name)).chain([None]);
    nullable_string().enum_values(Some(names))
}
