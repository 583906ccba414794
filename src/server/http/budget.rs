//! The memory that requests take: what each may, and all of them together.
//!
//! Invariants: no request is charged more than [`PER_BYTE`] times its body and [`BESIDES`], and all that are received, at work
//! or being answered no more than `Budget::limit` together, of which the last quarter is for small ones. What takes
//! memory by the amount that a client sends is charged before it is made: bodies as they come, the tree of their JSON,
//! texts, pairs, tokens, rows of numbers. What is charged are estimates from above; tests/faults/hostile_bodies.py measures them. Called
//! by `intake`, `body`, `scoring` and `tokenize`.

use super::error::{ApiError, Refusal};
use crate::error::ErrorKind;
use actix_web::body::{BodySize, MessageBody};
use actix_web::http::header::ContentType;
use actix_web::{HttpResponse, HttpResponseBuilder, web};
use serde::Serialize;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

/// Bytes that a request may take for each byte of its body.
const PER_BYTE: usize = 12;
/// Bytes that it may take besides.
const BESIDES: usize = 64 << 20;
/// Bytes that all may take for each byte of the largest body, and besides.
const ALL_PER_BYTE: usize = 16;
const ALL_BESIDES: usize = 2 * BESIDES;
/// What takes at most so many bytes is small: more than a query with a hundred passages, the copies of their texts included.
const SMALL: usize = 4 << 20;
/// Bytes of an answer that are handed on at a time.
const PIECE: usize = 64 << 10;

/// The memory that all requests share.
pub struct Budget {
    taken: Arc<AtomicUsize>,
    limit: usize,
}

/// What one request takes of it, given back when the last who has it is done: a thread may still work on the request, or
/// the client still take its answer.
pub struct Share {
    taken: Arc<AtomicUsize>,
    limit: usize,
    bytes: AtomicUsize,
    /// How many of them are the body.
    body: AtomicUsize,
}

/// Bytes that are given back when this is dropped.
pub struct Loan {
    share: Arc<Share>,
    bytes: usize,
}

impl Budget {
    /// For bodies of at most so many bytes.
    pub fn new(max_body_bytes: usize) -> Self {
        let limit = max_body_bytes.saturating_mul(ALL_PER_BYTE).saturating_add(ALL_BESIDES);
        Self { taken: Arc::default(), limit }
    }

    /// The share of a request that begins.
    pub fn share(&self) -> Arc<Share> {
        let (taken, limit) = (self.taken.clone(), self.limit);
        Arc::new(Share { taken, limit, bytes: AtomicUsize::new(0), body: AtomicUsize::new(0) })
    }
}

impl Share {
    /// Charges `bytes` of the body.
    pub fn receive(&self, bytes: usize) -> Result<(), ApiError> {
        self.take(bytes)?;
        self.body.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Charges `bytes` of what is made of the body: an error if that is out of all proportion to it, or if others have taken
    /// what there is.
    pub fn grow(&self, bytes: usize) -> Result<(), ApiError> {
        let body = self.body.load(Ordering::Relaxed);
        let most = body.saturating_mul(PER_BYTE).saturating_add(BESIDES);
        if self.bytes.load(Ordering::Relaxed).saturating_add(bytes) > most {
            let sentence = format!(
                "The request asks for more memory than its body of {body} bytes may: {most} bytes, {PER_BYTE} for each \
                 byte and {} MiB besides. Send fewer values, documents or tokens at a time.",
                BESIDES >> 20
            );
            return Err(ApiError::new(Refusal::TooLarge, sentence));
        }
        self.take(bytes)
    }

    /// Charges `bytes` for as long as the loan lives.
    pub fn lend(self: &Arc<Self>, bytes: usize) -> Result<Loan, ApiError> {
        self.grow(bytes)?;
        Ok(Loan { share: self.clone(), bytes })
    }

    fn take(&self, more: usize) -> Result<(), ApiError> {
        let bytes = self.bytes.load(Ordering::Relaxed).saturating_add(more);
        let limit = if bytes > SMALL { self.limit - self.limit / 4 } else { self.limit };
        let within = |taken: usize| taken.checked_add(more).filter(|taken| *taken <= limit);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).map_err(|taken| {
            let sentence = format!(
                "Requests that are received, computed or answered take {taken} bytes, of at most {limit} for one of \
                 this size; try again in a moment."
            );
            ApiError::new(Refusal::Kind(ErrorKind::Busy), sentence)
        })?;
        self.bytes.fetch_add(more, Ordering::Relaxed);
        Ok(())
    }

