//! A request for the vectors of texts, in whoever's words it came: what all dialects say of it.
//!
//! Invariant: what a request wants of the model is checked against the model before anything is computed. Called by the
//! dialects of `routes::embeddings`.

use super::input::InputRequest;
use crate::checkpoint::Dimensions;
use crate::server::http::error::ApiError;
use crate::server::http::shown::shown;
use std::collections::BTreeMap;

/// Bytes of a number in an answer at most: as JSON, with the comma behind it.
const NUMBER: usize = 25;

/// Texts, and what their vectors are to be.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbedRequest {
    /// The texts, and the fields that all requests have; `use_activation` is whether vectors have length 1.
    pub input: InputRequest,
    /// How many numbers a vector has.
    pub size: Size,
    /// What stands before each text.
    pub prompt: Option<PromptName>,
    /// Tokens that a text may have where none is to be cut.
    pub most_tokens: Option<usize>,
    /// Whether vectors are wanted as bits, eight to a byte.
    pub as_bits: bool,
    /// Bytes that a number takes in the answer at most.
    pub number_bytes: usize,
}

impl EmbedRequest {
    /// Whole vectors of these texts as JSON, with nothing before the texts.
    pub fn of(input: InputRequest) -> Self {
        Self { input, size: Size::All, prompt: None, most_tokens: None, as_bits: false, number_bytes: NUMBER }
    }
}

/// How many numbers of a vector are wanted: the first ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// All.
    All,
    /// So many, as vLLM's clients ask for them.
    Exactly(i64),
    /// So many, as TEI's clients ask for them.
    Texts(i64),
    /// So many or all, whichever is less, as Ollama's clients ask for them.
    AtMost(i64),
}

/// The name of a prompt that a request chooses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptName {
    /// The field that holds it.
    pub field: &'static str,
    /// It.
    pub name: String,
}

/// The prompt of texts that are searched for.
pub const QUERY: &str = "query";
/// The prompt of texts that are searched.
pub const DOCUMENT: &str = "document";

impl Size {
    /// How many numbers that is of the vectors of the model `model`, which have `width` and may be cut as `dimensions` says;
    /// `None` is all of them.
    pub fn of(self, dimensions: &Dimensions, width: usize, model: &str) -> Result<Option<usize>, ApiError> {
        let most = width as i64;
        let (wanted, asked) = match self {
            Self::All => return Ok(None),
            Self::AtMost(asked) => return Ok((1..most).contains(&asked).then_some(asked as usize)),
            Self::Texts(asked) if asked < 1 => return Err(ApiError::invalid("`dimensions` should be positive")),
            Self::Texts(asked) if asked > most => {
                let sentence = "`dimensions` should be smaller than the maximum embedding dimension.";
                return Err(ApiError::invalid(sentence).and(&format!("That is {most}.")));
            }
            Self::Texts(asked) | Self::Exactly(asked) => (usize::try_from(asked).ok(), asked),
        };
        if let Some(wanted) = wanted.filter(|&wanted| dimensions.allow(wanted)) {
            return Ok(Some(wanted));
        }
        let sentence = match dimensions {
            Dimensions::Any(most) => {
                format!("Model '{model}' only supports dimensions in range [1, {most}], got {asked}.")
            }
            Dimensions::List(sizes) => {
                format!("Model '{model}' only supports {sizes:?} matryoshka dimensions, got {asked}.")
            }
            Dimensions::Fixed => format!(
                "Model '{model}' does not support Matryoshka embeddings; dimensions must be unset (received \
                 dimensions={asked})."
            ),
        };
        Err(ApiError::invalid(sentence))
    }
}

impl PromptName {
    /// What other servers call the model's prompts, where it is one of these: Cohere's and Voyage's types of input, NVIDIA's
    /// passages, Jina's tasks.
    pub fn known(field: &'static str, said: &str) -> Option<Self> {
        let name = match said {
            "query" | "search_query" | "retrieval.query" => QUERY,
            "document" | "passage" | "search_document" | "classification" | "clustering" | "retrieval.passage"
            | "text-matching" | "separation" => DOCUMENT,
            _ => return None,
        };
        Some(Self { field, name: name.to_owned() })
    }

    /// The name as it was said, unless other servers have it for one of these.
    pub fn said(field: &'static str, said: &str) -> Self {
        Self::known(field, said).unwrap_or_else(|| Self { field, name: said.to_owned() })
    }

    /// What stands before each text; a refusal lists the names of `prompts`.
    pub fn of<'a>(&self, prompts: &'a BTreeMap<String, String>) -> Result<&'a str, ApiError> {
        let Self { field, name } = self;
        prompts.get(name).map(String::as_str).ok_or_else(|| {
            let names = prompts.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            ApiError::invalid(format!("Unsupported {field} '{}'. Supported values: {names}", shown(name)))
                .with_param(*field)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(dimensions: Dimensions, size: Size) -> Result<Option<usize>, String> {
        size.of(&dimensions, 64, "tiny").map_err(|refused| refused.message().to_owned())
    }

    #[test]
    fn each_server_has_its_own_rule_for_sizes() {
        let any = |asked| size(Dimensions::Any(64), asked);
        assert_eq!(any(Size::All), Ok(None));
        assert_eq!(any(Size::Exactly(1)), Ok(Some(1)));
        assert_eq!(any(Size::Exactly(64)), Ok(Some(64)));
        for outside in [0, -1, 65, i64::MAX] {
            let said = format!("Model 'tiny' only supports dimensions in range [1, 64], got {outside}.");
            assert_eq!(any(Size::Exactly(outside)), Err(said));
        }
        assert_eq!(any(Size::Texts(32)), Ok(Some(32)));
        assert_eq!(any(Size::Texts(0)), Err("`dimensions` should be positive".to_owned()));
        assert!(any(Size::Texts(65)).is_err_and(|said| said.contains("smaller than the maximum embedding dimension")));
        for (asked, is) in [(1, Some(1)), (63, Some(63)), (64, None), (5000, None), (0, None), (-7, None)] {
            assert_eq!(any(Size::AtMost(asked)), Ok(is));
        }
        let list = || Dimensions::List(vec![16, 32]);
        assert_eq!(size(list(), Size::Exactly(32)), Ok(Some(32)));
        let said = "Model 'tiny' only supports [16, 32] matryoshka dimensions, got 64.";
        assert_eq!(size(list(), Size::Exactly(64)), Err(said.to_owned()));
        let said = size(Dimensions::Fixed, Size::Exactly(64)).expect_err("all or nothing");
        assert!(said.ends_with("dimensions must be unset (received dimensions=64)."), "{said}");
        assert_eq!(size(Dimensions::Fixed, Size::All), Ok(None));
    }

    #[test]
    fn prompts_have_other_names_on_other_servers() {
        let prompts: BTreeMap<String, String> =
            [(QUERY, "Q:"), (DOCUMENT, ""), ("title", "T:")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        for (said, stands) in [
            ("query", "Q:"),
            ("search_query", "Q:"),
            ("retrieval.query", "Q:"),
            ("passage", ""),
            ("search_document", ""),
            ("clustering", ""),
            ("title", "T:"),
        ] {
            assert_eq!(PromptName::said("input_type", said).of(&prompts).expect("known"), stands, "{said}");
        }
        let said = PromptName::said("input_type", "image").of(&prompts).expect_err("unknown").message().to_owned();
        assert_eq!(said, "Unsupported input_type 'image'. Supported values: document, query, title");
        assert_eq!(PromptName::known("task", "embed"), None, "vLLM's word for what it does anyhow");
    }
}
