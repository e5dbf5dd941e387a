//! Any octets as what comes over a writer's pipe, out of an engine, or as a connection file, and as
//! what `sendmail.mc` says of an LDAP map.
//!
//! `cargo fuzz run shared`
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use libmaps::map::MapClass;
use libmaps::site::ldap::attributes::Attributes;
use libmaps::site::ldap::{Arguments, Asker, Purpose, connection_text};
use libmaps::store::shared::frame::{Frame, Frames};
use libmaps::store::shared::{Connection, Offer, Origin, Ready, Standing};

fuzz_target!(|octets: &[u8]| {
    let mut rest = octets;
    while let Ok(Some((frame, behind))) = Frame::split(rest) {
        let mut again = Vec::new();
        frame
            .append(&mut again)
            .expect("it was short enough to be read");
        assert_eq!(again.as_slice(), &rest[..rest.len() - behind.len()]);
        rest = behind;
    }
    let mut frames = Frames::new(octets);
    while let Ok(Some(_)) = frames.next_frame() {}
    if let Ok(offer) = Offer::read(&mut &octets[..]) {
        // Control characters become blanks, once.
        let again = Offer::read(&mut offer.text().as_bytes()).unwrap();
        assert_eq!(Offer::read(&mut again.text().as_bytes()).unwrap(), again);
    }
    if let Ok(text) = std::str::from_utf8(octets) {
        if let Some(origin) = Origin::parse(text) {
            assert_eq!(Origin::parse(&origin.to_string()), Some(origin));
        }
        if let Some(ready) = Ready::parse(text) {
            assert_eq!(Ready::parse(&ready.line()["ready ".len()..]), Some(ready));
        }
        for class in [MapClass::Pgsql, MapClass::Redis, MapClass::Ldap] {
            let _ = Connection::parse(class, Path::new("/etc/mail/a.pgsql"), None, text);
        }
        let _ = Attributes::parse(text);
        if let Some(standing) = Standing::parse(text) {
            assert_eq!(Standing::parse(&standing.to_string()), Some(standing));
        }
        if let Ok(arguments) = Arguments::parse(text) {
            let asker = Asker {
                host: "mail.example.org",
                cluster: "",
            };
            let arguments = arguments.with_key("key");
            for purpose in [
                Purpose::Map("access"),
                Purpose::Aliases,
                Purpose::Class("R"),
            ] {
                let _ = connection_text(&arguments, purpose, asker);
            }
        }
    }
});
