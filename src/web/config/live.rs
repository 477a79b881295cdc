//! The file as it is now. It is looked at for each request and each handshake, and read again when it has changed, or one that it
//! names: a renewed certificate needs no restart.

use super::format::{Http, Tls, Written};
use super::rate::Rate;
use super::tls::{Protection, Spoken};
use super::users::Users;
use super::words::Switch;
use super::{headers, tls};
use crate::system::clock;
use crate::system::files::{self, Stamp};
use crate::text::{printable, yaml};
use crate::web::limits::FAULTS_EVERY;
use hyper::header::{HeaderName, HeaderValue};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::CertificateDer;

/// Stamps of files are this coarse at worst, in nanoseconds: a file that changed less long ago may change again and look the same.
const COARSE: u64 = 2_000_000_000;

/// What the file says.
pub(crate) struct Config {
    pub(crate) tls: Option<Arc<ServerConfig>>,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) users: Users,
    pub(crate) rate: Option<Rate>,
    protection: Protection,
    certificate: Option<CertificateDer<'static>>,
}

/// A file that was valid when it was opened.
pub struct ConfigFile {
    path: PathBuf,
    at_start: (Protection, bool),
    latest: Mutex<Latest>,
    recorded: Mutex<Recorded>,
}

/// What the journal knows of it.
#[derive(Default)]
struct Recorded {
    /// What is wrong with it, as it was last recorded.
    fault: Option<String>,
    at: Option<Instant>,
}

/// What was read last.
struct Latest {
    outcome: Result<Arc<Config>, String>,
    /// What it was read from, and how that looked.
    files: Vec<(PathBuf, Option<Stamp>)>,
    /// Whether a change since would show in the stamps.
    is_settled: bool,
}

impl ConfigFile {
    /// Reads the file; an error says what is wrong with it.
    pub fn open(path: &Path) -> Result<Self, String> {
        let latest = Latest::read(path);
        let config = latest.outcome.clone()?;
        let at_start = (config.protection, !config.users.is_empty());
        Ok(Self { path: path.to_owned(), at_start, latest: Mutex::new(latest), recorded: Mutex::default() })
    }

    /// What the file says now; an error if it is broken, or protects less than it did at the start.
    pub(crate) fn now(&self) -> Result<Arc<Config>, String> {
        let outcome = self.checked();
        self.record(outcome.as_ref().err());
        outcome
    }

    fn checked(&self) -> Result<Arc<Config>, String> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if !latest.is_current() {
            *latest = Latest::read(&self.path);
        }
        let config = latest.outcome.clone()?;
        match self.weakened(&config) {
            None => Ok(config),
            Some(what) => Err(format!(
                "{} {what}; that needs a restart, since a file that is only half written looks the same",
                printable(&self.path.to_string_lossy())
            )),
        }
    }

    /// Whether it speaks TLS; that stays as it was at the start.
    pub fn is_tls(&self) -> bool {
        self.at_start.0.tls
    }

    /// Whether it asks for a password, or for a client's certificate.
    pub fn authenticates(&self) -> bool {
        self.at_start.1 || (self.at_start.0.asks_certificates && self.at_start.0.verifies_certificates)
    }

    /// What it leaves open although it seems to close it.
    pub fn warnings(&self) -> Vec<&'static str> {
        let (protection, asks_passwords) = self.at_start;
        let mut warnings = Vec::new();
        if asks_passwords && !protection.tls {
            warnings.push("passwords cross the network as they are: there is no tls_server_config");
        }
        if protection.asks_certificates && !protection.verifies_certificates {
            warnings.push(
                "any client can make a certificate for itself: only RequireAndVerifyClientCert verifies them",
            );
        }
        warnings
    }

    /// The file and those that it names: what the process reads as long as it runs.
    pub fn files(&self) -> Vec<PathBuf> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.files.iter().map(|(path, _)| path.clone()).collect()
    }

    /// The server's certificate, if it has one.
    pub(crate) fn certificate(&self) -> Result<Option<CertificateDer<'static>>, String> {
        Ok(self.now()?.certificate.clone())
    }

    /// Each fault once, and that there is none any more.
    fn record(&self, fault: Option<&String>) {
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        if !recorded.changes(fault, clock::steady()) {
            return;
        }
        match fault {
            Some(why) => log::error!("nobody is let in by HTTP: {why}"),
            None => log::warn!("the web configuration is in order again: HTTP requests are answered"),
        }
    }

    fn weakened(&self, config: &Config) -> Option<&'static str> {
        let ((before, asked_passwords), now) = (self.at_start, config.protection);
        if before.tls != now.tls {
            return Some(if before.tls {
                "has no TLS any more"
            } else {
                "asks for TLS, and was started without"
            });
        }
        if before.asks_certificates && !now.asks_certificates {
            return Some("asks for no client certificate any more");
        }
        if before.verifies_certificates && !now.verifies_certificates {
            return Some("verifies client certificates no more");
        }
        if before.names_clients && !now.names_clients {
            return Some("names no clients any more (client_allowed_sans)");
        }
        (asked_passwords && config.users.is_empty()).then_some("has no users any more")
    }
}

