//! What each path answers.

use super::App;
use super::connection::Watch;
use crate::board::Standing;
use crate::{clock, metrics};
use flate2::{Compression, write::GzEncoder};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// A capture loop ticks every second; one that has been silent for this long hangs.
const HEALTHY: Duration = Duration::from_secs(10);

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const CSP: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
                   frame-ancestors 'none'";

type Answer = Response<Full<Bytes>>;

/// The answer to a request. Its body is never read.
pub(super) async fn answer(
    request: &Request<Incoming>,
    app: &App,
    scrapes: &Arc<Semaphore>,
    watch: &Watch,
) -> Answer {
    let path = request.uri().path();
    let read = |page: fn(&App) -> Answer| match *request.method() {
        Method::GET | Method::HEAD => page(app),
        _ => not_allowed("GET, HEAD"),
    };
    // First: an operator may put the exposition at `/`, which then has no landing page.
    if path == app.options.telemetry_path {
        return match *request.method() {
            Method::GET | Method::HEAD => scrape(request.headers(), app, scrapes, watch),
            _ => not_allowed("GET, HEAD"),
        };
    }
    match path {
        "/" => read(landing),
        "/-/healthy" => read(healthy),
        "/-/ready" => read(ready),
        "/-/reload" if request.method() == Method::POST => reload(app).await,
        "/-/reload" => not_allowed("POST"),
        _ => text(StatusCode::NOT_FOUND, "404 page not found\n"),
    }
}

fn scrape(headers: &HeaderMap, app: &App, scrapes: &Arc<Semaphore>, watch: &Watch) -> Answer {
    let Ok(permit) = Arc::clone(scrapes).try_acquire_owned() else {
        let most = app.options.max_requests;
        let what = format!("Limit of concurrent requests reached ({most}), try again later.\n");
        return text(StatusCode::SERVICE_UNAVAILABLE, what);
    };
    watch.keep_permit(permit);
    let page = metrics::render(&app.board.all(), Some(&(app.state)()));
    let (page, packed) = if accepts_gzip(headers) { (gzip(&page), true) } else { (page, false) };
    let mut answer = respond(StatusCode::OK, metrics::CONTENT_TYPE, page);
    let headers = answer.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    if packed {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    answer
}

fn gzip(page: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(page).and_then(|()| packed.finish()).expect("writing to memory does not fail")
}

// RFC 9110, 12.5.3: a coding is acceptable unless its weight is 0; `*` stands for those not named.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let mut any = false;
    let mut named = None;
    let values = headers.get_all(header::ACCEPT_ENCODING).iter();
    for item in values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')) {
        let mut parts = item.split(';').map(str::trim);
        let coding = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            name.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse::<f32>().unwrap_or(0.0))
        });
        let wanted = weight.unwrap_or(1.0) > 0.0;
        if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") {
            named = Some(named.unwrap_or(false) || wanted);
        } else if coding == "*" {
            any = wanted;
        }
    }
    named.unwrap_or(any)
}

fn healthy(app: &App) -> Answer {
    let mut wrong = String::new();
    for (interface, silence) in app.board.stalled(clock::steady(), HEALTHY) {
        let _ = writeln!(wrong, "The capture on {interface} has not ticked for {} s.", silence.as_secs());
    }
    verdict("portscan_exporter is healthy.\n", wrong)
}

fn ready(app: &App) -> Answer {
    let mut wrong = String::new();
    for (interface, standing) in app.board.standings() {
        let _ = match standing {
            Standing::Ready => continue,
            Standing::Starting => writeln!(wrong, "The capture on {interface} has not published yet."),
            Standing::Down => writeln!(wrong, "The capture on {interface} is down."),
        };
    }
    verdict("portscan_exporter is ready.\n", wrong)
}

fn verdict(well: &'static str, wrong: String) -> Answer {
    if wrong.is_empty() { text(StatusCode::OK, well) } else { text(StatusCode::SERVICE_UNAVAILABLE, wrong) }
}

async fn reload(app: &App) -> Answer {
    if !app.options.enable_lifecycle {
        let what = "Reload over HTTP is off: start with --web.enable-lifecycle, or send SIGHUP.\n";
        return text(StatusCode::FORBIDDEN, what);
    }
    match (app.reload)().await {
        Ok(()) => text(StatusCode::OK, "Configuration reloaded.\n"),
        Err(what) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("Reload failed: {what}\n")),
    }
}

fn not_allowed(methods: &'static str) -> Answer {
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, format!("Allowed here: {methods}\n"));
    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
    answer
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    respond(status, TEXT, body)
}

fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers: [(HeaderName, &'static str); 4] = [
        (header::CONTENT_TYPE, content_type),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, CSP),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in headers {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

const STYLE: &str = "body{font-family:-apple-system,BlinkMacSystemFont,\"Segoe UI\",Roboto,sans-serif;margin:0;\
color:#212529}header{background:#e6522c;color:#fff;padding:1rem}h1{margin:0;font-size:1.6rem}\
main{padding:1rem}table{border-collapse:collapse}td,th{text-align:left;padding:.2rem 1.2rem .2rem 0}\
.down{color:#b00020;font-weight:600}";

fn landing(app: &App) -> Answer {
    let state = (app.state)();
    let snapshots = app.board.all();
    let mut rows = String::new();
    for (interface, standing) in app.board.standings() {
        let (class, word) = match standing {
            Standing::Ready => ("up", "capturing"),
            Standing::Starting => ("starting", "starting"),
            Standing::Down => ("down", "down"),
        };
        let scans = snapshots
            .iter()
            .find(|snapshot| snapshot.interface == interface)
            .map_or(0, |snapshot| snapshot.detection.open_scans.iter().sum::<u64>());
        let interface = escape(interface);
        let _ =
            writeln!(rows, "<tr><td>{interface}</td><td class=\"{class}\">{word}</td><td>{scans}</td></tr>");
    }
    let (version, revision) = (escape(&state.build.version), escape(&state.build.revision));
    let metrics = escape(&app.options.telemetry_path);
    let page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>portscan_exporter</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <header><h1>portscan_exporter</h1></header>\n<main>\n\
         <h2>Passive port-scan detector for Prometheus</h2>\n\
         <div>Version: (version={version}, revision={revision})</div>\n\
         <ul>\n<li><a href=\"{metrics}\">Metrics</a></li>\n<li><a href=\"/-/healthy\">Health</a></li>\n\
         <li><a href=\"/-/ready\">Ready</a></li>\n</ul>\n\
         <table>\n<tr><th>Interface</th><th>State</th><th>Open scans</th></tr>\n{rows}</table>\n\
         </main>\n</body>\n</html>\n"
    );
    respond(StatusCode::OK, HTML, page)
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_only_when_asked_for() {
        for (asked, packed) in [
            ("", false),
            ("gzip", true),
            ("GZIP", true),
            ("x-gzip", true),
            ("deflate, gzip;q=0.5", true),
            ("gzip;q=0", false),
            ("gzip; q=0.000", false),
            ("gzip;q=nonsense", false),
            ("identity", false),
            ("*", true),
            ("*;q=0", false),
            ("*, gzip;q=0", false),
            ("*;q=0, gzip", true),
            ("gzippy", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_str(asked).unwrap());
            assert_eq!(accepts_gzip(&headers), packed, "{asked:?}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }

    #[test]
    fn names_cannot_write_html() {
        assert_eq!(escape("<a href='x'>&\""), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;");
    }
}
