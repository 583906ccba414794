//! Prompts of pairs: the two sides of a request, paired for a reranker; for an embedding model each text by itself, and the
//! cosines of their vectors.

use super::making::{Making, PromptRequest, at, is_too_long};
use crate::embed;
use crate::prompt::PromptEncoder;
use crate::server::http::error::{ApiError, ErrorForm};
use crate::server::served::Served;
use crate::server::wire::pairs::{Common, PairRequest, Text};
use crate::serves::Serves;
use crate::task::Task;
use serde_json::{Map, Value};

impl<R: PairRequest> PromptRequest for R {
    fn task(_: &Map<String, Value>) -> Option<Task> {
        Some(Task::Rerank)
    }

    fn read(body: &Map<String, Value>, _: &Served) -> Result<Self, ApiError> {
        PairRequest::read(body)
    }

    fn common(&self) -> &Common {
        PairRequest::common(self)
    }

    fn queries(&self) -> usize {
        self.sides().0.len()
    }

    fn error_form(body: &Map<String, Value>) -> ErrorForm {
        <R as PairRequest>::error_form(body)
    }

    fn prompts(&self, making: &mut Making<'_>) -> Result<(), ApiError> {
        match making.serves() {
            Serves::Rerank(reranker) => of_pairs(self, &reranker.encoder, making),
            Serves::Embed(embedder) => {
                let (queries, documents) = self.sides();
                pair(queries, documents, making.served())?;
                making.begin(queries.len() + documents.len())?;
                for (texts, place) in [queries, documents].into_iter().zip(self.places()) {
                    let texts = texts.iter().filter_map(Text::plain);
                    making.texts(&embedder.encoder, "", false, texts, place)?;
                }
                Ok(())
            }
        }
    }
}

fn of_pairs(request: &impl PairRequest, encoder: &PromptEncoder, making: &mut Making<'_>) -> Result<(), ApiError> {
    let (queries, documents) = request.sides();
    let pairs = pair(queries, documents, making.served())?;
    making.begin(pairs.len())?;
    // Neighbours with one query share the prompt's head.
    for same_query in pairs.chunk_by(|(a, _), (b, _)| std::ptr::eq(*a, *b) || a == b) {
        let mut query = encoder.for_query(same_query[0].0, making.options)?;
        for (_, document) in same_query {
            let _rendering = making.render(encoder, same_query[0].0, document)?;
            let prompt = query.prompt(document).map_err(|err| {
                let [left, right] = request.places();
                let index = making.made();
                // The document is not to blame for a query that leaves it no room.
                match is_too_long(&err) && query.prompt("").is_err() {
                    true => at(err, &left.of(if queries.len() > 1 { index } else { 0 })),
                    false => at(err, &right.of(index)),
                }
            })?;
            making.add(prompt)?;
        }
    }
    Ok(())
}

/// The cosine of each pair of vectors: the first rows are those of so many queries, one for all documents or one for each.
pub fn cosines(rows: &[Box<[f32]>], queries: usize) -> Vec<f32> {
    let (queries, documents) = rows.split_at(queries);
    queries.iter().cycle().zip(documents).map(|(query, document)| embed::cosine(query, document)).collect()
}

/// 1:N is broadcast, N:N goes element by element, anything else is refused.
fn pair<'a>(queries: &'a [Text], documents: &'a [Text], served: &Served) -> Result<Vec<(&'a str, &'a str)>, ApiError> {
    if queries.iter().chain(documents).any(|text| *text == Text::Parts) {
        return Err(ApiError::invalid(served.refuses_parts()));
    }
    match (queries.len(), documents.len()) {
        (0, _) => return Err(ApiError::invalid("At least one text element must be given")),
        (_, 0) => return Err(ApiError::invalid("At least one text_pair element must be given")),
        (1, _) => {}
        (n, m) if n == m => {}
        _ => return Err(ApiError::invalid("Input lengths must be either 1:1, 1:N or N:N")),
    }
    let queries = queries.iter().cycle();
    Ok(queries.zip(documents).filter_map(|(query, document)| Some((query.plain()?, document.plain()?))).collect())
}
