//! Files of a model directory that are not what they should be, whichever of them it is.

use super::files::{Draft, Files, INDEX, WEIGHTS, assert_refused, open};
use ironrank::checkpoint::Overrides;

/// Bytes in place of a file, and what is said of them.
const OTHERS: [(&str, &[u8], &str); 12] = [
    ("a pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "run `git lfs pull`"),
    ("a page", b"\r\n<!DOCTYPE html>\n<html>Log in</html>", "is an HTML page"),
    ("a page of objects", b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>", "is an XML document"),
    ("gzip", b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x4b", "is compressed with gzip"),
    ("zip", b"PK\x03\x04\x14\0\0\0\x08\0", "is a zip archive"),
    ("a pickle", b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9", "is a Python pickle"),
    ("GGUF", b"GGUF\x03\0\0\0\x10\0\0\0", "is a GGUF file"),
    ("UTF-16", b"\xff\xfe{\0\"\0a\0\"\0:\0 \0\x31\0}\0", "is UTF-16 text"),
    ("UTF-16 without a mark", b"{\0\"\0a\0\"\0:\0 \0\x31\0}\0", "is UTF-16 text"),
    ("zeros", &[0; 4096], "nothing but zero bytes"),
    ("nothing", b"", "is empty (0 bytes)"),
    ("words", b"Entry not found", "begins with \"Entry not found\""),
];

#[test]
fn what_stands_in_place_of_a_file_is_named_in_whichever_file_it_is() {
    let (whole, sharded) = (Draft::new().files(), Draft::new().sharded());
    for (case, bytes, words) in OTHERS {
        for (good, name) in
            [(&whole, "config.json"), (&whole, WEIGHTS), (&sharded, INDEX), (&sharded, "part-1.safetensors")]
        {
            let mut files: Files = good.clone();
            files.insert(name.into(), bytes.to_vec());
            assert_refused(&format!("{case} as {name}"), &files, &Overrides::new(), &[name, words]);
        }
    }
    for (mut files, name) in [(whole, "config.json"), (sharded, INDEX)] {
        files.insert(name.into(), b"{\"error\": \"Repository not found\"}".to_vec());
        let words = [name, "is the error of a server", "Repository not found"];
        assert_refused(&format!("an error as {name}"), &files, &Overrides::new(), &words);
    }
}

#[test]
fn a_byte_order_mark_before_any_json_of_a_model_does_no_harm() {
    for (name, mut files) in [("config.json", Draft::new().files()), (INDEX, Draft::new().sharded())] {
        let marked = [&b"\xef\xbb\xbf"[..], &files[name]].concat();
        files.insert(name.into(), marked);
        assert!(open(&files, &Overrides::new()).is_ok(), "{name}");
    }
}

#[test]
fn a_json_file_whose_end_was_lost_says_so() {
    let mut files = Draft::new().files();
    files.get_mut("config.json").expect("it is there").extend([0; 5]);
    assert_refused("zeros", &files, &Overrides::new(), &["config.json ends in 5 zero bytes"]);
}
