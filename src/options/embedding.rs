//! The options of vectors, which the commands that may make some share: what stands before a text.
//!
//! Called by the options of these commands.

use super::environment::Environment;
use clap::Args;

/// What stands before a text, in place of what the model's files have for it. An empty one is nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamedPrompts {
    /// Before queries.
    pub query: Option<String>,
    /// Before documents.
    pub document: Option<String>,
}

/// What becomes of a text.
#[derive(Debug, Args)]
#[command(next_help_heading = "Embeddings")]
pub struct EmbeddingArgs {
    /// What stands before a text that a request calls a query, in place of the model's; \n is a line break
    /// [default: the model's] [env: IRONRANK_QUERY_PROMPT]
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub query_prompt: Option<String>,
    /// What stands before a text that a request calls a document, the same
    /// [default: the model's] [env: IRONRANK_DOCUMENT_PROMPT]
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub document_prompt: Option<String>,
}

impl EmbeddingArgs {
    /// What is said of them, flags before variables.
    pub fn prompts(self, env: Environment) -> NamedPrompts {
        let prompt = |flag: Option<String>, variable| Some(flag.or_else(|| env.get(variable))?.replace("\\n", "\n"));
        NamedPrompts {
            query: prompt(self.query_prompt, "IRONRANK_QUERY_PROMPT"),
            document: prompt(self.document_prompt, "IRONRANK_DOCUMENT_PROMPT"),
        }
    }
}
