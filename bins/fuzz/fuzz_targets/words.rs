//! Any octets as the small grammars: tokens, addresses before the rules, right sides of
//! tables, lists, keys of sasldb2, names for SASL, macros, addresses in header fields.
//!
//! `testdata/scripts/fuzz-all words`
#![no_main]

use libfuzzer_sys::fuzz_target;
use libmaps::prescan::{Operators, TOKENS_MAX, join, prescan};
use libmaps::sasl::key::UserId;
use libmaps::sasl::saslprep;
use libmaps::table::aliases::{Separator, addresses};
use libmaps::table::mailertable::MailerSpec;
use libmaps::table::virtusertable::Rewrite;
use libmaps::tokens;
use smtpd::macros;
use smtpd::sendmail::address_list::{self, Listed};

fuzz_target!(|octets: &[u8]| {
    if let Ok(tidy) = tokens::tidy(octets) {
        assert_eq!(tokens::tidy(&tidy).as_deref(), Ok(&*tidy), "tidy is tidy");
        assert!(tokens::tokens(&tidy).count() <= tidy.len());
        let _ = (
            MailerSpec::parse(&tidy),
            tokens::spell(&tidy, b'.'),
            tokens::strip_quotes(&tidy),
        );
    }
    let _ = Rewrite::parse(octets);
    for separator in [Separator::Comma, Separator::Blank, Separator::guess(octets)] {
        let found: usize = addresses(octets, separator).map(<[u8]>::len).sum();
        assert!(found <= octets.len());
    }
    if let Ok(scan) = prescan(octets, None, &Operators::default()) {
        assert!(scan.tokens.len() <= TOKENS_MAX && scan.end <= octets.len());
        let _ = join(&scan.tokens, b".");
    }
    if let Some((user, property)) = UserId::parse(octets) {
        assert_eq!(user.lhs(property).as_bytes(), octets);
    }
    if let Ok(user) = UserId::resolve(octets, b"realm") {
        assert!(!user.authid().contains(&b'@'));
    }
    let prepared = saslprep(octets).into_owned();
    assert_eq!(saslprep(&prepared), &*prepared, "saslprep is stable");
    if let Ok(text) = std::str::from_utf8(octets) {
        let expanded = macros::expand(text, &|name| (name == "a").then_some("value"));
        assert!(expanded.len() <= text.len() * 5 + 5);
    }
    for separator in [Separator::Blank, Separator::Comma] {
        let listed = address_list::addresses(octets, separator);
        let length = |element: &Listed| {
            let (Listed::Address(text) | Listed::Unbalanced(text, _)) = element;
            text.len()
        };
        let listed: usize = listed.iter().map(length).sum();
        assert!(listed <= octets.len());
    }
});
