//! The options of each model of a server: which one, how requests call it, and how its answers are made.
//!
//! A model is MODEL with its flags, an item of `--models`, whose keys are those flags, or what `--also` names. Invariant:
//! what says how a model is computed holds for all that do not say otherwise, what describes a model is its own, and what
//! becomes of long texts and of logits holds for all. Called by the options of `serve` and `check`.

use super::config_file;
use super::embedding::{EmbeddingArgs, NamedPrompts};
use super::environment::Environment;
use super::json;
use super::model::{ModelArgs, ModelOptions};
use super::scoring::ScoringArgs;
use super::values;
use clap::{ArgAction, Args, Command, FromArgMatches};
use serde_json::{Map, Value};

/// A model of a server.
#[derive(Debug, Clone, PartialEq)]
pub struct ServedModel {
    /// Names that requests may use, never empty; answers carry the first.
    pub names: Vec<String>,
    /// Which model.
    pub model: ModelOptions,
    /// Text of a Jinja template; `None` is the model card's prompt.
    pub chat_template: Option<String>,
    /// The instruction of requests that bring none; `None` is the model card's.
    pub instruction: Option<String>,
    /// What stands before the texts of an embedding model.
    pub named_prompts: NamedPrompts,
}

/// A model, its answers and its names.
#[derive(Debug, Args)]
pub struct ServedArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub scoring: ScoringArgs,
    #[command(flatten)]
    pub embedding: EmbeddingArgs,
    /// Names that requests may use; answers carry the first [default: MODEL as given]
    #[arg(long, value_name = "NAME", num_args = 1.., action = ArgAction::Set, visible_alias = "names", help_heading = "Server")]
    pub served_model_name: Vec<String>,
}

/// The models beside it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Model")]
pub struct AlsoArgs {
    /// One more model in this process, and perhaps its names: DIR or DIR=NAME,NAME; may be given again. A request that names
    /// no model is for the first of its kind; not in vLLM
    #[arg(long, value_name = "DIR[=NAME,...]", action = ArgAction::Append, value_parser = also)]
    pub also: Vec<Also>,
    /// More models with flags of their own: a JSON list, or in a --config file a list, of objects such as
    /// {"model": DIR, "names": [NAME], "max-model-len": 8192}; not in vLLM
    #[arg(long, value_name = "JSON", value_parser = json::objects)]
    pub models: Option<json::Objects>,
}

/// What `--also` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Also {
    dir: String,
    names: Vec<String>,
}

impl AlsoArgs {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.also.is_empty() && self.models.is_none()
    }
}

/// All models of a server: that of the command line, if it names one or there is no other, then the others in order.
pub fn options(
    first: ServedArgs,
    also: AlsoArgs,
    env: Environment,
    notices: &mut Vec<String>,
) -> Result<Vec<ServedModel>, String> {
    let AlsoArgs { also, models } = also;
    let items = models.map_or_else(Vec::new, |json::Objects(items)| items);
    let items = items.into_iter().enumerate().map(|(at, item)| {
        let said = |why| format!("--models, item {}: {why}", at + 1);
        item_args(item).and_then(|args| args.below(&first)).map_err(said)
    });
    let also = also.into_iter().map(|Also { dir, names }| {
        let item = Map::from_iter([("model".to_owned(), dir.into()), ("names".to_owned(), names.into())]);
        item_args(item).and_then(|args| args.below(&first)).map_err(|why| format!("--also: {why}"))
    });
    let others = items.chain(also).collect::<Result<Vec<_>, _>>()?;
    let mut all = Vec::with_capacity(1 + others.len());
    if first.model.is_named() || others.is_empty() {
        all.push(first.options(env, notices)?);
    } else if let Some(flag) = first.of_a_model() {
        return Err(format!(
            "{flag} describes MODEL, which is not given: say it in the item of --models that it is for."
        ));
    }
    for other in others {
        // Variables describe the first, as flags do.
        all.push(other.options(Environment(&|_| None), notices)?);
    }
    Ok(all)
}

/// The arguments of a model whose flags are the keys of `item`.
fn item_args(item: Map<String, Value>) -> Result<ServedArgs, String> {
    let command = ServedArgs::augment_args(Command::new("model").no_binary_name(true).disable_help_flag(true));
    let mut arguments = Vec::new();
    for (key, value) in item {
        arguments.extend(config_file::flag(&key, value, &command)?);
    }
    let matches = command.try_get_matches_from(arguments);
    // One line of clap's, which goes on with how the command is used.
    let first =
        |err: clap::Error| err.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    matches.and_then(|matches| ServedArgs::from_arg_matches(&matches)).map_err(first)
}

impl ServedArgs {
    /// What holds for all models is taken from `first` where it is not said here; an error if no model is named.
    fn below(mut self, first: &Self) -> Result<Self, String> {
        if !self.model.is_named() {
            return Err("it has no \"model\", which is a directory.".to_owned());
        }
        let (own, of_all) = (&mut self.model, &first.model);
        own.max_model_len = own.max_model_len.or(of_all.max_model_len);
        own.dtype = own.dtype.or(of_all.dtype);
        own.quantization = own.quantization.or(of_all.quantization);
        own.load_format = own.load_format.or(of_all.load_format);
        match (&self.scoring.overflow, &self.scoring.pooler_config) {
            (None, None) => Ok(self),
            _ => Err("--overflow and --pooler-config hold for all models: they stand beside the list.".to_owned()),
        }
    }

    /// A flag that is given and describes one model alone.
    fn of_a_model(&self) -> Option<&'static str> {
        let Self { model, scoring, embedding, served_model_name } = self;
        let flags = [
            ("--served-model-name", !served_model_name.is_empty()),
            ("--tokenizer", model.tokenizer.is_some()),
            ("--hf-overrides", model.hf_overrides.is_some()),
            ("--chat-template", scoring.chat_template.is_some()),
            ("--instruction", scoring.instruction.is_some()),
            ("--query-prompt", embedding.query_prompt.is_some()),
            ("--document-prompt", embedding.document_prompt.is_some()),
            ("--task", model.task.is_some()),
        ];
        flags.into_iter().find(|(_, given)| *given).map(|(flag, _)| flag)
    }

    fn options(self, env: Environment, notices: &mut Vec<String>) -> Result<ServedModel, String> {
        let Self { model, scoring, embedding, served_model_name } = self;
        let model = model.options(env, notices)?;
        let names = served_model_name.iter().map(|name| values::bare(name).to_owned());
        let names: Vec<String> = names.filter(|name| !name.is_empty()).collect();
        Ok(ServedModel {
            names: if names.is_empty() { vec![model.name()] } else { names },
            model,
            chat_template: scoring.template()?,
            instruction: scoring.instruction(env),
            named_prompts: embedding.prompts(env),
        })
    }
}

/// `--also`: a directory, and behind the last `=` its names.
fn also(text: &str) -> Result<Also, String> {
    let (dir, names) = text.rsplit_once('=').unwrap_or((text, ""));
    let names = names.split(',').map(|name| values::bare(name).to_owned());
    let also = Also { dir: dir.to_owned(), names: names.filter(|name| !name.is_empty()).collect() };
    match also.names.is_empty() && text.contains('=') {
        true => Err(format!("'{text}' has no name behind its =; write DIR or DIR=NAME.")),
        false => Ok(also),
    }
}
