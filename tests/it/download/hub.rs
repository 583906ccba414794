//! A hub that misbehaves as it is told: listings and files over HTTP on a free port of loopback, every request noted.
//!
//! Invariant: without a fault it answers as the real hub does, headers and redirects included. Called by the tests.

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;

/// What the branch main means.
pub const COMMIT: &str = "e61197ed45024b0ed8a2d74b80b4d909f1255473";

/// One deviation from good behaviour, for one request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// A status with headers and no file.
    Status(u16, &'static [(&'static str, &'static str)]),
    /// A redirect.
    To(String),
    /// All is promised, but the connection ends before this byte of the file.
    CutAt(usize),
    /// All is promised, but nothing comes from this byte of the file on, until the client goes away.
    HangAt(usize),
    /// So many bytes of the file are promised and sent.
    Only(usize),
    /// This byte of the file is another.
    Flip(usize),
    /// The whole file, whatever range was asked for.
    Whole,
    /// The same, but the connection ends before this byte of the file.
    WholeCutAt(usize),
    /// This text in place of a file or a listing.
    Text(&'static str),
}

/// A request as it came, and what was sent of a file for it.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub path: String,
    pub host: String,
    pub range: Option<String>,
    pub authorization: Option<String>,
    pub sent: usize,
}

#[derive(Default)]
struct State {
    files: Vec<(String, Vec<u8>)>,
    /// Faults that wait for a request whose path contains the text.
    faults: Vec<(&'static str, VecDeque<Fault>)>,
    seen: Vec<Seen>,
    /// Changes the listing.
    listing: Option<fn(&mut Value)>,
}

/// The hub; its thread ends with the test's process.
pub struct Hub {
    pub port: u16,
    state: Arc<Mutex<State>>,
}

impl Hub {
    /// A hub that has these files in every repository.
    pub fn with(files: &[(&str, &[u8])]) -> Self {
        Self::start(files, None)
    }

    /// The same over https.
    pub fn encrypted(files: &[(&str, &[u8])], tls: Arc<rustls::ServerConfig>) -> Self {
        Self::start(files, Some(tls))
    }

    fn start(files: &[(&str, &[u8])], tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let files = files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
        let state = Arc::new(Mutex::new(State { files, ..State::default() }));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (state, tls) = (Arc::clone(&shared), tls.clone());
                // A client that goes away in the middle is no fault of the hub's.
                thread::spawn(move || match tls {
                    None => answer(stream, &state),
                    Some(tls) => {
                        let tls = rustls::ServerConnection::new(tls).unwrap();
                        answer(rustls::StreamOwned::new(tls, stream), &state)
                    }
                });
            }
        });
        Self { port, state }
    }

    /// Requests whose path contains `path` meet these faults, one each, in order.
    pub fn faulty(self, path: &'static str, faults: &[Fault]) -> Self {
        self.state.lock().unwrap().faults.push((path, faults.iter().cloned().collect()));
        self
    }

    /// `change` is made to every listing.
    pub fn listing(self, change: fn(&mut Value)) -> Self {
        self.state.lock().unwrap().listing = Some(change);
        self
    }

    /// Other files from now on.
    pub fn replace(&self, files: &[(&str, &[u8])]) {
        self.state.lock().unwrap().files =
            files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
    }

    /// The requests so far whose path contains `path`.
    pub fn seen(&self, path: &str) -> Vec<Seen> {
        self.state.lock().unwrap().seen.iter().filter(|seen| seen.path.contains(path)).cloned().collect()
    }
}

