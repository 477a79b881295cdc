//! What may be written in the file: its keys. Secrets are never repeated in an error.

use super::words::{Burst, ClientAuth, Curve, Interval, Suite, Switch, Version};
use crate::text::yaml::{Scalar, or_default};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The whole file.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) tls_server_config: Tls,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) http_server_config: Http,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) basic_auth_users: BTreeMap<String, Option<Secret>>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) rate_limit: RateLimit,
}

/// `tls_server_config`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tls {
    pub(super) cert: Option<String>,
    pub(super) key: Option<Secret>,
    pub(super) client_ca: Option<String>,
    pub(super) cert_file: Option<PathBuf>,
    pub(super) key_file: Option<PathBuf>,
    pub(super) client_ca_file: Option<PathBuf>,
    pub(super) client_auth_type: Option<Scalar<ClientAuth>>,
    pub(super) client_allowed_sans: Option<Vec<String>>,
    pub(super) cipher_suites: Option<Vec<Scalar<Suite>>>,
    pub(super) curve_preferences: Option<Vec<Scalar<Curve>>>,
    pub(super) min_version: Option<Scalar<Version>>,
    pub(super) max_version: Option<Scalar<Version>>,
    pub(super) prefer_server_cipher_suites: Option<Scalar<Switch>>,
}

/// `http_server_config`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Http {
    pub(super) http2: Option<Scalar<Switch>>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) headers: BTreeMap<String, Option<String>>,
}

/// `rate_limit`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RateLimit {
    pub(super) interval: Option<Scalar<Interval>>,
    pub(super) burst: Option<Scalar<Burst>>,
}

/// What must not be shown.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Secret(pub(super) String);
