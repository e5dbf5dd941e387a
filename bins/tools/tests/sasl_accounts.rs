//! What the password programs do beyond the originals: CSV, listings by
//! mechanism, clear text on request.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use libmaps::map::{Entry, MapClass};
use libmaps::sasl::{Password, SaslDb, UserId};
use libmaps::store::publish::{Options, Publisher};

/// Exit code, standard output, standard error.
type Ran = (i32, String, String);

fn run(dir: &Path, program: &str, args: &[&str], input: &str) -> Ran {
    let program = match program {
        "saslpasswd2" => env!("CARGO_BIN_EXE_saslpasswd2"),
        "mapctl" => env!("CARGO_BIN_EXE_mapctl"),
        "saslpasswd" => env!("CARGO_BIN_EXE_saslpasswd"),
        "sasldblistusers" => env!("CARGO_BIN_EXE_sasldblistusers"),
        _ => env!("CARGO_BIN_EXE_sasldblistusers2"),
    };
    let mut child = Command::new(program)
        .args(args)
        .current_dir(dir)
        .env("SASL_CONF_PATH", dir.join("none"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn opens(store: &Path, user: &str, password: &str) -> bool {
    let user = UserId::resolve(user.as_bytes(), b"r").unwrap();
    let password = Password::new(password.into()).unwrap();
    SaslDb::open(store)
        .unwrap()
        .verify(&user, &password, &Default::default())
        .unwrap()
}

#[test]
fn import_export_and_import_again() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(
        at("in.csv"),
        "user,realm,password\nalice,r,\"se,cret\"\nbob@q,,hunter2\n",
    )
    .unwrap();
    let (exit, out, err) = run(
        dir.path(),
        "saslpasswd2",
        &["--import", "in.csv", "-f", "a"],
        "",
    );
    assert_eq!(
        (exit, out.as_str(), err.as_str()),
        (0, "2 accounts stored\n", "")
    );
    assert!(opens(&at("a"), "alice", "se,cret"));
    assert!(opens(&at("a"), "bob@q", "hunter2"));
    let (exit, _, err) = run(
        dir.path(),
        "saslpasswd2",
        &["--export", "out.csv", "-f", "a"],
        "",
    );
    assert_eq!((exit, err.as_str()), (0, ""));
    let mode = fs::metadata(at("out.csv")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let text = fs::read_to_string(at("out.csv")).unwrap();
    assert!(!text.contains("cret") && !text.contains("hunter2"));
    let (exit, ..) = run(
        dir.path(),
        "saslpasswd2",
        &["--import", "-", "-f", "b"],
        &text,
    );
    assert_eq!(exit, 0);
    assert!(opens(&at("b"), "alice", "se,cret"));
    let (_, again, _) = run(dir.path(), "saslpasswd2", &["--export", "-", "-f", "b"], "");
    assert_eq!(again, text);
    let (exit, ..) = run(
        dir.path(),
        "saslpasswd2",
        &["--export", "-", "-f", "none"],
        "",
    );
    assert_eq!(exit, 66);
}

#[test]
fn transfers_say_what_is_wrong_by_their_status() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("in.csv"), "user,realm,password\nalice,r,secret\n").unwrap();
    fs::write(at("damaged"), "no store of any kind").unwrap();
    let export = |store: &str| {
        run(
            dir.path(),
            "saslpasswd2",
            &["-f", store, "--export", "-"],
            "",
        )
    };
    assert_eq!(export("./missing").0, 66);
    assert_ne!(export("./damaged").0, 66);
    // No entry is to be stored, or nothing that this site reads.
    fs::create_dir(at("none")).unwrap();
    let import = |more: &[&str]| {
        let args = [&["-f", "./db", "--import", "in.csv"], more].concat();
        run(dir.path(), "saslpasswd2", &args, "").0
    };
    assert_eq!(import(&["-n"]), 1);
    assert!(!at("db").exists());
    fs::write(at("none/saslpasswd.conf"), "auxprop_plugin: sql\n").unwrap();
    assert_eq!(import(&[]), 4);
    assert!(!at("db").exists());
    fs::remove_file(at("none/saslpasswd.conf")).unwrap();
    assert_eq!(import(&[]), 0);
    assert!(at("db").exists());
}

#[test]
fn an_export_replaces_no_pipe_and_no_link() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let export = |to: &str| run(dir.path(), "saslpasswd2", &["--export", to, "-f", "a"], "");
    let (exit, ..) = run(
        dir.path(),
        "saslpasswd2",
        &["--import", "-", "-f", "a"],
        "alice,r,x\n",
    );
    assert_eq!(exit, 0);
    let (_, rows, _) = export("-");

    let made = Command::new("mkfifo").arg(at("pipe")).status().unwrap();
    assert!(made.success());
    let mut pipe = fs::File::options();
    pipe.read(true).write(true).custom_flags(libc::O_NONBLOCK);
    let mut pipe = pipe.open(at("pipe")).unwrap();
    assert_eq!(export("pipe").0, 0);
    let mut piped = vec![0; rows.len()];
    pipe.read_exact(&mut piped).unwrap();
    assert_eq!(piped, rows.as_bytes());
    let kind = fs::symlink_metadata(at("pipe")).unwrap().file_type();
    assert!(kind.is_fifo());

    fs::write(at("file"), "old").unwrap();
    std::os::unix::fs::symlink("file", at("link")).unwrap();
    assert_eq!(export("link").0, 0);
    assert!(fs::symlink_metadata(at("link")).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(at("file")).unwrap(), rows);
    let mode = fs::metadata(at("file")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);

    fs::create_dir(at("folder")).unwrap();
    assert_eq!(export("folder").0, 73);
}

