//! Files as administrators write them.

use std::os::unix::fs::PermissionsExt;

use super::*;

fn parse(text: &str) -> Conf {
    Conf::parse(Path::new("S.conf"), text.as_bytes()).unwrap()
}

fn warnings(text: &str) -> Vec<String> {
    parse(text)
        .warnings
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn every_option() {
    let conf = parse(
        "# comment\n\n  PWCheck_Method:  saslauthd dovecot auxprop  \nauxprop_plugin: sql sasldb\n\
         mech_list: PLAIN,login\tCRAM-MD5\nsasldb_path:/tmp/db\nsaslauthd_path: /run/mux\n\
         dovecot_path: /run/auth\n\
         scram_iteration_counter: 10000\nscram_secret_generate: On\nlog_level: 7\r\n",
    );
    let want = Conf {
        path: Some("S.conf".into()),
        pwcheck_method: vec![
            PwcheckMethod::Saslauthd,
            PwcheckMethod::Dovecot,
            PwcheckMethod::Auxprop,
        ],
        auxprop: Auxprop::Sasldb,
        mech_list: Some(vec!["PLAIN".into(), "login".into(), "CRAM-MD5".into()]),
        sasldb_path: "/tmp/db".into(),
        saslauthd_path: "/run/mux".into(),
        dovecot_path: "/run/auth".into(),
        scram_iterations: 10000,
        scram_secrets: ScramSecrets::Generate,
        log_level: 7,
        warnings: vec![],
    };
    assert_eq!(conf, want);
}

#[test]
fn what_does_nothing_is_told_with_its_line() {
    let cases = [
        (
            "nosuch: 1",
            "S.conf: line 1: nosuch: unknown option: ignored",
        ),
        (
            "\nkeytab: /x",
            "S.conf: line 2: keytab has no effect in these programs: ignored",
        ),
        (
            "log_level: 1\nLOG_LEVEL: 2",
            "S.conf: line 2: log_level is set on line 1 already: ignored",
        ),
        (
            "pwcheck_method: alwaystrue auxprop",
            "S.conf: line 1: pwcheck_method: alwaystrue is not known: ignored",
        ),
        (
            "auxprop_plugin: nosuch",
            "S.conf: line 1: auxprop_plugin: none of nosuch is known, only sasldb",
        ),
        (
            "scram_iteration_counter: 1000",
            "S.conf: line 1: scram_iteration_counter: expected 4096 to 1000000, using 4096",
        ),
        (
            "log_level: 9",
            "S.conf: line 1: log_level: expected 0 to 7, using 1",
        ),
    ];
    for (text, want) in cases {
        assert_eq!(warnings(text), [want], "{text}");
    }
    assert_eq!(parse("log_level: 1\nlog_level: 2").log_level, 1);
    assert!(
        parse("pwcheck_method: alwaystrue")
            .pwcheck_method
            .is_empty()
    );
    assert_eq!(parse("auxprop_plugin: x").auxprop, Auxprop::Nothing);
}

#[test]
fn malformed_lines_are_errors() {
    for text in [
        "sasldb_path /x",
        "sasldb_path:",
        "\n: x",
        "a b: c",
        "a:\u{20}\u{20}",
    ] {
        let error = Conf::parse(Path::new("S.conf"), text.as_bytes()).unwrap_err();
        let line = if text.starts_with('\n') { 2 } else { 1 };
        assert_eq!(
            error.to_string(),
            format!("S.conf: line {line}: expected key: value"),
            "{text}"
        );
    }
}

#[test]
fn switches() {
    for (value, want) in [
        ("1", true),
        ("yes", true),
        ("T", true),
        ("on", true),
        ("off", false),
        ("0", false),
        ("no", false),
    ] {
        let conf = parse(&format!("scram_secret_generate: {value}"));
        assert_eq!(
            conf.scram_secrets == ScramSecrets::Generate,
            want,
            "{value}"
        );
    }
}

#[test]
fn the_first_readable_file_counts() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for (folder, text) in [("b", "log_level: 2"), ("c", "log_level: 3")] {
        std::fs::create_dir(root.join(folder)).unwrap();
        std::fs::write(root.join(folder).join("App.conf"), text).unwrap();
    }
    std::fs::create_dir_all(root.join("a/App.conf")).unwrap();
    let list = folders(Some(OsStr::new("/none:/a:/b:/c")), root);
    assert_eq!(Conf::read("App", &list).unwrap().log_level, 2);
    assert_eq!(Conf::read("Other", &list).unwrap(), Conf::default());
    std::fs::set_permissions(
        root.join("b/App.conf"),
        std::fs::Permissions::from_mode(0o000),
    )
    .unwrap();
    if std::fs::File::open(root.join("b/App.conf")).is_err() {
        assert_eq!(Conf::read("App", &list).unwrap().log_level, 3);
    }
    assert!(folders(None, Path::new("/")).contains(&PathBuf::from("/usr/lib/sasl2")));
}
