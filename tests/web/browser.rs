//! The page in Chromium, over a server with scans: light and dark, wide and narrow, with JavaScript and without. tests/web/shots.sh
//! makes the pictures in docs/ of a real running scan.

use super::scans::{event, over};
use portscan_exporter::detect::EventKind;
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
