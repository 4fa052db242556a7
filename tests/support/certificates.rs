//! Certificates for tests and examples, made anew each time: by rcgen as a careful operator would, and by plain `openssl req -x509` as
//! RPyC's users do.
//!
//! Used from anywhere in the repository with `#[path = "…/tests/support/certificates.rs"] mod certificates;`.
#![allow(
    dead_code,
    reason = "each test and example uses its own part of this file"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};

/// A folder of certificates, removed at the end.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("rpyc-certificates-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a temporary folder");
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// What plain `openssl req -x509` makes: a CA's certificate without alternative names, and its key. Ask [`has_openssl`] first.
    pub(crate) fn openssl(&self, name: &str) -> Pair {
        let pair = self.pair(name);
        let output = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                &format!("/CN={name}"),
            ])
            .arg("-keyout")
            .arg(&pair.key)
            .arg("-out")
            .arg(&pair.certificate)
            .output()
            .expect("openssl is on the PATH");
        assert!(output.status.success(), "{output:?}");
        pair
    }

    fn pair(&self, name: &str) -> Pair {
        Pair {
            certificate: self.path(&format!("{name}.crt")),
            key: self.path(&format!("{name}.key")),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind is the system's to clean.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Whether openssl(1) is there. If not, that is a failure with `CI=true`, and otherwise said on standard error.
pub(crate) fn has_openssl() -> bool {
    let is_there = Command::new("openssl").arg("version").output().is_ok();
    if !is_there {
        let what = "openssl is not installed, so a test did not run";
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{what}");
        eprintln!("{what}");
    }
    is_there
}

/// The files of a certificate and its key.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Pair {
    fn write(self, certificate: &str, key: &str) -> Self {
        fs::write(&self.certificate, certificate).expect("a temporary file");
        fs::write(&self.key, key).expect("a temporary file");
        self
    }

    /// As the settings of an endpoint.
    pub(crate) fn settings(&self) -> String {
        format!(
            "cert={}&key={}",
            self.certificate.display(),
            self.key.display()
        )
    }

    /// The certificate's SHA-256, as openssl prints it. Ask [`has_openssl`] first.
    pub(crate) fn fingerprint(&self) -> String {
        let output = Command::new("openssl")
            .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
            .arg(&self.certificate)
            .output()
            .expect("openssl is on the PATH");
        let text = String::from_utf8(output.stdout).expect("ASCII");
        let (_, digits) = text.trim().split_once('=').expect("openssl's form");
        digits.to_owned()
    }
}

/// A CA, whose certificate is in a file.
pub(crate) struct Ca<'a> {
    folder: &'a Folder,
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub(crate) certificate: PathBuf,
}

impl<'a> Ca<'a> {
    pub(crate) fn new(folder: &'a Folder, name: &str) -> Self {
        let mut params = CertificateParams::new([]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let certificate = folder.path(&format!("{name}.crt"));
        fs::write(&certificate, issuer.pem()).expect("a temporary file");
        Self {
            folder,
            issuer,
            certificate,
        }
    }

    /// A certificate for these hosts, by name or address.
    pub(crate) fn issue(&self, name: &str, hosts: &[&str]) -> Pair {
        self.issue_with(name, hosts, |_| {})
    }

    /// One that has expired.
    pub(crate) fn issue_expired(&self, name: &str, hosts: &[&str]) -> Pair {
        self.issue_with(name, hosts, |params| {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 1, 1);
        })
    }

    fn issue_with(
        &self,
        name: &str,
        hosts: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Pair {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).into()).collect();
        let mut params = CertificateParams::new(hosts).expect("names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        self.folder
            .pair(name)
            .write(&certificate.pem(), &key.serialize_pem())
    }

    /// The setting of an endpoint that trusts this CA.
    pub(crate) fn setting(&self) -> String {
        format!("ca={}", self.certificate.display())
    }
}

/// `name` and `path` as a setting of an endpoint.
pub(crate) fn setting(name: &str, path: &Path) -> String {
    format!("{name}={}", path.display())
}
