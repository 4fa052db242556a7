//! [`TlsError`]: what can be wrong with certificates, keys and handshakes.

use std::{fmt::Write as _, io, path::PathBuf, sync::Arc, time::Duration};

use rustls::{AlertDescription, CertificateError};

use super::config::Fingerprint;

/// Why there is no TLS, or why it ended.
///
/// "This end" is where the error is raised. What is wrong with a certificate of ours is told by the peer with an alert, which is
/// [`Refused`](Self::Refused) here. In TLS 1.3 a client has finished its handshake before the server looks at its certificate, so there the
/// refusal comes as the reason of a loss, with the first read.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file of certificates or keys cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: Arc<io::Error>,
    },
    /// A file or text does not hold what it should.
    #[error("{place} is not usable: {what}")]
    Pem {
        /// The file, or a word for the text.
        place: Arc<str>,
        /// What is missing or wrong.
        what: Arc<str>,
    },
    /// The private key is another certificate's.
    #[error("the key in {key} does not belong to the certificate in {certificate}")]
    KeyMismatch {
        /// Where the certificate is from.
        certificate: Arc<str>,
        /// Where the key is from.
        key: Arc<str>,
    },
    /// The settings contradict each other, or lack something.
    #[error("{0}")]
    Config(Arc<str>),
    /// No trusted CA has signed the peer's certificate.
    #[error("the peer's certificate is not signed by a CA that is trusted here")]
    UnknownIssuer,
    /// The peer's certificate was valid once.
    #[error("the peer's certificate has expired")]
    Expired,
    /// The peer's certificate will be valid later.
    #[error("the peer's certificate is not valid yet")]
    NotValidYet,
    /// The peer's certificate is for other names.
    #[error(
        "the peer's certificate is not for {expected}: {}",
        presented_names(presented)
    )]
    WrongName {
        /// The name that was asked for.
        expected: Arc<str>,
        /// The names in the certificate.
        presented: Vec<String>,
    },
    /// The peer's own certificate is a CA's, as plain `openssl req -x509` makes them.
    #[error(
        "the peer's certificate is a CA certificate used as its own, as plain `openssl req -x509` makes them: trust it with verify=ca and \
         itself as ca, or with verify=pin, or give the peer another one"
    )]
    CaAsEndEntity,
    /// The peer's certificate is none of those that were pinned.
    #[error("the peer's certificate is not one of those pinned: its SHA-256 is {found}")]
    WrongPin {
        /// The SHA-256 of the certificate that came.
        found: Fingerprint,
    },
    /// The peer's certificate has another fault.
    #[error("the peer's certificate is not valid: {0}")]
    BadCertificate(#[source] Arc<rustls::Error>),
    /// A client showed no certificate where one is required.
    #[error("the peer presented no certificate")]
    NoCertificate,
    /// The peer refused the handshake, for example for the certificate of this end.
    #[error("the peer refused with the alert {alert}")]
    Refused {
        /// The alert's name in TLS's registry, such as `CertificateRequired` or `UnknownCA`.
        alert: Arc<str>,
    },
    /// What came is not TLS.
    #[error("the peer does not speak TLS")]
    NotTls,
    /// The stream ended before the handshake did.
    #[error("the peer ended the connection during the handshake")]
    Ended,
    /// The handshake was not finished in time.
    #[error("no handshake within {0:?}")]
    TimedOut(Duration),
    /// The handshake gave way to newer ones: too many were under way.
    #[error("too many handshakes were under way")]
    TooMany,
    /// The transport failed during the handshake.
    #[error("{0}")]
    Io(#[source] Arc<io::Error>),
    /// Another fault of the protocol.
    #[error("{0}")]
    Protocol(#[source] Arc<rustls::Error>),
}

fn presented_names(names: &[String]) -> String {
    if names.is_empty() {
        return "it names no host".into();
    }
    let mut text = String::from("it names ");
    for (at, name) in names.iter().take(8).enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        write!(text, "{comma}{name}").expect("a String takes all text");
    }
    text
}

impl TlsError {
    /// The fault that a verifier of ours, or the library, found.
    pub(super) fn of(error: rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(fault) => Self::of_certificate(fault),
            rustls::Error::NoCertificatesPresented => Self::NoCertificate,
            rustls::Error::AlertReceived(alert) => Self::refused(alert),
            rustls::Error::InvalidMessage(_) => Self::NotTls,
            other => Self::Protocol(Arc::new(other)),
        }
    }

    fn of_certificate(fault: CertificateError) -> Self {
        match fault {
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::NotValidYet
            }
            CertificateError::Other(other) => match other.0.downcast_ref::<Self>() {
                Some(ours) => ours.clone(),
                None => Self::BadCertificate(Arc::new(CertificateError::Other(other).into())),
            },
            other => Self::BadCertificate(Arc::new(other.into())),
        }
    }

    fn refused(alert: AlertDescription) -> Self {
        Self::Refused {
            alert: format!("{alert:?}").into(),
        }
    }

    /// What is inside an error of the transport, if that came from TLS.
    pub(crate) fn inside(error: &io::Error) -> Option<Self> {
        let inner = error.get_ref()?.downcast_ref::<rustls::Error>()?;
        Some(Self::of(inner.clone()))
    }

    /// What ended a handshake.
    pub(super) fn of_handshake(error: io::Error) -> Self {
        match Self::inside(&error) {
            Some(found) => found,
            None if error.kind() == io::ErrorKind::UnexpectedEof => Self::Ended,
            None => Self::Io(Arc::new(error)),
        }
    }

    /// The form in which the library carries a fault that a verifier of ours found.
    pub(super) fn into_rustls(self) -> rustls::Error {
        let other = rustls::OtherError(Arc::new(self));
        rustls::Error::InvalidCertificate(CertificateError::Other(other))
    }
}