#[test]
fn bad_rows_are_told_and_nothing_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let rows = "alice,r,x\nbob,r,{CRAM-MD5}junk\ncarol,r\n";
    let told = "saslpasswd2: -: line 2: bob@r: expected 64 hexadecimal digits\n\
                saslpasswd2: -: line 3: expected user,realm,password, found 2 fields \
                (a field that holds commas must be in quotes)\n";
    let all = ["--import", "-", "-f", "db", "--partial"];
    let (exit, out, err) = run(dir.path(), "saslpasswd2", &all[..4], rows);
    assert_eq!((exit, out.as_str()), (65, ""));
    assert_eq!(
        err,
        format!("{told}saslpasswd2: -: 2 bad rows, nothing stored\n")
    );
    assert!(!dir.path().join("db").exists());
    let (exit, out, err) = run(dir.path(), "saslpasswd2", &all, rows);
    assert_eq!(
        (exit, out.as_str(), err.as_str()),
        (65, "1 accounts stored\n", told)
    );
    assert!(opens(&dir.path().join("db"), "alice", "x"));
}

#[test]
fn listings() {
    let dir = tempfile::tempdir().unwrap();
    let rows = format!("a,r,x\nb,r,{{CRAM-MD5}}{}\n", "0f".repeat(32));
    run(
        dir.path(),
        "saslpasswd",
        &["--import", "-", "-f", "db"],
        &rows,
    );
    let all = "a@r: SCRAM-SHA-256\na@r: SCRAM-SHA-1\na@r: DIGEST-MD5\na@r: CRAM-MD5\n\
               a@r: PLAIN\na@r: LOGIN\nb@r: CRAM-MD5\nb@r: PLAIN\nb@r: LOGIN\n";
    let cases: [(&[&str], &str); 4] = [
        (&["--mechs", "db"], all),
        (
            &["--json", "-f", "db"],
            "[\"a\",\"r\",\"userPassword\",null]\n[\"b\",\"r\",\"userPassword\",null]\n",
        ),
        (
            &["--csv", "db"],
            "user,realm,property\na,r,userPassword\nb,r,userPassword\n",
        ),
        (&["db"], "a@r: userPassword\nb@r: userPassword\n"),
    ];
    for (args, want) in cases {
        let (exit, out, err) = run(dir.path(), "sasldblistusers", args, "");
        assert_eq!(
            (exit, out.as_str(), err.as_str()),
            (0, want, ""),
            "{args:?}"
        );
    }
    let (exit, _, err) = run(dir.path(), "sasldblistusers2", &["--json", "none"], "");
    assert_eq!(exit, 1);
    assert!(err.contains("none: No such file or directory"), "{err}");
}

