//! Channel bindings: what ties a login to this TLS connection and no other.

use libmaps::sasl::mechanism::{ChannelBinding, EXPORTER_LABEL, EXPORTER_OCTETS};
use rustls::{ConnectionCommon, ProtocolVersion};

/// The bindings of a connection, the better first; `server` is the server's certificate: `tls-exporter` (RFC 9266) for TLS 1.3, and
/// `tls-server-end-point` (RFC 5929 section 4). `tls-unique` has no meaning in TLS 1.3 and
/// needs care in 1.2: it is not there.
pub(super) fn of<Side>(
    connection: &ConnectionCommon<Side>,
    server: Option<&[u8]>,
) -> Vec<ChannelBinding> {
    let exported = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => connection
            .export_keying_material([0u8; EXPORTER_OCTETS], EXPORTER_LABEL, Some(b""))
            .ok(),
        _ => None,
    };
    let exporter = exported.map(ChannelBinding::tls_exporter);
    let end_point = server.and_then(ChannelBinding::tls_server_end_point);
    exporter.into_iter().chain(end_point).collect()
}
