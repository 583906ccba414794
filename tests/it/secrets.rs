//! The program as operators run it, with secrets: none of them is logged or told, at any level; and what is wrong with
//! a certificate is a sentence and an exit code.

use crate::support;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

const KEY: &str = "sk-nobody-may-see-this";
const DOCUMENT: &str = "confidential-document-of-a-client";

/// Ends the server with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn model(dir: &Path) {
    std::fs::write(dir.join("config.json"), support::config("tiny").to_string()).expect("written");
    std::fs::write(dir.join("tokenizer.json"), support::tokenizer_json()).expect("written");
}

fn serve(dir: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ironrank"));
    command.arg("serve").arg(dir).args(["--load-format", "dummy", "--weight-cache", "off", "--threads", "1"]);
    command.args(["--max-model-len", "512", "--host", "127.0.0.1", "--port", "0"]).args(flags);
    command.stderr(Stdio::piped()).stdout(Stdio::null()).stdin(Stdio::null());
    command
}

fn certificate(dir: &Path, name: &str) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (certificate, key) = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
    std::fs::write(&certificate, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    (certificate, key)
}

fn client(certificate: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).expect("a certificate")).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Arc::new(config.expect("versions").with_root_certificates(roots).with_no_client_auth())
}

/// What comes back for `request`, up to the end of the connection.
fn exchange(config: &Arc<ClientConfig>, port: u16, request: &str) -> String {
    let name = ServerName::try_from("localhost").expect("a name");
    let session = rustls::ClientConnection::new(config.clone(), name).expect("a session");
    let socket = std::net::TcpStream::connect(("127.0.0.1", port)).expect("connects");
    let mut stream = rustls::StreamOwned::new(session, socket);
    stream.write_all(request.as_bytes()).expect("sends");
    let mut answer = String::new();
    // A server may close without TLS's own goodbye.
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn no_key_and_no_text_is_logged_at_any_level_or_told_by_server_info() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    model(dir.path());
    let (certificate, key) = certificate(dir.path(), "server");
    let pem = std::fs::read_to_string(&key).expect("read");
    let private = pem.lines().nth(1).expect("PEM has lines").to_owned();
    let (certificate_flag, key_flag) = (certificate.display().to_string(), key.display().to_string());
    let flags = ["--ssl-certfile", &certificate_flag, "--ssl-keyfile", &key_flag, "--api-key", KEY];
    let mut command = serve(dir.path(), &flags);
    command.arg("--enable-log-requests").env("RUST_LOG", "trace").env("VLLM_SERVER_DEV_MODE", "1");
    let mut running = Running(command.env("VLLM_API_KEY", KEY).spawn().expect("starts"));
    let mut lines = BufReader::new(running.0.stderr.take().expect("piped")).lines();
    let (mut log, mut port) = (String::new(), None);
    while port.is_none() {
        let line = lines.next().expect("the server gets ready").expect("text");
        port = line
            .split_once("https://127.0.0.1:")
            .and_then(|(_, port)| port.split_whitespace().next()?.parse::<u16>().ok());
        log.push_str(&line);
        log.push('\n');
    }
    assert!(log.contains("the API asks for a key: 1 in force, from --api-key"), "{log}");
    let (port, config) = (port.expect("a port"), client(&certificate));
    let more = std::thread::spawn(move || lines.map_while(|line| line.ok()).collect::<Vec<_>>().join("\n"));

    let body = format!(r#"{{"query":"{DOCUMENT}","documents":["{DOCUMENT}"],"model":"{DOCUMENT}"}}"#);
    let good = body.replace(&format!(r#","model":"{DOCUMENT}""#), "");
    let post = |key: &str, body: &str| {
        let head = "Host: localhost\r\nContent-Type: application/json\r\nConnection: close";
        let length = body.len();
        format!(
            "POST /rerank HTTP/1.1\r\n{head}\r\nAuthorization: Bearer {key}\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    };
    for (request, status) in [
        (post(KEY, &good), "200"),
        (post(KEY, &body), "404"),
        (post(KEY, &good[..good.len() - 1]), "400"),
        (post("another-key-of-a-client", &good), "401"),
    ] {
        let answer = exchange(&config, port, &request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
    let asked =
        format!("GET /server_info HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n\r\n");
    let told = exchange(&config, port, &asked);
    assert!(told.starts_with("HTTP/1.1 200") && told.contains("has_api_key=true"), "{told}");
    drop(running);
    log.push_str(&more.join().expect("no panic"));

    assert!(log.contains("POST /rerank 200"), "the log has what it should have: {log}");
    for secret in [KEY, &private, "another-key-of-a-client", DOCUMENT] {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "logged: {secret}");
    }
    for secret in [KEY, &private] {
        assert!(!told.contains(secret), "{told}");
    }
}

#[test]
fn a_key_that_is_not_unicode_never_opens_the_server() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    model(dir.path());
    let key = OsStr::from_bytes(b"schl\xfcssel");
    let [mut by_variable, mut by_flag] = [(); 2].map(|()| serve(dir.path(), &[]));
    by_variable.env("VLLM_API_KEY", key);
    by_flag.arg("--api-key").arg(key);
    for mut command in [by_variable, by_flag] {
        let output = command.output().expect("runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("is not UTF-8") && !said.contains("ssel"), "{said}");
    }
}

#[test]
fn what_is_wrong_with_a_certificate_is_a_sentence_and_exit_code_2() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    model(dir.path());
    let (certificate, _) = certificate(dir.path(), "server");
    let (_, other_key) = self::certificate(dir.path(), "other");
    let [certificate, other_key] = [certificate, other_key].map(|path| path.display().to_string());
    let missing = dir.path().join("missing.pem").display().to_string();
    let config = dir.path().join("config.json").display().to_string();
    for (flags, words) in [
        (&["--ssl-certfile", &missing, "--ssl-keyfile", &other_key][..], "missing.pem does not exist"),
        (&["--ssl-certfile", &config, "--ssl-keyfile", &other_key], "config.json holds no certificate in PEM form"),
        (&["--ssl-certfile", &certificate, "--ssl-keyfile", &missing], "missing.pem does not exist"),
        (&["--ssl-certfile", &certificate], "server.crt holds no private key in PEM form"),
        (&["--ssl-certfile", &certificate, "--ssl-keyfile", &other_key], "is not the key of the certificate"),
        (&["--ssl-keyfile", &other_key], "--ssl-keyfile needs a --ssl-certfile"),
    ] {
        let output = serve(dir.path(), flags).output().expect("runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(words), "{flags:?}: {said}");
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {said}");
        assert!(!said.contains("panicked") && !said.contains("PRIVATE KEY-----\n"), "{said}");
    }
}
