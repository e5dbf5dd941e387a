//! What TLS gives a login to be bound to (RFC 5056), for the `-PLUS` mechanisms.
//!
//! Who holds the TLS connection makes the bindings once the handshake is over,
//! each from what its TLS library hands out, and puts them into
//! [`Channel::bindings`](super::Channel) or
//! [`ClientSetup::bindings`](super::ClientSetup). One that can't be made is left
//! out; a channel without any has no `-PLUS`.

use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

/// The label under which TLS 1.3 exports the octets of `tls-exporter`; the context is empty,
/// not absent (RFC 9266 section 2).
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// How many octets are exported.
pub const EXPORTER_OCTETS: usize = 32;

/// A type of channel binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindingKind {
    /// The hash of the server's certificate (RFC 5929 section 4).
    TlsServerEndPoint,
    /// Exported keying material (RFC 9266), TLS 1.3.
    TlsExporter,
}

impl BindingKind {
    /// The registered name, as in SCRAM's `p=`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            BindingKind::TlsServerEndPoint => "tls-server-end-point",
            BindingKind::TlsExporter => "tls-exporter",
        }
    }
}

/// One binding of a TLS channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelBinding {
    /// Its type.
    pub kind: BindingKind,
    /// Its octets.
    pub data: Vec<u8>,
}

impl ChannelBinding {
    /// `tls-exporter`, of what TLS 1.3 exports under [`EXPORTER_LABEL`] and an empty context.
    ///
    /// Not for TLS 1.2: there it holds only with extended master secrets (RFC 9266 section 4.2).
    #[must_use]
    pub fn tls_exporter(material: [u8; EXPORTER_OCTETS]) -> Self {
        ChannelBinding {
            kind: BindingKind::TlsExporter,
            data: material.to_vec(),
        }
    }

    /// `tls-server-end-point`, of the certificate (DER) that the server has shown in this
    /// handshake: the first of its chain, and with SNI the one that was chosen.
    ///
    /// It is hashed as it was signed, by SHA-256 where that was MD5 or SHA-1. `None`: no
    /// certificate, or one whose signature names no hash that is known here (Ed25519 has
    /// none), for which RFC 5929 section 4.1 leaves the binding undefined.
    #[must_use]
    pub fn tls_server_end_point(certificate: &[u8]) -> Option<Self> {
        let data = match signature_hash(certificate)? {
            Hash::Sha224 => Sha224::digest(certificate).to_vec(),
            Hash::Sha256 => Sha256::digest(certificate).to_vec(),
            Hash::Sha384 => Sha384::digest(certificate).to_vec(),
            Hash::Sha512 => Sha512::digest(certificate).to_vec(),
        };
        Some(ChannelBinding {
            kind: BindingKind::TlsServerEndPoint,
            data,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

const SEQUENCE: u8 = 0x30;
const OBJECT: u8 = 0x06;
/// `[0]`, with a value inside.
const FIRST: u8 = 0xa0;

/// RSASSA-PSS (RFC 4055 section 3.1), whose parameters name the hash.
const RSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10];

/// Signatures and hashes by their object identifiers (RFC 3279, RFC 4055, RFC 5758).
const HASHES: [(&[u8], Hash); 17] = [
    // RSA with MD5, SHA-1, SHA-2.
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 4], Hash::Sha256),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5], Hash::Sha256),
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11],
        Hash::Sha256,
    ),
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12],
        Hash::Sha384,
    ),
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13],
        Hash::Sha512,
    ),
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 14],
        Hash::Sha224,
    ),
    // ECDSA with SHA-1, SHA-2.
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1], Hash::Sha256),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 1], Hash::Sha224),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2], Hash::Sha256),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3], Hash::Sha384),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4], Hash::Sha512),
    // The hashes themselves: MD5, SHA-1, SHA-2.
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2, 5], Hash::Sha256),
    (&[0x2b, 0x0e, 3, 2, 0x1a], Hash::Sha256),
    (&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1], Hash::Sha256),
    (&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2], Hash::Sha384),
    (&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3], Hash::Sha512),
    (&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 4], Hash::Sha224),
];

/// `Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signature }` (RFC 5280
/// section 4.1).
fn signature_hash(certificate: &[u8]) -> Option<Hash> {
    let (parts, after) = take(certificate, SEQUENCE)?;
    if !after.is_empty() {
        return None;
    }
    let (_, parts) = take(parts, SEQUENCE)?;
    let (algorithm, _) = take(parts, SEQUENCE)?;
    let (object, parameters) = take(algorithm, OBJECT)?;
    if object != RSA_PSS {
        return known(object);
    }
    let (parameters, _) = take(parameters, SEQUENCE)?;
    match take(parameters, FIRST) {
        Some((hash, _)) => {
            let (hash, _) = take(hash, SEQUENCE)?;
            known(take(hash, OBJECT)?.0)
        }
        // Where it is not named it is SHA-1.
        None => Some(Hash::Sha256),
    }
}

fn known(object: &[u8]) -> Option<Hash> {
    let mut known = HASHES.iter();
    known.find(|(o, _)| *o == object).map(|(_, hash)| *hash)
}

/// The content of the first value, if it has this tag, and what comes after it (X.690 section 8).
fn take(octets: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let [first, length, rest @ ..] = octets else {
        return None;
    };
    if *first != tag {
        return None;
    }
    let (length, rest) = match length {
        0..=0x7f => (usize::from(*length), rest),
        0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            let octets = length.iter();
            (octets.fold(0, |l, b| (l << 8) | usize::from(*b)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
#[path = "binding_tests.rs"]
mod tests;