/// Reads one request and answers it.
fn answer(stream: impl Read + Write, state: &Mutex<State>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut seen = Seen::default();
    // A proxy is asked for a tunnel first, and whoever is at its end for the rest.
    while seen.path.is_empty() || seen.path.starts_with("CONNECT ") {
        let tunnel = !seen.path.is_empty();
        if tunnel {
            stream.get_mut().write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
            state.lock().unwrap().seen.push(std::mem::take(&mut seen));
        }
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let line = line.trim_end();
        seen.path = match line.strip_prefix("GET ") {
            Some(rest) => rest.trim_end_matches(" HTTP/1.1").to_owned(),
            None => line.to_owned(),
        };
        loop {
            let mut header = String::new();
            stream.read_line(&mut header)?;
            let Some((name, value)) = header.trim_end().split_once(':') else { break };
            let value = value.trim().to_owned();
            match name.to_ascii_lowercase().as_str() {
                "host" => seen.host = value,
                "range" => seen.range = Some(value),
                "authorization" => seen.authorization = Some(value),
                _ => {}
            }
        }
    }
    let (fault, listing, file) = {
        let mut state = state.lock().unwrap();
        let fault = state.faults.iter_mut().find_map(
            |(path, faults)| {
                if seen.path.contains(*path) { faults.pop_front() } else { None }
            },
        );
        let path = seen.path.split('?').next().unwrap_or_default();
        let named = state.files.iter().filter(|(known, _)| path.ends_with(&format!("/{known}")));
        let file = named.max_by_key(|(known, _)| known.len()).map(|(_, bytes)| bytes.clone());
        let mut listing = listing(&state.files);
        if let Some(change) = state.listing {
            change(&mut listing);
        }
        (fault, listing, file)
    };
    let asks_for_listing = seen.path.contains("/api/models/");
    let body = if asks_for_listing { Some(listing.to_string().into_bytes()) } else { file };
    let digits = |range: &String| range.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap();
    let from: usize = seen.range.as_ref().map_or(0, digits);
    let (mut status, mut from, mut to) = (if from > 0 { 206 } else { 200 }, from, body.as_ref().map_or(0, Vec::len));
    let (mut headers, mut body) = (String::new(), body.unwrap_or_default());
    let (whole, mut hang) = (body.len(), false);
    let mut promised = body.len();
    match fault {
        None => {}
        Some(Fault::Status(code, more)) => {
            (status, from, to, promised) = (code, 0, 0, 0);
            more.iter().for_each(|(name, value)| headers += &format!("{name}: {value}\r\n"));
        }
        Some(Fault::To(place)) => {
            (status, from, to, promised) = (302, 0, 0, 0);
            headers += &format!("location: {place}\r\n");
        }
        Some(Fault::CutAt(at)) => to = at,
        Some(Fault::HangAt(at)) => (to, hang) = (at, true),
        Some(Fault::Only(bytes)) => (to, promised) = (bytes, bytes),
        Some(Fault::Flip(at)) => body[at] ^= 1,
        Some(Fault::Whole) => (status, from) = (200, 0),
        Some(Fault::WholeCutAt(at)) => (status, from, to) = (200, 0, at),
        Some(Fault::Text(text)) => {
            body = text.as_bytes().to_vec();
            (to, promised) = (body.len(), body.len());
        }
    }
    if status == 206 {
        headers += &format!("content-range: bytes {from}-{}/{whole}\r\n", whole - 1);
    }
    let head =
        format!("HTTP/1.1 {status} So\r\ncontent-length: {}\r\n{headers}connection: close\r\n\r\n", promised - from);
    seen.sent = if asks_for_listing || status > 299 { 0 } else { to - from };
    // Noted before it is sent, so that whoever has the answer sees the note.
    state.lock().unwrap().seen.push(seen);
    let wire = stream.get_mut();
    wire.write_all(head.as_bytes())?;
    wire.write_all(&body[from..to])?;
    wire.flush()?;
    if hang {
        while stream.read(&mut [0])? > 0 {}
    }
    Ok(())
}

/// As the hub describes a revision when it is asked for `blobs`: large files by SHA-256, small ones as git has them.
fn listing(files: &[(String, Vec<u8>)]) -> Value {
    let siblings: Vec<Value> = files
        .iter()
        .map(|(name, bytes)| {
            let blob = json!({"rfilename": name, "size": bytes.len(), "blobId": git_sha1(bytes)});
            if !name.ends_with(".safetensors") && name != "tokenizer.json" {
                return blob;
            }
            let mut file = blob;
            file["lfs"] = json!({"sha256": sha256(bytes), "size": bytes.len(), "pointerSize": 135});
            file
        })
        .collect();
    json!({"id": "any/model", "sha": COMMIT, "private": false, "siblings": siblings})
}

/// What `git hash-object` prints.
pub fn git_sha1(bytes: &[u8]) -> String {
    let mut blob = format!("blob {}\0", bytes.len()).into_bytes();
    blob.extend(bytes);
    hex(digest(&SHA1_FOR_LEGACY_USE_ONLY, &blob).as_ref())
}

/// What `sha256sum` prints.
pub fn sha256(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A port where nobody listens.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
