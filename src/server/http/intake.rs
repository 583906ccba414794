//! From a connection to the bytes of a request's body: within its size, its time, and the memory that all bodies share.
//!
//! Invariants: a body is never longer than the limit, packed or unpacked, whatever its headers say; one that comes too
//! slowly is given up; its bytes are charged to `budget` before they are kept, those of a packed one as soon as they are
//! unpacked, of which there are never more than threads that do it.
//! Called by `route`.

use super::aside::on_a_thread;
use super::budget::{Budget, Share};
use super::error::{ApiError, Refusal};
use super::shown::shown;
use crate::threads::Threads;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use actix_web::rt::time::timeout;
use actix_web::{HttpMessage, HttpRequest, web};
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use futures_core::Stream;
use std::future::poll_fn;
use std::io::Read;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes that earn a body another second: what the slowest of honest clients send in one.
const BYTES_PER_SECOND: usize = 16 << 10;

/// A request's body, with what the request takes of the memory that all share.
pub struct Body {
    bytes: Vec<u8>,
    /// What the request takes.
    pub share: Arc<Share>,
    /// A name of the model that stands over the body's.
    pub model: Option<String>,
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
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

/// What a body may take.
#[derive(Clone, Copy)]
pub struct Limits<'a> {
    /// Most bytes of it, unpacked.
    pub bytes: usize,
    /// How long it may take to come; one that is long gets more.
    pub time: Duration,
    /// The memory that all requests share.
    pub budget: &'a Budget,
    /// Those that unpack it.
    pub threads: &'a Threads,
}

/// The whole body, unpacked if it says that it is packed.
pub async fn body(limits: Limits<'_>, request: &HttpRequest, mut payload: web::Payload) -> Result<Body, ApiError> {
    let Limits { bytes: limit, time, budget, threads } = limits;
    let packing = Packing::of(request.headers())?;
    let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit));
    }
    let share = budget.share();
    // A buffer that grows leaves more behind than it has, until others take it.
    let mut left_behind = share.lend(0)?;
    let (started, mut body) = (Instant::now(), Vec::new());
    loop {
        let time = time + Duration::from_secs((body.len() / BYTES_PER_SECOND) as u64);
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
        share.receive(chunk.len())?;
        left_behind.extend(chunk.len() + chunk.len() / 4)?;
        body.extend_from_slice(&chunk);
    }
    drop(left_behind);
    request.extensions_mut().insert(Received);
    if let Some(packing) = packing {
        // On the few threads that read JSON: so many bodies are unpacked at a time, and no more.
        let (packed, share) = (std::mem::take(&mut body), share.clone());
        body = on_a_thread(threads, packed.len(), move |_| {
            let body = packing.unpack(&packed, limit)?;
            share.receive(body.len())?;
            Ok(body)
        })
        .await?;
    }
    Ok(Body { bytes: body, share, model: None })
}

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    Gzip,
    Deflate,
}

/// What clients name that pack nothing: some take the header for the place of the charset.
const PLAIN: [&str; 8] = ["", "identity", "none", "utf-8", "utf8", "ascii", "8bit", "binary"];

impl Packing {
    fn of(headers: &HeaderMap) -> Result<Option<Self>, ApiError> {
        let named: Vec<_> =
            headers.get_all(CONTENT_ENCODING).map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        let named = named.join(", ");
        let mut packed = named
            .split(',')
            .map(str::trim)
            .filter(|&coding| !PLAIN.iter().any(|plain| coding.eq_ignore_ascii_case(plain)));
        let packing = match packed.next().map(str::to_ascii_lowercase).as_deref() {
            None => return Ok(None),
            Some("gzip" | "x-gzip") => Some(Self::Gzip),
            Some("deflate") => Some(Self::Deflate),
            Some(_) => None,
        };
        if packing.is_none() || packed.next().is_some() {
            let sentence = format!(
                "The Content-Encoding '{}' of the request is not known; use gzip or deflate, one of them and once, or none.",
                shown(&named)
            );
            return Err(ApiError::new(Refusal::Malformed, sentence));
        }
        Ok(packing)
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

    #[test]
    fn what_unpacks_to_more_than_the_limit_is_never_unpacked_whole() {
        let zeros = vec![0; 64 << 20];
        let (mut gzip, mut deflate, mut raw) = (Vec::new(), Vec::new(), Vec::new());
        GzEncoder::new(&zeros[..], Compression::best()).read_to_end(&mut gzip).expect("packs");
        ZlibEncoder::new(&zeros[..], Compression::best()).read_to_end(&mut deflate).expect("packs");
        DeflateEncoder::new(&zeros[..], Compression::best()).read_to_end(&mut raw).expect("packs");
        for (packing, packed) in [(Packing::Gzip, gzip), (Packing::Deflate, deflate), (Packing::Deflate, raw)] {
            assert!(packed.len() < 100_000);
            let said = packing.unpack(&packed, 1000).expect_err("too large").message().to_owned();
            assert!(said.contains("limit of 1000 bytes"), "{said}");
            assert_eq!(packing.unpack(&packed, 64 << 20).expect("fits").len(), 64 << 20);
            assert!(packing.unpack(&packed[..packed.len() / 2], 64 << 20).is_err(), "cut");
        }
    }
}
