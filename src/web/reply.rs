//! Answers, each with the headers that all have.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde::Serialize;

/// An answer; its body is one piece.
pub(super) type Reply = Response<Full<Bytes>>;

// No page runs a script or fetches anything, whatever an interface is called.
const CONTENT_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; \
                              form-action 'none'; frame-ancestors 'none'";

/// An answer of any type.
pub(super) fn of(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.insert("content-security-policy", HeaderValue::from_static(CONTENT_POLICY));
    reply
}

/// Lines of text.
pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    of(status, "text/plain; charset=utf-8", body)
}

/// A page for browsers.
pub(super) fn html(body: String) -> Reply {
    of(StatusCode::OK, "text/html; charset=utf-8", body)
}

/// A value for programs.
pub(super) fn json(value: &impl Serialize) -> Reply {
    match serde_json::to_vec(value) {
        Ok(json) => of(StatusCode::OK, "application/json", json),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

/// There is no such method here; these there are.
pub(super) fn not_allowed(methods: &'static str) -> Reply {
    let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
    reply.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    reply
}

/// Not now, but a second later it may do.
pub(super) fn try_again(why: &'static str) -> Reply {
    let mut reply = text(StatusCode::SERVICE_UNAVAILABLE, why);
    reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    reply
}

/// A request that may mean two things to two readers: nothing more is read of this connection.
pub(super) fn bad_request(why: &'static str) -> Reply {
    let mut reply = text(StatusCode::BAD_REQUEST, why);
    reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    reply
}
