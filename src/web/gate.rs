//! The gate before every page: what `--web.config.file` asks of a request before it is answered.

use super::config::{Bucket, ConfigFile, Passwords, Users, Verdict};
use super::connection::Turn;
use super::reply::{self, Reply};
use crate::system::clock;
use crate::system::counters::{Counter, Counters};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use std::sync::Arc;

/// What is asked of requests, if anything is.
#[derive(Debug, Default)]
pub(super) struct Gate(Option<Guarded>);

#[derive(Debug)]
struct Guarded {
    file: Arc<ConfigFile>,
    passwords: Passwords,
    bucket: Bucket,
}

/// Headers that an answer must carry besides its own.
pub(super) type Extra = Vec<(HeaderName, HeaderValue)>;

impl Gate {
    pub(super) fn of(file: Arc<ConfigFile>) -> Self {
        let (passwords, bucket) = (Passwords::new(), Bucket::default());
        Self(Some(Guarded { file, passwords, bucket }))
    }

    /// The file, if there is one.
    pub(super) fn file(&self) -> Option<&Arc<ConfigFile>> {
        self.0.as_ref().map(|guarded| &guarded.file)
    }

    /// Lets a request in, with the headers for its answer; or the answer that sends it away.
    pub(super) async fn admit(
        &self,
        headers: &HeaderMap,
        turn: &Turn,
        counters: &Counters,
    ) -> Result<Extra, Reply> {
        let Some(guarded) = &self.0 else { return Ok(Extra::new()) };
        let config = guarded.file.now().map_err(|_| {
            counters.count(Counter::RefusedConfig);
            reply::text(StatusCode::INTERNAL_SERVER_ERROR, "the web configuration is broken\n")
        })?;
        if config.rate.is_some_and(|rate| !guarded.bucket.takes(rate, clock::steady())) {
            counters.count(Counter::RefusedRate);
            return Err(reply::text(StatusCode::TOO_MANY_REQUESTS, "too many requests\n"));
        }
        match guarded.verdict(&config.users, headers, turn, counters).await {
            Verdict::Right => Ok(config.headers.clone()),
            Verdict::Busy => {
                counters.count(Counter::RefusedCredentials);
                Err(reply::try_again("too many passwords are being checked\n"))
            }
            Verdict::Wrong => {
                counters.count(Counter::RefusedCredentials);
                let mut refusal = reply::text(StatusCode::UNAUTHORIZED, "unauthorized\n");
                let challenge =
                    HeaderValue::from_static("Basic realm=\"portscan_exporter\", charset=\"UTF-8\"");
                refusal.headers_mut().insert(WWW_AUTHENTICATE, challenge);
                add(&mut refusal, config.headers.clone());
                Err(refusal)
            }
        }
    }
}

/// Puts the headers of the file on an answer; they beat its own.
pub(super) fn add(reply: &mut Reply, extra: Extra) {
    for (name, value) in extra {
        reply.headers_mut().insert(name, value);
    }
}

impl Guarded {
    async fn verdict(&self, users: &Users, headers: &HeaderMap, turn: &Turn, counters: &Counters) -> Verdict {
        if users.is_empty() {
            return Verdict::Right;
        }
        let Some((name, password)) = credentials(headers) else { return Verdict::Wrong };
        let client = (turn.watch.client, &turn.watch.cut);
        self.passwords.check(users, &name, &password, client, counters).await
    }
}

/// The name and the password of a request (RFC 7617).
fn credentials(headers: &HeaderMap) -> Option<(String, Vec<u8>)> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (Some(one), None) = (all.next(), all.next()) else { return None };
    let (scheme, encoded) = one.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let encoded = encoded.trim();
    let decoded = STANDARD.decode(encoded).or_else(|_| STANDARD_NO_PAD.decode(encoded)).ok()?;
    let colon = decoded.iter().position(|&byte| byte == b':')?;
    let name = String::from_utf8(decoded[..colon].to_vec()).ok()?;
    Some((name, decoded[colon + 1..].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_one_header_and_a_whole_one() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            }
            credentials(&headers)
        };
        let alice = |password: &[u8]| Some((String::from("alice"), password.to_vec()));
        assert_eq!(of(&["Basic YWxpY2U6c2VjcmV0"]), alice(b"secret"));
        assert_eq!(of(&["bAsIc YWxpY2U6YTpi"]), alice(b"a:b"));
        assert_eq!(of(&["Basic YWxpY2U6"]), alice(b""));
        for bad in ["", "Basic", "Basic YWxpY2U=", "Bearer YWxpY2U6c2VjcmV0", "Basic !!!", "Basic /////w=="] {
            assert_eq!(of(&[bad]), None, "{bad}");
        }
        assert_eq!(of(&["Basic YWxpY2U6c2VjcmV0", "Basic YWxpY2U6c2VjcmV0"]), None);
    }
}
