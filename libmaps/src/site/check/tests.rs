//! One planted fault a file: `testdata/check/site/NAME.mc`, and what is said about it in `NAME.expected`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::site::load;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/check/site")
}

/// A site with this access map, shared by a Redis server.
fn site_with_shared_access(root: &Path, name: &str) -> crate::site::Site {
    let mc = format!(
        "define(`confDOMAIN_NAME', `mail.example.org')dnl\ndefine(`confPRIVACY_FLAGS', `goaway')dnl\n\
         FEATURE(`access_db', `redis -T<TMPF> /etc/mail/{name}')dnl\n"
    );
    fs::create_dir_all(root.join("etc/mail")).unwrap();
    fs::write(root.join("etc/mail/sendmail.mc"), mc).unwrap();
    load(Some(root), None).unwrap().site
}

#[test]
fn a_shared_map_wants_its_connection_file_and_not_its_text() {
    // It may be named with its suffix, which is not put behind it then.
    for name in ["access", "access.redis"] {
        shared_access(name);
    }
}

fn shared_access(name: &str) {
    let root = tempfile::tempdir().unwrap();
    let site = site_with_shared_access(root.path(), name);
    let found = || {
        let all = super::check(&site);
        all.iter()
            .map(|d| format!("{} {}", d.severity.as_str(), d.text))
            .collect::<Vec<_>>()
    };
    let without = found();
    assert_eq!(without.len(), 1, "{without:?}");
    assert!(
        without[0].starts_with("error FEATURE(access_db): /etc/mail/access.redis is not there"),
        "{without:?}"
    );
    let connection = root.path().join("etc/mail/access.redis");
    fs::write(&connection, "host localhost\nmap access\nhots x\n").unwrap();
    let wrong = found();
    assert!(
        wrong.len() == 1 && wrong[0].starts_with("error ") && wrong[0].contains("hots"),
        "{wrong:?}"
    );
    fs::write(&connection, "host localhost\nmap access\n").unwrap();
    let unfetched = found();
    assert!(
        unfetched.len() == 1 && unfetched[0].starts_with("warning "),
        "{unfetched:?}"
    );
    fs::write(root.path().join("etc/mail/access.redis.db"), "").unwrap();
    assert_eq!(found(), Vec::<String>::new());
}

/// A root with a certificate, a key that everybody reads (open.key), one that only its owner does (safe.key), and a map.
fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let mail = root.path().join("etc/mail");
    fs::create_dir_all(&mail).unwrap();
    for (name, mode) in [
        ("cert.pem", 0o644),
        ("open.key", 0o644),
        ("safe.key", 0o600),
        ("access.db", 0o640),
    ] {
        fs::write(mail.join(name), "x").unwrap();
        fs::set_permissions(mail.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    root
}

#[test]
fn each_planted_fault_is_found_and_nothing_else() {
    let mut names: Vec<PathBuf> = fs::read_dir(folder())
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    names.retain(|path| path.extension().is_some_and(|e| e == "mc"));
    names.sort();
    assert!(names.len() > 15, "{names:?}");
    let root = root();
    for path in names {
        let loaded = load(Some(root.path()), Some(&path)).unwrap();
        assert!(
            !loaded.has_errors(),
            "{}: {:#?}",
            path.display(),
            loaded.diagnostics
        );
        let prefix = format!("{}/", folder().display());
        let undone = crate::lint::undone::findings(&loaded.site);
        let found: String = super::check(&loaded.site)
            .iter()
            .chain(&undone)
            .map(|d| format!("{d}\n").replace(&prefix, ""))
            .collect();
        let golden = path.with_extension("expected");
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