    fn give_back(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.taken.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.taken.fetch_sub(*self.bytes.get_mut(), Ordering::Relaxed);
    }
}

impl Loan {
    /// How many there are.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes it so many more.
    pub fn extend(&mut self, bytes: usize) -> Result<(), ApiError> {
        self.share.grow(bytes)?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.share.give_back(self.bytes);
    }
}

/// The body of an answer, which is charged until its client has taken it.
pub struct Charged {
    rest: web::Bytes,
    _share: Arc<Share>,
}

impl Charged {
    /// An answer that holds `value` as JSON.
    pub fn json(mut response: HttpResponseBuilder, share: Arc<Share>, value: &impl Serialize) -> HttpResponse {
        match serde_json::to_vec(value) {
            Ok(bytes) => Self::bytes(response.content_type(ContentType::json()), share, bytes),
            Err(err) => unwritable(err).response(),
        }
    }

    /// An answer that holds `bytes` as they are.
    pub fn bytes(response: &mut HttpResponseBuilder, share: Arc<Share>, bytes: Vec<u8>) -> HttpResponse {
        response.body(Self { rest: bytes.into(), _share: share })
    }
}

/// The refusal in place of an answer that no JSON can hold.
pub fn unwritable(err: serde_json::Error) -> ApiError {
    ApiError::new(Refusal::Kind(ErrorKind::Internal), format!("The answer cannot be written: {err}."))
}

impl MessageBody for Charged {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.rest.len() as u64)
    }

    // In pieces: actix copies what it is given, and asks for more when the client has taken that.
    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<web::Bytes, Infallible>>> {
        let piece = self.rest.len().min(PIECE);
        Poll::Ready((piece > 0).then(|| Ok(self.rest.split_to(piece))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_requests_leave_a_quarter_to_small_ones_and_nobody_takes_more_than_there_is() {
        let budget = Budget::new(16 << 20);
        let (large, small) = (budget.share(), budget.share());
        large.receive(budget.limit - budget.limit / 4).expect("three quarters");
        let said = budget.share().receive(SMALL + 1).expect_err("nothing is left for it").message().to_owned();
        assert!(said.contains("take 301989888 bytes, of at most 301989888 for one of this size"), "{said}");
        small.receive(SMALL).expect("there is room for small ones");
        let many: Vec<_> = (0..1000).map(|_| budget.share()).filter(|share| share.receive(SMALL).is_ok()).collect();
        assert_eq!(many.len(), (budget.limit / 4 - SMALL) / SMALL);
        drop((large, small, many));
        assert_eq!(budget.taken.load(Ordering::Relaxed), 0, "all of it was given back");
    }

    #[test]
    fn what_is_made_of_a_body_is_a_small_multiple_of_it_and_what_is_lent_comes_back() {
        let share = Budget::new(32 << 20).share();
        share.receive(1000).expect("a body");
        let mut tree = share.lend(BESIDES / 2).expect("less than the bound");
        tree.extend(BESIDES / 2).expect("the bound");
        share.grow(11 * 1000).expect("the multiple");
        let said = share.grow(1).expect_err("more than both").message().to_owned();
        assert!(said.contains("its body of 1000 bytes may: 67120864 bytes"), "{said}");
        drop(tree);
        share.grow(BESIDES).expect("it was given back");
    }

    #[test]
    fn a_share_counts_until_the_last_who_has_it_is_done() {
        let budget = Budget::new(1 << 20);
        let share = budget.share();
        share.receive(1000).expect("a body");
        let answer = Charged::bytes(&mut HttpResponse::Ok(), share, vec![b'x'; 10]);
        assert_eq!(budget.taken.load(Ordering::Relaxed), 1000, "the client has not taken its answer");
        drop(answer);
        assert_eq!(budget.taken.load(Ordering::Relaxed), 0);
    }
}
