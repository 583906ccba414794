//! What is compared: the queries of an input, each with its documents, or those that the program carries.
//!
//! Called by [`super`].

use crate::error::{Error, Result};
use crate::options::Compared;
use crate::prompt::{Prompt, PromptEncoder, PromptOptions};
use crate::score::{Pair, Pairs};
use std::collections::HashMap;

/// 40 queries of eleven languages and of code, each with two passages that answer it, two that answer a part of it, two
/// of its topic, and two of others.
const BUILT_IN: &str = include_str!("../../assets/compare.jsonl");

/// More take days on most machines, and tell no more.
const MOST_PAIRS: usize = 100_000;

/// All that is compared.
pub(super) struct Questions {
    /// For people.
    pub name: String,
    pub questions: Vec<Question>,
}

/// A query under an instruction, with all of its documents, in the order of the input.
pub(super) struct Question {
    pub query: String,
    pub instruction: Option<String>,
    /// Each with the line in which its row begins.
    pub documents: Vec<(u64, String)>,
}

impl Questions {
    /// Reads them.
    pub fn read(compared: &Compared) -> Result<Self> {
        let Pairs { name, pairs } = match compared {
            Compared::BuiltIn => Pairs::of("the built-in set", BUILT_IN)?,
            Compared::StandardInput => Pairs::open(None, MOST_PAIRS)?,
            Compared::File(path) => Pairs::open(Some(path), MOST_PAIRS)?,
        };
        let (mut questions, mut places) = (Vec::<Question>::new(), HashMap::new());
        for Pair { line, query, document, instruction } in pairs {
            let place = *places.entry((query.clone(), instruction.clone())).or_insert_with(|| {
                questions.push(Question { query, instruction, documents: Vec::new() });
                questions.len() - 1
            });
            questions[place].documents.push((line, document));
        }
        Ok(Self { name, questions })
    }

    /// The prompts of all documents, one question after the other.
    pub fn prompts(&self, encoder: &PromptEncoder, options: &PromptOptions) -> Result<Vec<Prompt>> {
        let mut prompts = Vec::new();
        for Question { query, instruction, documents } in &self.questions {
            let options = match instruction {
                Some(instruction) => &options.clone().instructed(instruction),
                None => options,
            };
            let mut made = encoder.for_query(query, options)?;
            for (line, document) in documents {
                let (prompt, _) = made.prompt(document).map_err(|err| {
                    Error::new(err.kind(), format!("Line {line} of {} cannot be scored. {err}", self.name))
                })?;
                prompts.push(prompt);
            }
        }
        Ok(prompts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_built_in_set_is_what_it_is_said_to_be() {
        let Questions { questions, .. } = Questions::read(&Compared::BuiltIn).expect("it can be read");
        assert_eq!(questions.len(), 40);
        let mut texts = HashSet::new();
        for Question { query, documents, .. } in &questions {
            assert_eq!(documents.len(), 8, "{query}");
            for (_, text) in documents {
                assert!(texts.insert(text), "twice: {text}");
                assert_eq!(text.trim(), text);
            }
        }
        assert!(texts.iter().all(|text| text.chars().count() < 2000));
    }

    #[test]
    fn pairs_of_a_query_under_an_instruction_come_together_in_their_order() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let rows = "{\"query\": \"a\", \"document\": \"1\"}\n\n{\"query\": [\"b\", \"a\"], \"documents\": [\"2\", \"3\"]}\n\
                    {\"query\": \"a\", \"instruction\": \"i\", \"document\": \"4\"}\n{\"query\": \"a\", \"document\": \"5\"}\n";
        std::fs::write(file.path(), rows).expect("written");
        let read = Questions::read(&Compared::File(file.path().to_owned())).expect("it can be read");
        let told = |question: &Question| {
            let documents = question.documents.iter().map(|(line, text)| format!("{line}:{text}"));
            let instruction = question.instruction.as_deref().unwrap_or_default();
            format!("{}{instruction} {}", question.query, documents.collect::<Vec<_>>().join(" "))
        };
        assert_eq!(read.questions.iter().map(told).collect::<Vec<_>>(), ["a 1:1 3:3 5:5", "b 3:2", "ai 4:4"]);
    }
}
