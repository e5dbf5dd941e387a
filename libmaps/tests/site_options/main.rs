//! Whatever option a site gives is done, or told with file and line that it is not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

mod done;

use std::collections::BTreeSet;
use std::path::Path;

use libmaps::lint::{options, undone};
use libmaps::site::model::options::{OptionView, conf_names};
use libmaps::site::{Diagnostic, Severity, load};

use done::DONE;

/// A value of this kind that is nobody's default.
fn odd_value(view: &OptionView) -> &'static str {
    match view.kind {
        "switch" if view.value == "True" => "False",
        "switch" => "True",
        "number" | "limit" => "77",
        "mode" => "0644",
        "path" => "/odd/path",
        kind if kind.starts_with("time") => "77s",
        _ => "odd",
    }
}

/// What is found in a `.mc` file of this text, but for notes on what it lacks.
fn findings(root: &Path, mc: &str) -> Vec<Diagnostic> {
    let path = root.join("etc/mail/sendmail.mc");
    std::fs::write(&path, mc).unwrap();
    let loaded = load(Some(root), None).unwrap();
    undone::findings(&loaded.site)
}

/// The options of a file that says nothing.
fn usual() -> Vec<OptionView> {
    let root = root();
    let mc = "MAIL_FILTER(`f', `S=local:/f')dnl\n";
    std::fs::write(root.path().join("etc/mail/sendmail.mc"), mc).unwrap();
    load(Some(root.path()), None).unwrap().site.options.views()
}

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("etc/mail")).unwrap();
    root
}

/// A file that defines this, in its third line.
fn defining(conf: &str, value: &str) -> String {
    format!(
        "OSTYPE(`linux')dnl\nMAIL_FILTER(`f', `S=local:/f')dnl\ndefine(`{conf}', `{value}')dnl\nMAILER(`local')dnl\n"
    )
}

#[test]
fn every_option_is_done_or_told() {
    let root = root();
    let told: BTreeSet<&str> = options::undone().map(|(name, _)| name).collect();
    let done: BTreeSet<&str> = DONE.iter().map(|(name, ..)| *name).collect();
    assert_eq!(
        (told.len(), done.len()),
        (options::undone().count(), DONE.len()),
        "named twice"
    );
    let views = usual();
    for (name, conf) in conf_names() {
        assert!(
            told.contains(name) != done.contains(name),
            "{name} is to be in one of both tables"
        );
        if !told.contains(name) {
            continue;
        }
        let view = views.iter().find(|view| view.name == name).unwrap();
        let found = findings(root.path(), &defining(conf, odd_value(view)));
        let text = format!("{name} is not done: ");
        let of_it: Vec<_> = found.iter().filter(|d| d.text.starts_with(&text)).collect();
        assert_eq!(of_it.len(), 1, "{name}: {found:#?}");
        assert_eq!(of_it[0].line, 3, "{name}");
        // Who writes what is so anyway is told nothing.
        let found = findings(root.path(), &defining(conf, &view.value));
        assert!(
            !found.iter().any(|d| d.text.starts_with(&text)),
            "{name}={}: {found:#?}",
            view.value
        );
    }
    assert_eq!(told.len() + done.len(), conf_names().count());
}

#[test]
fn what_is_done_is_asked_for_where_the_table_says() {
    for (name, file, words) in DONE {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        let is_whole = |at: usize| {
            let next = text[at + words.len()..].chars().next();
            !next.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        assert!(
            text.match_indices(words).any(|(at, _)| is_whole(at)),
            "{name}: {file} has no {words}"
        );
    }
}

/// What distributions bring is read without a word, but for what is lost.
#[test]
fn files_of_distributions_are_not_drowned_in_findings() {
    let root = root();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/site/mc");
    for (name, expected) in [
        ("debian-like", &["confAUTH_MECHANISMS:"][..]),
        ("redhat-like", &["UserDatabaseSpec", "mailer"][..]),
        ("submission-msa", &[][..]),
        ("slackware-full", &["mailer"][..]),
    ] {
        let mc = std::fs::read_to_string(folder.join(format!("{name}.mc"))).unwrap();
        let found = findings(root.path(), &mc);
        let told: Vec<&str> = found
            .iter()
            .filter(|d| d.severity > Severity::Note)
            .map(|d| d.text.split_whitespace().next().unwrap())
            .collect();
        assert_eq!(told, expected, "{name}: {found:#?}");
    }
}

#[test]
fn what_changes_who_gets_mail_is_an_error() {
    let root = root();
    let severity = |conf: &str, value: &str| {
        let found = findings(root.path(), &defining(conf, value));
        found.iter().find(|d| d.line == 3).map(|d| d.severity)
    };
    for (conf, value) in [
        ("confMAILBOX_DATABASE", "ldap"),
        ("confDANE", "always"),
        ("confDANE", "true"),
        ("confUSERDB_SPEC", "@hub.example"),
    ] {
        assert_eq!(
            severity(conf, value),
            Some(Severity::Error),
            "{conf} {value}"
        );
    }
    assert_eq!(severity("confDANE", "no"), None);
    // A user database that is not there is passed over by sendmail, too.
    let database = "/etc/mail/userdb";
    assert_eq!(
        severity("confUSERDB_SPEC", database),
        Some(Severity::Warning)
    );
    std::fs::write(root.path().join("etc/mail/userdb.db"), "").unwrap();
    assert_eq!(severity("confUSERDB_SPEC", database), Some(Severity::Error));
    for (options, told) in [
        ("+SSL_OP_NO_SSLv3 +SSL_OP_NO_TLSv1", None),
        ("+SSL_OP_CIPHER_SERVER_PREFERENCE", None),
        ("+SSL_OP_NO_SSLv3 +SSL_OP_NO_TLSv1_2", None),
        ("+SSL_OP_NO_SUCH", Some(Severity::Warning)),
        (
            "+SSL_OP_NO_TLSv1_2 +SSL_OP_NO_TLSv1_3",
            Some(Severity::Error),
        ),
    ] {
        assert_eq!(severity("confSERVER_SSL_OPTIONS", options), told);
        assert_eq!(severity("confCLIENT_SSL_OPTIONS", options), told);
    }
    assert_eq!(severity("confCIPHER_LIST", "HIGH"), None);
    assert_eq!(severity("confCIPHER_LIST", "DEFAULT@SECLEVEL=1"), None);
    let mc = defining("confCIPHER_LIST", "AES256-SHA")
        + "define(`confSERVER_SSL_OPTIONS', `+SSL_OP_NO_TLSv1_3')dnl\n";
    let found = findings(root.path(), &mc);
    let neither = "ServerSSLOptions: neither TLS 1.2, with a cipher, nor TLS 1.3 is left";
    assert!(
        found
            .iter()
            .any(|d| d.text == neither && d.severity == Severity::Error),
        "{found:#?}"
    );
    let none_of_ours = severity("confCIPHER_LIST", "AES256-SHA");
    assert_eq!(none_of_ours, Some(Severity::Warning));
}
