//! What the server gives up before it answers anybody, and that it misses nothing.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::server::{Server, build, site};

/// A server whose sockets are in a folder of their own.
fn serve(root: &Path, more: &[&str]) -> Server {
    let folder = root.join("run");
    fs::create_dir_all(&folder).unwrap();
    let at = |name: &str| format!("unix:{}", folder.join(name).display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_mapctl"));
    command.args(["serve", "--root"]).arg(root);
    command.args(["--socketmap", &at("maps"), "--policy", &at("policy")]);
    command.args(more);
    Server::spawn(command, &folder).unwrap()
}

/// Whether the kernel lacks a means, which the log says then.
fn lacks(server: &Server, what: &str) -> bool {
    let log = server.log.lock().unwrap();
    log.contains(&format!("not confined: {what}"))
}

/// A field of the process's status.
fn status(server: &Server, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().to_owned()
}

#[test]
fn it_gives_up_what_it_does_not_need() {
    let root = site();
    let server = serve(root.path(), &[]);
    for (field, want) in [("Seccomp:", "2"), ("NoNewPrivs:", "1")] {
        assert!(lacks(&server, "seccomp") || status(&server, field) == want);
    }
    // CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER.
    let rights = u64::from_str_radix(&status(&server, "CapPrm:"), 16).unwrap();
    assert_eq!(rights & !0b1110, 0, "{rights:x}");
    drop(server);
    let server = serve(root.path(), &["--unconfined"]);
    assert_eq!(status(&server, "NoNewPrivs:"), "0");
}

#[test]
fn it_opens_no_file_that_is_elsewhere() {
    let (root, elsewhere) = (site(), tempfile::tempdir().unwrap());
    build(elsewhere.path(), "hash", "secret", "k\thush\n", &[]);
    let extra = root.path().join("etc/mail/extra.db");
    let server = serve(root.path(), &[]);
    assert_eq!(server.lookup("extra k"), "OK v");
    fs::remove_file(&extra).unwrap();
    symlink(elsewhere.path().join("secret.db"), &extra).unwrap();
    if lacks(&server, "landlock") {
        eprintln!("skipped: this kernel has no landlock");
        return;
    }
    // The last map that could be read stays.
    assert_eq!(server.lookup("extra k"), "OK v");
    server.says("map extra: ");
    drop(server);
    let server = serve(root.path(), &["--unconfined"]);
    assert_eq!(server.lookup("extra k"), "OK hush");
}

#[test]
fn maps_of_every_class_are_answered_and_seen_anew() {
    let (root, other) = (site(), site());
    let far = serve(other.path(), &[]);
    fs::create_dir(root.path().join("replicas")).unwrap();
    fs::write(
        root.path().join("etc/mail/shared.pgsql"),
        "host /run/postgresql\nuser mail\nreplica /replicas/shared.db\n",
    )
    .unwrap();
    let build_all = |value: &str| {
        let source = format!("k\t{value}\n");
        for (class, name) in [
            ("hash", "etc/mail/one"),
            ("btree", "etc/mail/two"),
            ("cdb", "etc/mail/three"),
            ("hash", "replicas/shared"),
        ] {
            build(root.path(), class, name, &source, &[]);
        }
        build(other.path(), "hash", "etc/mail/extra", &source, &[]);
    };
    build_all("old");
    let remote = format!(
        "extra=socketmap:unix:{}:extra",
        other.path().join("run/maps").display()
    );
    let maps = [
        "one=hash:/etc/mail/one",
        "two=btree:/etc/mail/two",
        "three=cdb:/etc/mail/three",
        "shared=pgsql:/etc/mail/shared",
        &remote,
    ];
    let more: Vec<&str> = maps.iter().flat_map(|map| ["--map", map]).collect();
    let server = serve(root.path(), &more);
    for value in ["old", "new"] {
        build_all(value);
        for name in ["one", "two", "three", "shared", "extra"] {
            let asked = format!("{name} k");
            assert_eq!(server.lookup(&asked), format!("OK {value}"), "{asked}");
        }
    }
    let action =
        server.policy("protocol_state=CONNECT\nclient_address=192.0.2.1\nclient_name=a.example");
    assert_eq!(action, "DUNNO");
    drop(far);
}
