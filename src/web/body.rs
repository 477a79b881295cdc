//! Bodies of answers: one piece of memory that clients share, or events that go on.

use super::connection::Turn;
use super::follow::Following;
use super::limits::PIECE;
use hyper::body::{Bytes, Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A body, and the request that it answers: that ends with it.
pub(super) struct Body {
    content: Content,
    turn: Option<Turn>,
}

enum Content {
    Whole(Bytes),
    Following(Box<Following>),
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self { content: Content::Whole(bytes), turn: None }
    }
}

impl From<Following> for Body {
    fn from(following: Following) -> Self {
        Self { content: Content::Following(Box::new(following)), turn: None }
    }
}

impl Body {
    /// The same, as the answer to a request.
    pub(super) fn to(self, turn: Turn) -> Self {
        turn.answered(matches!(self.content, Content::Following(_)));
        Self { turn: Some(turn), ..self }
    }

    /// How many bytes it has, if it ends.
    pub(super) fn len(&self) -> Option<usize> {
        match &self.content {
            Content::Whole(bytes) => Some(bytes.len()),
            Content::Following(_) => None,
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Self { content, turn } = &mut *self;
        let piece = match content {
            Content::Whole(bytes) if bytes.is_empty() => None,
            // With HTTP/2 the next piece is asked for when the client wants it: so the end of the body is the end of the request.
            Content::Whole(bytes) if turn.as_ref().is_some_and(Turn::is_http2) => {
                Some(bytes.split_to(bytes.len().min(PIECE)))
            }
            Content::Whole(bytes) => Some(std::mem::take(bytes)),
            Content::Following(following) => {
                let next = std::task::ready!(following.poll_next(cx));
                if let Some(turn) = turn {
                    turn.goes_on();
                }
                next
            }
        };
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.len() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.len().map_or_else(SizeHint::default, |len| SizeHint::with_exact(len as u64))
    }
}
