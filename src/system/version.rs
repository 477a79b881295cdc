//! What this program is: for `--version`, the start banner and `portscan_exporter_build_info`.

/// The release.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The revision of the sources, `unknown` if they were not built from a repository.
pub(crate) const REVISION: &str = env!("PORTSCAN_REVISION");
/// The compiler's version.
pub(crate) const RUST_VERSION: &str = env!("PORTSCAN_RUST_VERSION");

/// What `--version` prints, in the form the Prometheus exporters share.
pub fn text(libpcap: &str) -> String {
    let platform = format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH);
    format!(
        "portscan_exporter, version {VERSION} (revision: {REVISION})\n  rust version:     {RUST_VERSION}\n  \
         libpcap:          {libpcap}\n  platform:         {platform}\n"
    )
}
