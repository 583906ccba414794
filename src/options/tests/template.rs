//! Chat templates, out of a file or the flag itself.

use super::*;
use crate::options::scoring::template;

#[test]
fn a_chat_template_is_read_from_its_file() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("t.jinja");
    std::fs::write(&path, "{{ messages }}\n\n").expect("written");
    let read = options(&format!("m --chat-template {}", path.display()), &[]);
    assert_eq!(read.models[0].chat_template.as_deref(), Some("{{ messages }}\n\n"));
}

#[test]
fn a_template_is_read_without_its_byte_order_mark_from_a_file_or_from_the_flag() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("t.jinja");
    std::fs::write(&path, "\u{feff}{{ messages }}").expect("written");
    let path = path.to_str().expect("the path is a text");
    for value in [path, "\u{feff}{{ messages }}", "{{ messages }}"] {
        assert_eq!(template(value).as_deref(), Ok("{{ messages }}"));
    }
    for (bytes, words) in [
        (&b"\xff\xfe{\0{\0"[..], "t.jinja is UTF-16 text"),
        (b"", "t.jinja is empty (0 bytes)"),
        (b"na\xefve", "t.jinja is not valid UTF-8 (byte 3)"),
        (b"version https://git-lfs.github.com/spec/v1\n", "t.jinja is a git-lfs pointer"),
    ] {
        std::fs::write(path, bytes).expect("written");
        assert!(template(path).is_err_and(|said| said.contains(words)), "{words}");
    }
    let here = dir.path().to_str().expect("the path is a text");
    assert!(template(here).is_err_and(|said| said.contains("is a directory")));
    assert!(template("/dev/null").is_err_and(|said| said.contains("is a device")));
}
