//! Channel bindings: what ties a login to this TLS connection and no other.

use libmaps::sasl::mechanism::{BindingKind, ChannelBinding};
use rustls::{ProtocolVersion, ServerConnection};
use sha2::{Digest, Sha256, Sha384, Sha512};

/// RFC 9266 section 3: the label, and how many octets.
const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";
const EXPORTER_OCTETS: usize = 32;

/// The bindings of a connection: `tls-exporter` (RFC 9266) for TLS 1.3, and
/// `tls-server-end-point` (RFC 5929 section 4). `tls-unique` has no meaning in TLS 1.3 and
/// needs care in 1.2: it is not there.
pub(super) fn of(connection: &ServerConnection, certificate: &[u8]) -> Vec<ChannelBinding> {
    let mut all = Vec::new();
    if connection.protocol_version() == Some(ProtocolVersion::TLSv1_3)
        && let Ok(data) =
            connection.export_keying_material([0u8; EXPORTER_OCTETS], EXPORTER_LABEL, None)
    {
        all.push(ChannelBinding {
            kind: BindingKind::TlsExporter,
            data: data.to_vec(),
        });
    }
    if let Some(data) = end_point(certificate) {
        all.push(ChannelBinding {
            kind: BindingKind::TlsServerEndPoint,
            data,
        });
    }
    all
}

/// The certificate under the hash of its signature, where that is a known one: SHA-256 in
/// place of MD5 and SHA-1; Ed25519 and its like have none.
fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    match parsed.signature_algorithm.algorithm.to_id_string().as_str() {
        // RSA and ECDSA, with MD5, SHA-1 or SHA-256.
        "1.2.840.113549.1.1.4"
        | "1.2.840.113549.1.1.5"
        | "1.2.840.113549.1.1.11"
        | "1.2.840.10045.4.1"
        | "1.2.840.10045.4.3.2" => Some(Sha256::digest(certificate).to_vec()),
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => {
            Some(Sha384::digest(certificate).to_vec())
        }
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => {
            Some(Sha512::digest(certificate).to_vec())
        }
        _ => None,
    }
}
