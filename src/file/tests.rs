use super::*;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;
use tempfile::{TempDir, tempdir};

fn dir() -> TempDir {
    tempdir().expect("a temporary directory")
}

/// What `read` says of a file with these bytes; an empty text if it reads it.
fn said(bytes: impl AsRef<[u8]>) -> String {
    let dir = dir();
    let path = dir.path().join("file");
    fs::write(&path, bytes).expect("written");
    read(&path, 1 << 20).err().map(|fault| fault.to_string()).unwrap_or_default()
}

fn utf_16(text: &str, mark: bool, big: bool) -> Vec<u8> {
    let units = mark.then_some(0xfeff).into_iter().chain(text.encode_utf16());
    units.flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
}

#[test]
fn a_text_is_read_without_its_byte_order_marks_and_nothing_else_is_taken_away() {
    let dir = dir();
    let path = dir.path().join("file");
    for (bytes, text) in [
        ("\u{feff}{\"a\": 1}\r\n", "{\"a\": 1}\r\n"),
        ("\u{feff}\u{feff}x", "x"),
        ("x\u{feff}y", "x\u{feff}y"),
        ("  x\n\n", "  x\n\n"),
        ("\u{feff}", ""),
        ("<|im_start|>system", "<|im_start|>system"),
        ("{% if x %}<html>{% endif %}", "{% if x %}<html>{% endif %}"),
        ("{\"architectures\": [\"Qwen3ForCausalLM\"]}", "{\"architectures\": [\"Qwen3ForCausalLM\"]}"),
    ] {
        fs::write(&path, bytes).expect("written");
        assert_eq!(read_text(&path, 1000).as_deref(), Ok(text));
        assert_eq!(read(&path, 1000).as_deref(), Ok(text.as_bytes()));
    }
}

#[test]
fn what_is_not_the_file_itself_is_known_by_its_first_bytes() {
    let tar = [&b"config.json"[..], &[0; 246], b"ustar\0"].concat();
    for (bytes, words) in [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n".to_vec(), "run `git lfs pull`"),
        (b"\n  <!DOCTYPE html><html>".to_vec(), "is an HTML page"),
        (b"\xef\xbb\xbf<HTML lang=en>".to_vec(), "is an HTML page"),
        (b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>".to_vec(), "is an XML document"),
        (
            b"{\"error\":\"Repository not found\"}".to_vec(),
            "is the error of a server, saved in place of the file: \"Repo",
        ),
        (b"{\"detail\": {\"msg\": \"no\"}}\n".to_vec(), "saved in place of the file: \"{\"msg\":\"no\"}\""),
        (utf_16("{\"a\": 1}", true, false), "is UTF-16 text"),
        (utf_16("{\"a\": 1}", true, true), "is UTF-16 text"),
        (utf_16("{\"a\": 1}", false, false), "is UTF-16 text"),
        (utf_16("{\"a\": 1}", false, true), "is UTF-16 text"),
        (b"\xff\xfe\0\0{\0\0\0".to_vec(), "is UTF-32 text"),
        // Compressed without a time, as `gzip -n` does.
        (b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec(), "is compressed with gzip"),
        (b"\x28\xb5\x2f\xfd\x04".to_vec(), "is compressed with zstd"),
        (b"PK\x03\x04\x14".to_vec(), "is a zip archive"),
        (b"GGUF\x03\0\0\0".to_vec(), "is a GGUF file"),
        (b"PAR1\x15\x04".to_vec(), "is a Parquet file"),
        (b"\x80\x02\x8a\x0a".to_vec(), "is a Python pickle"),
        (tar, "is a tar archive"),
        (vec![0; 4096], "begins with nothing but zero bytes"),
        (b"{\"a\": 1}\n\0\0\0".to_vec(), "ends in 3 zero bytes"),
        (Vec::new(), "is empty (0 bytes)"),
    ] {
        let said = said(&bytes);
        assert!(said.contains(words), "{words} is not said of {:?}: {said}", String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn json_that_holds_nothing_says_so() {
    let dir = dir();
    let path = dir.path().join("file");
    for text in [" \n\n", "\u{feff}\r\n", "\t"] {
        fs::write(&path, text).expect("written");
        assert_eq!(read_json(&path, 1000).expect_err("no JSON").to_string(), "holds nothing but white space");
    }
}

#[test]
fn a_safetensors_file_is_nothing_else_whatever_the_length_of_its_header() {
    let dir = dir();
    let path = dir.path().join("model.safetensors");
    for length in [0x88b1fu64, 0x8b1f, 0x0000_0280, 0x0000_feff, 0x7b, 0x0061_0061, 0] {
        fs::write(&path, [&length.to_le_bytes()[..], b"{\"a\":0}"].concat()).expect("written");
        assert!(open(&path).is_ok(), "{length:x}");
    }
}

#[test]
fn what_cannot_be_opened_says_what_is_there() {
    let dir = dir();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("file"), "x".repeat(20)).expect("written");
    symlink("../blobs/0a1b", at("dangling")).expect("a link");
    symlink("dangling", at("second")).expect("a link");
    symlink("loop", at("loop")).expect("a link");
    assert!(Command::new("mkfifo").arg(at("pipe")).status().expect("mkfifo runs").success());
    let missing = dir.path().join("no").display().to_string();
    for (name, words) in [
        ("nothing", vec!["does not exist"]),
        ("no/such/file", vec!["does not exist, for there is no ", &missing]),
        ("file/inside", vec!["does not exist, for ", "/file is no directory"]),
        ("", vec!["is a directory, expected a file"]),
        ("dangling", vec!["is a link to ../blobs/0a1b, which does not exist", "cp -rL"]),
        ("second", vec!["is a link to dangling, which is a link to ../blobs/0a1b, which does not exist"]),
        ("loop", vec!["is a link that leads back to itself"]),
        // Waited for by nobody.
        ("pipe", vec!["is a named pipe"]),
        ("file", vec!["has 20 bytes, expected at most 10"]),
    ] {
        let fault = read(&at(name), 10).expect_err(name);
        let said = fault.to_string();
        assert!(words.iter().all(|word| said.contains(word)), "{name}: {said}");
        assert_eq!(fault.is_missing(), said.starts_with("does not exist"), "{name}");
        if name != "file" {
            assert_eq!(open(&at(name)).expect_err(name), fault);
        }
    }
    for device in ["/dev/null", "/dev/zero"] {
        assert!(read(Path::new(device), 10).expect_err("no file").to_string().contains("is a device"));
    }
    fs::write(at("latin"), b"na\xefve").expect("written");
    let said = read_text(&at("latin"), 10).expect_err("not UTF-8").to_string();
    assert!(said.contains("is not valid UTF-8 (byte 3)"), "{said}");
}

/// Runs `work` on a thread of its own as a user whom modes keep out: root is not.
fn as_nobody<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let nobody = scope.spawn(|| {
            if rustix::process::geteuid().is_root() {
                let nobody = rustix::process::Uid::from_raw(65534);
                rustix::thread::set_thread_res_uid(nobody, nobody, nobody).expect("root may");
            }
            work()
        });
        nobody.join().expect("it ends")
    })
}

