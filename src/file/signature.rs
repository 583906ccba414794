//! What the first bytes of a file tell of it.
//!
//! Invariant: no text that the program reads, no safetensors file and no row of pairs is taken for something else.

use super::text::{beginning, without_mark};
use serde_json::{Map, Value};

/// First bytes that only one kind of file has, and what such a file is.
const SIGNATURES: [(&[u8], &str); 27] = [
    (
        b"version https://git-lfs",
        "is a git-lfs pointer, not the file itself: run `git lfs pull`, or fetch it with `ironrank download`",
    ),
    (b"# xet version", "is a git-xet pointer, not the file itself: fetch it with `ironrank download`"),
    (b"\x1f\x8b", "is compressed with gzip: unpack it with gunzip"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd: unpack it with `zstd -d`"),
    (b"\xfd7zXZ\0", "is compressed with xz: unpack it with unxz"),
    (b"BZh", "is compressed with bzip2: unpack it with bunzip2"),
    (b"\x04\x22\x4d\x18", "is compressed with lz4: unpack it with unlz4"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7z archive: unpack it"),
    (b"PK\x03\x04", "is a zip archive, as PyTorch's checkpoints and spreadsheets are"),
    (b"PK\x05\x06", "is an empty zip archive"),
    (b"\xd0\xcf\x11\xe0", "is a document of Microsoft Office"),
    (b"GGUF", "is a GGUF file (llama.cpp's), which this program does not read"),
    (b"\x80\x02", "is a Python pickle, as older PyTorch checkpoints are"),
    (b"\x80\x03", "is a Python pickle, as older PyTorch checkpoints are"),
    (b"\x80\x04", "is a Python pickle, as older PyTorch checkpoints are"),
    (b"\x80\x05", "is a Python pickle, as older PyTorch checkpoints are"),
    (b"\x89HDF", "is an HDF5 file, as Keras writes weights"),
    (b"\x93NUMPY", "is a NumPy array"),
    (b"PAR1", "is a Parquet file"),
    (b"ARROW1", "is an Arrow file"),
    (b"Obj\x01", "is an Avro file"),
    (b"SQLite format 3\0", "is an SQLite database"),
    (b"%PDF", "is a PDF document"),
    (b"\x7fELF", "is a program"),
    (b"\xff\xfe\0\0", UTF_32),
    (b"\0\0\xfe\xff", UTF_32),
    // Without a mark, but nothing else begins with such characters.
    (b"{\0\0\0", UTF_32),
];
const UTF_16: &str = "is UTF-16 text, expected UTF-8: save it as UTF-8, or `iconv -f UTF-16 -t UTF-8`";
const UTF_32: &str = "is UTF-32 text, expected UTF-8: save it as UTF-8, or `iconv -f UTF-32 -t UTF-8`";
/// How pages begin, in lower case.
const PAGES: [&str; 5] = ["<!doctype", "<html", "<head>", "<?xml", "<error>"];
/// More than an error page in JSON has.
const MAX_ERROR_BYTES: usize = 1 << 16;

/// What a file that begins with `first` is, if it is neither a text nor safetensors.
pub fn unlike(first: &[u8]) -> Option<String> {
    // The length of its header may have the bytes of any signature.
    if first.get(4..9) == Some(b"\0\0\0\0{") {
        return None;
    }
    if let Some((_, what)) = SIGNATURES.iter().find(|(bytes, _)| first.starts_with(bytes)) {
        return Some((*what).to_owned());
    }
    if is_utf_16(first) {
        return Some(UTF_16.to_owned());
    }
    if first.get(257..262) == Some(b"ustar") {
        return Some("is a tar archive: unpack it".to_owned());
    }
    if first.len() >= 8 && first.iter().all(|byte| *byte == 0) {
        return Some(
            "begins with nothing but zero bytes, as a file does whose copy or download was cut off".to_owned(),
        );
    }
    let text = without_mark(first).trim_ascii_start();
    let start = String::from_utf8_lossy(&text[..text.len().min(16)]).to_ascii_lowercase();
    PAGES.iter().any(|page| start.starts_with(page)).then(|| {
        let kind =
            if start.starts_with("<?xml") || start.starts_with("<error>") { "an XML document" } else { "an HTML page" };
        format!("is {kind}, such as a server sends in place of a file that it does not give: fetch it again")
    })
}

/// With a mark, or as Latin letters are without one: every second byte of the first four is zero.
fn is_utf_16(first: &[u8]) -> bool {
    let marked = first.starts_with(b"\xff\xfe") || first.starts_with(b"\xfe\xff");
    let zeros = first.first_chunk::<4>().map(|bytes| bytes.map(|byte| byte == 0));
    marked || matches!(zeros, Some([false, true, false, true] | [true, false, true, false]))
}

/// What a whole text is, if it is no text of a person's.
pub fn unlike_whole(text: &[u8]) -> Option<String> {
    if text.ends_with(b"\0") {
        let zeros = text.iter().rev().take_while(|byte| **byte == 0).count();
        return Some(format!("ends in {zeros} zero bytes, as a file does whose copy or download was cut off"));
    }
    if text.len() > MAX_ERROR_BYTES {
        return None;
    }
    let object: Map<String, Value> = serde_json::from_slice(without_mark(text)).ok()?;
    let said = ["error", "errors", "message", "detail"].iter().find_map(|key| object.get(*key))?;
    let said = said.as_str().map_or_else(|| said.to_string(), str::to_owned);
    Some(format!("is the error of a server, saved in place of the file: {}", beginning(said.as_bytes())))
}