#[test]
fn clear_text_descriptors_and_roots() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("etc")).unwrap();
    let root = dir.path().to_str().unwrap();
    let store = dir.path().join("etc/sasldb2");
    let set = |args: &[&str]| {
        let mut all = vec!["--root", root, "-u", "r"];
        all.extend(args);
        let (exit, out, err) = run(dir.path(), "saslpasswd2", &all, "tanstaafl\n");
        assert_eq!((exit, out.as_str(), err.as_str()), (0, "", ""));
        let octets = fs::read(&store).unwrap();
        octets.windows(9).any(|w| w == b"tanstaafl")
    };
    assert!(!set(&["--password-fd", "0", "alice"]));
    assert!(opens(&store, "alice", "tanstaafl"));
    assert!(set(&["--plaintext", "alice"]));
    assert!(!set(&["alice"]), "clear text goes with the next password");
    let (exit, out, _) = run(dir.path(), "sasldblistusers2", &["--root", root], "");
    assert_eq!((exit, out.as_str()), (0, "alice@r: userPassword\n"));
    let (exit, ..) = run(
        dir.path(),
        "saslpasswd2",
        &["--password-fd", "x", "alice"],
        "",
    );
    assert_eq!(exit, 7);
}

/// A store with these properties of accounts, as Cyrus SASL leaves them.
fn store_of(path: &Path, records: &[(&str, &[u8], &str)]) {
    let mut store = Publisher::create(path, Options::new(MapClass::Hash, "test")).unwrap();
    for (name, property, value) in records {
        let user = UserId::new(name.as_bytes(), b"r").unwrap();
        store.put(Entry::new(user.lhs(property), *value)).unwrap();
    }
    store.publish().unwrap();
}

/// Made by Cyrus SASL 2.1.28 of the password `oldpw`, the second with `scram_iteration_counter: 1000`.
const OLD_KEYS: &str = "SCRAM-SHA-1$4096:EkFbQmhC9pzvzuH7kQWKVA==$NKOG3CtGg6VIdANLLSGptMWEVN8=:up0vkbOVg8uEXZZfXvSDAIIb1zk=";
const FEW_ITERATIONS: &str = "SCRAM-SHA-1$1000:rHiTogBkP22nL4VBj2QHLw==$GVNypJe0zispFFn8lqUSHo4YKYc=:jUfMZQZqJCiE1I5ieUkpp8JSJAc=";

#[test]
fn an_export_brings_no_earlier_password_back() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    store_of(
        &at("a"),
        &[
            ("alice", b"userPassword", "newpw"),
            ("alice", b"authPassword", OLD_KEYS),
            ("keys", b"authPassword", OLD_KEYS),
        ],
    );
    let (exit, rows, err) = run(dir.path(), "saslpasswd2", &["--export", "-", "-f", "a"], "");
    assert_eq!((exit, err.as_str()), (0, ""));
    assert!(
        rows.contains("\nalice,r,newpw\nkeys,r,{SCRAM-SHA-1}4096"),
        "{rows}"
    );
    let (exit, ..) = run(
        dir.path(),
        "saslpasswd2",
        &["--import", "-", "-f", "b"],
        &rows,
    );
    assert_eq!(exit, 0);
    for store in ["a", "b"].map(at) {
        assert!(opens(&store, "alice", "newpw") && !opens(&store, "alice", "oldpw"));
        assert!(opens(&store, "keys", "oldpw"));
    }
    let (_, mechanisms, _) = run(dir.path(), "sasldblistusers2", &["--mechs", "b"], "");
    for mechanism in ["CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-256"] {
        let line = format!("alice@r: {mechanism}\n");
        assert!(mechanisms.contains(&line), "{mechanisms}");
    }
}

