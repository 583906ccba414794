//! Where `tokenizer.json` comes from: a model directory, or the binary itself.

use crate::error::{Error, ErrorKind, Result};
use crate::file;
use crate::file::directory::{self, TOKENIZER};
use flate2::read::GzDecoder;
use std::io::Read;
use std::path::Path;

/// The tokenizer of every Qwen3 model, for start-up without a model directory.
static BUILTIN_TOKENIZER: &[u8] = include_bytes!("../../assets/tokenizer.json.gz");
/// A tokenizer file larger than this is not one: Qwen3's has 11 MB.
const MAX_TOKENIZER_BYTES: u64 = 256 << 20;

/// What `tokenizer.json` of a model directory holds.
pub fn tokenizer_json(dir: &Path) -> Result<Vec<u8>> {
    let path = dir.join(TOKENIZER);
    let refuse = |path: &Path, what: String| Error::new(ErrorKind::Checkpoint, format!("{} {what}.", path.display()));
    directory::check(dir).map_err(|fault| refuse(dir, fault.to_string()))?;
    file::read_json(&path, MAX_TOKENIZER_BYTES).map_err(|fault| match fault.is_missing() {
        true => refuse(dir, directory::without(dir, TOKENIZER)),
        false => refuse(&path, fault.to_string()),
    })
}

/// The `tokenizer.json` that the binary carries.
pub(super) fn builtin_tokenizer() -> Result<Vec<u8>> {
    let mut json = Vec::new();
    GzDecoder::new(BUILTIN_TOKENIZER)
        .read_to_end(&mut json)
        .map_err(|e| Error::new(ErrorKind::Internal, format!("The built-in tokenizer does not unpack: {e}.")))?;
    Ok(json)
}
