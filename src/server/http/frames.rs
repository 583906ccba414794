//! Where heads and bodies lie in what a client sends; heads lose their wish for another protocol.
//!
//! A server that speaks HTTP/1.1 alone passes over `Connection: Upgrade` (RFC 9110, section 7.8), which the JDK's client
//! and curl's `--http2` send with every request. actix-http answers it with `connection: upgrade` and closes at once,
//! and takes what follows `Upgrade: websocket` for a stream without end. So the words are blanked before actix sees
//! them, each by as many spaces, so that nothing moves.
//!
//! Invariants: no byte of a body changes; what is no HTTP passes as it is, for actix to refuse. actix alone decides what
//! a request is: a mistake here could at most blank a word. Called by `stream`.

use std::ops::Range;

/// Longest head, in bytes, and most headers, as in actix-http, which refuses what is larger.
const LONGEST_HEAD: usize = 128 << 10;
const MOST_HEADERS: usize = 96;

/// Follows a connection from head to head.
#[derive(Debug, Default)]
pub struct Frames {
    next: Next,
    waits: bool,
}

/// What the next byte belongs to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Next {
    #[default]
    Head,
    /// So many bytes of a body.
    Body(u64),
    /// The digits of a chunk's size, so far.
    ChunkSize(u64),
    /// The rest of the line with this size.
    ChunkLine(u64),
    /// So many bytes of a chunk and of the line's end behind it.
    Chunk(u64),
    /// A line behind the last chunk, empty so far or not.
    Trailer { empty: bool },
    /// What cannot be followed.
    Anything,
}

impl Frames {
    /// Goes over what has come and was not passed yet: the answer is how many of `bytes` may be passed on. The rest is
    /// a head that is not complete.
    pub fn pass(&mut self, bytes: &mut [u8]) -> usize {
        let mut passed = 0;
        while passed < bytes.len() {
            let rest = &mut bytes[passed..];
            let within = |left: u64| left.min(rest.len() as u64);
            let (taken, next) = match self.next {
                Next::Head => match head(rest) {
                    None => break,
                    Some(head) => {
                        self.waits |= head.waits;
                        (head.bytes as u64, head.next)
                    }
                },
                Next::Body(left) if left > within(left) => (within(left), Next::Body(left - within(left))),
                Next::Body(left) => (left, Next::Head),
                Next::Chunk(left) if left > within(left) => (within(left), Next::Chunk(left - within(left))),
                Next::Chunk(left) => (left, Next::ChunkSize(0)),
                Next::ChunkSize(size) => (1, after_digit(size, rest[0])),
                Next::ChunkLine(size) => (1, after_size(size, rest[0])),
                Next::Trailer { empty } => match rest[0] {
                    b'\n' if empty => (1, Next::Head),
                    b'\n' => (1, Next::Trailer { empty: true }),
                    b'\r' => (1, self.next),
                    _ => (1, Next::Trailer { empty: false }),
                },
                Next::Anything => (rest.len() as u64, Next::Anything),
            };
            self.next = next;
            passed += taken as usize;
        }
        passed
    }

    /// Whether the next byte begins a head.
    pub fn is_between(&self) -> bool {
        self.next == Next::Head
    }

    /// Whether the client may wait to be asked for its body, `Expect: 100-continue`.
    pub fn waits(&self) -> bool {
        self.waits
    }

    /// The client has been asked, or answered.
    pub fn is_asked(&mut self) {
        self.waits = false;
    }
}

fn after_digit(size: u64, byte: u8) -> Next {
    match char::from(byte).to_digit(16) {
        Some(digit) => match size.checked_mul(16) {
            Some(size) => Next::ChunkSize(size + u64::from(digit)),
            None => Next::Anything,
        },
        None => after_size(size, byte),
    }
}

fn after_size(size: u64, byte: u8) -> Next {
    match (byte, size.checked_add(2)) {
        (b'\n', Some(2)) => Next::Trailer { empty: true },
        (b'\n', Some(chunk)) => Next::Chunk(chunk),
        (b'\n', None) => Next::Anything,
        _ => Next::ChunkLine(size),
    }
}

struct Head {
    bytes: usize,
    next: Next,
    waits: bool,
}

/// The head that `bytes` begin with, its wishes blanked; `None` if it is not complete.
fn head(bytes: &mut [u8]) -> Option<Head> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() < LONGEST_HEAD => return None,
        _ => return Some(Head { bytes: bytes.len(), next: Next::Anything, waits: false }),
    };
    let (mut lengths, mut codings, mut waits) = (Vec::new(), Vec::new(), false);
    let mut wishes: Vec<Range<usize>> = Vec::new();
    for header in request.headers.iter() {
        let start = header.value.as_ptr().addr() - bytes.as_ptr().addr();
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("upgrade") {
            wishes.push(start..start + header.value.len());
        } else if is("connection") {
            let mut at = start;
            for option in header.value.split(|&byte| byte == b',') {
                // actix takes nothing from a list in which one thing is not ASCII, not even `close`.
                if option.trim_ascii().eq_ignore_ascii_case(b"upgrade") || !option.is_ascii() {
                    wishes.push(at..at + option.len());
                }
                at += option.len() + 1;
            }
        } else if is("content-length") {
            lengths.push(std::str::from_utf8(header.value).ok().and_then(|text| text.trim().parse().ok()));
        } else if is("transfer-encoding") {
            codings.push(header.value.trim_ascii().eq_ignore_ascii_case(b"chunked"));
        } else if is("expect") {
            waits = true;
        }
    }
    let next = match (lengths.as_slice(), codings.as_slice()) {
        // What follows a CONNECT that was granted is not HTTP; it is never granted.
        ([], []) if request.method == Some("CONNECT") => Next::Anything,
        ([] | [Some(0)], []) => Next::Head,
        ([Some(length)], []) => Next::Body(*length),
        ([], [true]) => Next::ChunkSize(0),
        // actix refuses what has two lengths, or one that is none.
        _ => Next::Anything,
    };
    for wish in wishes {
        bytes[wish].fill(b' ');
    }
    Some(Head { bytes: length, next, waits })
}

