//! Prompts of pairs: the two sides of a request, paired.

use super::making::{Making, PromptRequest, at, is_too_long};
use crate::server::http::error::{ApiError, ErrorForm};
use crate::server::served::Served;
use crate::server::wire::pairs::{Common, PairRequest, Text};
use serde_json::{Map, Value};

impl<R: PairRequest> PromptRequest for R {
    fn read(body: &Map<String, Value>, _: &Served) -> Result<Self, ApiError> {
        PairRequest::read(body)
    }

    fn common(&self) -> &Common {
        PairRequest::common(self)
    }

    fn error_form(body: &Map<String, Value>) -> ErrorForm {
        <R as PairRequest>::error_form(body)
    }

    fn prompts(&self, making: &mut Making<'_>) -> Result<(), ApiError> {
        let (queries, documents) = self.sides();
        let pairs = pair(queries, documents, making.served())?;
        making.begin(pairs.len())?;
        // Neighbours with one query share the prompt's head.
        for same_query in pairs.chunk_by(|(a, _), (b, _)| std::ptr::eq(*a, *b) || a == b) {
            let mut query = making.encoder.for_query(same_query[0].0, making.options)?;
            for (_, document) in same_query {
                let _rendering = making.render(same_query[0].0, document)?;
                let prompt = query.prompt(document).map_err(|err| {
                    let [left, right] = self.places();
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
