//! What a model directory says that a model is and is for: its architecture, its task, its head.
//!
//! Invariant: each fact that the files hold about it, sentence-transformers' included, is honoured or refused by name. What
//! says a task must not be contradicted by another fact that does; only where nothing says one, the model's name does; and
//! where that says nothing either, the model is taken for a reranker, which a notice tells. Called by `Checkpoint`.

use super::architecture::{Architecture, Class};
use super::config::Keys;
use super::embedding::Embedding;
use super::fault::fail;
use super::head::{self, Activation, Head};
use super::modules::{Find, Modules};
use super::names::SCORE;
use crate::error::Result;
use crate::task::Task;
use serde_json::Value;
use std::path::Path;

/// What a model is, and what it is for.
pub struct Purpose {
    pub architecture: Architecture,
    pub head: Head,
    pub activation: Activation,
    /// Why the activation is not the usual one, or what is not heard about it, as the end of a sentence.
    pub activation_note: Option<String>,
    /// The instruction that sentence-transformers takes with a reranker by default, if the files have one.
    pub prompt: Option<String>,
    /// Sentences for the operator.
    pub notices: Vec<String>,
}

/// Where a model comes from.
pub struct Origin<'a> {
    /// Where its files are, if it has any.
    pub find: Option<Find<'a>>,
    /// The directory that it is called by.
    pub dir: &'a Path,
    /// Whether its files have a tensor of this name; `None` if its weights are made up.
    pub has: Option<&'a dyn Fn(&str) -> bool>,
    /// What the operator says that it is for.
    pub task: Option<Task>,
}

impl Origin<'_> {
    pub fn has(&self, name: &str) -> bool {
        self.has.is_some_and(|has| has(name))
    }
}

impl Purpose {
    pub fn of(keys: &Keys, origin: &Origin) -> Result<Self> {
        let modules = origin.find.map(Modules::read).transpose()?.unwrap_or_default();
        let (architecture, class) = Architecture::of(keys)?;
        let mut notices = Vec::new();
        let task = match (said(keys, class, &modules, origin)?, origin.has) {
            (Some(task), _) => task,
            // Made-up weights mean nothing anyhow.
            (None, None) => Task::Rerank,
            (None, Some(_)) => {
                let (task, doubt) = called(keys, origin.dir);
                notices.extend(doubt);
                task
            }
        };
        let (activation, activation_note) = head::activation(keys, &modules)?;
        let prompt = modules.prompt().map(str::to_owned);
        let (head, prompt) = match task {
            Task::Rerank => (head::of(keys, class, &modules, |name| origin.has(name), &mut notices)?, prompt),
            Task::Embed => (Head::Vector(Embedding::of(keys, modules, &mut notices)?), None),
        };
        Ok(Self { architecture, head, activation, activation_note, prompt, notices })
    }
}

/// The task that files and options say; an error if some say the one and some the other.
fn said(keys: &Keys, class: Class, modules: &Modules, origin: &Origin) -> Result<Option<Task>> {
    let named = |key: &str| format!("{key} of {}", keys.place(key));
    let original = keys.flag("is_original_qwen3_reranker")?;
    let facts = [
        modules.logit_score.as_ref().map(|score| (Task::Rerank, score.file.clone())),
        modules.pooling.as_ref().map(|pooling| (Task::Embed, pooling.told_by.clone())),
        modules.kind.clone(),
        match class {
            Class::Causal => None,
            Class::Classification => Some((Task::Rerank, named("architectures"))),
            Class::Body => Some((Task::Embed, named("architectures"))),
        },
        origin.has(SCORE).then(|| (Task::Rerank, format!("tensor {SCORE}"))),
        original.then(|| (Task::Rerank, named("is_original_qwen3_reranker"))),
        keys.get("classifier_from_token").map(|_| (Task::Rerank, named("classifier_from_token"))),
        origin.task.map(|task| (task, "the command line (--task or --convert)".to_owned())),
    ];
    let by = |task| facts.iter().flatten().find(|(said, _)| *said == task).map(|(_, by)| by);
    match (by(Task::Rerank), by(Task::Embed)) {
        (Some(rerank), Some(embed)) => {
            let what = format!("is an embedding model by {embed}, but a reranker by {rerank}, expected one of them");
            Err(fail(origin.dir, what))
        }
        (Some(_), None) => Ok(Some(Task::Rerank)),
        (None, Some(_)) => Ok(Some(Task::Embed)),
        (None, None) => Ok(None),
    }
}

/// The task of a causal model that nothing but its name tells of, and what is said where the name tells nothing.
fn called(keys: &Keys, dir: &Path) -> (Task, Option<String>) {
    let real = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let trained_as = keys.get("_name_or_path").and_then(Value::as_str).unwrap_or("");
    let names = format!("{}\n{}\n{trained_as}", dir.display(), real.display()).to_lowercase();
    if names.contains("rerank") {
        return (Task::Rerank, None);
    }
    // The directory's own name, and that of a repository in the hub's cache, where it is called by a commit.
    let called = |path: &Path| {
        let names = path.components().map(|part| part.as_os_str().to_string_lossy().to_lowercase());
        let names: Vec<String> = names.collect();
        let repository = names.iter().filter(|name| name.starts_with("models--"));
        names.last().into_iter().chain(repository).any(|name| name.contains("embedding"))
    };
    if called(dir) || called(&real) || trained_as.to_lowercase().contains("embedding") {
        return (Task::Embed, None);
    }
    let doubt = format!(
        "Nothing in {} says that it is a reranker: if it is a chat model, its scores mean nothing; if it is an embedding \
         model, say so with --task embed. --hf-overrides.is_original_qwen3_reranker true says that it is a reranker.",
        dir.display()
    );
    (Task::Rerank, Some(doubt))
}
