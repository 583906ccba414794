//! The safetensors files of a model directory: where each tensor lies, every claim of a header checked.
//!
//! Invariant: a [`TensorPlace`] lies within its file, overlaps no other and has exactly the bytes that its shape and type
//! need, so that whoever reads it can't fail. Files are mapped and only their headers are read. Called by
//! `Checkpoint::open`.

use super::fault::{fail, shown};
use super::tensor::Dtype;
use crate::error::{Error, Result};
use crate::file::directory::{INDEX, SINGLE};
use crate::file::{self, directory};
use ironrank_kernels::MappedFile;
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// The format's own limit on the length of a header, and ours on every JSON file.
pub(super) const MAX_JSON_BYTES: u64 = 100_000_000;

/// Where tensors lie, by their names.
pub(super) type Places = BTreeMap<String, TensorPlace>;

/// What the files hold.
pub(super) struct Shards {
    /// All tensors, by name.
    pub places: Places,
    /// A sentence about a file that was passed over.
    pub notice: Option<String>,
}

/// Where one tensor lies.
#[derive(Clone)]
pub(super) struct TensorPlace {
    pub file: String,
    pub map: Arc<MappedFile>,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// First byte in the map.
    pub start: usize,
    /// Length in bytes.
    pub bytes: usize,
}

/// The entry of one tensor in a header.
#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

#[derive(Deserialize)]
struct Index<'a> {
    #[serde(borrow)]
    weight_map: Entries<'a>,
}

/// A JSON object in its own order, with its values unread, so that names given twice are seen and depth costs nothing.
struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> std::result::Result<Self::Value, M::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A small file that is read whole, such as a JSON file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    file::read_json(path, MAX_JSON_BYTES).map_err(|fault| fail(path, fault))
}

/// All tensors of the model directory, by the names that its files give them; or what is wrong, in order of the files.
pub(super) fn open(dir: &Path) -> std::result::Result<Shards, Vec<Error>> {
    let exists = |name: &str| std::fs::symlink_metadata(dir.join(name)).is_ok();
    // As in vLLM: files that an index does not name are remains of something else.
    if exists(INDEX) {
        let places = read_shards(dir)?;
        let single = dir.join(SINGLE).display().to_string();
        let passed_over = exists(SINGLE) && !places.values().any(|place| place.file == single);
        let notice = format!("{single} is passed over: {INDEX} beside it names other files, which are taken.");
        return Ok(Shards { places, notice: passed_over.then_some(notice) });
    }
    if exists(SINGLE) {
        let mut places = BTreeMap::new();
        let path = dir.join(SINGLE);
        let file = file::open(&path).map_err(|fault| vec![fail(&path, fault)])?;
        read_shard(&path, &file, &mut places).map_err(|err| vec![err])?;
        return Ok(Shards { places, notice: None });
    }
    Err(vec![fail(dir, directory::without(dir, SINGLE))])
}

/// The file of each tensor, as the index says.
fn homes(path: &Path) -> Result<BTreeMap<String, String>> {
    let json = read(path)?;
    let index: Index =
        serde_json::from_slice(&json).map_err(|e| fail(path, format!("is not an index of safetensors files: {e}")))?;
    let mut homes = BTreeMap::new();
    for (tensor, file) in index.weight_map.0 {
        let file: String = serde_json::from_str(file.get()).map_err(|_| {
            fail(path, format!("gives tensor {} the file {}, expected a string", shown(&tensor), shown(file.get())))
        })?;
        let plain = !file.is_empty() && !file.contains(['/', '\\', '\0', ':']) && file != "." && file != "..";
        if !plain {
            let (tensor, file) = (shown(&tensor), shown(&file));
            return Err(fail(
                path,
                format!("gives tensor {tensor} the file {file:?}, expected a name in the same directory"),
            ));
        }
        if let Some(other) = homes.insert(tensor.clone(), file) {
            return Err(fail(
                path,
                format!("names tensor {} twice, the first time in {}", shown(&tensor), shown(&other)),
            ));
        }
    }
    Ok(homes)
}

/// The names of the files that an index lists, each once, all of them plain names.
pub(crate) fn shard_names(index: &Path) -> Result<Vec<String>> {
    Ok(BTreeSet::from_iter(homes(index)?.into_values()).into_iter().collect())
}

