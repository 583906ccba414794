//! Template and tokenizer: a query-document pair becomes a [`Prompt`].
//!
//! The model card's prompt is the default, a pair that already is a prompt is kept as it is (`model_card`), an operator's
//! [`Template`] takes the model card's place (`templated`). This is the only place that shortens anything. Invariants:
//! the template and its suffix are never cut, only the document is, and the query where the server says so; text of
//! the user never yields a special token; no prompt is longer than the model length. Called by the server for every
//! pair, from any thread.

mod control;
mod described;
mod encoder;
mod examine;
mod model_card;
mod options;
mod plain_text;
mod query;
mod raw;
mod template;
mod templated;
mod texts;
mod token_ids;
mod tokenizer;
mod vocabulary;

pub use described::described;
pub use encoder::PromptEncoder;
pub use model_card::{Around, INSTRUCTION};
pub use options::{PromptOptions, TruncationSide};
pub use query::{Encoded, ForQuery};
pub use raw::{Message, NO_TEMPLATE};
pub use template::{Renderer, Template};
pub use texts::{Behind, TextEncoder, TextOptions};
pub use token_ids::Prompt;
pub use tokenizer::tokenizer_json;
pub use vocabulary::Vocabulary;
