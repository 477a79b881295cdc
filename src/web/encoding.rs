//! How a body is encoded for the way: as it is, or by gzip.

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::Bytes;
use hyper::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderMap, HeaderValue, VARY};
use std::io::Write as _;

/// An encoding of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
}

impl Encoding {
    /// The one that a client takes (RFC 9110, section 12.5.3): gzip if it is named, or `*`, with a quality above zero.
    pub(super) fn accepted(headers: &HeaderMap) -> Self {
        let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        let mut star = Self::Identity;
        for coding in values.flat_map(|value| value.split(',')) {
            let mut parts = coding.split(';').map(str::trim);
            let name = parts.next().unwrap_or("");
            let quality = parts.find_map(|part| {
                let (key, value) = part.split_once('=')?;
                key.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse().unwrap_or(0.0))
            });
            let wanted = if quality.unwrap_or(1.0) > 0.0 { Self::Gzip } else { Self::Identity };
            if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") {
                return wanted;
            }
            if name == "*" && wanted == Self::Gzip {
                star = wanted;
            }
        }
        star
    }

    /// Says in the headers of an answer how its body is encoded, and that this was the client's choice.
    pub(super) fn describe(self, headers: &mut HeaderMap) {
        if self == Self::Gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
}

/// The bytes, compressed.
pub(super) fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("writing to memory does not fail");
    encoder.finish().expect("writing to memory does not fail").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_only_when_the_client_takes_it() {
        let with = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(value));
            Encoding::accepted(&headers) == Encoding::Gzip
        };
        assert!(with("gzip"));
        assert!(with("deflate, GZIP;q=0.5"));
        assert!(with("*"));
        assert!(with("x-gzip"));
        assert!(with("*;q=0, gzip"));
        assert!(!with("gzip;q=0"));
        assert!(!with("gzip; Q = 0.000"));
        assert!(!with("gzip;q=nonsense"));
        assert!(!with("gzippy"));
        assert!(!with(""));
        assert!(!with("gzip;q=0, *"));
        assert!(!with("identity"));
        assert_eq!(Encoding::accepted(&HeaderMap::new()), Encoding::Identity);
    }
}
