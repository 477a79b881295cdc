//! How much the outside may ask of the server. A client that reaches the port can hold no more than this; `fair` says who
//! gives way when places are short.

use rustix::process::{Resource, getrlimit};
use std::time::Duration;

/// How long an answer by HTTP/2 waits for the end of a body that nobody reads.
pub(super) const BODY_WAIT: Duration = Duration::from_secs(1);

/// What clients may hold, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientLimits {
    /// Connections at a time. One more takes the place of the oldest of the client that holds most, if its own holds
    /// fewer; else of one of its own that waits without a request.
    pub connections: usize,
    /// From the first byte of a request to the end of its header.
    pub header: Duration,
    /// From the end of the header until the client has taken the answer.
    pub request: Duration,
    /// Between two requests; longer than any usual scrape interval.
    pub idle: Duration,
    /// For running answers when the server stops.
    pub drain: Duration,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            connections: 256,
            header: Duration::from_secs(10),
            request: Duration::from_secs(30),
            idle: Duration::from_secs(180),
            drain: Duration::from_secs(1),
        }
    }
}

impl ClientLimits {
    /// The usual limits, with fewer connections where the system grants few file descriptors.
    pub(crate) fn of_this_process() -> Self {
        let usual = Self::default();
        let granted = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) / DESCRIPTOR_SHARE;
        Self {
            connections: usual.connections.min(usize::try_from(granted).unwrap_or(usize::MAX)).max(1),
            ..usual
        }
    }

    /// Connections that were accepted and have no place yet: they hold a descriptor, too.
    pub(super) fn arrivals(&self) -> usize {
        (self.connections / 8).max(1)
    }
}

/// The share of the process' file descriptors that connections may have. The capture needs some to come back.
const DESCRIPTOR_SHARE: u64 = 3;

/// A request's header may be this long, in bytes; a longer one is answered with 431.
pub(super) const HEADER_BYTES: usize = 16 << 10;

/// Connections that may wait in the kernel for an accept: a storm of them must not leave Prometheus outside.
pub(super) const BACKLOG: i32 = 1024;

/// What the kernel may hold of answers that a client does not read, and of requests that we do not; it doubles both.
/// Without a bound a connection can have four megabytes, and the control group pays for them.
pub(super) const SEND_BUFFER: usize = 128 << 10;
pub(super) const RECEIVE_BUFFER: usize = 32 << 10;

/// How long to wait when the system has no descriptor or memory for another connection.
pub(super) const BACK_OFF: Duration = Duration::from_millis(250);

/// While nothing can be accepted, it is recorded this often: a client that holds connections must not fill the journal, too.
pub(super) const RECORD_EVERY: Duration = Duration::from_secs(60);

/// A web configuration that breaks, and mends, and breaks otherwise is recorded no more often than this.
pub(super) const FAULTS_EVERY: Duration = Duration::from_secs(5);

/// A page of metrics serves for so many times as long as it took to make. Clients that ask without end then cost a twentieth
/// of the thread for pages, however many sources are on them.
pub(super) const PAGE_SERVES_TIMES: u32 = 20;

/// But never for longer than this: a capture publishes once a second.
pub(super) const PAGE_SERVES_MOST: Duration = Duration::from_millis(500);

/// How long the captures have to answer a question; they tick once a second.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// How often the store is asked for their answers.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The longest query that can be a question for a source, in bytes.
pub(super) const QUERY_BYTES: usize = 100;

/// Passwords that may wait to be checked; one takes some 50 ms.
pub(super) const CHECKS_WAITING: usize = 8;

/// Passwords that are known to be right, and as many that are known to be wrong.
pub(super) const PASSWORDS_KEPT: usize = 64;

/// Requests that a connection of HTTP/2 may have under way: a browser's page and what it loads. Each can hold a page.
pub(super) const STREAMS: u32 = 8;

/// Streams that a client may reset before we have looked at them; one more ends its connection (CVE-2023-44487).
pub(super) const RESETS: usize = 16;

/// A piece of a body on HTTP/2, where a client decides how much of it may be sent: as much as h2 keeps beside it.
pub(super) const PIECE: usize = 16 << 10;

/// Events may be followed by so many clients at once.
pub(super) const FOLLOWERS: usize = 8;

/// A stream of events ends after this; its client comes again.
pub(super) const FOLLOW_FOR: Duration = Duration::from_secs(3600);

/// How often a stream of events looks for new ones.
pub(super) const FOLLOW_EVERY: Duration = Duration::from_secs(1);

/// A stream of events says at least so often that it is still there: more often than a client may leave an answer untaken.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(10);

/// The most scans of one answer: what one page of the API may weigh.
pub(super) const SCANS_PAGE: usize = 200;
