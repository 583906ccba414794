//! A model directory: `config.json` and safetensors files, checked once and then read row by row.
//!
//! Invariant: an open checkpoint has every tensor that the model needs, in the shape that its configuration gives, and
//! no tensor that nobody knows; reading a row can't fail. Until rows are asked for, headers are read and some pages of
//! each tensor, by which it is known (`digest`) and by which a damaged one shows (`sound`). Called by `startup`, `check`
//! and `download`, and by the model, which packs the rows.

pub mod architecture;
mod config;
mod fault;
mod head;
mod modules;
pub mod packed;
mod shards;
mod sound;
mod synthetic;
mod tensor;

pub use config::{Config, Overrides};
pub use head::{Activation, Answers, Head, Token};
pub(crate) use modules::{KNOWN as TASK_FILES, is_known as tells_of_task};
pub(crate) use shards::shard_names;
pub use tensor::{Dtype, Tensor};

use crate::error::{Error, ErrorKind, Result};
use crate::file;
use crate::file::directory::{self, CONFIG};
use architecture::{Architecture, Part, layer_tensor};
use config::Keys;
use fault::{fail, shown};
use head::{Origin, Task};
use ironrank_kernels::MappedFile;
use modules::Find;
use shards::{MAX_JSON_BYTES, Place, Shards};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use synthetic::Synthetic;
use tensor::Source;
use xxhash_rust::xxh3::xxh3_128;

/// The shape of Qwen3-Reranker-0.6B, for start-up without a model directory.
static BUILTIN_CONFIG: &[u8] = include_bytes!("../../assets/config.json");

const EMBEDDING: &str = "model.embed_tokens.weight";
/// The tensor of the norm behind the layers: (hidden).
pub const NORM: &str = "model.norm.weight";
const OUTPUT: &str = "lm_head.weight";

/// A model's configuration and tensors.
pub struct Checkpoint {
    config: Config,
    task: Task,
    /// See [`Self::is_tied_by_name_alone`].
    tied_by_name: bool,
    /// How errors call the place where tensors come from.
    name: String,
    /// The tensors of the files by their canonical names; `None` for a synthetic checkpoint.
    places: Option<BTreeMap<String, Place>>,
    /// What tells it from others, as it was when it was opened.
    fingerprint: u128,
    /// A name of what it holds.
    digest: String,
}

impl Checkpoint {
    /// Opens a model directory and checks all that the model will need of it.
    ///
    /// Tensors may be named with or without the prefix `model.`. Harmless extras are dropped: rotary `inv_freq`
    /// buffers, and `lm_head.weight` where a score head makes it useless.
    /// Errors are of kind [`ErrorKind::Checkpoint`]: one sentence that names file, key or tensor, found and expected.
    pub fn open(dir: &Path, overrides: &Overrides) -> Result<Self> {
        Self::inspect(dir, overrides).map_err(|mut problems| problems.swap_remove(0))
    }

    /// Opens a model directory and checks all of it, also where one check has failed: an error holds everything that is
    /// wrong with it, and is never empty.
    pub fn inspect(dir: &Path, overrides: &Overrides) -> std::result::Result<Self, Vec<Error>> {
        let json = match read_config(dir) {
            // Nothing else can be said of it.
            Err(err) if !directory::has_model(dir) => return Err(vec![err]),
            json => json,
        };
        // The configuration's complaints come first, but which head it means depends on the tensors.
        let shards = shards::open(dir).and_then(|shards| canonical(dir, shards).map_err(|err| vec![err]));
        let find = |name: &str| shards.as_ref().ok().and_then(|shards| shards.places.get(name));
        let (has, shape) =
            (|name: &str| find(name).is_some(), |name: &str| find(name).map(|place| place.shape.clone()));
        let described = json.and_then(|(json, file)| {
            let keys = Keys::merge(&json, &file, overrides)?;
            let find = |name: &str| dir.join(name);
            let task = Task::of(&keys, &Origin { find: Some(&find), dir, has: Some(&has) })?;
            Ok((task.architecture.config(&keys, &shape)?, task))
        });
        match (described, shards) {
            (Ok((config, task)), Ok(shards)) => {
                let mut checkpoint = Self::of(config, task, dir.display().to_string());
                checkpoint.task.notices.extend(shards.notice);
                // A head that is stored is the head, as in Hugging Face's library, whatever the key says.
                if let Head::Tokens(_) = checkpoint.task.head
                    && shards.places.contains_key(OUTPUT)
                {
                    checkpoint.tied_by_name = checkpoint.config.tie_word_embeddings;
                    checkpoint.config.tie_word_embeddings = false;
                }
                checkpoint.places = Some(checkpoint.checked(dir, shards.places)?);
                match checkpoint.unsound() {
                    problems if problems.is_empty() => Ok(checkpoint.named()),
                    problems => Err(problems),
                }
            }
            (described, shards) => Err(described.err().into_iter().chain(shards.err().into_iter().flatten()).collect()),
        }
    }

