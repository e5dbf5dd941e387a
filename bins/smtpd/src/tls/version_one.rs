//! Certificates of X.509 version 1, which webpki does not read.
//!
//! They have no extensions; Debian's sendmail package makes one for each machine when it is
//! installed. No authority vouches for them here, so they verify as `FAIL`, but TLS with
//! them works as it did: the site shows its own, and those of peers are taken.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey, public_key_to_spki};
use rustls::{CertificateError, DigitallySignedStruct, Error, InconsistentKeys, PeerMisbehaved};
use x509_parser::x509::X509Version;

/// The site's own certificate with its key, of whatever version.
///
/// # Errors
/// When the key is of no known kind or does not belong to the certificate.
pub(super) fn own(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<Arc<SingleCertAndKey>, Error> {
    let old = chain.first().and_then(PublicKey::of);
    let Some(old) = old else {
        return Ok(Arc::new(
            CertifiedKey::from_der(chain, key, provider)?.into(),
        ));
    };
    let key = provider.key_provider.load_private_key(key)?;
    if key.public_key().is_some_and(|own| own != old.info()) {
        return Err(InconsistentKeys::KeyMismatch.into());
    }
    Ok(Arc::new(CertifiedKey::new(chain, key).into()))
}

/// Whether the peer of a TLS 1.2 handshake holds the key of its certificate.
///
/// # Errors
/// When it does not, or the signature is of no kind that may be used there.
pub(super) fn verify_tls12(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
    provider: &CryptoProvider,
) -> Result<HandshakeSignatureValid, Error> {
    let known = &provider.signature_verification_algorithms;
    match PublicKey::of(certificate) {
        Some(key) => key.verify_tls12(message, signature, known),
        None => verify_tls12_signature(message, certificate, signature, known),
    }
}

/// Whether the peer of a TLS 1.3 handshake holds the key of its certificate.
///
/// # Errors
/// As above.
pub(super) fn verify_tls13(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
    provider: &CryptoProvider,
) -> Result<HandshakeSignatureValid, Error> {
    let known = &provider.signature_verification_algorithms;
    match PublicKey::of(certificate) {
        Some(key) => verify_tls13_signature_with_raw_key(message, &key.info(), signature, known),
        None => verify_tls13_signature(message, certificate, signature, known),
    }
}

/// The public key of a certificate of version 1.
struct PublicKey {
    /// As a SubjectPublicKeyInfo.
    info: Vec<u8>,
    bits: Vec<u8>,
}

impl PublicKey {
    /// Nothing for every other certificate, which is left to webpki.
    fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
        if parsed.version() != X509Version::V1 {
            return None;
        }
        let key = parsed.public_key();
        Some(PublicKey {
            info: key.raw.to_vec(),
            bits: key.subject_public_key.data.to_vec(),
        })
    }

    fn info(&self) -> SubjectPublicKeyInfoDer<'_> {
        SubjectPublicKeyInfoDer::from(self.info.as_slice())
    }

    /// TLS 1.2: the kind of the key must be the algorithm's own.
    fn verify_tls12(
        &self,
        message: &[u8],
        signature: &DigitallySignedStruct,
        known: &WebPkiSupportedAlgorithms,
    ) -> Result<HandshakeSignatureValid, Error> {
        let (_, algorithms) = known
            .mapping
            .iter()
            .find(|(scheme, _)| *scheme == signature.scheme)
            .ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        algorithms
            .iter()
            .filter(|a| public_key_to_spki(&a.public_key_alg_id(), &self.bits) == self.info())
            .any(|a| {
                a.verify_signature(&self.bits, message, signature.signature())
                    .is_ok()
            })
            .then(HandshakeSignatureValid::assertion)
            .ok_or(CertificateError::BadSignature.into())
    }
}

#[cfg(test)]
#[path = "version_one_tests.rs"]
mod tests;
