//! A model directory: `config.json` and safetensors files, checked once and then read row by row.
//!
//! Invariant: an open checkpoint has every tensor that the model needs, in the shape that its configuration gives, and
//! no tensor that nobody knows (`inventory`); reading a row can't fail. Until rows are asked for, headers are read and some
//! pages of each tensor, by which it is known (`identity`) and by which a damaged one shows (`sound`). Called by `survey` and
//! `download`, and by `packed` and the model, which read the rows.

pub mod architecture;
mod config;
mod embedding;
mod fault;
mod head;
mod identity;
mod inventory;
mod modules;
mod names;
pub mod packed;
mod purpose;
mod shards;
mod sound;
mod synthetic;
mod tensor;

pub use config::{Config, Overrides, Said};
pub use embedding::{Dimensions, Embedding};
pub use head::{Activation, Answers, Head, Token};
pub(crate) use modules::{KNOWN as TASK_FILES, is_known as tells_of_task};
pub use names::{NORM, SCORE, SCORE_BIAS};
pub(crate) use shards::shard_names;
pub use tensor::{Dtype, Tensor};

use crate::error::{Error, ErrorKind, Result};
use crate::file;
use crate::file::directory::{self, CONFIG};
use crate::task::Task;
use architecture::{Architecture, Part};
use config::Keys;
use fault::{fail, shown};
use identity::Identity;
use ironrank_kernels::MappedFile;
use modules::Find;
use names::{EMBEDDING, OUTPUT};
use purpose::{Origin, Purpose};
use shards::{MAX_JSON_BYTES, Places};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use synthetic::Synthetic;
use tensor::Backing;

/// The shape of Qwen3-Reranker-0.6B, for start-up without a model directory.
static BUILTIN_CONFIG: &[u8] = include_bytes!("../../assets/config.json");

/// A model's configuration and tensors.
pub struct Checkpoint {
    config: Config,
    purpose: Purpose,
    /// See [`Self::is_tied_by_name_alone`].
    tied_by_name: bool,
    /// How errors call the place where tensors come from.
    name: String,
    /// The tensors of the files by their canonical names; `None` for a synthetic checkpoint.
    places: Option<Places>,
    /// As it was when it was opened.
    identity: Identity,
}

