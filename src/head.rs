//! What scores and vectors are made of: where the tokens that a checkpoint names meet the tokenizer that knows their numbers.
//!
//! Invariant: the head of a reranker tells documents apart, so that a score means something; which rows it is made of is told
//! to whoever asks. Called by `startup` and, for what there is to tell, by `check`.

use crate::checkpoint::{Activation, Answers, Checkpoint, Embedding, Head, Token};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{self, LinearHead};
use crate::prompt::Vocabulary;
use crate::task::Task;

/// A head whose tokens have been found, and what there is to tell of it.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// As the model runs it.
    pub head: model::Head,
    /// What the model is for.
    pub task: Task,
    /// What scores or vectors are made of.
    pub about: String,
    /// Sentences for the operator.
    pub notices: Vec<String>,
}

/// A token by its number, and how sentences call it.
struct Known {
    id: u32,
    text: String,
}

impl Resolved {
    /// The head of `checkpoint`; `vocabulary` knows the numbers of tokens. An error of kind [`ErrorKind::Checkpoint`] if model
    /// and tokenizer do not belong together, or if the head can't tell documents apart.
    pub fn of(checkpoint: &Checkpoint, vocabulary: &Vocabulary) -> Result<Self> {
        let (tokens, rows) = (vocabulary.size(), checkpoint.config().vocab_size);
        if tokens > rows {
            return Err(unusable(format!(
                "The tokenizer has {tokens} tokens, but the model's vocab_size is {rows}: they do not belong together."
            )));
        }
        let mut notices = Vec::new();
        let (head, logit) = match checkpoint.head() {
            Head::Vector(embedding) => return Ok(Self::of_vectors(checkpoint, embedding)),
            Head::Score { bias } => {
                let name = if *bias { "score.weight and score.bias" } else { "score.weight" };
                (LinearHead::of_score(checkpoint, *bias)?, format!("the logit of {name}"))
            }
            Head::Tokens(Answers { yes, no, named_by }) => {
                let known = |token| Known::find(token, named_by, checkpoint, vocabulary);
                let (yes, no) = (known(yes)?, no.as_ref().map(known).transpose()?);
                if let Some(no) = &no {
                    check_order(&yes, no, named_by)?;
                }
                let ids: Vec<u32> = std::iter::once(yes.id).chain(no.as_ref().map(|no| no.id)).collect();
                notices.extend(stored_head(checkpoint, &ids)?);
                if no.is_none() || [Some(&yes), no.as_ref()].into_iter().flatten().any(|it| !it.is_the_cards()) {
                    notices.push(format!(
                        "{named_by} has scores made of other tokens than yes and no: if the model was trained on another \
                         prompt than the model card's, give its template with --chat-template."
                    ));
                }
                let logit = match &no {
                    Some(no) => format!("logit of {yes} minus logit of {no}"),
                    None => format!("logit of {yes}"),
                };
                let head = LinearHead::of_tokens(checkpoint, yes.id, no.map(|no| no.id))?;
                (head, format!("{logit}, named by {named_by}"))
            }
        };
        if head.weights.iter().all(|&weight| weight == 0.0) {
            return Err(unusable(format!("The head ({logit}) is zero, so that every pair would have the same score.")));
        }
        if head.weights.iter().chain([&head.bias]).any(|weight| !weight.is_finite()) {
            return Err(unusable(format!(
                "The head ({logit}) holds NaN or infinity, so that no pair would have a score."
            )));
        }
        let activation = checkpoint.activation();
        let mut about = match activation {
            Activation::Identity => format!("raw, {logit}"),
            _ => format!("{activation} of {logit}"),
        };
        if let Some(note) = checkpoint.activation_note() {
            about = format!("{about}; {note}");
        }
        Ok(Self { head: model::Head::Margin(head), task: Task::Rerank, about, notices })
    }

    fn of_vectors(checkpoint: &Checkpoint, embedding: &Embedding) -> Self {
        let width = checkpoint.config().hidden_size;
        let length = if embedding.normalize { "of length 1" } else { "of any length, as its files have no Normalize" };
        let about = format!("{width} numbers of the last token, {length}");
        Self { head: model::Head::State, task: Task::Embed, about, notices: Vec::new() }
    }

    /// Tells the log.
    pub fn tell(&self) {
        tracing::info!("{}: {}", self.task.numbers(), self.about);
        for notice in &self.notices {
            tracing::warn!("{notice}");
        }
    }
}

impl Known {
    fn find(token: &Token, named_by: &str, checkpoint: &Checkpoint, vocabulary: &Vocabulary) -> Result<Self> {
        let rows = checkpoint.config().vocab_size;
        let (id, text) = match token {
            Token::Id(id) => (Some(*id), vocabulary.token(*id)),
            Token::Text(text) => (vocabulary.token_id(text), Some(text.clone())),
        };
        match (id, text) {
            (None, text) => {
                let text = text.unwrap_or_default();
                Err(unusable(format!("The tokenizer has no token '{text}', which {named_by} names.")))
            }
            (Some(id), text) if id as usize >= rows => {
                let text = text.map_or(String::new(), |text| format!(" '{text}'"));
                Err(unusable(format!(
                    "Token{text} {id}, which {named_by} names, is beyond the model's vocab_size {rows}."
                )))
            }
            (Some(id), None) => Err(unusable(format!("The tokenizer has no token {id}, which {named_by} names."))),
            (Some(id), Some(text)) => Ok(Self { id, text }),
        }
    }

    /// The word, without what marks a space before it.
    fn word(&self) -> String {
        self.text.trim_start_matches(['\u{120}', ' ']).to_lowercase()
    }

    fn is_the_cards(&self) -> bool {
        matches!(self.text.as_str(), "yes" | "no")
    }
}

impl std::fmt::Display for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "'{}' ({})", self.text, self.id)
    }
}

/// The tokens' order is [irrelevant, relevant], which is easily taken for the other.
fn check_order(yes: &Known, no: &Known, named_by: &str) -> Result<()> {
    let swapped = [("no", "yes"), ("false", "true"), ("irrelevant", "relevant")];
    match swapped.contains(&(yes.word().as_str(), no.word().as_str())) {
        false => Ok(()),
        true => {
            let (yes, no) = (&yes.text, &no.text);
            Err(unusable(format!(
                "{named_by} takes '{yes}' for the token of a relevant document and '{no}' for that of an irrelevant one, so \
                 that every score would be turned round; the irrelevant one comes first: [\"{yes}\", \"{no}\"]."
            )))
        }
    }
}

/// What there is to say if the output matrix is tied to the embedding in name alone: nothing if its rows are the same.
fn stored_head(checkpoint: &Checkpoint, ids: &[u32]) -> Result<Option<String>> {
    if !checkpoint.is_tied_by_name_alone() {
        return Ok(None);
    }
    let (output, embedding) = (checkpoint.output_matrix()?, checkpoint.embedding()?);
    let hidden = checkpoint.config().hidden_size;
    let (mut a, mut b) = (vec![0.0; hidden], vec![0.0; hidden]);
    let differs = ids.iter().any(|&id| {
        output.read_row(id as usize, &mut a);
        embedding.read_row(id as usize, &mut b);
        a != b
    });
    Ok(differs.then(|| {
        "tie_word_embeddings is true, but lm_head.weight is stored and differs from the embedding: the stored one is \
         taken, as transformers does."
            .to_owned()
    }))
}

fn unusable(sentence: String) -> Error {
    Error::new(ErrorKind::Checkpoint, sentence)
}
