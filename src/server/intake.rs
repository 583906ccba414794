//! From a connection to the bytes of a request's body: within its size, its time, and the memory that all bodies share.
//!
//! Invariants: a body is never longer than the limit, packed or unpacked, whatever its headers say; one that comes too
//! slowly is given up; the bodies of all requests that are received or at work take [`MOST_BODIES`] limits at most, and
//! [`UNCOUNTED`] bytes each.
//! Called by `server`.

use super::error::{ApiError, Refusal};
use super::scoring::on_a_thread;
use super::{State, shown};
use crate::error::ErrorKind;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use actix_web::rt::time::timeout;
use actix_web::{HttpMessage, HttpRequest, web};
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use futures_core::Stream;
use std::future::poll_fn;
use std::io::Read;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Bytes that earn a body another second: what the slowest of honest clients send in one.
const BYTES_PER_SECOND: usize = 16 << 10;

/// Bodies of the largest size that may be in memory at a time.
const MOST_BODIES: usize = 16;

/// Bytes of every body that are not counted, so that small requests go on when large ones have taken everything.
const UNCOUNTED: usize = 256 << 10;

/// Bytes of bodies that are in memory.
#[derive(Default)]
pub struct Held(Arc<AtomicUsize>);

/// What one request has of them, until it is answered and its bytes are gone: a thread may still have them in its queue
/// when the client has left.
struct Share {
    held: Arc<AtomicUsize>,
    limit: usize,
    bytes: usize,
}

impl Share {
    fn grow(&mut self, more: usize) -> Result<(), ApiError> {
        let bytes = self.bytes + more;
        let counted = bytes.saturating_sub(UNCOUNTED) - self.bytes.saturating_sub(UNCOUNTED);
        let within = |held: usize| held.checked_add(counted).filter(|held| *held <= self.limit);
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).map_err(|held| {
            let sentence = format!(
                "Requests that are received or computed hold {held} bytes of texts, of at most {}; try again in a moment.",
                self.limit
            );
            ApiError::new(Refusal::Kind(ErrorKind::Unavailable), sentence)
        })?;
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes.saturating_sub(UNCOUNTED), Ordering::Relaxed);
    }
}

/// A body that counts for as long as anybody has it.
struct Counted {
    body: Vec<u8>,
    _share: Arc<Share>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

/// Marks a request whose body has come to its end.
struct Received;

/// Whether the request has a body that was not received to its end, which ends the connection.
pub fn is_unread(request: &HttpRequest) -> bool {
    let headers = request.headers();
    let has_body = headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
    has_body && !request.extensions().contains::<Received>()
}

/// The whole body, unpacked if it says that it is packed.
pub async fn body(
    state: &web::Data<State>,
    request: &HttpRequest,
    mut payload: web::Payload,
) -> Result<web::Bytes, ApiError> {
    let limit = state.settings.max_body_bytes;
    let encoding = Encoding::of(request.headers())?;
    let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit));
    }
    let mut share = Share { held: state.held.0.clone(), limit: limit.saturating_mul(MOST_BODIES), bytes: 0 };
    let (started, mut body) = (Instant::now(), Vec::new());
    loop {
        let time = state.settings.receive_timeout + Duration::from_secs((body.len() / BYTES_PER_SECOND) as u64);
        let next = poll_fn(|cx| Pin::new(&mut payload).poll_next(cx));
        let Ok(next) = timeout(time.saturating_sub(started.elapsed()), next).await else {
            let (bytes, seconds) = (body.len(), started.elapsed().as_secs());
            let sentence = format!("The request body comes too slowly: {bytes} bytes in {seconds} s.");
            return Err(ApiError::new(Refusal::TooSlow, sentence));
        };
        let Some(chunk) = next else { break };
        let chunk = chunk.map_err(|err| unreadable(&err))?;
        if body.len() + chunk.len() > limit {
            return Err(too_large(limit));
        }
        share.grow(chunk.len())?;
        body.extend_from_slice(&chunk);
    }
    request.extensions_mut().insert(Received);
    if let Some(encoding) = encoding {
        // On the few threads that read JSON: so many bodies are unpacked at a time, and no more.
        let packed = std::mem::take(&mut body);
        (body, share) = on_a_thread(state, move || {
            let body = encoding.unpack(&packed, limit)?;
            share.grow(body.len())?;
            Ok((body, share))
        })
        .await?;
    }
    let share = Arc::new(share);
    request.extensions_mut().insert(share.clone());
    Ok(web::Bytes::from_owner(Counted { body, _share: share }))
}

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Gzip,
    Deflate,
}

/// What clients name that pack nothing: some take the header for the place of the charset.
const PLAIN: [&str; 8] = ["", "identity", "none", "utf-8", "utf8", "ascii", "8bit", "binary"];

