//! The client's side of STARTTLS, which believes any certificate.

use std::io::{self, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
};

use super::idle::{greet, reply};

/// One for all sessions, as a real client has it.
static CONFIG: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(Anything(Arc::clone(&provider)));
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map(|builder| {
            let dangerous = builder.dangerous();
            dangerous
                .with_custom_certificate_verifier(verifier)
                .with_no_client_auth()
        });
    Arc::new(config.unwrap_or_else(|error| panic!("{error}")))
});

/// Says EHLO, STARTTLS and EHLO.
pub(super) fn open(mut stream: TcpStream) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    greet(&mut stream)?;
    stream.write_all(b"STARTTLS\r\n")?;
    reply(&mut BufReader::new(stream.try_clone()?))?;
    let name = ServerName::try_from("mx.bench.example").map_err(io::Error::other)?;
    let client = ClientConnection::new(Arc::clone(&CONFIG), name).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(client, stream);
    stream.write_all(b"EHLO idle.bench.example\r\n")?;
    reply(&mut BufReader::new(&mut stream))?;
    Ok(stream)
}

/// Makes a key and a certificate for the server.
pub(super) fn certify(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let names = vec!["mx.bench.example".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
    std::fs::write(folder.join("server.crt"), made.cert.pem())?;
    let key = folder.join("server.key");
    std::fs::write(&key, made.signing_key.serialize_pem())?;
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600))
}

/// Believes any certificate.
#[derive(Debug)]
struct Anything(Arc<CryptoProvider>);

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
