//! What a route is: where, how it may be asked for, what it does, and the function that answers. The table of them is in `pages`.

use super::connection::Turn;
use super::reply::Reply;
use hyper::body::Incoming;
use hyper::{Method, Request};
use std::pin::Pin;

/// A request, and its turn on the connection that it came by. No body is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) request: &'a Request<Incoming>,
    pub(super) turn: &'a Turn,
}

/// An answer that may take its time.
pub(super) type Answer<'a> = Pin<Box<dyn Future<Output = Reply> + Send + 'a>>;

/// One entry of the table; `A` is what answers.
pub(super) struct Route<A> {
    /// As the landing page calls it.
    pub(super) name: &'static str,
    pub(super) path: String,
    pub(super) methods: Methods,
    /// What it does, in a sentence for the landing page.
    pub(super) about: &'static str,
    pub(super) answer: for<'a> fn(&'a A, Call<'a>) -> Answer<'a>,
}

/// How a route may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Methods {
    /// GET and HEAD.
    Read,
    /// POST: it changes something.
    Change,
}

impl Methods {
    pub(super) fn include(self, method: &Method) -> bool {
        match self {
            Methods::Read => [Method::GET, Method::HEAD].contains(method),
            Methods::Change => *method == Method::POST,
        }
    }

    /// As an `Allow` header lists them.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Methods::Read => "GET, HEAD",
            Methods::Change => "POST",
        }
    }
}
