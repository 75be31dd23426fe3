//! Keys and certificates, and the TLS that pins them.
//!
//! Each end has one self-signed certificate and a copy of the other's. A certificate is
//! accepted if it equals the copy byte for byte; its names, dates and issuer are ignored.
//! Private keys are written with mode 0600 and never printed. QUIC and TCP use the same TLS;
//! the settings of QUIC are in [`crate::transport`], those of TCP in [`crate::tcp`].

use std::path::Path;
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};

use crate::atomic_file;
use crate::error::{AgentError, FileOperation};
use crate::transport::{self, IdleTimeout};

/// The name in every certificate and in every handshake. It is not checked.
const NAME: &str = "cargo-burst";

/// A certificate and its private key.
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Identity([private])")
    }
}

impl Identity {
    /// Generates a key and its self-signed certificate.
    pub fn generate() -> Result<Self, AgentError> {
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(vec![NAME.to_owned()])
                .map_err(|error| AgentError::Identity(error.to_string()))?;
        Ok(Self { certificate: cert.der().clone(), key: signing_key.serialize_der().into() })
    }

    /// The identity of a certificate and its private key, both in DER.
    pub fn from_parts(certificate: Vec<u8>, key: Vec<u8>) -> Self {
        Self { certificate: certificate.into(), key: key.into() }
    }

    /// The private key in DER, to be given to the end that uses this identity.
    pub fn secret(&self) -> &[u8] {
        self.key.secret_pkcs8_der()
    }

    /// The certificate, which the other end pins.
    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Reads `NAME.cert` and `NAME.key` from a directory.
    pub fn load(directory: &Path, name: &str) -> Result<Self, AgentError> {
        let key = directory.join(format!("{name}.key"));
        let key = std::fs::read(&key).map_err(AgentError::file(FileOperation::Read, &key))?;
        Ok(Self { certificate: load_certificate(directory, name)?, key: key.into() })
    }

    /// Writes `NAME.cert` and `NAME.key` into a directory.
    pub fn save(&self, directory: &Path, name: &str) -> Result<(), AgentError> {
        write_private(&directory.join(format!("{name}.key")), self.key.secret_pkcs8_der())?;
        self.save_certificate(directory, name)
    }

    /// Writes `NAME.cert` without the key.
    pub fn save_certificate(&self, directory: &Path, name: &str) -> Result<(), AgentError> {
        write_private(&directory.join(format!("{name}.cert")), &self.certificate)
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.clone_key())
    }
}

/// Reads `NAME.cert` from a directory.
pub fn load_certificate(
    directory: &Path,
    name: &str,
) -> Result<CertificateDer<'static>, AgentError> {
    let path = directory.join(format!("{name}.cert"));
    let bytes = std::fs::read(&path).map_err(AgentError::file(FileOperation::Read, &path))?;
    Ok(bytes.into())
}

fn write_private(path: &Path, bytes: &[u8]) -> Result<(), AgentError> {
    atomic_file::replace(path, atomic_file::PRIVATE, bytes)
        .map_err(AgentError::file(FileOperation::Write, path))
}

/// The QUIC settings of the shim, which accepts the certificate `pinned` and no other.
pub fn client_config(
    own: &Identity,
    pinned: CertificateDer<'static>,
    idle_timeout: IdleTimeout,
) -> Result<quinn::ClientConfig, AgentError> {
    let tls = QuicClientConfig::try_from(client_tls(own, pinned)?).map_err(identity_error)?;
    let mut config = quinn::ClientConfig::new(Arc::new(tls));
    config.transport_config(Arc::new(transport::settings(idle_timeout)));
    Ok(config)
}

/// The QUIC settings of the agent, which accepts the certificate `pinned` and no other.
pub fn server_config(
    own: &Identity,
    pinned: CertificateDer<'static>,
    idle_timeout: IdleTimeout,
) -> Result<quinn::ServerConfig, AgentError> {
    let tls = QuicServerConfig::try_from(server_tls(own, pinned)?).map_err(identity_error)?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(tls));
    config.transport_config(Arc::new(transport::settings(idle_timeout)));
    Ok(config)
}

/// The TLS settings of the shim, which accepts the certificate `pinned` and no other.
pub fn client_tls(
    own: &Identity,
    pinned: CertificateDer<'static>,
) -> Result<rustls::ClientConfig, AgentError> {
    let provider = provider();
    let verifier = Arc::new(Pinned::new(pinned, &provider));
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(identity_error)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(vec![own.certificate.clone()], own.key())
        .map_err(identity_error)?;
    tls.alpn_protocols = vec![burst_protocol::ALPN.to_vec()];
    Ok(tls)
}

/// The TLS settings of the agent, which accepts the certificate `pinned` and no other.
pub fn server_tls(
    own: &Identity,
    pinned: CertificateDer<'static>,
) -> Result<rustls::ServerConfig, AgentError> {
    let provider = provider();
    let verifier = Arc::new(Pinned::new(pinned, &provider));
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(identity_error)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![own.certificate.clone()], own.key())
        .map_err(identity_error)?;
    tls.alpn_protocols = vec![burst_protocol::ALPN.to_vec()];
    Ok(tls)
}

/// The server name for handshakes.
pub const fn server_name() -> &'static str {
    NAME
}

/// Makes ring the crypto provider of this process. Has to be called before reqwest is used.
pub(crate) fn install_crypto_provider() {
    // An error says that a provider is installed already.
    drop(rustls::crypto::ring::default_provider().install_default());
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn identity_error(error: impl std::fmt::Display) -> AgentError {
    AgentError::Identity(error.to_string())
}

/// Accepts one certificate and no other.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Pinned {
    fn new(certificate: CertificateDer<'static>, provider: &CryptoProvider) -> Self {
        Self { certificate, algorithms: provider.signature_verification_algorithms }
    }

    fn check(&self, presented: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        if presented.as_ref() == self.certificate.as_ref() {
            return Ok(());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }
}

fn only_tls13() -> rustls::Error {
    rustls::Error::General("only TLS 1.3 is supported".into())
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(end_entity).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(end_entity).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