impl Recorded {
    /// Whether this is news: what the file is like now is recorded in the end, but no more often than `FAULTS_EVERY`. Clients that use the
    /// descriptors up can make any file unreadable and readable again.
    fn changes(&mut self, fault: Option<&String>, now: Instant) -> bool {
        let is_soon = self.at.is_some_and(|at| now.duration_since(at) < FAULTS_EVERY);
        if self.fault.as_ref() == fault || is_soon {
            return false;
        }
        *self = Self { fault: fault.cloned(), at: Some(now) };
        true
    }
}

impl Latest {
    fn read(path: &Path) -> Self {
        let mut files = vec![(path.to_owned(), Stamp::of(path))];
        let outcome = read(path, &mut files).map(Arc::new);
        let now = clock::wall();
        let is_old = |stamp: &Option<Stamp>| {
            stamp.is_some_and(|stamp| stamp.changed_nanos().saturating_add(COARSE) < now.nanos())
        };
        let is_settled = files.iter().all(|(_, stamp)| is_old(stamp));
        Self { outcome, files, is_settled }
    }

    fn is_current(&self) -> bool {
        self.is_settled && self.files.iter().all(|(path, stamp)| Stamp::of(path) == *stamp)
    }
}

/// Reads the file, and notes how those looked that it names, before they are read.
fn read(path: &Path, files: &mut Vec<(PathBuf, Option<Stamp>)>) -> Result<Config, String> {
    let shown = printable(&path.to_string_lossy());
    let at = |(line, what): files::Fault| match line {
        Some(line) => format!("invalid web configuration {shown}: line {line}: {}", printable(&what)),
        None => format!("cannot read {shown}: {}", printable(&what)),
    };
    let text = files::text(path).map_err(at)?;
    let written: Option<Written> = yaml::parse(&text).map_err(at)?;
    let Written { mut tls_server_config, http_server_config, basic_auth_users, rate_limit } =
        written.unwrap_or_default();
    let directory = path.parent().unwrap_or(Path::new(""));
    let Tls { cert_file, key_file, client_ca_file, .. } = &mut tls_server_config;
    for named in [cert_file, key_file, client_ca_file].into_iter().flatten() {
        if *named != Path::new("") {
            *named = directory.join(&*named);
            files.push((named.clone(), Stamp::of(named)));
        }
    }
    let wrong = |what: String| format!("invalid web configuration {shown}: {}", printable(&what));
    let Http { http2, headers: written_headers } = http_server_config;
    let http2 = http2.is_none_or(|http2| http2.0 == Switch(true));
    let tls = tls::parse(tls_server_config, http2).map_err(wrong)?;
    let (tls, protection, certificate) = match tls {
        Some(Spoken { config, protection, certificate }) => (Some(config), protection, Some(certificate)),
        None => (None, Protection::default(), None),
    };
    Ok(Config {
        tls,
        protection,
        certificate,
        headers: headers::parse(written_headers).map_err(wrong)?,
        users: Users::parse(basic_auth_users).map_err(wrong)?,
        rate: Rate::parse(&rate_limit).map_err(wrong)?,
    })
}

impl std::fmt::Debug for ConfigFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConfigFile").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_fault_is_news_once_and_so_is_its_end() {
        let (mut recorded, start) = (Recorded::default(), clock::steady());
        let (one, other) = (String::from("one"), String::from("other"));
        let mut at = |seconds: u64, fault| recorded.changes(fault, start + Duration::from_secs(seconds));
        assert!(!at(0, None), "all is well");
        assert!(at(1, Some(&one)));
        assert!(!at(2, Some(&one)) && !at(100, Some(&one)), "it is known");
        assert!(at(101, Some(&other)));
        assert!(!at(103, None) && !at(104, Some(&one)), "a file that comes and goes");
        assert!(at(106, None), "in the end it is said");
        assert!(!at(120, None));
        assert!(at(121, Some(&one)), "the same fault again, after it was mended");
    }
}
