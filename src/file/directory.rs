//! What stands where a model directory should be, and what to do about it.
//!
//! Invariant: nothing is opened but to say why it cannot be used; a directory is looked through to a bounded depth and
//! number of entries. Called by `checkpoint` and `prompt` for a sentence, once something is missing.

use super::Fault;
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};

/// A model's shape.
pub const CONFIG: &str = "config.json";
/// A model's tokenizer.
pub const TOKENIZER: &str = "tokenizer.json";
/// All tensors in one file.
pub const SINGLE: &str = "model.safetensors";
/// Tells in which shard each tensor lies.
pub const INDEX: &str = "model.safetensors.index.json";

/// What a model directory holds, for people.
const EXPECTED: &str = "config.json, tokenizer.json and safetensors files";
/// Hosts of hubs, whose addresses name a model.
const HUBS: [&str; 4] = ["huggingface.co", "hf.co", "hf-mirror.com", "modelscope.cn"];
/// The Hub's cache, from its root, has models so deep: hub/models--ORG--NAME/snapshots/COMMIT.
const DEPTH: usize = 4;
/// More entries than a directory of models has.
const MAX_ENTRIES: usize = 2000;
/// So many are named.
const NAMED: usize = 3;

/// An error unless `path` is a directory.
pub fn check(path: &Path) -> Result<(), Fault> {
    match fs::metadata(path) {
        Ok(facts) if facts.is_dir() => Ok(()),
        Ok(facts) => {
            Err(Fault::other(format!("is not a directory, expected one with {EXPECTED}{}", a_file(path, &facts))))
        }
        Err(err) => match Fault::of(path, &err) {
            fault if fault.is_missing() => Err(Fault { what: nothing(path), ..fault }),
            fault => Err(fault),
        },
    }
}

/// Whether a directory has a part of a model in it, so that the rest is missing.
pub fn has_model(dir: &Path) -> bool {
    [CONFIG, SINGLE, INDEX].iter().any(|name| dir.join(name).symlink_metadata().is_ok())
}

/// What is wrong with a directory that has no `file`; what follows its name in a sentence.
pub fn without(dir: &Path, file: &str) -> String {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(err) => return Fault::of(dir, &err).to_string(),
    };
    let mut names: Vec<String> =
        entries.flatten().take(MAX_ENTRIES).map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    let what = match file {
        SINGLE | INDEX => format!("has neither {SINGLE} nor {INDEX}"),
        file => format!("has no {file}"),
    };
    match found(dir, &names, file) {
        Some(advice) => format!("{what}{advice}"),
        None => what,
    }
}

