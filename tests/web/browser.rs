//! The page in Chromium, over a server with scans: light and dark, wide and narrow, with JavaScript and without. tests/web/shots.sh
//! makes the pictures in docs/ of a real running scan.

use super::scans::{event, over};
use portscan_exporter::detect::{EventKind, Source};
use portscan_exporter::publish::recent::Recent;
use std::process::Command;
use std::sync::Arc;

/// What Chromium makes of the page: its DOM after some time, and what it said on its console.
fn chromium(url: &str, words: &[&str], scripts: bool) -> (String, String) {
    let profile = tempfile::tempdir().unwrap();
    if !scripts {
        // As people switch it off, in the settings; Chromium's own flag for it would also keep it from printing the DOM.
        std::fs::create_dir(profile.path().join("Default")).unwrap();
        let settings = r#"{"profile":{"default_content_setting_values":{"javascript":2}}}"#;
        std::fs::write(profile.path().join("Default/Preferences"), settings).unwrap();
    }
    let output = Command::new("timeout")
        .args([
            "-k",
            "5",
            "120",
            "chromium",
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
        ])
        .args([
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ])
        .args(["--disable-extensions", "--disable-default-apps", "--enable-logging=stderr", "--dump-dom"])
        .args(["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--virtual-time-budget=12000"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(words)
        .arg(url)
        .output()
        .expect("needs chromium");
    let said = String::from_utf8_lossy(&output.stderr);
    let console = said.lines().filter(|line| line.contains("CONSOLE")).collect::<Vec<_>>().join("\n");
    (String::from_utf8_lossy(&output.stdout).into_owned(), console)
}

#[test]
fn the_page_shows_scans_in_every_light_and_width_and_says_nothing_on_the_console() {
    let recent = Arc::new(Recent::new(7));
    recent.put(&Arc::from("eth0"), event(EventKind::Hit, 7, 1000));
    recent.put(&Arc::from("eth0"), event(EventKind::Ended, 9, 25));
    recent.put(&Arc::from("<b>&\"'"), event(EventKind::Ended, 11, 25));
    let server = over(&recent);
    let url = format!("http://{}/", server.address);
    for (words, scripts) in [
        (&["--window-size=1400,900"][..], true),
        (&["--window-size=400,900", "--blink-settings=preferredColorScheme=0"], true),
        (&["--window-size=1400,900"], false),
    ] {
        let (dom, console) = chromium(&url, words, scripts);
        assert_eq!(console, "", "{words:?}");
        for shown in [
            "198.51.100.7",
            "198.51.100.9",
            ">open<",
            "1000 <span class=\"soft\">21-23, 25, 80, 443, …</span><svg class=\"ports\"",
            "&lt;b&gt;&amp;",
            "data-label=\"Interface\"",
        ] {
            assert!(dom.contains(shown), "{words:?}: no {shown} in {dom}");
        }
        assert!(!dom.contains("class=\"stale\""), "{words:?}");
    }
}

/// Addresses and ages in one piece, no column that no scan has anything for, and nothing beyond the edge of the window.
#[test]
fn a_table_breaks_no_address_and_a_narrower_window_gets_cards() {
    let recent = Arc::new(Recent::new(7));
    let mut sixth = event(EventKind::Hit, 7, 1000);
    sixth.scan.source = Source::of("2001:db8:1:abcd::7".parse().unwrap(), 64);
    recent.put(&Arc::from("eth0"), sixth);
    recent.put(&Arc::from("eth0"), event(EventKind::Ended, 207, 1000));
    let reply = over(&recent).get("/");
    let page = reply.text();
    for (column, is_there) in [("Source", true), ("Evidence", true), ("Known as", false), ("Answered", false)]
    {
        assert_eq!(page.contains(&format!("<th scope=\"col\">{column}</th>")), is_there, "{column}: {page}");
        assert_eq!(page.contains(&format!("data-label=\"{column}\"")), is_there, "{column}: {page}");
    }
    // The page may run nothing but its own script; a copy of it may measure.
    let (before, _) = page.split_once("<script>").unwrap();
    let measure = "<script>const whole = e => e.getClientRects().length === 1;\
        const numbers = [...document.querySelectorAll('td .address, td time')];\
        document.body.append(`measured ${numbers.filter(whole).length} of ${numbers.length}, \
        ${Math.max(0, document.documentElement.scrollWidth - innerWidth)} beyond`)</script>";
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("page.html");
    std::fs::write(&copy, format!("{before}{measure}")).unwrap();
    for width in [500, 800, 1153, 1200, 1440] {
        let url = format!("file://{}", copy.display());
        let (dom, _) = chromium(&url, &[&format!("--window-size={width},900")], true);
        let said = dom.rsplit("measured ").next().unwrap_or_default();
        assert!(said.starts_with("6 of 6, 0 beyond"), "{width}: {said}");
    }
}
