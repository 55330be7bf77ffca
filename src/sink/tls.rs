//! TLS to PostgreSQL with libpq's meaning of `sslmode`: `prefer` and `require` encrypt and trust any certificate,
//! `verify-ca` and `verify-full` check it against the well-known roots or against `sslrootcert`.
//! (PostgreSQL manual, 34.19; the driver itself knows only the first three modes.)

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::error::{Error, Kind, Result, Stage};

/// What the URI says about certificates, and the URI without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsChoice {
    /// The URI as the driver takes it.
    pub uri: String,
    verify: bool,
    root: Option<String>,
}

impl TlsChoice {
    /// Takes `sslmode=verify-*` and `sslrootcert` out of a URI.
    #[must_use]
    pub fn from_uri(uri: &str) -> Self {
        let Some((base, query)) = uri.split_once('?') else {
            return Self { uri: uri.to_owned(), verify: false, root: None };
        };
        let (mut verify, mut root, mut kept) = (false, None, Vec::new());
        for pair in query.split('&') {
            match pair.split_once('=') {
                Some(("sslmode", "verify-ca" | "verify-full")) => {
                    verify = true;
                    kept.push("sslmode=require".to_owned());
                }
                Some(("sslrootcert", path)) => root = Some(path.to_owned()),
                _ => kept.push(pair.to_owned()),
            }
        }
        let uri = if kept.is_empty() { base.to_owned() } else { format!("{base}?{}", kept.join("&")) };
        Self { uri, verify, root }
    }

    /// The TLS client for that choice.
    ///
    /// # Errors
    /// When the root certificate cannot be read.
    pub fn client(&self) -> Result<ClientConfig> {
        let provider = Arc::new(ring::default_provider());
        let wrong = |message: String| Error::new(Kind::Configuration, Stage::Config, message);
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(format!("TLS: {error}")))?;
        if !self.verify {
            let trusting = Arc::new(AnyCertificate(provider));
            return Ok(builder.dangerous().with_custom_certificate_verifier(trusting).with_no_client_auth());
        }
        let mut roots = RootCertStore::empty();
        match &self.root {
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Some(path) => {
                let unreadable = |error| wrong(format!("sslrootcert {path:?} in target.uri cannot be read: {error}"));
                for certificate in CertificateDer::pem_file_iter(path).map_err(|e| unreadable(e.to_string()))? {
                    let certificate = certificate.map_err(|error| unreadable(error.to_string()))?;
                    roots.add(certificate).map_err(|error| unreadable(error.to_string()))?;
                }
            }
        }
        Ok(builder.with_root_certificates(roots).with_no_client_auth())
    }
}

/// Accepts every certificate, as libpq does below `verify-ca`; signatures are still checked.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::TlsChoice;

    #[test]
    fn what_the_driver_does_not_know_is_taken_out() {
        let choice = TlsChoice::from_uri("postgres://h/db?sslmode=verify-full&application_name=x&sslrootcert=/ca.pem");
        assert_eq!(choice.uri, "postgres://h/db?sslmode=require&application_name=x");
        assert!(choice.verify && choice.root.as_deref() == Some("/ca.pem"));
        assert_eq!(TlsChoice::from_uri("postgres://h/db").uri, "postgres://h/db");
    }
}
