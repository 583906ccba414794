//! What is refused before anything is loaded: places that are taken, files that are not what they should be.

use super::{Reserved, reserve, reserve_unix};
use crate::error::{Error, ErrorKind};
use crate::options::{ClientCertificates, Tls};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

fn error(result: Result<Reserved, Error>) -> Error {
    result.err().expect("refused")
}

#[test]
fn a_socket_of_a_dead_server_is_replaced_and_one_in_use_is_not() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("i.sock");
    // Dropped without removing its file, as by a crash.
    drop(UnixListener::bind(&path).expect("binds"));
    let _alive = reserve_unix(&path).expect("replaces it").listen().expect("listens");
    let refused = error(reserve_unix(&path));
    assert!(refused.to_string().ends_with("i.sock: another program listens there."), "{refused}");
}

#[test]
fn a_file_in_the_place_of_a_socket_is_kept() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("notes.txt");
    std::fs::write(&path, "mine").expect("written");
    let refused = error(reserve_unix(&path));
    assert!(refused.to_string().ends_with("notes.txt: it exists and is not a socket."), "{refused}");
    assert_eq!(std::fs::read_to_string(&path).expect("still there"), "mine");
}

#[test]
fn certificates_that_have_expired_do_not_keep_the_server_from_starting() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut old = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("parameters");
    old.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    (old.not_before, old.not_after) = (rcgen::date_time_ymd(2001, 1, 1), rcgen::date_time_ymd(2002, 1, 1));
    let key = rcgen::KeyPair::generate().expect("a key");
    let pem = old.self_signed(&key).expect("a certificate").pem();
    let path = dir.path().join("old.pem");
    std::fs::write(&path, pem + &key.serialize_pem()).expect("written");
    let tls = Tls {
        certificate: path.clone(),
        key: path.clone(),
        client_authorities: Some(path),
        client_certificates: ClientCertificates::Required,
        refresh: false,
    };
    // Their dates are for clients to check.
    assert!(reserve("127.0.0.1", 0).expect("a free port").secured(&tls).is_ok());
}

#[test]
fn a_bad_certificate_or_key_is_a_sentence_that_holds_nothing_of_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let write = |name: &str, text: &str| -> PathBuf {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (certificate, key) = (write("c.pem", &made.cert.pem()), write("k.pem", &made.signing_key.serialize_pem()));
    let other_key = write("other.pem", &other.signing_key.serialize_pem());
    let text = write("text.pem", "c2VjcmV0");
    let broken = write("broken.pem", "-----BEGIN CERTIFICATE-----\nc2VjcmV0\n-----END CERTIFICATE-----\n");
    let locked =
        write("locked.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nc2VjcmV0\n-----END ENCRYPTED PRIVATE KEY-----\n");
    let missing = dir.path().join("missing.pem");
    let cases: [(&Path, &Path, Option<&Path>, &str); 9] = [
        (&missing, &key, None, "--ssl-certfile"),
        (&missing, &key, None, "missing.pem does not exist"),
        (&text, &key, None, "text.pem holds no certificate in PEM form"),
        (&broken, &key, None, "broken.pem cannot be used"),
        (&certificate, &missing, None, "--ssl-keyfile"),
        (&certificate, &certificate, None, "c.pem holds no private key in PEM form"),
        (&certificate, &locked, None, "locked.pem is protected by a password"),
        (&certificate, &other_key, None, "other.pem is not the key of the certificate"),
        (&certificate, &key, Some(&broken), "--ssl-ca-certs"),
    ];
    for (certificate, key, authorities, named) in cases {
        let tls = Tls {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            client_authorities: authorities.map(Path::to_owned),
            client_certificates: ClientCertificates::Required,
            refresh: false,
        };
        let refused = error(reserve("127.0.0.1", 0).expect("a free port").secured(&tls));
        assert_eq!(refused.kind(), ErrorKind::Options);
        assert!(refused.to_string().contains(named), "{refused}");
        assert!(!refused.to_string().contains("c2VjcmV0"), "{refused}");
    }
}

#[test]
fn a_byte_order_mark_before_a_certificate_or_key_does_no_harm_and_what_is_no_text_is_known() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let path = dir.path().join("both.pem");
    let tls = || Tls {
        certificate: path.clone(),
        key: path.clone(),
        client_authorities: Some(path.clone()),
        client_certificates: ClientCertificates::Required,
        refresh: false,
    };
    let secured = || reserve("127.0.0.1", 0).expect("a free port").secured(&tls());
    for text in [format!("\u{feff}{chain}{key}"), format!("\u{feff}{chain}\u{feff}{key}").replace('\n', "\r\n")] {
        std::fs::write(&path, text).expect("written");
        assert!(secured().is_ok());
    }
    let utf_16: Vec<u8> = (chain + &key).encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (bytes, words) in [
        (&utf_16[..], "both.pem is UTF-16 text"),
        (b"", "both.pem is empty (0 bytes)"),
        (b"{\"errors\": [\"permission denied\"]}", "both.pem is the error of a server"),
        (b"<!doctype html>", "both.pem is an HTML page"),
    ] {
        std::fs::write(&path, bytes).expect("written");
        let refused = error(secured());
        assert!(refused.kind() == ErrorKind::Options && refused.to_string().contains(words), "{refused}");
    }
}
