//! Whatever befalls a writer, the map is the old one or the new one, whole.
//!
//! `testdata/scripts/kill-loop` runs the kills a thousand times on a larger map;
//! `bench faults publish` tries every system call, with strace(1).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime};

use libmaps::store;
use tempfile::TempDir;

const MAKEMAP: &str = env!("CARGO_BIN_EXE_makemap");
const EDITMAP: &str = env!("CARGO_BIN_EXE_editmap");

/// What a map holds: how many entries, and a digest of them all.
type Content = (u64, u64);

fn content<'a>(entries: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Content {
    let mut hasher = DefaultHasher::new();
    let mut count = 0;
    for entry in entries {
        entry.hash(&mut hasher);
        count += 1;
    }
    (count, hasher.finish())
}

/// A folder with a map and two sources that take turns.
struct Site {
    dir: TempDir,
    wanted: [Content; 2],
}

impl Site {
    /// Two sources of so many entries, in an order that is not the map's; the first is built.
    fn new(entries: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut wanted = [(0, 0); 2];
        for (turn, value) in ["REJECT", "OK"].into_iter().enumerate() {
            let mut sorted = BTreeMap::new();
            let mut text = String::new();
            for n in 0..entries {
                let lhs = format!("from:host{}.example", n.wrapping_mul(2_654_435_761));
                text.push_str(&format!("{lhs}\t{value}\n"));
                sorted.insert(lhs.into_bytes(), value.as_bytes());
            }
            fs::write(dir.path().join(format!("source{turn}")), text).unwrap();
            wanted[turn] = content(sorted.iter().map(|(lhs, rhs)| (lhs.as_slice(), *rhs)));
        }
        let site = Site { dir, wanted };
        let built = site.makemap(0).output().unwrap();
        assert!(built.status.success(), "{built:?}");
        site
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn makemap(&self, turn: usize) -> Command {
        let mut command = Command::new(MAKEMAP);
        self.prepare(command.args(["hash", "m"]), turn);
        command
    }

    fn prepare(&self, command: &mut Command, turn: usize) {
        let source = File::open(self.at(&format!("source{turn}"))).unwrap();
        command
            .stdin(source)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .current_dir(self.dir.path());
    }

    /// What the map holds; it must open and be readable to its end.
    fn content(&self) -> Content {
        let map = store::open(&self.at("m.db")).unwrap();
        let entries: Vec<_> = map.iter().map(Result::unwrap).collect();
        content(entries.iter().map(|e| (e.lhs.as_bytes(), e.rhs.as_bytes())))
    }

    fn hidden_files(&self) -> Vec<PathBuf> {
        hidden_files(self.dir.path())
    }
}

fn hidden_files(folder: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    names
        .filter(|path| path.file_name().unwrap().as_encoded_bytes()[0] == b'.')
        .collect()
}

/// A number from the environment, so that the same test runs longer by hand.
fn setting(name: &str, default: u32) -> u32 {
    env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Moments that differ from run to run.
fn random(below: Duration) -> Duration {
    let mut hasher = DefaultHasher::new();
    (SystemTime::now(), std::process::id()).hash(&mut hasher);
    below.mul_f64((hasher.finish() >> 11) as f64 / (1u64 << 53) as f64)
}

#[test]
fn a_killed_rebuild_leaves_a_whole_map_and_the_next_one_works() {
    let site = Site::new(setting("MAPS_ENTRIES", 20_000));
    let begun = Instant::now();
    assert!(site.makemap(0).output().unwrap().status.success());
    let mut whole_build = begun.elapsed();
    let (mut killed, mut with_draft, mut now) = (0, 0, 0);
    let kills = setting("MAPS_KILLS", 30);
    for round in 0..kills {
        let next = 1 - now;
        let mut child = site.makemap(next).spawn().unwrap();
        std::thread::sleep(random(whole_build));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        let content = site.content();
        if status.signal() == Some(9) {
            killed += 1;
            let whole = site.wanted.contains(&content);
            assert!(whole, "round {round}: {content:?} of {:?}", site.wanted);
        } else {
            assert!(status.success(), "round {round}: {status}");
            assert_eq!(
                content, site.wanted[next],
                "round {round}: it said it was done"
            );
        }
        with_draft += u32::from(site.at(".m.db.draft").exists());
        let begun = Instant::now();
        let built = site.makemap(next).output().unwrap();
        whole_build = begun.elapsed();
        assert!(built.status.success(), "round {round}: {built:?}");
        assert_eq!(
            site.content(),
            site.wanted[next],
            "round {round}: the next build"
        );
        assert_eq!(site.hidden_files(), Vec::<PathBuf>::new(), "round {round}");
        now = next;
    }
    println!("{kills} rounds: {killed} killed, {with_draft} of them with a draft");
    assert!(killed > 0 && with_draft > 0, "no kill hit a build");
}

/// Runs a program whose files may not grow beyond some KiB: its writes fail half-way.
fn with_little_room(site: &Site, program: &str, args: &[&str]) -> Output {
    let mut command = Command::new("sh");
    let script = "trap '' XFSZ; ulimit -f 16; exec \"$0\" \"$@\"";
    site.prepare(command.args(["-c", script, program]).args(args), 1);
    command.output().unwrap()
}

#[test]
fn a_write_that_fails_leaves_the_old_map_and_nothing_else() {
    let cases: &[(&str, &[&str])] = &[
        (MAKEMAP, &["hash", "m"]),
        (MAKEMAP, &["-o", "hash", "m"]),
        (MAKEMAP, &["-d", "hash", "m"]),
        (MAKEMAP, &["cdb", "m"]),
        (EDITMAP, &["-u", "hash", "m", "a", "b"]),
    ];
    let site = Site::new(20_000);
    for (program, args) in cases {
        let output = with_little_room(&site, program, args);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(74), "{args:?}: {text}");
        assert!(text.contains("m.db") || text.contains("m.cdb"), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert_eq!(site.content(), site.wanted[0], "{args:?}");
        assert!(!site.at("m.cdb").exists());
        assert_eq!(site.hidden_files(), Vec::<PathBuf>::new(), "{args:?}");
    }
}
