//! Programs that write one map at the same time, and what stands there before they come.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use libmaps::map::MapClass;
use libmaps::store::publish::{OnDuplicate, Options, Publisher};

const EDITMAP: &str = env!("CARGO_BIN_EXE_editmap");
const MAKEMAP: &str = env!("CARGO_BIN_EXE_makemap");
const SASLPASSWD: &str = env!("CARGO_BIN_EXE_saslpasswd2");
const LISTUSERS: &str = env!("CARGO_BIN_EXE_sasldblistusers2");

fn start(dir: &Path, program: &str, args: &[&str], input: &str) -> Child {
    let mut child = Command::new(program)
        .args(args)
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