#[test]
fn one_account_that_can_not_be_read_hides_no_other() {
    let dir = tempfile::tempdir().unwrap();
    store_of(
        &dir.path().join("db"),
        &[
            ("alice", b"userPassword", "pw"),
            ("alice", b"authPassword", FEW_ITERATIONS),
            ("bad", b"authPassword", FEW_ITERATIONS),
            ("carol", b"userPassword", "pw"),
        ],
    );
    assert!(opens(&dir.path().join("db"), "alice", "pw"));
    let told = "db: bad@r: authPassword: SCRAM iterations must be 4096 to 1000000\n";
    let (exit, rows, err) = run(
        dir.path(),
        "saslpasswd2",
        &["--export", "-", "-f", "db"],
        "",
    );
    assert_eq!(exit, 65);
    assert_eq!(rows, "user,realm,password\nalice,r,pw\ncarol,r,pw\n");
    assert_eq!(err, format!("saslpasswd2: {told}"));
    let (exit, out, err) = run(dir.path(), "sasldblistusers2", &["--mechs", "db"], "");
    assert_eq!((exit, err), (1, format!("sasldblistusers2: {told}")));
    assert!(
        out.contains("alice@r: PLAIN\n") && out.contains("carol@r: PLAIN\n"),
        "{out}"
    );
    assert!(!out.contains("bad@r"), "{out}");
}

#[test]
fn clear_text_is_exported_where_it_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let set = |args: &[&str], password: &str| {
        let all = [&["-p", "-c", "-u", "r", "-f", "db"], args].concat();
        assert_eq!(run(dir.path(), "saslpasswd2", &all, password).0, 0);
    };
    set(&["--plaintext", "alice"], "{abc}x");
    set(&["bob"], "hashed");
    let (exit, rows, _) = run(
        dir.path(),
        "saslpasswd2",
        &["--export", "-", "-f", "db"],
        "",
    );
    assert_eq!(exit, 0);
    assert!(rows.contains("\nalice,r,{PLAIN}{abc}x\nbob,r,"), "{rows}");
    assert!(!rows.contains("hashed"), "{rows}");
}

/// `exec 3<creds; read -r user <&3; saslpasswd2 -c --password-fd 3 "$user"`
#[test]
fn a_descriptor_is_read_where_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let creds = dir.path().join("creds");
    fs::write(&creds, "carol\nsecret-pw\ndave\nother-pw\n").unwrap();
    let mut file = fs::File::open(&creds).unwrap();
    let args = ["-f", "db", "-u", "r", "--password-fd", "0"];
    for (user, password) in [("carol", "secret-pw"), ("dave", "other-pw")] {
        let mut name = vec![0; user.len() + 1];
        file.read_exact(&mut name).unwrap();
        let status = Command::new(env!("CARGO_BIN_EXE_saslpasswd2"))
            .args(args)
            .arg(user)
            .current_dir(dir.path())
            .env("SASL_CONF_PATH", dir.path().join("none"))
            .stdin(file.try_clone().unwrap())
            .status();
        assert!(status.unwrap().success());
        assert!(opens(&dir.path().join("db"), user, password), "{user}");
    }
    // What can't be opened by a name: a socket.
    let (mut mine, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    mine.write_all(b"by socket\n").unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_saslpasswd2"))
        .args(args)
        .arg("erin")
        .current_dir(dir.path())
        .env("SASL_CONF_PATH", dir.path().join("none"))
        .stdin(std::os::fd::OwnedFd::from(theirs))
        .status();
    assert!(status.unwrap().success());
    assert!(opens(&dir.path().join("db"), "erin", "by socket"));
    let (exit, _, err) = run(dir.path(), "saslpasswd2", &["--password-fd", "77", "x"], "");
    assert!(
        exit != 0 && err.contains("Bad file descriptor"),
        "{exit} {err}"
    );
}

