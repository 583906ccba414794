//! What actix reads and writes in place of a socket: the bytes of a connection, with what `frames` and `connections` know.
//!
//! Invariants: an idle connection ends between two requests, in order, and not while one is arriving; a client is not
//! asked for a body that its head has already refused. Called by `run`.

use super::connections::Connection;
use super::frames::Frames;
use actix_web::web::BytesMut;
use std::io::Result;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are read at a time.
const READ: usize = 16 << 10;

/// How actix asks for a body: as soon as it has seen the head, whose answer may come right behind it.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A connection over `T`.
pub struct Stream<T> {
    inner: T,
    connection: Arc<Connection>,
    frames: Frames,
    /// What has come; actix may have the first `passed` of it.
    bytes: BytesMut,
    passed: usize,
    /// Whether `bytes` end in a part of a head, and `connection` knows it.
    begun: bool,
    ended: bool,
}

impl<T> Stream<T> {
    /// The stream of a connection that has just been made.
    pub fn new(inner: T, connection: Arc<Connection>) -> Self {
        let frames = Frames::default();
        Self { inner, connection, frames, bytes: BytesMut::new(), passed: 0, begun: false, ended: false }
    }

    /// What is known of it.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    fn take_in(&mut self, more: &[u8]) {
        let was_idle = self.frames.is_between() && !self.begun;
        self.bytes.extend_from_slice(more);
        self.passed = self.frames.pass(&mut self.bytes);
        let begun = self.bytes[self.passed..].iter().any(|byte| !b"\r\n".contains(byte));
        if self.passed > 0 && (was_idle || begun) || begun && !self.begun {
            self.connection.is_asked();
        }
        self.begun = begun;
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Stream<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let this = &mut *self;
        while this.passed == 0 && !this.ended {
            let mut room = [MaybeUninit::uninit(); READ];
            let mut room = ReadBuf::uninit(&mut room);
            match Pin::new(&mut this.inner).poll_read(cx, &mut room) {
                Poll::Ready(result) => result?,
                Poll::Pending if this.frames.is_between() && this.connection.is_over(cx.waker()) => {
                    this.ended = true;
                    break;
                }
                Poll::Pending => return Poll::Pending,
            }
            if room.filled().is_empty() {
                // What has come of a head is for actix to refuse.
                (this.passed, this.ended) = (this.bytes.len(), true);
            } else {
                this.take_in(room.filled());
            }
        }
        let taken = this.passed.min(buf.remaining());
        buf.put_slice(&this.bytes.split_to(taken));
        this.passed -= taken;
        if this.bytes.is_empty() {
            // An idle connection keeps no memory for what it has sent.
            this.bytes = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Stream<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        let this = &mut *self;
        if !this.frames.waits() || !buf.starts_with(CONTINUE) {
            return Pin::new(&mut this.inner).poll_write(cx, buf);
        }
        let answer = &buf[CONTINUE.len()..];
        let written = match answer.is_empty() {
            true => ready!(Pin::new(&mut this.inner).poll_write(cx, buf))?,
            false => CONTINUE.len() + ready!(Pin::new(&mut this.inner).poll_write(cx, answer))?,
        };
        this.frames.is_asked();
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
