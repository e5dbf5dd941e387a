//! Programs that write one map at the same time, and what stands there before they come.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use libmaps::map::{Entry, MapClass};
use libmaps::store::publish::{OnDuplicate, Options, Publisher};

const EDITMAP: &str = env!("CARGO_BIN_EXE_editmap");
const MAPCTL: &str = env!("CARGO_BIN_EXE_mapctl");
const MAKEMAP: &str = env!("CARGO_BIN_EXE_makemap");
const SASLPASSWD: &str = env!("CARGO_BIN_EXE_saslpasswd2");
const LISTUSERS: &str = env!("CARGO_BIN_EXE_sasldblistusers2");

fn start(dir: &Path, program: &str, args: &[&str], input: &str) -> Child {
    spawn(Command::new(program).args(args), dir, input)
}

fn spawn(command: &mut Command, dir: &Path, input: &str) -> Child {
    let mut child = command
        .current_dir(dir)
        .env("SASL_CONF_PATH", dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child
}

/// Exit code, and what was printed on both outputs.
fn ended(child: Child) -> (i32, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().unwrap();
    let text = String::from_utf8([stdout, stderr].concat()).unwrap();
    (status.code().unwrap(), text)
}

fn run(dir: &Path, program: &str, args: &[&str], input: &str) -> (i32, String) {
    ended(start(dir, program, args, input))
}

/// Returns once the program has opened this lock, which the test holds.
fn wait_until_it_waits(child: &mut Child, lock: &Path) {
    let end = Instant::now() + Duration::from_secs(120);
    let fds = format!("/proc/{}/fd", child.id());
    loop {
        let mut open = fs::read_dir(&fds).into_iter().flatten().flatten();
        if open.any(|fd| fs::read_link(fd.path()).is_ok_and(|path| path == lock)) {
            return;
        }
        assert_eq!(child.try_wait().unwrap(), None, "it ended");
        assert!(Instant::now() < end, "it never came to the lock");
        sleep(Duration::from_millis(2));
    }
}

fn publisher(path: &Path) -> Publisher {
    let options = Options {
        on_duplicate: OnDuplicate::Replace,
        ..Options::new(MapClass::Hash, "test")
    };
    Publisher::edit(path, options).unwrap()
}

fn build(path: &Path, entries: &[(&str, &str)]) {
    let mut publisher = publisher(path);
    for (lhs, rhs) in entries {
        publisher.put(Entry::new(*lhs, *rhs)).unwrap();
    }
    publisher.publish().unwrap();
}

#[test]
fn accounts_that_are_made_at_once_in_an_empty_file_are_all_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap();
    fs::write(path.join("db"), "").unwrap();
    let held = publisher(&path.join("db"));
    let users = ["u1", "u2", "u3", "u4"];
    let mut children: Vec<Child> = users
        .iter()
        .map(|user| {
            let args = ["-p", "-c", "-f", "db", "-u", "r", user];
            start(&path, SASLPASSWD, &args, "secret\n")
        })
        .collect();
    for child in &mut children {
        wait_until_it_waits(child, &path.join(".db.lock"));
    }
    drop(held);
    for child in children {
        assert_eq!(ended(child), (0, String::new()));
    }
    let want = users.map(|user| format!("{user}@r: userPassword\n"));
    let listed = run(&path, LISTUSERS, &["-f", "db"], "");
    assert_eq!(listed, (0, want.concat()));
}

#[test]
fn editmap_takes_an_empty_file_for_a_map_without_entries() {
    let dir = tempfile::tempdir().unwrap();
    let at = |args: &[&str]| run(dir.path(), EDITMAP, args, "");
    fs::write(dir.path().join("m.db"), "").unwrap();
    let absent = "editmap: key k doesn't exist in map m\n".to_owned();
    assert_eq!(at(&["-x", "hash", "m", "k"]), (0, absent));
    assert_eq!(fs::read(dir.path().join("m.db")).unwrap(), b"");
    assert_eq!(at(&["-u", "hash", "m", "k", "v"]), (0, String::new()));
    assert_eq!(at(&["-q", "hash", "m", "k"]), (0, "v\n".into()));
    // A question needs a map, and makemap -o one to add to.
    fs::write(dir.path().join("e.db"), "").unwrap();
    assert_eq!(at(&["-q", "hash", "e", "k"]).0, 73);
    assert_eq!(
        run(dir.path(), MAKEMAP, &["-o", "hash", "e"], "k v\n").0,
        73
    );
}

#[test]
fn what_is_changed_before_a_conversion_in_place_has_the_lock_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap();
    let at = |name: &str| path.join(name);
    build(&at("m.db"), &[("gone", "1"), ("old", "2")]);
    build(&at("n.db"), &[("evil", "REJECT"), ("old", "3")]);
    // Another writer holds the lock, and publishes while the conversion waits.
    let lock = File::create(at(".m.db.lock")).unwrap();
    lock.lock().unwrap();
    let mut convert = start(&path, MAPCTL, &["convert", "hash:m", "hash:m"], "");
    wait_until_it_waits(&mut convert, &at(".m.db.lock"));
    fs::rename(at("n.db"), at("m.db")).unwrap();
    drop(lock);
    let said = "m.db: 2 entries, compared with m.db\n".to_owned();
    assert_eq!(ended(convert), (0, said));
    let dumped = run(&path, MAPCTL, &["dump", "hash:m"], "");
    assert_eq!(dumped, (0, "evil\tREJECT\nold\t3\n".into()));
}