#[test]
fn mapctl_convert_hashes_a_store_of_cyrus_sasl() {
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/sasldb2");
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("sasldb2");
    fs::copy(recorded.join("small.sasldb2"), &store).unwrap();
    let (_, before, _) = run(dir.path(), "sasldblistusers2", &["sasldb2"], "");
    let args = ["convert", "sasldb2", "hash:sasldb2"];
    let (exit, _, err) = run(dir.path(), "mapctl", &args, "");
    assert_eq!((exit, err.as_str()), (0, ""));
    let (_, after, _) = run(dir.path(), "sasldblistusers2", &["sasldb2"], "");
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&after), sorted(&before));
    let octets = fs::read(&store).unwrap();
    assert!(!octets.windows(12).any(|w| w == b"userPassword"));
    assert!(dir.path().join("sasldb2.bdb").exists());
    let described = |name: &str| {
        let (exit, out, err) = run(dir.path(), "mapctl", &["info", "--json", name], "");
        assert_eq!((exit, err.as_str()), (0, ""));
        let info: serde_json::Value = serde_json::from_str(&out).unwrap();
        info["options"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(described("sasldb2"), "sasldb2");
    // Through a class that says nothing of itself, and back.
    for args in [["hash:sasldb2", "cdb:there"], ["cdb:there", "hash:back"]] {
        let (exit, _, err) = run(dir.path(), "mapctl", &["convert", args[0], args[1]], "");
        assert_eq!((exit, err.as_str()), (0, ""));
    }
    assert_eq!(described("hash:back"), "sasldb2");
    let args = ["-f", "sasldb2", "-u", "r", "zoe"];
    assert_eq!(run(dir.path(), "saslpasswd2", &args, "pw\n").0, 0);
    assert_eq!(described("sasldb2"), "sasldb2");
}

#[test]
fn an_export_goes_to_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let set = ["-p", "-c", "-f", "db", "-u", "r", "u"];
    assert_eq!(run(dir.path(), "saslpasswd2", &set, "pw\n").0, 0);
    let export = |to: &str| run(dir.path(), "saslpasswd2", &["--export", to, "-f", "db"], "");
    // One's own links are followed.
    fs::write(at("target"), "old").unwrap();
    std::os::unix::fs::symlink("target", at("link")).unwrap();
    assert_eq!(export("link"), (0, String::new(), String::new()));
    assert!(fs::read_to_string(at("target")).unwrap().contains("u,r,"));
    assert!(fs::symlink_metadata(at("link")).unwrap().is_symlink());
    // A reader that went away has what it wanted.
    let mut child = Command::new(env!("CARGO_BIN_EXE_saslpasswd2"))
        .args(["--export", "-", "-f", "db"])
        .current_dir(dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return eprintln!("skipped: only root can make what is another user's");
    }
    // What another user has put there gets nothing.
    std::os::unix::fs::lchown(at("link"), Some(61_234), None).unwrap();
    fs::write(at("target"), "old").unwrap();
    let made = Command::new("mkfifo").arg(at("fifo")).status().unwrap();
    assert!(made.success());
    std::os::unix::fs::chown(at("fifo"), Some(61_234), None).unwrap();
    // Open for both, so that nobody waits for a reader.
    let mut fifo = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(at("fifo"))
        .unwrap();
    for name in ["link", "fifo"] {
        let why = format!("saslpasswd2: {name}: what stands there is another user's\n");
        assert_eq!(export(name), (73, String::new(), why));
    }
    assert_eq!(fs::read(at("target")).unwrap(), b"old");
    assert!(fifo.read(&mut [0; 16]).is_err(), "it holds something");
}

#[test]
fn other_names_of_the_store_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["-f", "db", "-u", "r", "alice"];
    assert_eq!(run(dir.path(), "saslpasswd2", &args, "one\n").0, 0);
    fs::hard_link(dir.path().join("db"), dir.path().join("jail")).unwrap();
    let (exit, _, err) = run(dir.path(), "saslpasswd2", &args, "two\n");
    assert_eq!(exit, 0);
    assert!(
        err.contains("db has 1 more names (hard links), which keep the old content"),
        "{err}"
    );
}