impl Encoding {
    fn of(headers: &HeaderMap) -> Result<Option<Self>, ApiError> {
        let named: Vec<_> =
            headers.get_all(CONTENT_ENCODING).map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        let named = named.join(", ");
        let mut packed = named
            .split(',')
            .map(str::trim)
            .filter(|&coding| !PLAIN.iter().any(|plain| coding.eq_ignore_ascii_case(plain)));
        let encoding = match packed.next().map(str::to_ascii_lowercase).as_deref() {
            None => return Ok(None),
            Some("gzip" | "x-gzip") => Some(Self::Gzip),
            Some("deflate") => Some(Self::Deflate),
            Some(_) => None,
        };
        if encoding.is_none() || packed.next().is_some() {
            let sentence = format!(
                "The Content-Encoding '{}' of the request is not known; use gzip or deflate, one of them and once, or none.",
                shown(&named)
            );
            return Err(ApiError::new(Refusal::Malformed, sentence));
        }
        Ok(encoding)
    }

    fn unpack(self, packed: &[u8], limit: usize) -> Result<Vec<u8>, ApiError> {
        let mut body = Vec::new();
        let most = limit as u64 + 1;
        let read = match self {
            Self::Gzip => MultiGzDecoder::new(packed).take(most).read_to_end(&mut body),
            Self::Deflate if is_zlib(packed) => ZlibDecoder::new(packed).take(most).read_to_end(&mut body),
            Self::Deflate => DeflateDecoder::new(packed).take(most).read_to_end(&mut body),
        };
        read.map_err(|err| unreadable(&err))?;
        if body.len() > limit { Err(too_large(limit)) } else { Ok(body) }
    }
}

/// Whether `deflate` has the frame of zlib around it that the standard asks for; many clients leave it away (RFC 9110,
/// section 8.4.1.2). Its two bytes are a method, 8, and a multiple of 31, which no packer begins with that has no frame.
fn is_zlib(packed: &[u8]) -> bool {
    matches!(packed, [first, second, ..] if first & 15 == 8 && u16::from_be_bytes([*first, *second]) % 31 == 0)
}

fn too_large(limit: usize) -> ApiError {
    ApiError::new(Refusal::TooLarge, format!("The request body exceeds the limit of {limit} bytes (--max-body-mib)."))
}

fn unreadable(err: &dyn std::error::Error) -> ApiError {
    ApiError::new(Refusal::Malformed, format!("The request body cannot be read: {err}."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::read::{DeflateEncoder, GzEncoder, ZlibEncoder};

    fn share(held: &Held) -> Share {
        Share { held: held.0.clone(), limit: 1 << 20, bytes: 0 }
    }

    #[test]
    fn large_bodies_share_a_limit_and_small_ones_are_let_in_all_the_same() {
        let held = Held::default();
        let mut large = share(&held);
        large.grow(UNCOUNTED).expect("not counted");
        large.grow(1 << 20).expect("all there is");
        let mut other = share(&held);
        other.grow(UNCOUNTED).expect("small");
        let said = other.grow(1).expect_err("nothing is left").message().to_owned();
        assert!(said.contains("hold 1048576 bytes of texts, of at most 1048576"), "{said}");
        drop(large);
        other.grow(1 << 20).expect("it was given back");
        drop(other);
        assert_eq!(held.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_body_counts_until_the_last_of_its_bytes_are_dropped() {
        let held = Held::default();
        let mut share = share(&held);
        let body = vec![b'x'; UNCOUNTED + 1000];
        share.grow(body.len()).expect("there is room");
        let answered = Arc::new(share);
        let bytes = web::Bytes::from_owner(Counted { body, _share: answered.clone() });
        let queued = bytes.clone();
        drop((answered, bytes));
        assert_eq!(held.0.load(Ordering::Relaxed), 1000, "the client has left, its text is still there");
        drop(queued);
        assert_eq!(held.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_unpacks_to_more_than_the_limit_is_never_unpacked_whole() {
        let zeros = vec![0; 64 << 20];
        let (mut gzip, mut deflate, mut raw) = (Vec::new(), Vec::new(), Vec::new());
        GzEncoder::new(&zeros[..], Compression::best()).read_to_end(&mut gzip).expect("packs");
        ZlibEncoder::new(&zeros[..], Compression::best()).read_to_end(&mut deflate).expect("packs");
        DeflateEncoder::new(&zeros[..], Compression::best()).read_to_end(&mut raw).expect("packs");
        for (encoding, packed) in [(Encoding::Gzip, gzip), (Encoding::Deflate, deflate), (Encoding::Deflate, raw)] {
            assert!(packed.len() < 100_000);
            let said = encoding.unpack(&packed, 1000).expect_err("too large").message().to_owned();
            assert!(said.contains("limit of 1000 bytes"), "{said}");
            assert_eq!(encoding.unpack(&packed, 64 << 20).expect("fits").len(), 64 << 20);
            assert!(encoding.unpack(&packed[..packed.len() / 2], 64 << 20).is_err(), "cut");
        }
    }
}