    /// A checkpoint whose tensors are the synthetic function, in the configuration's type; it holds no memory.
    /// The configuration comes from `dir`, or is that of Qwen3-Reranker-0.6B.
    pub fn dummy(dir: Option<&Path>, overrides: &Overrides) -> Result<Self> {
        let (json, file) = match dir {
            Some(dir) => read_config(dir)?,
            None => (BUILTIN_CONFIG.to_vec(), "The built-in config.json".to_owned()),
        };
        let find = |name: &str| dir.map_or_else(PathBuf::new, |dir| dir.join(name));
        let find: Option<Find> = if dir.is_some() { Some(&find) } else { None };
        Self::synthetic(find, &json, &file, overrides)
    }

    /// A checkpoint whose tensors are the synthetic function; the configuration, and what else tells of the task, comes from
    /// the files where `find` says that those of these names are.
    pub(crate) fn dummy_of(find: &dyn Fn(&str) -> PathBuf, overrides: &Overrides) -> Result<Self> {
        let config = find("config.json");
        Self::synthetic(Some(find), &shards::read(&config)?, &config.display().to_string(), overrides)
    }

    fn synthetic(find: Option<Find>, json: &[u8], file: &str, overrides: &Overrides) -> Result<Self> {
        let keys = Keys::merge(json, file, overrides)?;
        let task = Task::of(&keys, &Origin { find, dir: Path::new(""), has: None })?;
        let config = task.architecture.config(&keys, &|_| None)?;
        Ok(Self::of(config, task, "The synthetic checkpoint".to_owned()).named())
    }

    fn of(config: Config, task: Task, name: String) -> Self {
        let (fingerprint, digest) = (0, String::new());
        Self { config, task, tied_by_name: false, name, places: None, fingerprint, digest }
    }

    /// With the names of what it holds now.
    fn named(mut self) -> Self {
        self.digest = self.current_digest();
        self.fingerprint = self.fingerprint_of(&self.digest);
        self
    }

    /// The configuration, overrides included.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What its layers compute.
    pub fn architecture(&self) -> Architecture {
        self.task.architecture
    }

    /// What each layer consists of.
    pub fn layer(&self) -> Vec<Part> {
        self.task.architecture.layer(&self.config)
    }

    /// Which head this checkpoint has.
    pub fn head(&self) -> &Head {
        &self.task.head
    }

    /// The function that makes a score of a logit.
    pub fn activation(&self) -> Activation {
        self.task.activation
    }

    /// What there is to say of the activation, if something is, as the end of a sentence.
    pub fn activation_note(&self) -> Option<&str> {
        self.task.activation_note.as_deref()
    }

    /// The instruction that sentence-transformers takes with this model by default, if its files have one.
    pub fn instruction(&self) -> Option<&str> {
        self.task.prompt.as_deref()
    }

    /// What the operator should know of the files although they can be served: sentences.
    pub fn notices(&self) -> &[String] {
        &self.task.notices
    }

