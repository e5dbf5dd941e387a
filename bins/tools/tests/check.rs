//! `mapctl check` and `mapctl site` as whole programs: each planted fault of `testdata/check` is found, the sample site
//! has none.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn testdata(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../testdata")
        .join(part)
}

fn mapctl(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mapctl"))
        .args(args)
        .output()
        .unwrap()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// A root with this configuration and these files in `/etc/mail`, and a user joe.
fn root(mc: &str, files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let mail = root.path().join("etc/mail");
    fs::create_dir_all(&mail).unwrap();
    let base = "OSTYPE(`linux')dnl\ndefine(`confDOMAIN_NAME', `mail.example.org')dnl\n\
                define(`confCR_FILE', `-o /nowhere')dnl\n\
                define(`confPRIVACY_FLAGS', `goaway')dnl\n";
    let mailers = "MAILER(`local')dnl\nMAILER(`smtp')dnl\n";
    fs::write(mail.join("sendmail.mc"), format!("{base}{mc}{mailers}")).unwrap();
    fs::write(
        root.path().join("etc/passwd"),
        "root:x:0:0::/root:/bin/sh\njoe:x:1000:1000::/home/joe:/bin/sh\n",
    )
    .unwrap();
    for (name, content) in files {
        fs::write(mail.join(name), content).unwrap();
    }
    root
}

fn check_root(root: &Path, more: &[&str]) -> (String, Option<i32>) {
    let mut args = vec!["check", "--root", root.to_str().unwrap()];
    args.extend(more);
    let output = mapctl(&args);
    assert_eq!(text(&output.stderr), "");
    (text(&output.stdout), output.status.code())
}

#[test]
fn the_sample_site_has_no_errors() {
    let (out, exit) = check_root(&testdata("site"), &[]);
    assert_eq!(exit, Some(0), "{out}");
    assert!(
        out.lines().last().unwrap().starts_with("no errors, "),
        "{out}"
    );
    assert!(!out.contains("not built from this text"), "{out}");
}

#[test]
fn each_planted_fault_of_a_source_is_found() {
    let folder = testdata("check");
    let mut files = 0;
    for kind in [
        "access",
        "mailertable",
        "virtusertable",
        "genericstable",
        "domaintable",
        "aliases",
    ] {
        for entry in fs::read_dir(folder.join(kind)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some() {
                continue;
            }
            files += 1;
            let expected = fs::read_to_string(path.with_extension("expected")).unwrap();
            // These were found with users root and joe.
            let root = root("", &[]);
            let output = mapctl(&[
                "check",
                "--root",
                root.path().to_str().unwrap(),
                "-C",
                folder.join("lint.mc").to_str().unwrap(),
                "--as",
                kind,
                path.to_str().unwrap(),
            ]);
            let out = text(&output.stdout);
            let prefix = format!("{}/", path.parent().unwrap().display());
            let findings: String = out
                .lines()
                .filter(|line| line.starts_with('/'))
                .map(|line| format!("{}\n", line.replace(&prefix, "")))
                .collect();
            assert_eq!(findings, expected, "{}", path.display());
            let wrong = expected.contains(": error: ");
            let exit = if wrong { Some(65) } else { Some(0) };
            assert_eq!(output.status.code(), exit, "{out}");
        }
    }
    assert!(files >= 20, "{files}");
}

/// Entries for TLS with single peers: what can't be done means no TLS with them.
#[test]
fn tls_with_single_peers_is_looked_at() {
    let mc = "FEATURE(`access_db', `hash -T<TMPF> -o /etc/mail/access')dnl\n\
              FEATURE(`tls_session_features')dnl\n";
    let access = "TLS_Srv_Features:a.example\tOptions=SSL_OP_NO_TLSv1_3; CipherList=HIGH\n\
                  TLS_Srv_Features:b.example\tCertFile=/a\n\
                  TLS_Clt_Features:c.example\tOptions=SSL_OP_NO_SUCH\n\
                  TLS_Clt_Features:d.example\tOptions=SSL_OP_NO_TLSv1_3; CipherList=RC4-SHA\n\
                  TLS_Clt_Features:e.example\tOptions=-SSL_OP_NO_TLSv1; CipherList=RC4-SHA\n\
                  TLS_Clt_Features:\tCipherList=HIGH\n\
                  Clt_Features:g.example\tD m\n\
                  TLS_Srv_Features:h.example\tCertFile=/a.pem; KeyFile=/b.pem\n";
    let (out, exit) = check_root(root(mc, &[("access", access)]).path(), &[]);
    assert_eq!(exit, Some(65), "{out}");
    for expected in [
        "access:2: error: tls_srv_features:b.example: no TLS with this peer: CertFile and KeyFile belong together",
        "access:3: error: tls_clt_features:c.example: no TLS with this peer: SSL_OP_NO_SUCH is no option that is known",
        "access:4: error: tls_clt_features:d.example: no TLS with this peer: no version or no cipher is left",
        "access:5: warning: tls_clt_features:e.example: -SSL_OP_NO_TLSv1 would allow a protocol older",
        "access:5: warning: tls_clt_features:e.example: no cipher of TLS 1.2 is left",
        "access:6: warning: tls_clt_features:: nothing asks for the bare tag",
        "access:7: warning: clt_features:g.example: m has no effect",
        "access:8: error: tls_srv_features:h.example: /a.pem is not there",
        "access:8: error: tls_srv_features:h.example: /b.pem is not there",
    ] {
        assert!(out.contains(expected), "{expected}\n{out}");
    }
    assert!(!out.contains("access:1:"), "{out}");
}

#[test]
fn the_whole_site_is_looked_at() {
    let mc = "FEATURE(`access_db', `hash -T<TMPF> -o /etc/mail/access')dnl\n\
              FEATURE(`relay_mail_from', `domain')dnl\n\
              FEATURE(`virtusertable', `hash -o /etc/mail/virtusertable')dnl\n\
              FEATURE(`mailertable', `hash -o /etc/mail/mailertable')dnl\n\
              VIRTUSER_DOMAIN(`virt.example')dnl\n\
              define(`ALIAS_FILE', `/etc/mail/aliases')dnl\n";
    let root = root(
        mc,
        &[
            ("access", "Connect:10\tRELAY\nFrom:partner.example\tRELAY\n"),
            (
                "virtusertable",
                "a@virt.example\tjoe\nb@virt.example\tghost\n\
                 c@virt.example\tnobody+%1@mail.example.org\n",
            ),
            ("mailertable", ".lab.example\tesmtp:%2.hub.example\n"),
            ("aliases", "x: y\ny: x\n"),
        ],
    );
    let (out, exit) = check_root(root.path(), &[]);
    assert_eq!(exit, Some(65), "{out}");
    for expected in [
        "/etc/mail/access: warning: none of these entries counts",
        "/etc/mail/access:2: error: open relay: any stranger may send from <anybody@partner.example>",
        "by FEATURE(relay_mail_from) and from:partner.example RELAY",
        "/etc/mail/virtusertable:2: error: b@virt.example: ghost is neither an alias nor a user",
        "/etc/mail/virtusertable:3: error: c@virt.example: nobody is neither an alias nor a user",
        "/etc/mail/mailertable:1: warning: .lab.example: %2 is the one label",
        "/etc/mail/aliases:2: error: x -> y leads back to x",
        "/etc/mail/aliases.db is not there: this text is read as it stands; build it with newaliases",
    ] {
        assert!(out.contains(expected), "{expected}\n{out}");
    }
    let (json, exit) = check_root(root.path(), &["--json"]);
    assert_eq!(exit, Some(65));
    let findings: Vec<serde_json::Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(findings.len(), out.lines().count() - 1);
    assert!(
        findings.iter().any(|f| f["file"] == "/etc/mail/aliases"
            && f["line"] == 2
            && f["severity"] == "error")
    );
}

#[test]
fn a_map_that_is_older_than_its_text_is_found() {
    let mc = "FEATURE(`access_db', `hash -T<TMPF> -o /etc/mail/access')dnl\n";
    let root = root(mc, &[("access", "Connect:a.example\tREJECT\n")]);
    let access = root.path().join("etc/mail/access");
    let built = Command::new(env!("CARGO_BIN_EXE_makemap"))
        .args(["hash".as_ref(), access.as_os_str()])
        .stdin(fs::File::open(&access).unwrap())
        .status()
        .unwrap();
    assert!(built.success());
    let (out, exit) = check_root(root.path(), &[]);
    assert_eq!(exit, Some(0), "{out}");
    assert!(!out.contains("was not built from"), "{out}");
    fs::write(&access, "Connect:a.example\tOK\n").unwrap();
    let (out, exit) = check_root(root.path(), &[]);
    assert_eq!(exit, Some(0), "{out}");
    assert!(
        out.contains("access.db was not built from this text as it is now; run makemap hash"),
        "{out}"
    );
    fs::write(root.path().join("etc/mail/access.db"), "garbage").unwrap();
    let (out, exit) = check_root(root.path(), &[]);
    assert_eq!(exit, Some(65), "{out}");
}

#[test]
fn a_map_that_is_in_ldap_needs_no_connection_file_of_the_site_s() {
    let mc = "define(`confLDAP_DEFAULT_SPEC', `-h ldap.example.org -b dc=a')dnl\n\
              FEATURE(`access_db', `LDAP')dnl\n";
    let root = root(mc, &[("aliases", "")]);
    let (said, exit) = check_root(root.path(), &[]);
    let expected = "access.ldap has no replica on this host yet";
    assert!(said.contains(expected), "{said}");
    assert!(!said.contains("access.ldap is not there"), "{said}");
    // One that the site names as its own has to be there.
    let mc = "FEATURE(`access_db', `ldap -T<TMPF> /etc/mail/access')dnl\n";
    let other = self::root(mc, &[("aliases", "")]);
    let (said, exit_of_other) = check_root(other.path(), &[]);
    assert!(said.contains("access.ldap is not there"), "{said}");
    assert_eq!((exit, exit_of_other), (Some(0), Some(65)));
}

#[test]
fn a_connection_file_that_is_named_with_its_suffix_is_no_text_of_a_map() {
    let mc = "FEATURE(`access_db', `pgsql -T<TMPF> /etc/mail/access.pgsql')dnl\n";
    let connection = "host 127.0.0.1\ndatabase mail\nuser mail\n";
    let root = root(mc, &[("aliases", ""), ("access.pgsql", connection)]);
    let (said, exit) = check_root(root.path(), &[]);
    assert!(
        said.contains("access.pgsql has no replica on this host yet"),
        "{said}"
    );
    assert!(!said.contains("is none of"), "{said}");
    assert_eq!(exit, Some(0), "{said}");
}

#[test]
fn the_site_is_printed_and_its_faults_are_told_apart() {
    let sample = testdata("site");
    let output = mapctl(&["site", "--root", sample.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let out = text(&output.stdout);
    for expected in ["names\n", "mail.example.com", "MSA", "blocklist_recipients"] {
        assert!(out.contains(expected), "{expected}\n{out}");
    }
    let json = mapctl(&["--json", "site", "--root", sample.to_str().unwrap()]);
    let model: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(model["names"]["host name ($j)"], "mail.example.com");

    let root = root("FEATURE(`no_such_feature')dnl\n", &[]);
    let output = mapctl(&["site", "--root", root.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(78));
    let complaint = text(&output.stderr);
    assert!(
        complaint.contains("sendmail.mc:5: error: ") && complaint.contains("no_such_feature"),
        "{complaint}"
    );
}

#[test]
fn what_can_not_be_checked_is_a_usage_or_input_error() {
    let sample = testdata("site");
    let root = sample.to_str().unwrap();
    let unknown = mapctl(&["check", "--root", root, "Cargo.toml"]);
    assert_eq!(unknown.status.code(), Some(64));
    assert!(text(&unknown.stderr).contains("--as"));
    let missing = mapctl(&["check", "--root", root, "/nowhere/access"]);
    assert_eq!(missing.status.code(), Some(66));
    let no_site = mapctl(&["check", "--root", "/nowhere"]);
    assert_eq!(no_site.status.code(), Some(66));
}
