//! Certificates and passwords for tests, made by openssl(1) and htpasswd's format.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// bcrypt of "secret", at the least cost.
pub const SECRET: &str = "$2b$04$d5tsUg3gpYXZNw7Sgie7cOJZBNkSKd8LZ.3TBkJcqW3hy/N/dwDrS";

/// A directory with a certificate authority, a server (localhost, 127.0.0.1), a client and another client.
pub struct Pki {
    directory: tempfile::TempDir,
}

impl Pki {
    pub fn new() -> Self {
        let pki = Self { directory: tempfile::tempdir().unwrap() };
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(pki.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let subject = ["-subj", "/CN=test authority", "-days", "2"];
        pki.openssl(
            &[&["req", "-x509", "-nodes", "-keyout", "ca.key", "-out", "ca.pem"], &KEY[..], &subject]
                .concat(),
        );
        pki.issue("server", "DNS:localhost,IP:127.0.0.1", "serverAuth");
        pki.issue("client", "DNS:prometheus.example.org,URI:spiffe://example.org/prometheus", "clientAuth");
        pki.issue("other", "DNS:other.example.org", "clientAuth");
        pki
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A certificate of the authority: NAME.pem and NAME.key.
    pub fn issue(&self, name: &str, names: &str, usage: &str) {
        let (key, request, pem) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"));
        let subject = format!("/CN={name}");
        let new = ["req", "-nodes", "-keyout", &key, "-out", &request, "-subj", &subject];
        self.openssl(&[&new[..], &KEY[..]].concat());
        self.write("extensions", &format!("subjectAltName={names}\nextendedKeyUsage={usage}\n"));
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            "extensions",
            "-out",
            &pem,
        ]);
        // The exporter reads it as another user.
        for file in [&key, &pem] {
            use std::os::unix::fs::PermissionsExt as _;
            let path = self.path().join(file);
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
        }
    }

    /// A certificate as `openssl req -x509` makes it by default, for some days: it is its own authority.
    pub fn sign_itself(&self, name: &str, names: &str, days: &str) {
        let (key, pem) = (format!("{name}.key"), format!("{name}.pem"));
        let (subject, extension) = (format!("/CN={name}"), format!("subjectAltName={names}"));
        let new = ["req", "-x509", "-nodes", "-keyout", &key, "-out", &pem, "-subj", &subject];
        let named = ["-addext", &extension];
        let named = if names.is_empty() { &[][..] } else { &named[..] };
        self.openssl(&[&new[..], named, &["-days", days], &KEY[..]].concat());
    }

    /// Writes a file beside the certificates, as an editor that replaces it.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let (path, new) = (self.path().join(name), self.path().join(format!("{name}.new")));
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, &path).unwrap();
        path
    }

    fn openssl(&self, words: &[&str]) {
        let output = Command::new("openssl")
            .args(words)
            .current_dir(self.path())
            .stdin(Stdio::null())
            .output()
            .expect("needs openssl (Debian: openssl)");
        assert!(output.status.success(), "openssl {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

const KEY: [&str; 4] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
