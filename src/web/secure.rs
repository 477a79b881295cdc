//! TLS on any kind of stream. The handshake is the connection's own affair, under its own limits, and never in the way of those
//! that are accepted; certificates and rules are those of the file at that moment.

use super::config::ConfigFile;
use super::connection::{Accept, Protocol, Stream};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The first byte of a TLS connection: a record of a handshake (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;

/// What a client is told that does not speak TLS.
pub(super) const SPEAKS_TLS: &str = "this port speaks TLS: ask https:// instead";

/// A listener whose connections are encrypted.
pub(super) struct Encrypted<L> {
    inner: L,
    config: Arc<ConfigFile>,
}

impl<L> Encrypted<L> {
    pub(super) fn new(inner: L, config: Arc<ConfigFile>) -> Self {
        Self { inner, config }
    }
}

impl<L: Accept> Accept for Encrypted<L> {
    type Stream = Secure<L::Stream>;

    async fn accept(&mut self) -> io::Result<(Self::Stream, IpAddr)> {
        let (stream, peer) = self.inner.accept().await?;
        Ok((Secure { state: State::Fresh(stream), config: Arc::clone(&self.config) }, peer))
    }
}

/// An encrypted stream; nothing is read or written of it before it is ready.
pub(super) struct Secure<S> {
    state: State<S>,
    config: Arc<ConfigFile>,
}

enum State<S> {
    Fresh(S),
    Open(Box<TlsStream<Begun<S>>>),
    Failed,
}

impl<S: Stream> Stream for Secure<S> {
    async fn ready(&mut self) -> io::Result<Protocol> {
        let State::Fresh(mut stream) = std::mem::replace(&mut self.state, State::Failed) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let first = stream.read_u8().await?;
        if first != HANDSHAKE {
            if first.is_ascii_alphabetic() {
                let head = "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n";
                stream.write_all(format!("{head}{SPEAKS_TLS}\n").as_bytes()).await?;
                stream.shutdown().await?;
            }
            return Err(io::ErrorKind::InvalidData.into());
        }
        let config = self.config.now().map_err(io::Error::other)?;
        let tls = config.tls.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let begun = Begun { first: Some(first), stream };
        let open = TlsAcceptor::from(Arc::clone(tls)).accept(begun).await?;
        let is_http2 = open.get_ref().1.alpn_protocol() == Some(b"h2");
        self.state = State::Open(Box::new(open));
        Ok(if is_http2 { Protocol::Http2 } else { Protocol::Http1 })
    }

    fn discard_unsent(&self) {
        match &self.state {
            State::Fresh(stream) => stream.discard_unsent(),
            State::Open(open) => open.get_ref().0.stream.discard_unsent(),
            State::Failed => {}
        }
    }

    fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &self.state {
            State::Fresh(stream) => stream.poll_closed(cx),
            State::Open(open) => open.get_ref().0.stream.poll_closed(cx),
            State::Failed => Poll::Ready(()),
        }
    }
}

impl<S: Stream> Secure<S> {
    fn open(&mut self) -> io::Result<Pin<&mut TlsStream<Begun<S>>>> {
        match &mut self.state {
            State::Open(open) => Ok(Pin::new(&mut **open)),
            State::Fresh(_) | State::Failed => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl<S: Stream> AsyncRead for Secure<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.open()?.poll_read(cx, buf)
    }
}

impl<S: Stream> AsyncWrite for Secure<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.open()?.poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.open()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.open()?.poll_shutdown(cx)
    }
}

/// A stream of which one byte has been read already.
struct Begun<S> {
    first: Option<u8>,
    stream: S,
}

impl<S: Stream> AsyncRead for Begun<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() > 0
            && let Some(first) = self.first.take()
        {
            buf.put_slice(&[first]);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: Stream> AsyncWrite for Begun<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
