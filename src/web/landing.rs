//! The landing page, in the style of the Prometheus exporters.

use super::routes::{Methods, Route};
use crate::publish::store::CaptureState;
use crate::system::version;
use std::fmt::Write as _;

const STYLE: &str = "body{font-family:system-ui,sans-serif;margin:0;color:#222}header{background:#e6522c;color:#fff;\
    padding:1rem 2rem}main{padding:0 2rem}table{border-collapse:collapse}td,th{padding:.2rem 1rem .2rem 0;\
    text-align:left}a{color:#b03a1a}h1{font-size:1.4rem;margin:0}";

/// The page: what this is, where to go, and how each interface stands.
pub(super) fn page<A>(routes: &[Route<A>], states: &[(String, CaptureState)]) -> String {
    let mut links = String::new();
    for Route { name, path, methods, about, .. } in routes.iter().filter(|route| route.path != "/") {
        let (path, about) = (escape(path), escape(about));
        let _ = match methods {
            Methods::Read => write!(links, "<li><a href=\"{path}\">{name}</a>: {about}</li>"),
            Methods::Change => write!(links, "<li>{name} ({} {path}): {about}</li>", methods.label()),
        };
    }
    let mut rows = String::new();
    for (interface, state) in states {
        let word = match state {
            CaptureState::Ready => "capturing",
            CaptureState::Starting => "starting",
            CaptureState::Down => "not capturing",
            CaptureState::Stalled => "stalled",
            CaptureState::Idle => continue,
        };
        let _ = write!(rows, "<tr><td>{}</td><td>{word}</td></tr>", escape(interface));
    }
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Portscan Exporter</title>\
         <style>{STYLE}</style></head><body><header><h1>Portscan Exporter</h1></header><main>\
         <p>Passive port-scan detector for Prometheus</p><p>Version: {} (revision {})</p>\
         <ul>{links}</ul>\
         <table><tr><th>Interface</th><th>State</th></tr>{rows}</table></main></body></html>\n",
        version::VERSION,
        version::REVISION,
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
