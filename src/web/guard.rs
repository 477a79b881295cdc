//! Requests that are not what they seem: for two hosts at once, or made by a browser on behalf of somebody else's page.

use super::address::ListenAddress;
use hyper::Request;
use hyper::Version;
use hyper::header::{HOST, ORIGIN};
use hyper::http::uri::Authority;
use std::net::IpAddr;

/// Whether the request names one host (RFC 9112, section 3.2): a proxy and we must not read it in two ways.
pub(super) fn names_one_host<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        // Before HTTP/1.1 there was none; since HTTP/2 it is a part of the target.
        (None, _) if request.version() >= Version::HTTP_2 => request.uri().authority().is_some(),
        (None, _) => request.version() < Version::HTTP_11,
        (Some(host), None) => host.is_empty() || authority(host.as_bytes()).is_some(),
        (Some(_), Some(_)) => false,
    }
}

/// Whether the request may change something. A page that a browser on this host shows must not: neither by a form or
/// script (then there is an `Origin`), nor under a name of its own that leads here (then `Host` is not ours).
pub(super) fn may_change<B>(request: &Request<B>, names: &[String]) -> Result<(), &'static str> {
    const NOT_OURS: &str = "the Host header is not a name of this host: use its address, or send SIGHUP";
    const FOREIGN: &str = "the request was made by a page of another site";
    let headers = request.headers();
    let target = || request.uri().authority().filter(|target| !target.as_str().contains('@')).cloned();
    let host = match headers.get(HOST) {
        Some(host) => authority(host.as_bytes()),
        None if request.version() >= Version::HTTP_2 => target(),
        None => None,
    }
    .ok_or(NOT_OURS)?;
    if !is_ours(host.host(), names) {
        return Err(NOT_OURS);
    }
    if request.uri().authority().is_some_and(|target| *target != host) {
        return Err(NOT_OURS);
    }
    let from_here = |origin: &[u8]| {
        let origin = std::str::from_utf8(origin).ok();
        let site = origin.and_then(|text| text.strip_prefix("http://").or(text.strip_prefix("https://")));
        site.and_then(|site| authority(site.as_bytes())).is_some_and(|site| site == host)
    };
    if !headers.get_all(ORIGIN).iter().all(|origin| from_here(origin.as_bytes())) {
        return Err(FOREIGN);
    }
    // Told by every current browser, for requests of every kind.
    let fetched = headers.get_all("sec-fetch-site").iter();
    if !fetched.into_iter().all(|site| ["same-origin", "none"].iter().any(|own| site == own)) {
        return Err(FOREIGN);
    }
    Ok(())
}

/// The names by which we are reached, besides addresses and `localhost`.
pub(super) fn own_names(listen: &[ListenAddress]) -> Vec<String> {
    let system = rustix::system::uname().nodename().to_string_lossy().into_owned();
    listen.iter().filter_map(ListenAddress::host).map(str::to_owned).chain([system]).collect()
}

/// Another site cannot serve a page under an address or `localhost`: only the host that has it can.
fn is_ours(host: &str, names: &[String]) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let host = host.trim_end_matches('.');
    bare.parse::<IpAddr>().is_ok()
        || host.eq_ignore_ascii_case("localhost")
        || names.iter().any(|name| host.eq_ignore_ascii_case(name))
}

fn authority(text: &[u8]) -> Option<Authority> {
    Authority::try_from(text).ok().filter(|authority| !authority.as_str().contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::post(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn one_host_and_a_valid_one() {
        let hosts = |values: &[&str]| {
            let headers: Vec<_> = values.iter().map(|value| ("host", *value)).collect();
            names_one_host(&request("/", &headers))
        };
        for host in ["192.0.2.10:10220", "[2001:db8::1]:10220", "[2001:db8::1]", "node7.example.org", ""] {
            assert!(hosts(&[host]), "{host}");
        }
        for host in ["a b", "http://a", "a/b", "user@a", "a,b c"] {
            assert!(!hosts(&[host]), "{host}");
        }
        assert!(!hosts(&[]));
        assert!(!hosts(&["a", "a"]));
        let mut old = request("/", &[]);
        *old.version_mut() = Version::HTTP_10;
        assert!(names_one_host(&old));
    }

    #[test]
    fn a_page_of_another_site_changes_nothing() {
        let names = [String::from("node7")];
        let may = |uri: &str, headers: &[(&str, &str)]| may_change(&request(uri, headers), &names).is_ok();
        for host in
            ["127.0.0.1:10220", "[::1]:10220", "localhost:10220", "LOCALHOST", "node7:10220", "192.0.2.1"]
        {
            assert!(may("/-/reload", &[("host", host)]), "{host}");
            let origin = format!("http://{host}");
            assert!(may("/-/reload", &[("host", host), ("origin", &origin)]), "{host}");
        }
        // Its name was made to lead here (DNS rebinding).
        for host in
            ["rebound.example:10220", "127.0.0.1.rebound.example", "node7.rebound.example", "localhost.x"]
        {
            assert!(!may("/-/reload", &[("host", host)]), "{host}");
            assert!(!may(&format!("http://{host}/-/reload"), &[("host", "127.0.0.1")]), "{host}");
        }
        assert!(!may("/-/reload", &[]));
        let host = ("host", "127.0.0.1:10220");
        for origin in ["null", "http://evil.example", "http://127.0.0.1:8080", "file://127.0.0.1:10220", ""] {
            assert!(!may("/-/reload", &[host, ("origin", origin)]), "{origin}");
        }
        assert!(!may("/-/reload", &[host, ("origin", "http://127.0.0.1:10220"), ("origin", "null")]));
        for (site, allowed) in
            [("cross-site", false), ("same-site", false), ("same-origin", true), ("none", true)]
        {
            assert_eq!(may("/-/reload", &[host, ("sec-fetch-site", site)]), allowed, "{site}");
        }
    }
}
