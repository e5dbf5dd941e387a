//! Bindings of certificates that OpenSSL made, and of octets that are none.

use base64ct::{Base64, Encoding};
use proptest::prelude::*;

use super::*;
use crate::sasl::secret::to_hex;

/// ecdsa-with-SHA384; the hash is that of `sha384sum`.
const EC: &str = "\
        MIIBjjCCATOgAwIBAgIUep5S/s1/7oFNi3+ZmYbaKet8LcQwCgYIKoZIzj0EAwMwGzEZMBcGA1UEAwwQbWFp\
        bC5leGFtcGxlLm9yZzAgFw0yNjExMjUyMzA0NDBaGA8yMTI2MTEwMTIzMDQ0MFowGzEZMBcGA1UEAwwQbWFp\
        bC5leGFtcGxlLm9yZzBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABOEeR9PBDyiMWYh2lJSorcTRFbZamneI\
        mS0THqSkfz7LfjWTsIsswoxLg44w/+jOMZO8yJObQYNq/AA3aWMQxACjUzBRMB0GA1UdDgQWBBQcVrP9ZZDk\
        QAhoNpObzHMiN4PV4jAfBgNVHSMEGDAWgBQcVrP9ZZDkQAhoNpObzHMiN4PV4jAPBgNVHRMBAf8EBTADAQH/\
        MAoGCCqGSM49BAMDA0kAMEYCIQCjx3Z47MfknwfFGpESuXRmkEol9Y0ZfDsQY3i0DQ4RuwIhAL6A/OUYeI9S\
        cLYfek2v+B0i8Ine4iDEjlzKyJbyGFRB";
const EC_HASH: &str = "f3e69c5d9adf12dcf324d07143cce31eb6c88e970caa858a0503777b9df770f767f3aa31cb9e1e42cc8041ce518ed009";

/// RSASSA-PSS with SHA-512; the hash is that of `sha512sum`.
const PSS: &str = "\
        MIICfDCCAbGgAwIBAgIUa0gMRV7xIPZoIVWSIDArpEyGB/owQQYJKoZIhvcNAQEKMDSgDzANBglghkgBZQME\
        AgMFAKEcMBoGCSqGSIb3DQEBCDANBglghkgBZQMEAgMFAKIDAgE+MBsxGTAXBgNVBAMMEG1haWwuZXhhbXBs\
        ZS5vcmcwIBcNMjYxMTI1MjMwNDQwWhgPMjEyNjExMDEyMzA0NDBaMBsxGTAXBgNVBAMMEG1haWwuZXhhbXBs\
        ZS5vcmcwgZ8wDQYJKoZIhvcNAQEBBQADgY0AMIGJAoGBAL/hfzeb0wzP4qZY42nLtCeJPH89tmjp5or25hFB\
        u9H2KYeAnvrIowqBjSrRn/Isix1ibTMCgN+6KMQRaTRqd+ja5hZpNZhYEbXs2o5h6mGo2tX+44vUVsLW3zT7\
        2C1l97jWgSMKEd2EzdRjKg7Gu5AYBupjYDavJ3ooESRUwL6DAgMBAAGjUzBRMB0GA1UdDgQWBBSZ8MCCGle/\
        F3EuH8i8vTCCwFynnzAfBgNVHSMEGDAWgBSZ8MCCGle/F3EuH8i8vTCCwFynnzAPBgNVHRMBAf8EBTADAQH/\
        MEEGCSqGSIb3DQEBCjA0oA8wDQYJYIZIAWUDBAIDBQChHDAaBgkqhkiG9w0BAQgwDQYJYIZIAWUDBAIDBQCi\
        AwIBPgOBgQCibekKUpWd5QWYY3dzWX+9uxhqFI8SgiaXLqHD9KMgJryQpOP7LeK1DlLlxvU61SiZci2JPEwv\
        RmRNrUcIR7vBy0QUk8qcqkFk/kRabxQKE3O3ebPd74j3SB1d292yojzfz7ttTIFykvk5KQDuGSqwy5ODUn+L\
        oX/tXCttShR4Fg==";
const PSS_HASH: &str = "b1cb0ce706386dfdef533bccfdd5199dc402fb4c9b8619d4e3badf4214e398e77dc14ebccc1bf44c502da55ee57e3710e819c8dc4593db6141ef6ed28eb215a0";

fn der(text: &str) -> Vec<u8> {
    Base64::decode_vec(text).unwrap()
}

fn end_point(certificate: &[u8]) -> Option<String> {
    let binding = ChannelBinding::tls_server_end_point(certificate)?;
    assert_eq!(binding.kind.name(), "tls-server-end-point");
    let hex = to_hex(&binding.data);
    Some(String::from_utf8(hex.expose().to_vec()).unwrap())
}

#[test]
fn certificates_are_hashed_as_they_were_signed() {
    assert_eq!(end_point(&der(EC)).as_deref(), Some(EC_HASH));
    assert_eq!(end_point(&der(PSS)).as_deref(), Some(PSS_HASH));
}

/// A certificate as far as it is looked at.
fn signed_by(algorithm: &[u8]) -> Vec<u8> {
    let value = |tag: u8, content: &[u8]| {
        let length = u8::try_from(content.len()).unwrap();
        [&[tag, length], content].concat()
    };
    let parts = [value(SEQUENCE, b""), value(SEQUENCE, algorithm)].concat();
    value(SEQUENCE, &parts)
}

#[test]
fn weak_hashes_are_replaced_and_unknown_ones_undefined() {
    let rsa = |last: u8| {
        let object = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, last];
        [&[OBJECT, 9], object.as_slice()].concat()
    };
    let pss_of_sha1 = [rsa(10), vec![SEQUENCE, 0]].concat();
    for (name, algorithm, octets) in [
        ("MD5", rsa(4), Some(32)),
        ("SHA-1", rsa(5), Some(32)),
        ("SHA-256", rsa(11), Some(32)),
        ("SHA-224", rsa(14), Some(28)),
        ("PSS without a hash", pss_of_sha1, Some(32)),
        ("PSS without parameters", rsa(10), None),
        ("MD2", rsa(2), None),
        ("Ed25519", vec![OBJECT, 3, 0x2b, 0x65, 0x70], None),
        ("nothing", vec![], None),
    ] {
        let certificate = signed_by(&algorithm);
        let binding = ChannelBinding::tls_server_end_point(&certificate);
        assert_eq!(binding.map(|b| b.data.len()), octets, "{name}");
        let and_more = [certificate.as_slice(), &[0]].concat();
        assert_eq!(end_point(&and_more), None, "{name}");
    }
}

#[test]
fn what_tls_exports_is_taken_as_it_is() {
    let binding = ChannelBinding::tls_exporter([7; EXPORTER_OCTETS]);
    assert_eq!(binding.kind.name(), "tls-exporter");
    assert_eq!(binding.data, [7; 32]);
}

proptest! {
    #[test]
    fn any_octets_are_a_certificate_or_none(octets: Vec<u8>, at in 0..402usize, octet: u8) {
        let _ = end_point(&octets);
        let mut certificate = der(EC);
        certificate[at] = octet;
        let _ = end_point(&certificate);
        prop_assert_eq!(end_point(&certificate[..at]), None);
    }
}
