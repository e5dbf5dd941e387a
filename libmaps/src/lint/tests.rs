//! One planted fault a file: `testdata/check/KIND/NAME`, and what is said about it in `NAME.expected`.

use std::fs;
use std::path::Path;

use super::*;

#[test]
fn each_planted_fault_is_found_and_nothing_else() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/check");
    let loaded = crate::site::load(Some(&folder), Some(&folder.join("lint.mc"))).unwrap();
    assert!(!loaded.has_errors(), "{:#?}", loaded.diagnostics);
    let users = Users::parse(b"root:x:0:0::/root:/bin/sh\njoe:x:1000:1000::/home/joe:/bin/sh\n");
    let mut files = 0;
    for kind in [
        "access",
        "mailertable",
        "virtusertable",
        "genericstable",
        "domaintable",
        "aliases",
    ] {
        let mut paths: Vec<_> = fs::read_dir(folder.join(kind))
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        paths.retain(|path| path.extension().is_none());
        paths.sort();
        for path in paths {
            files += 1;
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let kind = Kind::of(Path::new(kind)).unwrap();
            let input = fs::read(&path).unwrap();
            let found: String = source(
                kind,
                Path::new(&name),
                input.as_slice(),
                &loaded.site,
                &users,
            )
            .unwrap()
            .iter()
            .map(|d| format!("{d}\n"))
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
    assert!(files >= 20, "{files}");
}

#[test]
fn passwords_that_everybody_reads_are_found() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access");
    fs::write(&path, "AuthInfo:smart.example \"U:joe\" \"P:secret\"\n").unwrap();
    let check = |mode: u32| {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let site = Site::default();
        source(
            Kind::Access,
            &path,
            fs::File::open(&path).unwrap(),
            &site,
            &Users::parse(b""),
        )
        .unwrap()
    };
    assert!(check(0o600).is_empty());
    let found = check(0o644);
    assert_eq!(found.len(), 1);
    assert!(
        found[0].text.contains("can be read by everybody") && !found[0].text.contains("secret")
    );
}

proptest::proptest! {
    #[test]
    fn no_source_makes_it_panic(text in "([a-z.@:%+*/0-9 \t\\n]|connect:|to:|error:|IPv6:|relay|%2){0,60}") {
        let site = Site::default();
        let users = Users::parse(b"");
        for kind in [Kind::Access, Kind::Mailertable, Kind::Virtusertable, Kind::Genericstable, Kind::Domaintable, Kind::Aliases] {
            source(kind, Path::new("x"), text.as_bytes(), &site, &users).unwrap();
        }
    }
}

#[test]
fn an_rhs_of_other_alphabets_is_told_of_like_any_other() {
    let (site, users) = (crate::site::Site::default(), Users::parse(b""));
    for rhs in [
        "R\u{e2}LAY",
        "\u{e9}\u{e9}",
        "4\u{e9}0 x",
        "R\u{fffd}LAY",
        "45\u{e9}",
    ] {
        let text = format!("Connect:192.0.2.9\t{rhs}\n");
        let found = source(Kind::Access, Path::new("x"), text.as_bytes(), &site, &users);
        let found: Vec<String> = found.unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 1, "{rhs}: {found:?}");
        assert!(found[0].contains("is none of OK RELAY"), "{found:?}");
    }
}

/// What is said of a site with these lines, one finding a line, without the path.
fn said(lines: &str) -> Vec<String> {
    let root = tempfile::tempdir().unwrap();
    let mail = root.path().join("etc/mail");
    fs::create_dir_all(&mail).unwrap();
    let mc = format!(
        "OSTYPE(`linux')define(`confDOMAIN_NAME', `mail.example.org')dnl\ndefine(`confPRIVACY_FLAGS', `goaway')dnl\n{lines}"
    );
    fs::write(mail.join("sendmail.mc"), mc).unwrap();
    let loaded = crate::site::load(Some(root.path()), None).unwrap();
    let all = super::site(&loaded, &Users::parse(b""));
    all.iter()
        .map(|d| format!("{} {}: {}", d.line, d.severity.as_str(), d.text))
        .collect()
}

#[test]
fn what_smtpd_does_not_do_is_told_of_with_the_rest() {
    assert_eq!(said("MAILER(`smtp')dnl\n"), Vec::<String>::new());
    assert_eq!(
        said("INPUT_MAIL_FILTER(`opendkim', `S=inet:8891@localhost, F=T')dnl\n"),
        [
            "3 error: mail filter opendkim is not asked: its F= says that no mail may pass without it"
        ]
    );
    assert_eq!(
        said("define(`QUEUE_DIR', `/var/spool/mqueue/q*')dnl\n"),
        [
            "3 warning: QUEUE_DIR /var/spool/mqueue/q*: one queue is kept, in /var/spool/mqueue; \
          what waits in those folders only sendmail can send"
        ]
    );
    let mechanisms = said("define(`confAUTH_MECHANISMS', `GSSAPI CRAM-MD5 NTLM')dnl\n");
    assert_eq!(mechanisms.len(), 2, "{mechanisms:?}");
    assert!(
        mechanisms[0].starts_with("3 warning: confAUTH_MECHANISMS: GSSAPI is not offered"),
        "{mechanisms:?}"
    );
}
