//! `http_server_config.headers`: a closed list of what an answer may carry besides.

use crate::text::quote;
use hyper::header::{HeaderName, HeaderValue};
use std::collections::BTreeMap;

/// The headers, and the values they may have; none listed: any.
const ALLOWED: &[(&str, &[&str])] = &[
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
    ("Content-Security-Policy", &[]),
];

/// The headers as they are sent, or what is wrong with one.
pub(super) fn parse(
    written: BTreeMap<String, Option<String>>,
) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let mut headers = Vec::new();
    for (name, value) in written {
        let value = value.unwrap_or_default();
        let Some((_, values)) = ALLOWED.iter().find(|(allowed, _)| *allowed == name) else {
            let known: Vec<_> = ALLOWED.iter().map(|(name, _)| *name).collect();
            return Err(format!("the header {} cannot be set (known: {})", quote(&name), known.join(", ")));
        };
        if !values.is_empty() && !values.contains(&value.as_str()) {
            return Err(format!("{name} must be {}, not {}", values.join(" or "), quote(&value)));
        }
        let wrong = || format!("{name} cannot have the value {}", quote(&value));
        let header = HeaderName::try_from(name.as_str()).map_err(|_| wrong())?;
        headers.push((header, HeaderValue::try_from(value.as_str()).map_err(|_| wrong())?));
    }
    Ok(headers)
}
