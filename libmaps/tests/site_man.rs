//! The manual page sendmail.mc(5) and the reader know the same macros, features and options.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

use std::collections::BTreeSet;
use std::path::Path;

use libmaps::lint::options::undone;
use libmaps::site::mc;
use libmaps::site::model::options::conf_names;
use libmaps::site::{Machine, Severity};

/// The FEATUREs of sendmail 8.17.1, one a file of its folder cf/feature.
const SENDMAIL: &str = "accept_unqualified_senders accept_unresolvable_domains access_db allmasquerade \
    always_add_domain authinfo badmx bcc bestmx_is_local bitdomain blacklist_recipients block_bad_helo \
    blocklist_recipients check_cert_altnames check_other compat_check conncontrol delay_checks dnsbl domainmap \
    domaintable drac enhdnsbl generics_entire_domain genericstable greet_pause ldap_routing limited_masquerade \
    local_lmtp local_no_masquerade local_procmail lookupdotdomain loose_relay_check mailertable \
    masquerade_entire_domain masquerade_envelope msp mtamark no_default_msa nocanonify nopercenthack notsticky \
    nouucp nullclient prefixmod preserve_local_plus_detail preserve_luser_host promiscuous_relay queuegroup \
    ratecontrol redirect relay_based_on_MX relay_entire_domain relay_hosts_only relay_local_from relay_mail_from \
    require_rdns rhsbl smrsh stickyhost sts tls_failures tls_session_features use_client_ptr use_ct_file \
    use_cw_file uucpdomain virtuser_entire_domain virtusertable vnet";

/// The words of the page, taken apart at everything that is no part of a name.
fn page() -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../man/sendmail.mc.5");
    let text = std::fs::read_to_string(path).unwrap();
    let words =
        text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.' || c == '-'));
    words
        .map(|word| word.trim_matches('.').to_owned())
        .collect()
}

fn findings(mc: &str) -> Vec<(Severity, String)> {
    let root = tempfile::tempdir().unwrap();
    let read = mc::read(
        Some(root.path()),
        Path::new("x.mc"),
        mc.as_bytes().to_vec(),
        &Machine::default(),
    );
    read.diagnostics
        .into_iter()
        .map(|d| (d.severity, d.text))
        .collect()
}

#[test]
fn every_option_stands_in_the_page() {
    let page = page();
    for (name, conf) in conf_names() {
        assert!(page.contains(name) && page.contains(conf), "{name} {conf}");
    }
}

#[test]
fn the_page_says_what_is_not_done() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../man/sendmail.mc.5");
    let text = std::fs::read_to_string(path).unwrap();
    let undone: BTreeSet<&str> = undone().map(|(name, _)| name).collect();
    for (name, conf) in conf_names() {
        let head = format!(".It Dv {conf} Pq {name} , ");
        let (_, item) = text.split_once(&head).unwrap_or_else(|| panic!("{head}"));
        let (item, _) = item.split_once("Default: ").unwrap();
        assert_eq!(
            item.contains("\nNot done: "),
            undone.contains(name),
            "{name}"
        );
    }
}

#[test]
fn every_feature_of_sendmail_is_known_and_stands_in_the_page() {
    let page = page();
    for feature in SENDMAIL.split_ascii_whitespace() {
        assert!(page.contains(feature), "{feature}");
        let found = findings(&format!("OSTYPE(`linux')FEATURE(`{feature}')\n"));
        assert!(
            !found.iter().any(|(_, text)| text.contains("is not known")),
            "{feature}: {found:?}"
        );
    }
    let found = findings("FEATURE(`no_such_feature')\n");
    assert!(
        found
            .iter()
            .any(|(severity, text)| *severity == Severity::Error && text.contains("is not known"))
    );
}

#[test]
fn every_macro_of_the_page_is_known() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../man/sendmail.mc.5");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, macros) = text.split_once(".Sh MACROS").unwrap();
    let (macros, _) = macros.split_once(".Sh FEATURES").unwrap();
    let mut count = 0;
    for line in macros
        .lines()
        .filter_map(|line| line.strip_prefix(".It Ic "))
    {
        for name in line.split([' ', ',']).filter(|name| !name.is_empty()) {
            count += 1;
            // A macro that nobody expands stays in the text, where it is reported as one not known.
            let found = findings(&format!("OSTYPE(`linux')dnl\n{name}(`x')\n"));
            let unknown = format!("macro {name} is not known");
            assert!(
                !found.iter().any(|(_, text)| text.contains(&unknown)),
                "{name}: {found:?}"
            );
        }
    }
    assert!(count > 50, "{count}");
}
