//! [`TlsInfo`] and [`PeerCertificate`]: what a handshake established, and with whom.

use std::{fmt, net::IpAddr, sync::Arc};

use rustls::{CommonState, HandshakeKind, ProtocolVersion, pki_types::CertificateDer};
use x509_cert::{
    Certificate,
    der::{Decode, Encode},
    ext::pkix::{SubjectAltName, name::GeneralName},
};

use super::config::{Fingerprint, TlsVersion};

/// What the handshake of a stream established.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TlsInfo {
    /// The version of the protocol.
    pub version: TlsVersion,
    /// The cipher suite's name, such as `TLS13_AES_256_GCM_SHA384`.
    pub cipher: Arc<str>,
    /// The handshake resumed an earlier session.
    pub resumed: bool,
    /// The name the client asked for: on a listener what it sent, on a client what it looked for.
    pub name: Option<Arc<str>>,
    /// The peer's certificate; a listener has one only if it asked for one and the client had one.
    pub peer: Option<PeerCertificate>,
    /// What both ends of this very connection export from it (RFC 5705, label `EXPORTER-rpyc-resume`) and no other connection
    /// has; none where the peer's TLS cannot.
    pub binding: Option<[u8; 32]>,
}

impl TlsInfo {
    pub(super) fn new(
        session: &CommonState,
        name: Option<Arc<str>>,
        binding: Option<[u8; 32]>,
        is_verified: bool,
    ) -> Self {
        let version = match session.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => TlsVersion::V1_2,
            _ => TlsVersion::V1_3,
        };
        let cipher = session
            .negotiated_cipher_suite()
            .map_or_else(|| "".into(), |suite| format!("{:?}", suite.suite()).into());
        Self {
            version,
            cipher,
            resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
            name,
            binding,
            peer: session
                .peer_certificates()
                .and_then(|chain| PeerCertificate::new(chain, is_verified)),
        }
    }
}

/// The certificate with which the peer proved who it is.
///
/// The peer has proved that it holds the private key. Whether anybody vouches for what the certificate says is told by
/// [`is_verified`](Self::is_verified).
#[derive(Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    chain: Vec<CertificateDer<'static>>,
    fingerprint: Fingerprint,
    is_verified: bool,
    subject: Arc<str>,
    subject_der: Vec<u8>,
    alt_names: Vec<String>,
    alt_names_der: Option<Vec<u8>>,
}

impl fmt::Debug for PeerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerCertificate")
            .field("subject", &self.subject)
            .field("alt_names", &self.alt_names)
            .field("fingerprint", &format_args!("{}", self.fingerprint))
            .field("is_verified", &self.is_verified)
            .finish()
    }
}

impl PeerCertificate {
    fn new(chain: &[CertificateDer<'_>], is_verified: bool) -> Option<Self> {
        let first = chain.first()?;
        // One that cannot be read (a verified one always can) is known by its hash alone.
        let parsed = Certificate::from_der(first).ok();
        let subject = parsed
            .as_ref()
            .map(|parsed| parsed.tbs_certificate().subject());
        let alt = parsed.as_ref().and_then(alt_names);
        Some(Self {
            fingerprint: Fingerprint::of(first),
            is_verified,
            subject: subject.map_or_else(|| "".into(), |subject| subject.to_string().into()),
            subject_der: subject
                .and_then(|subject| subject.to_der().ok())
                .unwrap_or_default(),
            alt_names: alt.as_ref().map(shown_names).unwrap_or_default(),
            alt_names_der: alt.and_then(|alt| alt.to_der().ok()),
            chain: chain.iter().map(|one| one.clone().into_owned()).collect(),
        })
    }

    /// The certificate in DER.
    pub fn der(&self) -> &[u8] {
        self.chain.first().map_or(&[], |first| first)
    }

    /// All certificates that the peer sent, in DER, its own first.
    pub fn chain(&self) -> impl Iterator<Item = &[u8]> {
        self.chain.iter().map(|one| &one[..])
    }

    /// The SHA-256 of the certificate: what [`Verify::Pin`](super::Verify::Pin) compares.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// A trusted CA signed it, or it was pinned. False with [`Verify::DangerousInsecure`](super::Verify::DangerousInsecure): then anybody
    /// can have made it up, with any names.
    pub fn is_verified(&self) -> bool {
        self.is_verified
    }

    /// The subject as text (RFC 4514), such as `CN=worker,O=Example`.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The subject in DER.
    pub fn subject_der(&self) -> &[u8] {
        &self.subject_der
    }

    /// The alternative names as OpenSSL writes them: `DNS:host`, `IP:127.0.0.1`, `email:a@b`, `URI:…`. Other kinds are left out.
    pub fn alt_names(&self) -> &[String] {
        &self.alt_names
    }

    /// The value of the extension with the alternative names, in DER.
    pub fn alt_names_der(&self) -> Option<&[u8]> {
        self.alt_names_der.as_deref()
    }
}

fn alt_names(certificate: &Certificate) -> Option<SubjectAltName> {
    let found = certificate.tbs_certificate().get_extension();
    found.ok().flatten().map(|(_, names)| names)
}

fn shown_names(names: &SubjectAltName) -> Vec<String> {
    names.0.iter().filter_map(shown).collect()
}

/// The alternative names in a certificate, as OpenSSL writes them.
pub(super) fn names_in(certificate: &CertificateDer<'_>) -> Vec<String> {
    let parsed = Certificate::from_der(certificate).ok();
    let names = parsed.as_ref().and_then(alt_names);
    names.as_ref().map(shown_names).unwrap_or_default()
}

fn shown(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(format!("DNS:{name}")),
        GeneralName::Rfc822Name(name) => Some(format!("email:{name}")),
        GeneralName::UniformResourceIdentifier(name) => Some(format!("URI:{name}")),
        GeneralName::IpAddress(octets) => {
            let octets = octets.as_bytes();
            let address = match octets.len() {
                4 => IpAddr::from(<[u8; 4]>::try_from(octets).ok()?),
                _ => IpAddr::from(<[u8; 16]>::try_from(octets).ok()?),
            };
            Some(format!("IP:{address}"))
        }
        _ => None,
    }
}
