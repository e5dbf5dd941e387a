//! Any octets as a certificate that a peer shows before anything is believed of it.
//!
//! `testdata/scripts/fuzz-all certificate`
#![no_main]

use libfuzzer_sys::fuzz_target;
use libmaps::policy::facts::Tls;
use libmaps::sasl::mechanism::ChannelBinding;
use smtpd::tls::names;

fuzz_target!(|octets: &[u8]| {
    let mut tls = Tls::default();
    names::describe(octets, &mut tls);
    let all = [
        &tls.cn_subject,
        &tls.cert_subject,
        &tls.cn_issuer,
        &tls.cert_issuer,
    ];
    for text in all {
        assert!(
            !text.bytes().any(|c| c.is_ascii_control() || c == b' '),
            "{text:?}"
        );
        assert!(text.len() <= octets.len() * 3 + 100);
    }
    let _ = ChannelBinding::tls_server_end_point(octets);
});