/// What is there in place of `file`, and what to do.
fn found(dir: &Path, names: &[String], file: &str) -> Option<String> {
    let has = |name: &str| names.iter().any(|known| known == name);
    let first = |ends: &[&str]| names.iter().find(|name| ends.iter().any(|end| name.ends_with(end)));
    if names.is_empty() {
        return Some(": it is empty, as where a volume is not mounted".to_owned());
    }
    if has(".download") {
        return Some(": a download into it was cut; say the same `ironrank download` again".to_owned());
    }
    if let Some(cut) = cut_in_cache(dir) {
        return Some(format!(": a download into this cache of the Hub was cut, which left {cut}; fetch it again"));
    }
    if has("adapter_config.json") {
        let base = base_of_adapter(dir).unwrap_or_else(|| "its model".to_owned());
        return Some(format!(
            ": it holds an adapter, not a model; merge it into {base} (PEFT's merge_and_unload), save that with its \
             tokenizer, and give the directory"
        ));
    }
    if file == TOKENIZER && has("vocab.json") && has("merges.txt") {
        return Some(
            ", but vocab.json and merges.txt: make one of them with AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR) \
             of Python's transformers, or fetch it with `ironrank download`"
                .to_owned(),
        );
    }
    if let Some(other) = names.iter().find(|name| name.strip_prefix(file).is_some_and(|end| end.starts_with('.'))) {
        return Some(format!(", but {other}: unpack or rename it"));
    }
    if [SINGLE, INDEX, CONFIG].iter().all(|name| *name == file || !has(name)) {
        let models = models_below(dir);
        if !models.is_empty() {
            return Some(format!(" itself: give {}", listed(&models)));
        }
        // What else the cache keeps of a repository.
        let beside = dir.parent().filter(|_| ["blobs", "refs"].iter().any(|part| dir.ends_with(part)));
        let beside = beside.map(|repository| models_below(&repository.join("snapshots"))).unwrap_or_default();
        if !beside.is_empty() {
            return Some(format!(": give {}", listed(&beside)));
        }
    }
    if file == TOKENIZER || has(SINGLE) || has(INDEX) {
        return None;
    }
    if let Some(shard) = first(&[".safetensors"]) {
        return Some(match shard.contains("-of-") {
            true => format!(", but {shard}: shards need their {INDEX}; fetch it too, with `ironrank download`"),
            false => format!(", but {shard}: if that is the whole model, rename it to {SINGLE}"),
        });
    }
    if let Some(weights) = first(&[".gguf", ".ggml"]) {
        return Some(format!(", but {weights}: GGUF files are llama.cpp's; {FETCH}"));
    }
    if has("onnx") || first(&[".onnx"]).is_some() || first(&["openvino_model.xml"]).is_some() || has("openvino") {
        return Some(format!(", but a model for ONNX or OpenVINO: {FETCH}"));
    }
    if let Some(weights) = first(&[".bin", ".bin.index.json", ".pt", ".pth", ".ckpt"]) {
        return Some(format!(
            ", but {weights}: PyTorch's files are not read, convert them to safetensors first (save_pretrained of \
             Python's transformers does), or {FETCH}"
        ));
    }
    if let Some(weights) = first(&[".h5", ".msgpack", ".npz", ".mlmodelc", ".tflite"]) {
        return Some(format!(", but {weights}: {FETCH}"));
    }
    first(&[".tar.gz", ".tgz", ".tar", ".zip", ".7z", ".zst"]).map(|archive| format!(", but {archive}: unpack it"))
}

/// What to do where the weights are of a kind that is not read.
const FETCH: &str =
    "fetch the original's safetensors files, as with `ironrank download Qwen/Qwen3-Reranker-0.6B --dir DIR`";

/// What an adapter was made for.
fn base_of_adapter(dir: &Path) -> Option<String> {
    #[derive(Deserialize)]
    struct Adapter {
        base_model_name_or_path: String,
    }
    let json = super::read(&dir.join("adapter_config.json"), super::MAX_TEXT_BYTES).ok()?;
    serde_json::from_slice(&json).ok().map(|Adapter { base_model_name_or_path }| base_model_name_or_path)
}

/// A file of the Hub's cache whose download was cut, beside the snapshot `dir`.
fn cut_in_cache(dir: &Path) -> Option<String> {
    let snapshots = dir.parent().filter(|snapshots| snapshots.ends_with("snapshots"))?;
    let blobs = fs::read_dir(snapshots.parent()?.join("blobs")).ok()?.flatten().take(MAX_ENTRIES);
    let names = blobs.map(|entry| entry.path()).find(|path| path.extension().is_some_and(|end| end == "incomplete"));
    names.map(|path| path.display().to_string())
}

/// What to give in place of a file.
fn a_file(path: &Path, facts: &fs::Metadata) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if name.ends_with(".safetensors") || [CONFIG, TOKENIZER, INDEX].contains(&&*name) {
        return format!(": give {}", parent.display());
    }
    match super::open(path) {
        Err(fault) if facts.is_file() && !fault.is_empty() => format!("; it {fault}. To go on, {FETCH}"),
        _ => String::new(),
    }
}

