//! A running exporter's recent scans, page by page.

use super::{Asked, Found, Told};
use crate::text::printable;
use crate::text::time::rfc3339;
use crate::web::{self, Credentials, ListenAddress};
use serde::Deserialize;

/// An exporter keeps some thousand scans: one that has no last page is none.
const MOST_PAGES: usize = 100;

/// An answer, as far as it matters here.
#[derive(Deserialize)]
struct Page {
    scans: Vec<Told>,
    cursor: Option<String>,
}

pub(super) fn exporter(
    asked: &Asked,
    address: &ListenAddress,
    credentials: &Credentials,
) -> Result<Found, String> {
    let mut path = format!("/api/v1/scans?since={}", rfc3339(asked.since));
    if let Some(source) = asked.source {
        path.push_str(&format!("&source={source}"));
    }
    let mut found = Found::default();
    let mut cursor = None;
    for _ in 0..MOST_PAGES {
        let page = match &cursor {
            None => path.clone(),
            Some(cursor) => format!("{path}&cursor={cursor}"),
        };
        let Page { scans, cursor: next } = page_of(&page, address, credentials)?;
        found.scans.extend(scans);
        // It is put into the next path.
        let Some(next) = next.filter(|next| next.bytes().all(|byte| byte.is_ascii_digit())) else {
            return Ok(found);
        };
        cursor = Some(next);
    }
    Ok(Found { is_cut: true, ..found })
}

fn page_of(path: &str, address: &ListenAddress, credentials: &Credentials) -> Result<Page, String> {
    let (status, body) = web::get(address, path, credentials)?;
    if status.as_u16() == 401 {
        return Err(format!("the exporter at {address} {}", web::ASKS_PASSWORD));
    }
    serde_json::from_str(&body).ok().filter(|_| status.is_success()).ok_or_else(|| {
        let body: String = body.trim().chars().take(200).collect();
        format!(
            "the exporter at {address} does not know this question (is it a portscan_exporter of this version?): {} {}",
            status.as_u16(),
            printable(&body)
        )
    })
}
