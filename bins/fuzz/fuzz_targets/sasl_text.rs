//! Any octets as CSV, as secrets, as records, as certificates and as Sendmail.conf: no panic,
//! and what is written is read again.
//!
//! `cargo fuzz run sasl_text`
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use libmaps::sasl::conf::Conf;
use libmaps::sasl::import;
use libmaps::sasl::mechanism::ChannelBinding;
use libmaps::sasl::secret::Secrets;
use libmaps::source::csv::{Rows, write_row};

fuzz_target!(|octets: &[u8]| {
    for row in Rows::new(octets).flatten() {
        let fields: Vec<&[u8]> = row.fields.iter().map(Vec::as_slice).collect();
        let text = write_row(&fields);
        let again = Rows::new(&text).next();
        assert_eq!(
            again.and_then(Result::ok).map(|r| r.fields),
            Some(row.fields.clone())
        );
    }
    let (good, bad) = import::read(octets, b"realm");
    assert!(good.len() + bad.len() <= octets.len());
    if let Ok(secrets) = Secrets::parse(octets) {
        let text = secrets.to_text();
        assert!(Secrets::parse(text.expose()).is_ok_and(|again| again == secrets));
    }
    if let Ok(secrets) = Secrets::from_record(octets) {
        let record = secrets.to_record();
        assert!(Secrets::from_record(record.expose()).is_ok_and(|again| again == secrets));
    }
    let _ = Secrets::parse_auth_password(octets);
    let _ = ChannelBinding::tls_server_end_point(octets);
    if let Ok(conf) = Conf::parse(Path::new("Sendmail.conf"), octets) {
        assert!(conf.scram_iterations >= 4096);
    }
});
