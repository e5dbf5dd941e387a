//! Names of TLS things as OpenSSL, and so sendmail's macros, spell them.

use libmaps::policy::facts;
use rustls::{CipherSuite, ProtocolVersion, SupportedCipherSuite};
use x509_parser::prelude::{GeneralName, ParsedExtension, X509Name};

use super::attributes;

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
    tls.cert_subject = encoded(&one_line(parsed.subject()));
    tls.cert_issuer = encoded(&one_line(parsed.issuer()));
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

/// `/C=US/O=Test/CN=mx.example` as X509_NAME_oneline writes it: the octets of each value as they
/// stand in the certificate, of whatever kind of string, and `\xHH` for what is not printable ASCII.
fn one_line(name: &X509Name<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    for part in name.iter().flat_map(|rdn| rdn.iter()) {
        let oid = part.attr_type().to_id_string();
        let key = attributes::short_name(&oid).unwrap_or(&oid);
        out.extend_from_slice(format!("/{key}=").as_bytes());
        for octet in part.as_slice() {
            match octet {
                b' '..=b'~' => out.push(*octet),
                _ => out.extend_from_slice(format!("\\x{octet:02X}").as_bytes()),
            }
        }
    }
    out
}

/// Longest common name in octets that sendmail takes.
const MAX_COMMON_NAME: usize = 254;

/// The first common name, or sendmail's word for one that is nobody's name.
fn common_name(name: &X509Name<'_>) -> String {
    let cn = name.iter_common_name().next().map(|cn| cn.as_slice());
    match cn {
        None => "BadCertificateUnknown".to_owned(),
        Some(cn) if cn.len() > MAX_COMMON_NAME => "BadCertificateTooLong".to_owned(),
        Some(cn) if cn.contains(&0) => "BadCertificateContainsNUL".to_owned(),
        Some(cn) => encoded(cn),
    }
}

/// sendmail's xtext for certificate names: what is not printable, blanks, and `<>()"+\` as `+XX`.
fn encoded(octets: &[u8]) -> String {
    let mut out = String::new();
    for octet in octets {
        if octet.is_ascii_graphic() && !b"<>()\"+\\".contains(octet) {
            out.push(char::from(*octet));
        } else {
            out.push_str(&format!("+{octet:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair};

    /// What is said of the holder of a certificate with these attributes, in order.
    fn described(attributes: &[(DnType, DnValue)]) -> (String, String) {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in attributes {
            params.distinguished_name.push(kind.clone(), value.clone());
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let mut tls = facts::Tls::default();
        describe(certificate.der(), &mut tls);
        (tls.cert_subject, tls.cn_subject)
    }

    fn text(value: &str) -> DnValue {
        DnValue::Utf8String(value.to_owned())
    }

    /// What sendmail 8.17.1.9 said of such certificates.
    #[test]
    fn names_are_spelled_as_sendmail_does() {
        let of = |numbers: &[u64]| DnType::CustomDnType(numbers.to_vec());
        let (subject, cn) = described(&[
            (
                DnType::OrganizationName,
                text("B\\C\u{e4}cker, \"x\" (y) <z>; *a#b$c'd&e"),
            ),
            (DnType::CommonName, text("Joe \\\u{e4}(x)<y>\"z\"")),
            (of(&[2, 5, 4, 5]), text("42")),
            (of(&[2, 5, 4, 42]), text("Joe")),
            (of(&[2, 5, 4, 4]), text("Doe")),
            (of(&[2, 5, 4, 12]), text("Dr")),
            (of(&[1, 3, 6, 1, 4, 1, 311, 60, 2, 1, 3]), text("DE")),
            (of(&[1, 2, 3, 4]), text("q")),
        ]);
        assert_eq!(
            subject,
            "/O=B+5CC+5CxC3+5CxA4cker,+20+22x+22+20+28y+29+20+3Cz+3E;+20*a#b$c'd&e\
             /CN=Joe+20+5C+5CxC3+5CxA4+28x+29+3Cy+3E+22z+22\
             /serialNumber=42/GN=Joe/SN=Doe/title=Dr/jurisdictionC=DE/1.2.3.4=q"
        );
        assert_eq!(cn, "Joe+20+5C+C3+A4+28x+29+3Cy+3E+22z+22");
    }

    #[test]
    fn strings_of_other_kinds_are_not_empty() {
        let wide = rcgen::string::BmpString::try_from("B\u{f6}").unwrap();
        let (subject, _) = described(&[(DnType::OrganizationName, DnValue::BmpString(wide))]);
        assert_eq!(subject, "/O=+5Cx00B+5Cx00+5CxF6");
    }

    #[test]
    fn what_is_no_common_name_is_told_apart() {
        let cn = |value: &str| described(&[(DnType::CommonName, text(value))]).1;
        assert_eq!(cn("a\0b"), "BadCertificateContainsNUL");
        assert_eq!(cn(&"x".repeat(254)), "x".repeat(254));
        assert_eq!(cn(&"x".repeat(255)), "BadCertificateTooLong");
        let other = described(&[(DnType::OrganizationName, text("x"))]);
        assert_eq!(other, ("/O=x".into(), "BadCertificateUnknown".into()));
    }
}