#[test]
fn a_file_that_may_not_be_read_is_there_and_names_its_owner_and_the_user() {
    let dir = dir();
    let (shut, file, below) = (dir.path().join("shut"), dir.path().join("file"), dir.path().join("shut/file"));
    fs::create_dir(&shut).expect("made");
    for path in [&file, &below] {
        fs::write(path, "x").expect("written");
        fs::set_permissions(path, fs::Permissions::from_mode(0o000)).expect("changed");
    }
    symlink("shut/file", dir.path().join("link")).expect("a link");
    fs::set_permissions(&shut, fs::Permissions::from_mode(0o000)).expect("changed");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("changed");
    let owner = rustix::process::geteuid().as_raw();
    let link = dir.path().join("link");
    let faults = as_nobody(|| {
        let user = rustix::process::geteuid().as_raw();
        [&file, &below, &link].map(|path| (user, read(path, 10).expect_err("shut"), open(path).expect_err("shut")))
    });
    fs::set_permissions(&shut, fs::Permissions::from_mode(0o755)).expect("changed");
    for ((user, fault, opening), (before, what)) in faults.into_iter().zip([
        ("", "it".to_owned()),
        ("", shut.display().to_string()),
        ("is a link to shut/file, which ", shut.display().to_string()),
    ]) {
        let expected = format!("{before}may not be read by user {user}: {what} belongs to user {owner} with mode 0000");
        assert_eq!((fault.to_string(), fault.is_missing()), (expected, false));
        assert_eq!(opening, fault);
    }
}

#[test]
fn the_shells_own_pipe_is_read_as_a_file_is() {
    let (reader, mut writer) = io::pipe().expect("a pipe");
    io::Write::write_all(&mut writer, "\u{feff}text".as_bytes()).expect("it holds that");
    drop(writer);
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
    assert_eq!(read_text(Path::new(&path), 10).as_deref(), Ok("text"));
}

#[test]
fn a_beginning_is_quoted_in_one_short_line() {
    assert_eq!(beginning(b"\n Entry not found\nx"), "\"Entry not found\"");
    assert_eq!(beginning(b"\x1b[31m\xff"), "\"[31m\u{fffd}\"");
    let long = beginning("ü".repeat(100).as_bytes());
    assert!(long.ends_with("...\"") && long.chars().count() < 50, "{long}");
}

#[test]
fn a_place_that_may_not_be_written_names_its_owner_and_the_user() {
    let dir = dir();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o555)).expect("changed");
    let owner = rustix::process::geteuid().as_raw();
    let path = dir.path().join("scores.jsonl");
    let (user, said) = as_nobody(|| {
        let err = File::create(&path).expect_err("it is shut");
        (rustix::process::geteuid().as_raw(), access::explained(&path, &err))
    });
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("changed");
    let place = dir.path().display();
    assert!(said.ends_with(&format!(" for user {user}: {place} belongs to user {owner} with mode 0555")), "{said}");
}
