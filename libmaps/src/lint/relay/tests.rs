//! One site a folder: `testdata/check/relay/NAME.mc`, `NAME.access` where it has one, and in `NAME.expected` the ways in
//! which strangers relay through it.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::lint;
use crate::site::{Users, load};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/check/relay")
}

#[test]
fn each_way_to_relay_is_found_and_no_other() {
    let mut names: Vec<PathBuf> = fs::read_dir(folder())
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    names.retain(|path| path.extension().is_some_and(|e| e == "mc"));
    names.sort();
    assert!(names.len() >= 8, "{names:?}");
    for mc in names {
        let root = tempfile::tempdir().unwrap();
        let mail = root.path().join("etc/mail");
        fs::create_dir_all(&mail).unwrap();
        fs::copy(&mc, mail.join("sendmail.mc")).unwrap();
        let access = mc.with_extension("access");
        if access.exists() {
            fs::copy(&access, mail.join("access")).unwrap();
        }
        let loaded = load(Some(root.path()), None).unwrap();
        assert!(!loaded.has_errors(), "{:#?}", loaded.diagnostics);
        let users = Users::parse(b"");
        let prefix = format!("{}/etc/mail/", root.path().display());
        let found: String = lint::site(&loaded, &users)
            .iter()
            .map(|finding| format!("{finding}\n").replace(&prefix, ""))
            .filter(|line| line.contains("relay"))
            .collect();
        let golden = mc.with_extension("expected");
        if std::env::var_os("BLESS").is_some() {
            fs::write(&golden, &found).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(
            found,
            expected,
            "{} (BLESS=1 rewrites it)",
            golden.display()
        );
    }
}

#[test]
fn a_site_without_a_door_for_strangers_is_not_tried() {
    let text = b"OSTYPE(`linux')FEATURE(`promiscuous_relay')FEATURE(`no_default_msa')\n\
        DAEMON_OPTIONS(`Name=MSA, Port=587')MAILER(`local')MAILER(`smtp')\n";
    let machine = crate::site::Machine::default();
    let mut site = crate::site::mc::read(None, Path::new("x.mc"), text.to_vec(), &machine).site;
    assert_eq!(site.daemons.len(), 1);
    assert!(!attempts(&site, &Maps::default()).is_empty());
    site.daemons[0].modifiers.0.push('a');
    assert!(attempts(&site, &Maps::default()).is_empty());
}
