//! Answers, each with the headers that all have.

use super::body::Body;
use super::encoding::{Encoding, gzip};
use hyper::body::Bytes;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap,
    HeaderValue, IF_NONE_MATCH, REFERRER_POLICY, RETRY_AFTER, VARY,
};
use hyper::{Response, StatusCode};
use serde::Serialize;
use std::hash::{DefaultHasher, Hasher as _};

/// An answer.
pub(super) type Reply = Response<Body>;

// What is no page runs no script and fetches nothing, whatever is in it.
const CONTENT_POLICY: &str =
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// An answer of any type.
pub(super) fn of(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Body::from(body.into()));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_POLICY));
    reply
}

/// Lines of text.
pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    of(status, "text/plain; charset=utf-8", body)
}

/// A page for browsers, which may do what this policy says.
pub(super) fn html(body: String, policy: &str) -> Reply {
    let mut reply = of(StatusCode::OK, "text/html; charset=utf-8", body);
    if let Ok(policy) = HeaderValue::try_from(policy) {
        reply.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    let headers = reply.headers_mut();
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// A value for programs.
pub(super) fn json(value: &impl Serialize) -> Reply {
    match serde_json::to_vec(value) {
        Ok(json) => of(StatusCode::OK, "application/json", json),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

/// Bytes that a client may keep and ask whether they are still right, compressed if it takes that.
pub(super) fn kept(headers: &HeaderMap, content_type: &'static str, bytes: Vec<u8>) -> Reply {
    let mut hasher = DefaultHasher::new();
    hasher.write(&bytes);
    // Weak: the same for each encoding.
    let tag = format!("W/\"{:016x}\"", hasher.finish());
    let knows = |held: &HeaderValue| {
        held.to_str().is_ok_and(|held| held.split(',').any(|one| [tag.as_str(), "*"].contains(&one.trim())))
    };
    let encoding = Encoding::accepted(headers);
    let mut reply = if headers.get_all(IF_NONE_MATCH).iter().any(knows) {
        of(StatusCode::NOT_MODIFIED, content_type, Bytes::new())
    } else {
        let bytes = if encoding == Encoding::Gzip { gzip(&bytes) } else { bytes.into() };
        let mut reply = of(StatusCode::OK, content_type, bytes);
        encoding.describe(reply.headers_mut());
        reply
    };
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    reply.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    if let Ok(tag) = HeaderValue::try_from(tag) {
        reply.headers_mut().insert(ETAG, tag);
    }
    reply
}

/// The same as HEAD has it: its headers alone.
pub(super) fn head(reply: Reply) -> Reply {
    let (mut parts, body) = reply.into_parts();
    if let Some(len) = body.len()
        && parts.status != StatusCode::NOT_MODIFIED
    {
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(len));
    }
    Response::from_parts(parts, Body::from(Bytes::new()))
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
