//! What the rows of an output depend on: model, instruction set, precision, options, shard.
//!
//! Invariant: what may differ between two runs without changing a bit of what they write is no part of it. Made by the
//! commands, kept by [`super::record`].

use crate::error::Result;
use crate::options::{CorpusOptions, EngineOptions, Overflow};
use crate::prompt::tokenizer_json;
use crate::startup::Loaded;
use serde_json::{Map, Value, json};
use std::path::Path;
use xxhash_rust::xxh3::xxh3_128;

/// Each part by its name.
pub(crate) type Job = Map<String, Value>;

/// The part that names the instruction set, on which the last bits depend; records of before lack it.
pub(super) const ISA: &str = "isa";

/// The part that names what matrices were multiplied as; records of before lack it, when that was exact.
pub(super) const PRECISION: &str = "precision";

/// The parts that all commands have.
pub(crate) fn job(files: &CorpusOptions, engine: &EngineOptions, overflow: Overflow, loaded: &Loaded) -> Result<Job> {
    let parts = [
        ("model", json!(loaded.digest)),
        (ISA, json!(loaded.runs_on.same_bits)),
        (PRECISION, json!(loaded.runs_on.precision.name())),
        ("tokenizer", json!(tokenizer(engine)?)),
        ("max_model_len", json!(loaded.max_model_len)),
        (
            "overflow",
            json!(match overflow {
                Overflow::Error => "error",
                Overflow::Truncate => "truncate",
            }),
        ),
        ("shard", json!(format!("{}/{}", files.shard.index, files.shard.count))),
        // So that what another run set aside is not taken for what this one did, and cut.
        ("rejected", json!(rejected(files))),
    ];
    Ok(parts.into_iter().map(|(part, value)| (part.to_owned(), value)).collect())
}

/// A long text as a part of a job.
pub(crate) fn hash(text: &[u8]) -> String {
    format!("{:032x}", xxh3_128(text))
}

/// What `tokenizer.json` holds.
fn tokenizer(options: &EngineOptions) -> Result<String> {
    match options.model.tokenizer_dir() {
        Some(dir) => Ok(hash(&tokenizer_json(dir)?)),
        None => Ok("built-in".to_owned()),
    }
}

/// Where rejected rows go, if not beside the output, whose files may be moved together.
fn rejected(files: &CorpusOptions) -> Option<String> {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let beside = files.output.as_deref().map(|output| absolute(&CorpusOptions::beside(output)));
    let rejected = files.rejected.as_deref().map(absolute).filter(|path| Some(path) != beside.as_ref());
    rejected.map(|path| path.display().to_string())
}
