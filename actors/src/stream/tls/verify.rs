//! What each [`Verify`] looks at. The signature of the handshake itself, which proves that the peer holds the key, is always checked.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        ParsedCertificate, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use x509_cert::{Certificate, der::Decode, ext::pkix::BasicConstraints};

use super::{
    config::{Fingerprint, Verify},
    error::TlsError,
    identity::names_in,
};

/// The part that all verifiers have in common: the handshake's signature.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.provider.signature_verification_algorithms;
            verify_tls12_signature(message, certificate, signature, algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.provider.signature_verification_algorithms;
            verify_tls13_signature(message, certificate, signature, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.provider
                .signature_verification_algorithms
                .supported_schemes()
        }
    };
}

/// What a verifier holds the peer's certificate against.
#[derive(Debug)]
enum Trust<V: ?Sized> {
    Full(Arc<V>),
    /// Any certificate that a CA signed, and the CAs' own.
    Ca {
        chain: Arc<V>,
        trusted: Vec<CertificateDer<'static>>,
    },
    Pin(Vec<Fingerprint>),
    Nothing,
}

#[derive(Debug)]
pub(super) struct ServerVerifier {
    trust: Trust<dyn ServerCertVerifier>,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug)]
pub(super) struct ClientVerifier {
    trust: Trust<dyn ClientCertVerifier>,
    provider: Arc<CryptoProvider>,
    is_mandatory: bool,
}

/// Checks the chain and not the name.
#[derive(Debug)]
struct AnyName {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

fn roots_of(trusted: &[CertificateDer<'static>]) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for ca in trusted {
        roots.add(ca.clone()).map_err(|error| TlsError::Pem {
            place: "a certificate of ca".into(),
            what: error.to_string().into(),
        })?;
    }
    Ok(Arc::new(roots))
}

fn unusable(error: impl std::fmt::Display) -> TlsError {
    TlsError::Config(error.to_string().into())
}

impl ServerVerifier {
    pub(super) fn new(
        verify: &Verify,
        ca: Option<Vec<CertificateDer<'static>>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let trust: Trust<dyn ServerCertVerifier> = match (verify, ca) {
            (Verify::Full, Some(trusted)) => Trust::Full(
                WebPkiServerVerifier::builder_with_provider(roots_of(&trusted)?, provider.clone())
                    .build()
                    .map_err(unusable)?,
            ),
            (Verify::Full, None) => Trust::Full(Arc::new(
                rustls_platform_verifier::Verifier::new(provider.clone()).map_err(unusable)?,
            )),
            (Verify::Ca, Some(trusted)) => Trust::Ca {
                chain: Arc::new(AnyName {
                    roots: roots_of(&trusted)?,
                    provider: provider.clone(),
                }),
                trusted,
            },
            (Verify::Ca, None) => {
                let what = "verify=ca needs ca: with the system's CAs, anybody with a certificate for any name would be trusted";
                return Err(TlsError::Config(what.into()));
            }
            (Verify::Pin(pins), _) => Trust::Pin(pins.clone()),
            (Verify::DangerousInsecure, _) => Trust::Nothing,
        };
        Ok(Self { trust, provider })
    }
}

impl ClientVerifier {
    pub(super) fn new(
        verify: &Verify,
        ca: Option<Vec<CertificateDer<'static>>>,
        is_mandatory: bool,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let chain = |trusted: &[CertificateDer<'static>]| {
            WebPkiClientVerifier::builder_with_provider(roots_of(trusted)?, provider.clone())
                .build()
                .map_err(unusable)
        };
        let trust = match (verify, ca) {
            (Verify::Full, Some(trusted)) => Trust::Full(chain(&trusted)?),
            (Verify::Ca, Some(trusted)) => Trust::Ca {
                chain: chain(&trusted)?,
                trusted,
            },
            (Verify::Full | Verify::Ca, None) => {
                let what =
                    "clients' certificates are asked for, and no ca is named that signs them";
                return Err(TlsError::Config(what.into()));
            }
            (Verify::Pin(pins), _) => Trust::Pin(pins.clone()),
            (Verify::DangerousInsecure, _) => Trust::Nothing,
        };
        Ok(Self {
            trust,
            provider,
            is_mandatory,
        })
    }
}

impl<V: ?Sized> Trust<V> {
    fn check<R>(
        &self,
        certificate: &CertificateDer<'_>,
        now: UnixTime,
        yes: impl FnOnce() -> R,
        chain: impl FnOnce(&V) -> Result<R, Error>,
    ) -> Result<R, Error> {
        match self {
            Self::Full(verifier) => chain(verifier).map_err(|error| explain(error, certificate)),
            Self::Ca { trusted, .. } if trusted.contains(certificate) => {
                check_validity(certificate, now)?;
                Ok(yes())
            }
            Self::Ca {
                chain: verifier, ..
            } => chain(verifier).map_err(|error| explain(error, certificate)),
            Self::Pin(pins) => {
                let found = Fingerprint::of(certificate);
                if pins.contains(&found) {
                    return Ok(yes());
                }
                Err(TlsError::WrongPin { found }.into_rustls())
            }
            Self::Nothing => Ok(yes()),
        }
    }
}

/// Says what certificates are for when they are for other names, and tells a CA's certificate in the place of the peer's own from other
/// faults: many make them without knowing.
fn explain(error: Error, certificate: &CertificateDer<'_>) -> Error {
    if let Error::InvalidCertificate(CertificateError::NotValidForNameContext {
        expected, ..
    }) = &error
    {
        let wrong = TlsError::WrongName {
            expected: expected.to_str().into(),
            presented: names_in(certificate),
        };
        return wrong.into_rustls();
    }
    let is_other = matches!(error, Error::InvalidCertificate(CertificateError::Other(_)));
    let is_ca = || {
        let parsed = Certificate::from_der(certificate).ok()?;
        let constraints = parsed.tbs_certificate().get_extension::<BasicConstraints>();
        Some(constraints.ok()??.1.ca)
    };
    if is_other && is_ca() == Some(true) {
        return TlsError::CaAsEndEntity.into_rustls();
    }
    error
}

/// A certificate that is trusted as it stands must still be valid now.
fn check_validity(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let Ok(parsed) = Certificate::from_der(certificate) else {
        return Err(CertificateError::BadEncoding.into());
    };
    let validity = parsed.tbs_certificate().validity();
    let since = validity.not_before.to_unix_duration();
    let until = validity.not_after.to_unix_duration();
    if now.as_secs() < since.as_secs() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now.as_secs() > until.as_secs() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.roots,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    signatures!();
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.trust
            .check(end_entity, now, ServerCertVerified::assertion, |chain| {
                chain.verify_server_cert(end_entity, intermediates, name, ocsp, now)
            })
    }

    signatures!();
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.is_mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        match &self.trust {
            Trust::Full(chain) | Trust::Ca { chain, .. } => chain.root_hint_subjects(),
            Trust::Pin(_) | Trust::Nothing => &[],
        }
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.trust
            .check(end_entity, now, ClientCertVerified::assertion, |chain| {
                chain.verify_client_cert(end_entity, intermediates, now)
            })
    }

    signatures!();
}