/// What to do where nothing is.
fn nothing(path: &Path) -> String {
    const NOT: &str = "does not exist as a directory here; this server never downloads";
    let name = path.to_string_lossy();
    if let Some(slip) = slip(&name) {
        return format!("{NOT}: {slip}");
    }
    // A slip of the pen in the last part, most likely, if what stands before it is there.
    let near = path.parent().filter(|dir| !dir.as_os_str().is_empty() && dir.parent().is_some());
    let models = near.map(models_below).unwrap_or_default();
    if !models.is_empty() {
        return format!("{NOT}: give a directory with {EXPECTED}, such as {}", listed(&models));
    }
    let Some(repository) = repository(&name) else {
        return format!("{NOT}: give a directory with {EXPECTED}");
    };
    let cached = repository.replace('/', "--");
    format!(
        "{NOT}: fetch it first, with `ironrank download {repository} --dir DIR`, and give DIR (in a cache of the Hub it is \
         models--{cached}/snapshots/COMMIT; from ModelScope, `modelscope download --model {repository} --local_dir DIR` \
         fetches it)"
    )
}

/// What a shell would have taken away or filled in, had it seen the name.
fn slip(name: &str) -> Option<String> {
    let bare = name.trim_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\''));
    if bare != name {
        return Some(format!(
            "quotes and spaces around a name are a part of it where no shell takes them away: give {bare}"
        ));
    }
    if name.starts_with('~') || name.contains('$') {
        return Some("~ and $NAME are filled in by a shell alone: give the whole path".to_owned());
    }
    let local = name.strip_prefix("file://")?;
    Some(format!("give {local}, a path in place of an address"))
}

/// The repository that a name of a hub or an address of one means.
fn repository(name: &str) -> Option<String> {
    let in_address = ["https://", "http://"].iter().find_map(|scheme| name.strip_prefix(scheme));
    let parts: Vec<&str> =
        name.strip_prefix("hf://").or(in_address).unwrap_or(name).trim_end_matches('/').split('/').collect();
    // An address may have lost its `https://`: `hf.co/OWNER/NAME`.
    let is_host = |part: &str| in_address.is_some() || HUBS.contains(&part.trim_start_matches("www."));
    let (hosted, parts) = match parts.as_slice() {
        [host, "models", path @ ..] | [host, path @ ..] if is_host(host) => (true, path),
        path => (false, path),
    };
    let part = |part: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        !part.is_empty() && !part.starts_with('.') && part.bytes().all(known)
    };
    match parts {
        [owner, repository, more @ ..] if (hosted || more.is_empty()) && part(owner) && part(repository) => {
            Some(format!("{owner}/{repository}"))
        }
        _ => None,
    }
}

/// The model directories in and under `dir`, of a cache of the Hub those that its references name first.
fn models_below(dir: &Path) -> Vec<PathBuf> {
    let (mut models, mut level, mut seen) = (Vec::new(), vec![dir.to_owned()], 0);
    for _ in 0..DEPTH {
        let mut next = Vec::new();
        for dir in level {
            let entries = fs::read_dir(&dir).into_iter().flatten().flatten().take(MAX_ENTRIES - seen);
            let mut below: Vec<PathBuf> = entries
                .inspect(|_| seen += 1)
                .map(|entry| entry.path())
                .filter(|path| !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')))
                .filter(|path| path.is_dir())
                .collect();
            below.sort_unstable();
            for path in below {
                // Links that lead nowhere count: what is wrong with them is said once their directory is given.
                let has = |name: &str| path.join(name).symlink_metadata().is_ok();
                match has(CONFIG) && (has(SINGLE) || has(INDEX)) {
                    true => models.push(path),
                    false => next.push(path),
                }
            }
        }
        level = next;
    }
    let current = |model: &PathBuf| {
        let reference = model.ancestors().nth(2).map(|dir| dir.join("refs/main"));
        let commit = reference.and_then(|path| fs::read_to_string(path).ok());
        commit.is_some_and(|commit| model.file_name().is_some_and(|name| *name == *commit.trim()))
    };
    models.sort_by_cached_key(|model| !current(model));
    models
}

fn listed(models: &[PathBuf]) -> String {
    let names: Vec<String> = models.iter().take(NAMED).map(|path| path.display().to_string()).collect();
    let more = if models.len() > NAMED { ", ..." } else { "" };
    format!("{}{more}", names.join(" or "))
}