fn read_shards(dir: &Path) -> std::result::Result<Places, Vec<Error>> {
    let homes = homes(&dir.join(INDEX)).map_err(|err| vec![err])?;
    let (mut tensors, mut problems) = (BTreeMap::new(), Vec::new());
    for file in BTreeSet::from_iter(homes.values()) {
        let shard = dir.join(file);
        let read = match file::open(&shard) {
            Ok(file) => read_shard(&shard, &file, &mut tensors),
            Err(fault) if fault.is_missing() => {
                let whole = std::fs::symlink_metadata(dir.join(SINGLE)).is_ok();
                let hint =
                    if whole { format!("; {SINGLE} is there: without the index it is taken") } else { String::new() };
                Err(fail(&shard, format!("{fault}, but {INDEX} names it{hint}")))
            }
            Err(fault) => Err(fail(&shard, fault)),
        };
        problems.extend(read.err());
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    for (tensor, file) in &homes {
        let shard = dir.join(file);
        if tensors.get(tensor).is_none_or(|place| place.file != shard.display().to_string()) {
            return Err(vec![fail(&shard, format!("has no tensor {}, but {INDEX} says so", shown(tensor)))]);
        }
    }
    Ok(tensors)
}

/// Adds the tensors of one file.
fn read_shard(path: &Path, file: &File, tensors: &mut Places) -> Result<()> {
    let map = MappedFile::open(file).map_err(|e| fail(path, format!("cannot be read: {e}")))?;
    let map = Arc::new(map);
    let (header, data) = header(path, &map)?;
    let entries: Entries = serde_json::from_slice(header)
        .map_err(|e| fail(path, format!("has a header that is not a JSON object: {e}")))?;
    let mut spans = Vec::with_capacity(entries.0.len());
    let mut metadata = 0;
    for (name, entry) in entries.0 {
        if name == "__metadata__" {
            metadata += 1;
            if metadata > 1 {
                return Err(fail(path, "names __metadata__ twice"));
            }
            continue;
        }
        let place = place(path, &map, data, &name, entry)?;
        spans.push((place.start, place.bytes, name.clone()));
        let file = place.file.clone();
        if let Some(other) = tensors.insert(name.clone(), place) {
            let place = if other.file == file { " twice".into() } else { format!(", which {} has too", other.file) };
            return Err(fail(path, format!("names tensor {}{place}", shown(&name))));
        }
    }
    // The format allows neither overlaps nor holes; a byte that belongs to no tensor shows that the two don't match.
    spans.sort();
    let mut end = data;
    for (start, bytes, name) in &spans {
        if *start != end {
            let what = if *start < end { "overlaps the tensor before it" } else { "leaves a hole before it" };
            let (found, expected) = (start - data, end - data);
            return Err(fail(
                path,
                format!("has tensor {} at byte {found}, which {what}, expected {expected}", shown(name)),
            ));
        }
        end = start + bytes;
    }
    if end != map.len() {
        return Err(fail(path, format!("has {} bytes, expected {end} from its header", map.len())));
    }
    Ok(())
}

/// The bytes of the header, and where the data starts.
fn header<'m>(path: &Path, map: &'m MappedFile) -> Result<(&'m [u8], usize)> {
    let Some((length, rest)) = map.split_first_chunk::<8>() else {
        return Err(fail(path, format!("has {} bytes, expected a safetensors file of at least 8", map.len())));
    };
    if length.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) {
        let text = file::beginning(&map[..map.len().min(200)]);
        return Err(fail(path, format!("is a text that begins with {text}, expected a safetensors file")));
    }
    let length = u64::from_le_bytes(*length);
    if length > MAX_JSON_BYTES {
        return Err(fail(path, format!("claims a header of {length} bytes, expected at most {MAX_JSON_BYTES}")));
    }
    match usize::try_from(length).ok().and_then(|n| Some((rest.get(..n)?, 8 + n))) {
        Some(found) => Ok(found),
        None => Err(fail(path, format!("claims a header of {length} bytes but has only {} after it", rest.len()))),
    }
}

/// Checks one entry against its own shape and the file's length.
fn place(path: &Path, map: &Arc<MappedFile>, data: usize, name: &str, entry: &RawValue) -> Result<TensorPlace> {
    let bad = |what: String| fail(path, format!("has tensor {} {what}", shown(name)));
    let entry: Entry = serde_json::from_str(entry.get())
        .map_err(|e| bad(format!("with a wrong entry ({e}), expected dtype, shape and data_offsets")))?;
    let dtype = match entry.dtype.as_str() {
        "BF16" => Dtype::Bf16,
        "F16" => Dtype::F16,
        "F32" => Dtype::F32,
        other => return Err(bad(format!("of type {}, expected BF16, F16 or F32", shown(other)))),
    };
    let size = entry.shape.iter().try_fold(dtype.bytes() as u64, |n, &d| n.checked_mul(d));
    let size =
        size.ok_or_else(|| bad(format!("of shape {}, which overflows", shown(&format!("{:?}", entry.shape)))))?;
    let [begin, end] = entry.data_offsets;
    let available = (map.len() - data) as u64;
    if begin > end || end > available {
        return Err(bad(format!("at bytes {begin} to {end}, expected a range within the {available} bytes of data")));
    }
    if end - begin != size {
        let shape = shown(&format!("{:?}", entry.shape));
        return Err(bad(format!("of {} bytes, expected {size} for shape {shape} in {dtype}", end - begin)));
    }
    // All are at most the length of the map, or have a product that is, or are the sizes of an empty tensor.
    let small = |n: u64| usize::try_from(n).map_err(|_| bad(format!("with the size {n}, which can't be addressed")));
    Ok(TensorPlace {
        file: path.display().to_string(),
        map: Arc::clone(map),
        dtype,
        shape: entry.shape.iter().map(|&d| small(d)).collect::<Result<_>>()?,
        start: data + small(begin)?,
        bytes: small(size)?,
    })
}