    /// Name and shape of every tensor that the model needs, in the order of the forward pass.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let (c, layer) = (&self.config, self.layer());
        let hidden = c.hidden_size;
        let mut all = vec![(EMBEDDING.to_owned(), vec![c.vocab_size, hidden])];
        for index in 0..c.num_hidden_layers {
            let tensors = layer.iter().flat_map(Part::tensors);
            all.extend(tensors.map(|(name, shape)| (layer_tensor(index, name), shape)));
        }
        all.push((NORM.to_owned(), vec![hidden]));
        match self.task.head {
            Head::Tokens(_) if c.tie_word_embeddings => {}
            Head::Tokens(_) => all.push((OUTPUT.to_owned(), vec![c.vocab_size, hidden])),
            Head::Score { bias } => {
                all.push(("score.weight".to_owned(), vec![1, hidden]));
                if bias {
                    all.push(("score.bias".to_owned(), vec![1]));
                }
            }
        }
        all
    }

    /// The tensor `name`, with or without the prefix `model.`, which must have `shape`.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let name = canonical_name(name);
        let (rows, cols) = match *shape {
            [cols] => (1, cols),
            [rows, cols] => (rows, cols),
            _ => return Err(Error::new(ErrorKind::Internal, format!("Tensor {name} was asked for as {shape:?}."))),
        };
        let Some(places) = &self.places else {
            if self.tensors().iter().any(|(known, dims)| *known == name && dims == shape) {
                let source = Source::Synthetic(Synthetic::new(&name, cols));
                return Ok(Tensor { source, dtype: self.config.torch_dtype, rows, cols });
            }
            return Err(fail(Path::new(&self.name), format!("has no tensor {name} of shape {shape:?}")));
        };
        let Some(place) = places.get(&name) else {
            return Err(fail(Path::new(&self.name), format!("has no tensor {name}, expected one of shape {shape:?}")));
        };
        if place.shape != shape {
            let found = shown(&format!("{:?}", place.shape));
            return Err(fail(
                Path::new(&place.file),
                format!("has tensor {name} of shape {found}, expected {shape:?} from config.json"),
            ));
        }
        let source = Source::Mapped { map: Arc::clone(&place.map), start: place.start };
        Ok(Tensor { source, dtype: place.dtype, rows, cols })
    }

    /// The numbers of the tensor `name`, which must have `shape` and be of one row, widened to f32.
    pub fn vector(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let mut out = vec![0.0; shape.iter().product()];
        self.tensor(name, shape)?.read_row(0, &mut out);
        Ok(out)
    }

    /// Whether the configuration ties an output matrix to the embedding that has a tensor of its own all the same, which
    /// is the one that counts.
    pub fn is_tied_by_name_alone(&self) -> bool {
        self.tied_by_name
    }

    /// The output matrix `[vocab_size, hidden_size]` of a [`Head::Tokens`] model: the embedding where they are tied.
    pub fn output_matrix(&self) -> Result<Tensor> {
        let name = if self.config.tie_word_embeddings { EMBEDDING } else { OUTPUT };
        self.tensor(name, &[self.config.vocab_size, self.config.hidden_size])
    }

    /// The type of the tensor `name`, one of [`Self::tensors`].
    fn dtype(&self, name: &str) -> Dtype {
        let place = self.places.as_ref().and_then(|places| places.get(name));
        place.map_or(self.config.torch_dtype, |place| place.dtype)
    }

    /// The size of all tensors that the model needs, in bytes.
    pub fn bytes(&self) -> u64 {
        let size = |shape: &[usize]| shape.iter().map(|&d| d as u64).product::<u64>();
        self.tensors().iter().map(|(name, shape)| size(shape) * self.dtype(name).bytes() as u64).sum()
    }

    /// The embedding matrix `[vocab_size, hidden_size]`.
    pub fn embedding(&self) -> Result<Tensor> {
        self.tensor(EMBEDDING, &[self.config.vocab_size, self.config.hidden_size])
    }

    /// How errors call the place where tensors come from: the directory, if there is one.
    fn name(&self) -> &str {
        &self.name
    }

    /// Gives the memory of what was read back to the system; it is read again from the files when asked for.
    fn release(&self) {
        let mut last: Option<&Arc<MappedFile>> = None;
        for place in self.places.iter().flatten().map(|(_, place)| place) {
            if last.is_none_or(|last| !Arc::ptr_eq(last, &place.map)) {
                place.map.release();
                last = Some(&place.map);
            }
        }
    }

    /// A name of what this checkpoint holds, wherever its files lie: a hash of its configuration and, of every tensor,
    /// its type, its shape and its first bytes, as they were when it was opened.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    fn current_digest(&self) -> String {
        const SAMPLE: usize = 4096;
        // Without the place where the tokens are named.
        let head = match &self.task.head {
            Head::Tokens(Answers { yes, no, .. }) => format!("{yes:?} {no:?}"),
            Head::Score { bias } => format!("score.weight, bias {bias}"),
        };
        let mut facts = format!("{:?} {head}", self.config).into_bytes();
        for (name, place) in self.places.iter().flatten() {
            let Place { map, dtype, shape, start, bytes, .. } = place;
            facts.extend(format!("{name} {dtype} {shape:?}").as_bytes());
            facts.extend(&map[*start..*start + SAMPLE.min(*bytes)]);
        }
        format!("{:032x}", xxh3_128(&facts))
    }

    /// What tells this checkpoint's packed weights from another's: its `digest` and, of every tensor, where it lies; of
    /// every file, its length and its time of change.
    fn fingerprint_of(&self, digest: &str) -> u128 {
        let mut facts = digest.as_bytes().to_vec();
        let mut files = std::collections::BTreeSet::new();
        for (name, place) in self.places.iter().flatten() {
            let Place { file, map, start, .. } = place;
            facts.extend(format!("{name} {start}").as_bytes());
            if files.insert(file) {
                let changed = std::fs::metadata(file).and_then(|facts| facts.modified());
                facts.extend(format!("{} {changed:?}", map.len()).as_bytes());
            }
        }
        xxh3_128(&facts)
    }

    /// An error if its files have changed since it was opened: what was read may be partly of the one, partly of the
    /// other.
    pub fn check_unchanged(&self) -> Result<()> {
        match self.fingerprint_of(&self.current_digest()) == self.fingerprint {
            true => Ok(()),
            false => Err(fail(Path::new(&self.name), "was changed while it was read, expected complete files")),
        }
    }

    /// The tensors that the model needs, after a check that all are there and nothing unknown is: at most one error for
    /// what is missing, what has another shape, and what nobody knows.
    fn checked(
        &self,
        dir: &Path,
        mut places: BTreeMap<String, Place>,
    ) -> std::result::Result<BTreeMap<String, Place>, Vec<Error>> {
        let (mut known, mut missing, mut misshapen) = (BTreeMap::new(), Vec::new(), Vec::new());
        for (name, shape) in self.tensors() {
            match places.remove(&name) {
                None => missing.push((name, shape)),
                Some(place) if place.shape != shape => misshapen.push((name, shape, place)),
                Some(place) => _ = known.insert(name, place),
            }
        }
        let useless_output = matches!(self.task.head, Head::Score { .. });
        let harmless = |name: &str| name.ends_with("rotary_emb.inv_freq") || (useless_output && name == OUTPUT);
        places.retain(|name, _| !harmless(name));
        let and_more = |count: usize| if count > 1 { format!(", and {} more", count - 1) } else { String::new() };
        let mut problems = Vec::new();
        if let Some((name, shape)) = missing.first() {
            let hint = match name.as_str() {
                "score.weight" => "; for an original Qwen3 reranker override is_original_qwen3_reranker to true",
                OUTPUT => "; tie_word_embeddings is false, as it is for Qwen3 where config.json does not say",
                _ => "",
            };
            let more = and_more(missing.len());
            problems.push(fail(dir, format!("lacks tensor {name}, expected with shape {shape:?}{more}{hint}")));
        }
        if let Some((name, shape, place)) = misshapen.first() {
            let (found, more) = (shown(&format!("{:?}", place.shape)), and_more(misshapen.len()));
            let what = format!("has tensor {name} of shape {found}, expected {shape:?} from config.json{more}");
            problems.push(fail(Path::new(&place.file), what));
        }
        if let Some((name, place)) = places.first_key_value() {
            let classes = self.task.architecture.classes();
            let class = match self.task.head {
                Head::Tokens(_) => classes.causal,
                Head::Score { .. } => classes.classification,
            };
            let (name, more, layers) = (shown(name), and_more(places.len()), self.config.num_hidden_layers);
            problems.push(fail(
                Path::new(&place.file),
                format!("has tensor {name}{more}, which a {class} with num_hidden_layers {layers} does not have"),
            ));
        }
        if problems.is_empty() { Ok(known) } else { Err(problems) }
    }
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint").field("name", &self.name).field("head", &self.task.head).finish_non_exhaustive()
    }
}