#[test]
fn a_conversion_in_place_of_what_others_write_without_a_lock_is_put_off() {
    let dir = tempfile::tempdir().unwrap();
    let keys: Vec<String> = (0..2_000).map(|n| format!("k{n}")).collect();
    let entries: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "v")).collect();
    let map = dir.path().join("m.db");
    build(&map, &entries);
    let held = "mapctl: m.db: in use by another program\n".to_owned();
    // The writer may be too slow for one conversion, but not for all.
    let put_off = (0..100).any(|_| {
        let mut convert = start(dir.path(), MAPCTL, &["convert", "hash:m", "hash:m"], "");
        while convert.try_wait().unwrap().is_none() {
            let file = File::open(&map).unwrap();
            file.set_modified(SystemTime::now()).unwrap();
        }
        match ended(convert) {
            (0, _) => false,
            other => {
                assert_eq!(other, (75, held.clone()));
                true
            }
        }
    });
    assert!(put_off);
}

/// An ordinary user, who is in no group of root's.
const NOBODY: u32 = 65_534;

/// A folder of NOBODY's with a map that is his, but of root's group; none where only root can
/// make it.
fn of_another_group(mode: u32) -> Option<tempfile::TempDir> {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        eprintln!("skipped: only root can give a file another group");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let map = dir.path().join("m.db");
    build(&map, &[("old", "1")]);
    chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    chown(&map, Some(NOBODY), Some(0)).unwrap();
    fs::set_permissions(&map, fs::Permissions::from_mode(mode)).unwrap();
    Some(dir)
}

fn as_nobody(dir: &Path, program: &str, args: &[&str], input: &str) -> (i32, String) {
    let mut command = Command::new(program);
    command.args(args).uid(NOBODY).gid(NOBODY);
    ended(spawn(&mut command, dir, input))
}

#[test]
fn who_owns_a_map_and_is_not_in_its_group_can_write_it() {
    // The mode of the old map, and of the new one, which lets nobody in who was out.
    for (had, has) in [
        (0o640, 0o600),
        (0o644, 0o644),
        (0o604, 0o600),
        (0o662, 0o622),
    ] {
        let programs: [(&str, &[&str], &str); 3] = [
            (EDITMAP, &["-u", "hash", "m", "k", "v"], ""),
            (MAKEMAP, &["hash", "m"], "k v\n"),
            (
                SASLPASSWD,
                &["-p", "-c", "-f", "m.db", "-u", "r", "u"],
                "pw\n",
            ),
        ];
        for (program, args, input) in programs {
            let Some(dir) = of_another_group(had) else {
                return;
            };
            let told = as_nobody(dir.path(), program, args, input);
            let warning = format!(
                "m.db: only its group's members can keep its group: mode {has:04o} instead of {had:04o}\n"
            );
            assert_eq!(told.0, 0, "{told:?}");
            assert!(told.1.ends_with(&warning), "{told:?}");
            let map = fs::metadata(dir.path().join("m.db")).unwrap();
            let got = (map.uid(), map.gid(), map.mode() & 0o7777);
            assert_eq!(got, (NOBODY, NOBODY, has), "{program}");
        }
    }
}

#[test]
fn a_run_that_fails_leaves_no_copy_of_a_berkeley_map() {
    let Some(dir) = of_another_group(0o600) else {
        return;
    };
    let map = dir.path().join("m.db");
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/berkeley");
    fs::copy(samples.join("makemap-hash-dup.db"), &map).unwrap();
    // Of somebody else, and of a group of his: neither can be kept.
    chown(&map, Some(NOBODY + 1), Some(0)).unwrap();
    fs::set_permissions(&map, fs::Permissions::from_mode(0o666)).unwrap();
    for _ in 0..2 {
        let told = as_nobody(dir.path(), MAKEMAP, &["hash", "m"], "k v\n");
        assert_eq!(told.0, 78, "{told:?}");
    }
    let names = fs::read_dir(dir.path()).unwrap().flatten();
    let names: Vec<_> = names.map(|entry| entry.file_name()).collect();
    assert_eq!(names, ["m.db"]);
}

#[test]
fn a_path_that_is_refused_is_warned_of_all_the_same() {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return eprintln!("skipped: only root is warned");
    }
    let dir = tempfile::tempdir().unwrap();
    let map = dir.path().join("m.db");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    build(&map, &[("k", "v")]);
    fs::set_permissions(&map, fs::Permissions::from_mode(0o000)).unwrap();
    let name = dir.path().join("m").display().to_string();
    let warning = format!(
        "WARNING: World writable directory {}\n",
        dir.path().display()
    );
    let programs: [(&str, &str, &[&str]); 3] = [
        (MAKEMAP, "makemap", &["hash", &name]),
        (MAKEMAP, "makemap", &["-u", "hash", &name]),
        (EDITMAP, "editmap", &["-u", "hash", &name, "k", "v"]),
    ];
    for (program, called, args) in programs {
        let (exit, text) = run(dir.path(), program, args, "");
        let error = format!("{called}: error opening type hash map {name}: Permission denied\n");
        assert_eq!(exit, 73, "{text}");
        assert!(text.ends_with(&(warning.clone() + &error)), "{text}");
    }
}

#[test]
fn the_configuration_that_lacks_a_map_is_named_whole() {
    let dir = tempfile::tempdir().unwrap();
    let cf = dir.path().join("x.cf");
    fs::write(&cf, "").unwrap();
    let cf = cf.to_str().unwrap();
    let mut cases = vec![(vec!["-C", cf, "cf", "nope"], cf)];
    let default = "/etc/mail/sendmail.cf";
    if File::open(default).is_ok() {
        cases.push((vec!["cf", "nope"], default));
    }
    for (args, file) in cases {
        let (exit, text) = run(dir.path(), MAKEMAP, &args, "");
        let error = format!("makemap: mapfile nope: not found in {file}\n");
        assert_eq!((exit, text.ends_with(&error)), (65, true), "{text}");
    }
}