#[test]
fn a_conversion_keeps_what_a_map_says_of_itself() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("m");
    fs::write(&source, "Joe@x.example\tjoe\n").unwrap();
    let made = Command::new(env!("CARGO_BIN_EXE_makemap"))
        .args(["-f", "-N", "hash"])
        .arg(&source)
        .stdin(fs::File::open(&source).unwrap())
        .status();
    assert!(made.unwrap().success());
    let (exit, _, err) = run(dir.path(), "mapctl", &["convert", "hash:m", "btree:n"], "");
    assert_eq!((exit, err.as_str()), (0, ""));
    let (_, out, _) = run(dir.path(), "mapctl", &["info", "--json", "btree:n"], "");
    let info: serde_json::Value = serde_json::from_str(&out).unwrap();
    let options = info["options"].as_str().unwrap();
    assert!(options.contains("-f") && options.contains("-N"), "{out}");
    // Capitals are kept, and so are asked for.
    let (exit, out, _) = run(
        dir.path(),
        "mapctl",
        &["query", "btree:n", "Joe@x.example"],
        "",
    );
    assert_eq!((exit, out.contains("joe")), (0, true), "{out}");
}

/// Many writers at once: the original loses some of them and says nothing.
#[test]
fn no_writer_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for i in 0..12 {
            let dir = dir.path();
            scope.spawn(move || {
                let user = format!("user{i}");
                let args = ["-p", "-f", "db", "-u", "r", &user];
                assert_eq!(run(dir, "saslpasswd2", &args, "x\n").0, 0);
            });
        }
    });
    let (_, out, _) = run(dir.path(), "sasldblistusers2", &["db"], "");
    assert_eq!(out.lines().count(), 12);
}

#[test]
fn man_pages_name_every_option() {
    let man = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../man");
    for (page, options) in [
        ("saslpasswd2.8", tools::saslpasswd2::OPTIONS),
        ("sasldblistusers2.8", tools::sasldblistusers2::OPTIONS),
    ] {
        let text = fs::read_to_string(man.join(page)).unwrap();
        for option in options {
            let item = match (option.short, option.long) {
                (Some(b'?'), _) => ".It Fl h , \\&?".to_owned(),
                (Some(c), _) => format!(".It Fl {}", c as char),
                (None, long) => format!(".It Fl -{}", long.unwrap()),
            };
            assert!(text.contains(&item), "{page} lacks {item}");
        }
    }
}

#[test]
fn help_names_every_option_and_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    for (program, options) in [
        ("saslpasswd2", tools::saslpasswd2::OPTIONS),
        ("sasldblistusers2", tools::sasldblistusers2::OPTIONS),
    ] {
        let (exit, help, errors) = run(dir.path(), program, &["--help"], "");
        assert_eq!((exit, errors.as_str()), (0, ""), "{program}");
        for name in options.iter().filter_map(|option| option.long) {
            assert!(help.contains(&format!("--{name}")), "{program} --{name}");
        }
        let (exit, version, _) = run(dir.path(), program, &["--version"], "");
        assert_eq!(exit, 0, "{program}");
        assert!(version.starts_with(&format!("{program} ")), "{version}");
        // Among other arguments it is a mistake.
        assert_ne!(run(dir.path(), program, &["--help", "a", "b"], "").0, 0);
    }
}

#[test]
fn of_a_shared_store_the_reason_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let shared = dir.path().join("sasldb2.pgsql");
    fs::write(&shared, "host db.example\nuser mail\nwhat 1\n").unwrap();
    let set = |file: &str| {
        run(
            dir.path(),
            "saslpasswd2",
            &["-p", "-c", "-f", file, "alice"],
            "x",
        )
    };
    let list = |file: &str| run(dir.path(), "sasldblistusers2", &["-f", file], "");
    let wrong = "sasldb2.pgsql: line 3: \"what\" is no setting of class pgsql\n";
    for file in ["sasldb2.pgsql", "pgsql:sasldb2"] {
        let (exit, _, err) = set(file);
        assert_eq!(
            (exit, &*err),
            (78, &*format!("saslpasswd2: {wrong}")),
            "{file}"
        );
        let (exit, _, err) = list(file);
        let want = format!("listusers failed\nsasldblistusers2: {wrong}");
        assert_eq!((exit, &*err), (78, &*want), "{file}");
    }
    // A replica that was never made.
    fs::write(&shared, "host db.example\nuser mail\n").unwrap();
    let (exit, _, err) = list("pgsql:sasldb2");
    assert_eq!(exit, 66, "{err}");
    assert!(err.contains("sasldb2.pgsql.db: "), "{err}");
}
