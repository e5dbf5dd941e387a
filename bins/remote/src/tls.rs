//! TLS to the engines: certificates are always checked.

use std::path::Path;
use std::sync::Arc;

use libmaps::store::shared::Server;
use libmaps::sysexits::SysExit;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::fault::Fault;

/// The certificates that are trusted unless a file is named.
pub const SYSTEM_CA_FILE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What a client of this server believes and shows.
///
/// # Errors
/// A file that can't be read or holds no certificates.
pub fn config(server: &Server) -> Result<ClientConfig, Fault> {
    let ca_file = server.ca_file.as_deref();
    let ca_file = ca_file.unwrap_or(Path::new(SYSTEM_CA_FILE));
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca_file)? {
        // A certificate of the system's that this library can't read is nobody's certificate.
        let _ = roots.add(certificate);
    }
    if roots.is_empty() {
        return Err(wrong(ca_file, "no certificate in it"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Fault::new(SysExit::Software, e.to_string()))?
        .with_root_certificates(roots);
    let Some((certificate, key)) = &server.identity else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(certificate)?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|e| wrong(key, &e.to_string()))?;
    builder
        .with_client_auth_cert(chain, secret)
        .map_err(|e| wrong(certificate, &e.to_string()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    all.map_err(|e| wrong(path, &e.to_string()))
}

fn wrong(path: &Path, why: &str) -> Fault {
    Fault::new(SysExit::Config, format!("{}: {why}", path.display()))
}