impl Checkpoint {
    /// Opens a model directory and checks all that the model will need of it.
    ///
    /// Tensors may be named with or without the prefix `model.`. Harmless extras are dropped: rotary `inv_freq`
    /// buffers, and `lm_head.weight` where another head makes it useless.
    /// Errors are of kind [`ErrorKind::Checkpoint`]: one sentence that names file, key or tensor, found and expected.
    pub fn open<'a>(dir: &Path, said: impl Into<Said<'a>>) -> Result<Self> {
        Self::inspect(dir, said).map_err(|mut problems| problems.swap_remove(0))
    }

    /// Opens a model directory and checks all of it, also where one check has failed: an error holds everything that is
    /// wrong with it, and is never empty.
    pub fn inspect<'a>(dir: &Path, said: impl Into<Said<'a>>) -> std::result::Result<Self, Vec<Error>> {
        let Said { overrides, task } = said.into();
        let json = match read_config(dir) {
            // Nothing else can be said of it.
            Err(err) if !directory::has_model(dir) => return Err(vec![err]),
            json => json,
        };
        // The configuration's complaints come first, but which head it means depends on the tensors.
        let shards = shards::open(dir).and_then(|shards| inventory::canonical(dir, shards).map_err(|err| vec![err]));
        let find = |name: &str| shards.as_ref().ok().and_then(|shards| shards.places.get(name));
        let (has, shape) =
            (|name: &str| find(name).is_some(), |name: &str| find(name).map(|place| place.shape.clone()));
        let described = json.and_then(|(json, file)| {
            let keys = Keys::merge(&json, &file, overrides)?;
            let find = |name: &str| dir.join(name);
            let purpose = Purpose::of(&keys, &Origin { find: Some(&find), dir, has: Some(&has), task })?;
            Ok((purpose.architecture.config(&keys, &shape)?, purpose))
        });
        match (described, shards) {
            (Ok((mut config, mut purpose)), Ok(shards)) => {
                purpose.notices.extend(shards.notice);
                // A head that is stored is the head, as in Hugging Face's library, whatever the key says.
                let stored = matches!(purpose.head, Head::Tokens(_)) && shards.places.contains_key(OUTPUT);
                let tied_by_name = stored && config.tie_word_embeddings;
                config.tie_word_embeddings &= !stored;
                let places = inventory::checked(dir, &config, &purpose, shards.places)?;
                // In the order in which tensors are told elsewhere.
                let needed = inventory::needed(&config, &purpose);
                match sound::problems(needed.iter().filter_map(|(name, _)| places.get_key_value(name))) {
                    problems if problems.is_empty() => {
                        Ok(Self { tied_by_name, ..Self::of(config, purpose, dir.display().to_string(), Some(places)) })
                    }
                    problems => Err(problems),
                }
            }
            (described, shards) => Err(described.err().into_iter().chain(shards.err().into_iter().flatten()).collect()),
        }
    }

    /// A checkpoint whose tensors are the synthetic function, in the configuration's type; it holds no memory.
    /// The configuration comes from `dir`, or is that of Qwen3-Reranker-0.6B.
    pub fn dummy<'a>(dir: Option<&Path>, said: impl Into<Said<'a>>) -> Result<Self> {
        let (json, file) = match dir {
            Some(dir) => read_config(dir)?,
            None => (BUILTIN_CONFIG.to_vec(), "The built-in config.json".to_owned()),
        };
        let find = |name: &str| dir.map_or_else(PathBuf::new, |dir| dir.join(name));
        let find: Option<Find> = if dir.is_some() { Some(&find) } else { None };
        Self::synthetic(find, &json, &file, said.into())
    }

    /// A checkpoint whose tensors are the synthetic function; the configuration, and what else tells of the task, comes from
    /// the files where `find` says that those of these names are.
    pub(crate) fn dummy_of(find: &dyn Fn(&str) -> PathBuf, said: Said) -> Result<Self> {
        let config = find("config.json");
        Self::synthetic(Some(find), &shards::read(&config)?, &config.display().to_string(), said)
    }

    fn synthetic(find: Option<Find>, json: &[u8], file: &str, Said { overrides, task }: Said) -> Result<Self> {
        let keys = Keys::merge(json, file, overrides)?;
        let purpose = Purpose::of(&keys, &Origin { find, dir: Path::new(""), has: None, task })?;
        let config = purpose.architecture.config(&keys, &|_| None)?;
        Ok(Self::of(config, purpose, "The synthetic checkpoint".to_owned(), None))
    }

    fn of(config: Config, purpose: Purpose, name: String, places: Option<Places>) -> Self {
        let identity = Identity::of(&config, &purpose.head, places.as_ref());
        Self { config, purpose, tied_by_name: false, name, places, identity }
    }

    /// The configuration, overrides included.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What its layers compute.
    pub fn architecture(&self) -> Architecture {
        self.purpose.architecture
    }

    /// What each layer consists of.
    pub fn layer(&self) -> Vec<Part> {
        self.purpose.architecture.layer(&self.config)
    }

    /// What it is for.
    pub fn task(&self) -> Task {
        self.purpose.head.task()
    }

    /// Which head this checkpoint has.
    pub fn head(&self) -> &Head {
        &self.purpose.head
    }

    /// The function that makes a score of a logit.
    pub fn activation(&self) -> Activation {
        self.purpose.activation
    }

    /// What there is to say of the activation, if something is, as the end of a sentence.
    pub fn activation_note(&self) -> Option<&str> {
        self.purpose.activation_note.as_deref()
    }

    /// The instruction that sentence-transformers takes with this reranker by default, if its files have one.
    pub fn instruction(&self) -> Option<&str> {
        self.purpose.prompt.as_deref()
    }

    /// What the operator should know of the files although they can be served: sentences.
    pub fn notices(&self) -> &[String] {
        &self.purpose.notices
    }

    /// Name and shape of every tensor that the model needs, in the order of the forward pass.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        inventory::needed(&self.config, &self.purpose)
    }

    /// The tensor `name`, with or without the prefix `model.`, which must have `shape`.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let name = names::canonical(name);
        let (rows, cols) = match *shape {
            [cols] => (1, cols),
            [rows, cols] => (rows, cols),
            _ => return Err(Error::new(ErrorKind::Internal, format!("Tensor {name} was asked for as {shape:?}."))),
        };
        let Some(places) = &self.places else {
            if self.tensors().iter().any(|(known, dims)| *known == name && dims == shape) {
                let backing = Backing::Synthetic(Synthetic::new(&name, cols));
                return Ok(Tensor { backing, dtype: self.config.torch_dtype, rows, cols });
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
        let backing = Backing::Mapped { map: Arc::clone(&place.map), start: place.start };
        Ok(Tensor { backing, dtype: place.dtype, rows, cols })
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
        &self.identity.digest
    }

    /// What tells this checkpoint's packed weights from another's, as it was when it was opened.
    fn fingerprint(&self) -> u128 {
        self.identity.fingerprint
    }

    /// An error if its files have changed since it was opened: what was read may be partly of the one, partly of the
    /// other.
    pub fn check_unchanged(&self) -> Result<()> {
        match Identity::of(&self.config, &self.purpose.head, self.places.as_ref()) == self.identity {
            true => Ok(()),
            false => Err(fail(Path::new(&self.name), "was changed while it was read, expected complete files")),
        }
    }
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint").field("name", &self.name).field("head", &self.purpose.head).finish_non_exhaustive()
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
