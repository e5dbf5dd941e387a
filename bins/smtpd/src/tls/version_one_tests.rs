//! Handshakes in memory with certificates that have no extensions.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};

use super::*;
use crate::tls::client;

/// As `openssl req` and `openssl x509 -req -signkey` make one.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----
MIIBJzCBzwIUJofIELeFo9ES6i285Wui6M3p/w0wCgYIKoZIzj0EAwIwFjEUMBIG
A1UEAwwLb2xkLmV4YW1wbGUwIBcNMjYxMTI2MDAxMTI2WhgPMjEyNjExMDIwMDEx
MjZaMBYxFDASBgNVBAMMC29sZC5leGFtcGxlMFkwEwYHKoZIzj0CAQYIKoZIzj0D
AQcDQgAEB9Plw9XN0xEy+fPHAWv3VaAlOm8yxnPyk3vFRQn1YL58XKPNNJrMjjNb
qmFJXcOANWa+hNKj0rTUMFx4X8RZ8DAKBggqhkjOPQQDAgNHADBEAiAgD1LbvrnI
QXwQTrrO1gafDL9qKz7KEhz10oeaEZTyGQIgbt0vfdFZevtd+GwKU/aNVptWoDea
LYNe1HlzsLSQnXw=
-----END CERTIFICATE-----
";
const KEY: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQguv8xuow4GGRXsgGs
V4QaoZZl3KsFeQRfuuuJparAZtKhRANCAAQH0+XD1c3TETL588cBa/dVoCU6bzLG
c/KTe8VFCfVgvnxco800msyOM1uqYUldw4A1Zr6E0qPStNQwXHhfxFnw
-----END PRIVATE KEY-----
";

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn chain() -> Vec<CertificateDer<'static>> {
    vec![CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap()]
}

fn key() -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap()
}

fn other_key() -> PrivateKeyDer<'static> {
    let pair = rcgen::KeyPair::generate().unwrap();
    PrivateKeyDer::from_pem_slice(pair.serialize_pem().as_bytes()).unwrap()
}

/// Client and server both show `shown`, and take what the other shows.
fn handshake(
    shown: &Arc<SingleCertAndKey>,
    version: &'static rustls::SupportedProtocolVersion,
) -> Result<(), Error> {
    let anyone = crate::tls::Anyone {
        provider: provider(),
        roots: None,
    };
    let server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[version])?
        .with_client_cert_verifier(Arc::new(anyone))
        .with_cert_resolver(Arc::clone(shown) as _);
    let client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[version])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(client::Anyone(provider())))
        .with_client_cert_resolver(Arc::clone(shown) as _);
    let name = ServerName::try_from("old.example").unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name)?;
    let mut server = ServerConnection::new(Arc::new(server))?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut octets = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut octets).unwrap();
        }
        server.read_tls(&mut octets.as_slice()).unwrap();
        server.process_new_packets()?;
        octets.clear();
        while server.wants_write() {
            server.write_tls(&mut octets).unwrap();
        }
        client.read_tls(&mut octets.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    assert!(server.peer_certificates().is_some());
    Ok(())
}

#[test]
fn both_sides_may_show_one() {
    let shown = own(chain(), key(), &provider()).unwrap();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        handshake(&shown, version).unwrap();
    }
}

#[test]
fn a_key_that_is_not_its_own() {
    let refused = own(chain(), other_key(), &provider()).unwrap_err();
    assert!(
        matches!(
            refused,
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch)
        ),
        "{refused:?}"
    );
    // A peer that shows another's certificate all the same.
    let stolen = provider()
        .key_provider
        .load_private_key(other_key())
        .unwrap();
    let stolen = Arc::new(CertifiedKey::new(chain(), stolen).into());
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let refused = handshake(&stolen, version).unwrap_err();
        assert_eq!(
            refused,
            Error::InvalidCertificate(CertificateError::BadSignature)
        );
    }
}
