//! The client's side of STARTTLS, which believes any certificate.

use std::io::{self, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use bench::anything::Anything;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::idle::{greet, reply};

/// One for all sessions, as a real client has it.
static CONFIG: LazyLock<Result<Arc<ClientConfig>, rustls::Error>> = LazyLock::new(|| {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    let config = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything))
        .with_no_client_auth();
    Ok(Arc::new(config))
});

/// Says EHLO, STARTTLS and EHLO.
pub(super) fn open(mut stream: TcpStream) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    greet(&mut stream)?;
    stream.write_all(b"STARTTLS\r\n")?;
    reply(&mut BufReader::new(stream.try_clone()?))?;
    let name = ServerName::try_from("mx.bench.example").map_err(io::Error::other)?;
    let config = CONFIG.clone().map_err(io::Error::other)?;
    let client = ClientConnection::new(config, name).map_err(io::Error::other)?;
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
