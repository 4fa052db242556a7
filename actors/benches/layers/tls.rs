//! TLS for both sides: ours, and tokio-rustls below a `Framed`.

use std::sync::{Arc, OnceLock};

use rpyc_actors::{
    Endpoint, Layers, TlsConfig,
    stream::tls::{ClientCertificates, Pem},
};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SupportedCipherSuite,
    crypto::ring::{self, cipher_suite},
    pki_types::{PrivateKeyDer, ServerName},
    version::TLS13,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::support::{ends::Stack, framed::Carrier};

const HOST: &str = "localhost";

/// A certificate that signed itself, made for this run.
fn certified() -> &'static rcgen::CertifiedKey<rcgen::KeyPair> {
    static CERTIFIED: OnceLock<rcgen::CertifiedKey<rcgen::KeyPair>> = OnceLock::new();
    CERTIFIED.get_or_init(|| {
        rcgen::generate_simple_self_signed([HOST.into()]).expect("a certificate can be made")
    })
}

/// Ours, with what it chooses by itself: AES-256-GCM in TLS 1.3.
pub(crate) fn ours() -> Stack {
    let certificate = Pem::text(certified().cert.pem());
    let key = Pem::text(certified().signing_key.serialize_pem());
    let server = TlsConfig::default()
        .certificate(certificate.clone(), key)
        .clients(ClientCertificates::None);
    let client = TlsConfig::default().ca(certificate);
    Stack {
        listening: Endpoint::tls("127.0.0.1", 0, server),
        dialling: Arc::new(move |port| {
            let client = client.clone().name(HOST);
            Endpoint::tls("127.0.0.1", port, client)
        }),
        ..Layers::new().into()
    }
}

/// tokio-rustls with ring, and TLS 1.3 with one suite only.
#[derive(Clone, Copy)]
pub(crate) enum Suite {
    ChaCha20Poly1305,
    Aes256Gcm,
}

impl Suite {
    fn provider(self) -> Arc<rustls::crypto::CryptoProvider> {
        let suite: SupportedCipherSuite = match self {
            Self::ChaCha20Poly1305 => cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
            Self::Aes256Gcm => cipher_suite::TLS13_AES_256_GCM_SHA384,
        };
        Arc::new(rustls::crypto::CryptoProvider {
            cipher_suites: vec![suite],
            ..ring::default_provider()
        })
    }
}

impl Carrier for Suite {
    type Stream = TlsStream<TcpStream>;

    async fn dial(self, socket: TcpStream) -> Self::Stream {
        let mut roots = RootCertStore::empty();
        roots
            .add(certified().cert.der().clone())
            .expect("it is a good certificate");
        let config = ClientConfig::builder_with_provider(self.provider())
            .with_protocol_versions(&[&TLS13])
            .expect("the suite is one of TLS 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(HOST).expect("it is a name");
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, socket)
            .await;
        stream.expect("the server is ours").into()
    }

    async fn accept(self, socket: TcpStream) -> Self::Stream {
        let key = PrivateKeyDer::try_from(certified().signing_key.serialize_der())
            .expect("it was made just so");
        let mut config = ServerConfig::builder_with_provider(self.provider())
            .with_protocol_versions(&[&TLS13])
            .expect("the suite is one of TLS 1.3")
            .with_no_client_auth()
            .with_single_cert(vec![certified().cert.der().clone()], key)
            .expect("they belong together");
        // A client that only sends never reads them, and a close with unread input resets the connection.
        config.send_tls13_tickets = 0;
        let stream = TlsAcceptor::from(Arc::new(config)).accept(socket).await;
        stream.expect("the client is ours").into()
    }
}
