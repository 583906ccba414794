//! What the header of an answer of bytes says of the rows in it.
//!
//! Called by the routes that answer with bytes.

use super::encoding::NumberFormat;
use super::listing::RerankUsage;
use crate::python_json::{self, NonAscii};
use crate::server::state::unix_time;
use actix_web::http::header::HeaderName;
use serde::Serialize;

/// Where it stands.
pub const METADATA: HeaderName = HeaderName::from_static("metadata");

/// What it says.
#[derive(Debug, Serialize)]
pub struct Metadata<'a> {
    id: String,
    created: u64,
    model: &'a str,
    data: Vec<RowBytes>,
    usage: RerankUsage,
}

/// Where in the bytes a row stands.
#[derive(Debug, Serialize)]
struct RowBytes {
    index: usize,
    embed_dtype: &'static str,
    endianness: &'static str,
    start: usize,
    end: usize,
    shape: [usize; 1],
}

impl<'a> Metadata<'a> {
    /// Of so many `rows` of `width` numbers each, of the answer named `id` of the model `model`, made now; its prompts have
    /// so many tokens.
    pub fn new(
        id: String,
        model: &'a str,
        rows: usize,
        width: usize,
        numbers: NumberFormat,
        prompt_tokens: usize,
    ) -> Self {
        let (embed_dtype, endianness) = (numbers.dtype_name(), numbers.endianness_name());
        let bytes = numbers.width() * width;
        let row = |index| {
            let (start, end) = (index * bytes, (index + 1) * bytes);
            RowBytes { index, embed_dtype, endianness, start, end, shape: [width] }
        };
        let data = (0..rows).map(row).collect();
        Self { id, created: unix_time(), model, data, usage: RerankUsage::of(prompt_tokens) }
    }

    /// The header, as Python writes it.
    pub fn header(&self) -> serde_json::Result<String> {
        python_json::to_string(self, NonAscii::Escaped)
    }
}