#[cfg(test)]
mod tests {
    use super::{Frames, LONGEST_HEAD};
    use proptest::prelude::*;

    /// What comes through when `bytes` arrive in pieces of these sizes, and whether what is next is a head.
    fn through(bytes: &[u8], sizes: &[usize]) -> (Vec<u8>, bool) {
        let (mut frames, mut held, mut out) = (Frames::default(), Vec::new(), Vec::new());
        let (mut rest, mut sizes) = (bytes, sizes.iter().cycle());
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(*sizes.next().expect("sizes")));
            held.extend_from_slice(piece);
            let passed = frames.pass(&mut held);
            out.extend(held.drain(..passed));
            rest = after;
        }
        (out, frames.is_between() && held.is_empty())
    }

    const JDK: &str = "POST /rerank HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nContent-Length: 38\r\nHost: x\r\n\
                       HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\nUpgrade: h2c\r\n\r\n\
                       POST / HTTP/1.1\r\nConnection: Upgrade\r\n";
    const CHUNKED: &str = "POST /rerank HTTP/1.1\r\nHost: x\r\nUPGRADE:websocket\r\nConnection: keep-alive,upgrade\r\n\
                           Transfer-Encoding: chunked\r\n\r\n2;x=y\r\n{}\r\n1a\r\nGET / HTTP/1.1\r\nUpgrade: x\r\n0\r\n\
                           A: b\r\n\r\n";

    fn without_wishes(text: &str) -> String {
        text.replacen("Connection: Upgrade,", "Connection:        ,", 1)
            .replacen("Upgrade: h2c", "Upgrade:    ", 1)
            .replacen("UPGRADE:websocket", "UPGRADE:         ", 1)
            .replacen("keep-alive,upgrade", "keep-alive,       ", 1)
    }

    proptest! {
        #[test]
        fn wishes_are_blanked_in_heads_alone_however_the_bytes_are_cut(
            order in proptest::collection::vec(any::<bool>(), 1..4),
            sizes in proptest::collection::vec(1_usize..80, 1..8),
        ) {
            let sent: String = order.iter().map(|&first| if first { JDK } else { CHUNKED }).collect();
            let right: String =
                order.iter().map(|&first| without_wishes(if first { JDK } else { CHUNKED })).collect();
            let (got, between) = through(sent.as_bytes(), &sizes);
            prop_assert_eq!(String::from_utf8(got).expect("text"), right);
            prop_assert!(between, "the next byte begins a head");
        }

        #[test]
        fn what_is_no_http_passes_as_it_is(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let sent = [&[0], &bytes[..]].concat();
            prop_assert_eq!(through(&sent, &[7]).0, sent);
        }
    }

    #[test]
    fn what_actix_will_refuse_passes_as_it_is() {
        for head in [
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: five\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: rot13\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        ] {
            let sent = format!("POST / HTTP/1.1\r\n{head}\r\nGET / HTTP/1.1\r\nUpgrade: x\r\n\r\n");
            assert_eq!(through(sent.as_bytes(), &[1000]).0, sent.as_bytes());
        }
        let endless = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &vec![b'y'; LONGEST_HEAD]].concat();
        assert_eq!(through(&endless, &[1000]).0.len(), endless.len(), "nothing is held for ever");
        let huge = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nGET / HTTP/1.1\r\n\r\n";
        assert_eq!(through(huge.as_bytes(), &[9]).0, huge.as_bytes());
    }

    #[test]
    fn what_is_not_ascii_in_a_connection_header_is_blanked_beside_the_rest() {
        let sent = "GET / HTTP/1.1\r\nConnection: é, close\r\nX: é\r\n\r\n";
        let (got, _) = through(sent.as_bytes(), &[1000]);
        assert_eq!(String::from_utf8(got).expect("text"), sent.replacen('é', "  ", 1));
    }

    #[test]
    fn a_head_is_held_until_it_is_complete_and_a_body_is_not() {
        let mut frames = Frames::default();
        let mut bytes = *b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nab";
        let head = bytes.len() - 2;
        assert_eq!(frames.pass(&mut bytes[..head - 1]), 0);
        assert!(!frames.waits());
        assert_eq!(frames.pass(&mut bytes), head + 2);
        assert!(frames.waits() && !frames.is_between());
    }
}
