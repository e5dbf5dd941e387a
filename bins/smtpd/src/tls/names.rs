//! Names of TLS things as OpenSSL, and so sendmail's macros, spell them.

use libmaps::policy::facts;
use rustls::{CipherSuite, ProtocolVersion, SupportedCipherSuite};
use x509_parser::prelude::{GeneralName, ParsedExtension, X509Name};

/// `${tls_version}`.
pub(super) fn version(version: Option<ProtocolVersion>) -> &'static str {
    match version {
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "unknown",
    }
}

/// `${cipher}` and `${cipher_bits}`.
pub(super) fn cipher(suite: Option<SupportedCipherSuite>) -> (&'static str, u32) {
    use CipherSuite as C;
    match suite.map(|s| s.suite()) {
        Some(C::TLS13_AES_256_GCM_SHA384) => ("TLS_AES_256_GCM_SHA384", 256),
        Some(C::TLS13_AES_128_GCM_SHA256) => ("TLS_AES_128_GCM_SHA256", 128),
        Some(C::TLS13_CHACHA20_POLY1305_SHA256) => ("TLS_CHACHA20_POLY1305_SHA256", 256),
        Some(C::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384) => ("ECDHE-ECDSA-AES256-GCM-SHA384", 256),
        Some(C::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256) => ("ECDHE-ECDSA-AES128-GCM-SHA256", 128),
        Some(C::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256) => {
            ("ECDHE-ECDSA-CHACHA20-POLY1305", 256)
        }
        Some(C::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384) => ("ECDHE-RSA-AES256-GCM-SHA384", 256),
        Some(C::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256) => ("ECDHE-RSA-AES128-GCM-SHA256", 128),
        Some(C::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256) => {
            ("ECDHE-RSA-CHACHA20-POLY1305", 256)
        }
        _ => ("unknown", 0),
    }
}

/// Fills in what the certificate says of its holder and its issuer.
pub fn describe(certificate: &[u8], tls: &mut facts::Tls) {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else {
        return;
    };
    tls.cert_subject = one_line(parsed.subject());
    tls.cert_issuer = one_line(parsed.issuer());
    tls.cn_subject = common_name(parsed.subject());
    tls.cn_issuer = common_name(parsed.issuer());
    for extension in parsed.extensions() {
        if let ParsedExtension::SubjectAlternativeName(names) = extension.parsed_extension() {
            for name in &names.general_names {
                if let GeneralName::DNSName(dns) = name {
                    tls.altnames.push((*dns).to_owned());
                }
            }
        }
    }
}

/// `/C=US/O=Test/CN=mx.example`, with characters that rules can't carry as `+XX`.
fn one_line(name: &X509Name<'_>) -> String {
    let mut out = String::new();
    for part in name.iter().flat_map(|rdn| rdn.iter()) {
        let key = match part.attr_type().to_id_string().as_str() {
            "2.5.4.3" => "CN",
            "2.5.4.6" => "C",
            "2.5.4.7" => "L",
            "2.5.4.8" => "ST",
            "2.5.4.10" => "O",
            "2.5.4.11" => "OU",
            "1.2.840.113549.1.9.1" => "emailAddress",
            "0.9.2342.19200300.100.1.25" => "DC",
            "0.9.2342.19200300.100.1.1" => "UID",
            _ => "UNKNOWN",
        };
        let value = part.as_str().unwrap_or_default();
        out.push_str(&format!("/{key}={}", encoded(value)));
    }
    out
}

fn common_name(name: &X509Name<'_>) -> String {
    let cn = name.iter_common_name().next();
    encoded(cn.and_then(|cn| cn.as_str().ok()).unwrap_or_default())
}

/// sendmail's xtext for certificate names: blanks, controls and `<>()"+` as `+XX`.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for octet in text.bytes() {
        if octet <= b' ' || octet >= 0x7f || b"<>()\"+".contains(&octet) {
            out.push_str(&format!("+{octet:02X}"));
        } else {
            out.push(char::from(octet));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_for_rules() {
        assert_eq!(encoded("Joe (x) <y+z>"), "Joe+20+28x+29+20+3Cy+2Bz+3E");
    }
}