/// The bytes and the name of `config.json` in a directory that may not even exist.
fn read_config(dir: &Path) -> Result<(Vec<u8>, String)> {
    directory::check(dir).map_err(|fault| fail(dir, fault))?;
    let path = dir.join(CONFIG);
    match file::read_json(&path, MAX_JSON_BYTES) {
        Ok(json) => Ok((json, path.display().to_string())),
        Err(fault) if fault.is_missing() => Err(fail(dir, directory::without(dir, CONFIG))),
        Err(fault) => Err(fail(&path, fault)),
    }
}

/// The tensors under the names of a causal model.
fn canonical(dir: &Path, shards: Shards) -> Result<Shards> {
    let mut renamed = BTreeMap::new();
    for (name, place) in shards.places {
        let full = canonical_name(&name);
        if renamed.insert(full.clone(), place).is_some() {
            let what = format!("has tensor {} both with and without the prefix model., expected one", shown(&full));
            return Err(fail(dir, what));
        }
    }
    Ok(Shards { places: renamed, ..shards })
}

/// A tensor's name with the prefix `model.` that some converters leave out.
fn canonical_name(name: &str) -> String {
    let bare = ["embed_tokens.", "layers.", "norm.", "rotary_emb."].iter().any(|start| name.starts_with(start));
    if bare { format!("model.{name}") } else { name.to_owned() }
}
