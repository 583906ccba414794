//! The options of scores, which `serve`, `score` and `check` share: the prompt, and what becomes of a pair of texts.
//!
//! A template's file is read here, for it is an option itself. Called by the options of these commands.

use super::environment::Environment;
use super::json;
use super::pooler::{self, Pooling};
use super::values::{self, OrNone};
use crate::file;
use clap::Args;
use std::path::Path;

/// What becomes of a pair with more tokens than the model length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// The request is refused, as vLLM does.
    Error,
    /// The document is shortened.
    Truncate,
}

impl Overflow {
    /// As vLLM has it.
    pub const DEFAULT: Self = Self::Error;
}

/// What becomes of a pair of texts.
#[derive(Debug, Args)]
#[command(next_help_heading = "Scores")]
pub struct ScoringArgs {
    /// File or text of a Jinja template, rendered as vLLM does [default: the model card's prompt; vLLM's: none]
    #[arg(long, value_name = "FILE|TEXT", value_parser = values::text)]
    pub chat_template: Option<OrNone<String>>,
    /// Instruction of texts that bring none, for clients that cannot send one; not in vLLM [default: the model card's, for
    /// web search] [env: IRONRANK_INSTRUCTION]
    #[arg(long, value_name = "TEXT", value_parser = values::text)]
    pub instruction: Option<OrNone<String>>,
    /// What becomes of a pair longer than --max-model-len: error (400, as vLLM) or truncate (its document is
    /// shortened; not in vLLM) [default: error]
    #[arg(long, value_name = "error|truncate", value_parser = overflow)]
    pub overflow: Option<Overflow>,
    /// use_activation (false: scores are raw logits, vectors of any length), normalize (of vectors alone), logit_mean,
    /// logit_sigma: JSON, or dotted as in --pooler-config.use_activation false
    #[arg(long, value_name = "JSON", alias = "override-pooler-config", value_parser = values::text)]
    pub pooler_config: Option<OrNone<String>>,
}

impl ScoringArgs {
    /// How `--pooler-config` makes scores.
    pub fn pooling(&self, notices: &mut Vec<String>) -> Result<Pooling, String> {
        match OrNone::text(&self.pooler_config) {
            Some(json) => pooler::pooling(&json::object("--pooler-config", json)?, notices),
            None => Ok(Pooling::DEFAULT),
        }
    }

    /// The text of `--chat-template`; `None` is the model card's prompt.
    pub fn template(&self) -> Result<Option<String>, String> {
        OrNone::text(&self.chat_template).map(template).transpose()
    }

    /// The instruction of texts that bring none, without the white space around it; `None` is the model card's.
    pub fn instruction(&self, env: Environment) -> Option<String> {
        let flag = OrNone::text(&self.instruction).map(str::to_owned);
        let text = flag.or_else(|| env.get("IRONRANK_INSTRUCTION"))?;
        Some(values::bare(&text).to_owned()).filter(|text| !text.is_empty())
    }
}

/// A file's text, or the value itself if it looks like Jinja.
pub fn template(value: &str) -> Result<String, String> {
    match file::read_text(Path::new(value), file::MAX_TEXT_BYTES) {
        Ok(text) => Ok(text),
        Err(_) if value.contains(['{', '}', '\n']) => Ok(value.trim_start_matches(file::BYTE_ORDER_MARK).to_owned()),
        Err(fault) => Err(format!("--chat-template {value} {fault}.")),
    }
}

/// `--overflow`.
pub fn overflow(text: &str) -> Result<Overflow, String> {
    match text {
        "error" => Ok(Overflow::Error),
        "truncate" => Ok(Overflow::Truncate),
        _ => Err(format!("'{text}' is not known; use error or truncate.")),
    }
}
