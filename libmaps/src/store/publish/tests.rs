use super::*;
use crate::rhs::Rhs;
use crate::store::disk::{Disk, System};
use crate::store::path::Safety;
use crate::store::shared::Origin;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::{Arc, Mutex};

pub(super) fn options() -> Options {
    Options::new(MapClass::Hash, "test 0")
}

pub(super) fn publish(target: &Path, entries: &[(&str, &str)]) -> Published {
    let mut publisher = Publisher::create(target, options()).unwrap();
    for (lhs, rhs) in entries {
        publisher.put(Entry::new(*lhs, *rhs)).unwrap();
    }
    publisher.publish().unwrap()
}

fn dump(target: &Path) -> String {
    let map = crate::store::open(target).unwrap();
    let entries = map.iter().map(|e| e.unwrap());
    let lines: Vec<String> = entries.map(|e| format!("{}={}", e.lhs, e.rhs)).collect();
    lines.join(" ")
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_happens_to_a_second_value() {
    use Inserted::{Added, Kept, New, Replaced};
    let cases = [
        (OnDuplicate::Refuse, Kept, "a=1 b=2"),
        (OnDuplicate::KeepFirst, Kept, "a=1 b=2"),
        (OnDuplicate::Replace, Replaced, "a=3 b=2"),
        (OnDuplicate::KeepAll, Added, "a=1 a=3 b=2"),
    ];
    for (on_duplicate, want, content) in cases {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("m.db");
        let options = Options {
            on_duplicate,
            ..options()
        };
        let mut publisher = Publisher::create(&target, options.clone()).unwrap();
        assert_eq!(publisher.put(Entry::new("a", "1")).unwrap(), New);
        assert_eq!(publisher.put(Entry::new("b", "2")).unwrap(), New);
        assert_eq!(publisher.put(Entry::new("a", "3")).unwrap(), want);
        publisher.publish().unwrap();
        assert_eq!(dump(&target), content);
        // The same through an edit of a published map.
        publish(&target, &[]);
        let mut publisher = Publisher::create(&target, options.clone()).unwrap();
        publisher.put(Entry::new("a", "1")).unwrap();
        publisher.publish().unwrap();
        let mut publisher = Publisher::edit(&target, options).unwrap();
        assert_eq!(publisher.put(Entry::new("a", "3")).unwrap(), want);
        assert_eq!(publisher.put(Entry::new("b", "2")).unwrap(), New);
        publisher.publish().unwrap();
        assert_eq!(dump(&target), content);
    }
}

#[test]
fn an_edit_by_copying_and_by_rewriting_give_the_same() {
    for edit in [EditBy::Copying, EditBy::Rewriting] {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("m.db");
        publish(&target, &[("a", "1"), ("b", "2"), ("c", "3")]);
        let options = Options {
            edit,
            on_duplicate: OnDuplicate::Replace,
            ..options()
        };
        let mut publisher = Publisher::edit(&target, options).unwrap();
        assert!(publisher.remove(b"a").unwrap());
        assert!(!publisher.remove(b"a").unwrap());
        assert!(!publisher.remove(b"zz").unwrap());
        publisher.put(Entry::new("b", "9")).unwrap();
        publisher.put(Entry::new("d", "4")).unwrap();
        assert_eq!(dump(&target), "a=1 b=2 c=3", "before it is published");
        let published = publisher.publish().unwrap();
        assert_eq!(dump(&target), "b=9 c=3 d=4");
        assert_eq!(published.entries, 3);
    }
}

#[test]
fn rewriting_leaves_nothing_of_a_removed_value() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("m.db");
    publish(&target, &[("joe", "the-secret-of-joe"), ("ann", "x")]);
    let options = Options {
        edit: EditBy::Rewriting,
        ..options()
    };
    let mut publisher = Publisher::edit(&target, options).unwrap();
    publisher.remove(b"joe").unwrap();
    publisher.publish().unwrap();
    let octets = fs::read(&target).unwrap();
    assert!(!octets.windows(17).any(|w| w == b"the-secret-of-joe"));
}

#[test]
fn a_draft_that_is_dropped_leaves_the_old_map_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("m.db");
    publish(&target, &[("a", "1")]);
    let publisher = Publisher::create(&target, options()).unwrap();
    drop(publisher);
    let failing = Publisher::create(&target, options()).unwrap();
    let error = failing.publish_sorted(None, &mut |sink| {
        sink(b"b", b"2")?;
        Err(StoreError::io(
            Path::new("x"),
            "read",
            io::Error::other("no"),
        ))
    });
    assert!(error.is_err());
    assert_eq!(dump(&target), "a=1");
    assert_eq!(names(dir.path()), ["m.db"]);
}

#[test]
fn an_orphaned_draft_and_lock_file_are_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("m.db");
    fs::write(dir.path().join(".m.db.draft"), "left by a killed program").unwrap();
    fs::write(dir.path().join(".m.db.lock"), "").unwrap();
    publish(&target, &[("a", "1")]);
    assert_eq!(names(dir.path()), ["m.db"]);
}

#[test]
fn owner_and_mode_are_carried_over() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("m.db");
    publish(&target, &[]);
    let mode = fs::metadata(&target).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode & !0o640, 0);
    for mode in [0o600, 0o644, 0o660] {
        fs::set_permissions(&target, fs::Permissions::from_mode(mode)).unwrap();
        publish(&target, &[("a", "1")]);
        let now = fs::metadata(&target).unwrap().permissions().mode() & 0o7777;
        assert_eq!(now, mode);
    }
}

#[test]
fn a_link_is_followed_only_when_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let (real, link) = (dir.path().join("real.db"), dir.path().join("m.db"));
    publish(&real, &[("old", "1")]);
    symlink("real.db", &link).unwrap();
    let refused = Publisher::create(&link, options()).unwrap_err();
    assert!(matches!(refused, StoreError::Unsafe { .. }));
    let options = Options {
        safety: Safety::LinksAllowed,
        ..options()
    };
    let mut publisher = Publisher::create(&link, options).unwrap();
    publisher.put(Entry::new("new", "2")).unwrap();
    publisher.publish().unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(dump(&real), "new=2");
}

#[test]
fn a_reader_keeps_its_snapshot_while_writers_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("m.db");
    publish(&target, &[("n", "0")]);
    let held = crate::store::open(&target).unwrap();
    for n in 1..5 {
        publish(&target, &[("n", &n.to_string())]);
    }
    assert_eq!(held.get(b"n").unwrap(), Some(Rhs::from("0")));
    assert_eq!(dump(&target), "n=4");
}

/// Lets two names change places again and again until the work is done, which begins when they
/// have begun to.
fn swapping<T>(left: &Path, right: &Path, work: impl FnOnce() -> T) -> T {
    use std::sync::atomic::{AtomicBool, Ordering};
    let (begun, over) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let _ = System.exchange(left, right);
                begun.store(true, Ordering::Relaxed);
            }
        });
        while !begun.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        let done = work();
        over.store(true, Ordering::Relaxed);
        done
    })
}

#[test]
fn a_link_put_in_the_place_of_a_map_between_check_and_use_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("secret")).unwrap();
    fs::create_dir(at("maps")).unwrap();
    let (secret, target, other) = (at("secret/s.db"), at("maps/m.db"), at("maps/other"));
    publish(&secret, &[("joe", "password")]);
    let (mut done, mut refused) = (0, 0);
    // Which of them wins is the scheduler's affair: both must have.
    for turn in 0..5_000 {
        if turn >= 100 && done > 0 && refused > 0 {
            break;
        }
        // What was published may stand in either place, the link in the other or nowhere.
        let _ = (fs::remove_file(&target), fs::remove_file(&other));
        publish(&target, &[("a", "1")]);
        symlink(&secret, &other).unwrap();
        let edited = swapping(&target, &other, || {
            let edit = if turn % 2 == 0 {
                EditBy::Copying
            } else {
                EditBy::Rewriting
            };
            let options = Options { edit, ..options() };
            let mut publisher = Publisher::edit(&target, options)?;
            publisher.put(Entry::new("b", "2"))?;
            publisher.publish()
        });
        match edited {
            Ok(_) => done += 1,
            Err(_) => refused += 1,
        }
        for name in [&target, &other] {
            if fs::symlink_metadata(name).is_ok_and(|m| m.is_file()) {
                assert!(
                    !dump(name).contains("password"),
                    "turn {turn}: {}",
                    dump(name)
                );
            }
        }
    }
    assert_eq!(dump(&secret), "joe=password");
    assert!(done > 0 && refused > 0, "{done} edits, {refused} refusals");
}

#[test]
fn a_fifo_put_in_the_place_of_a_map_holds_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    let (target, fifo) = (dir.path().join("m.db"), dir.path().join("fifo"));
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    for _ in 0..50 {
        let _ = fs::remove_file(&target);
        publish(&target, &[("a", "1")]);
        if !fifo.exists() || fs::metadata(&fifo).unwrap().is_file() {
            let _ = fs::remove_file(&fifo);
            let made = std::process::Command::new("mkfifo").arg(&fifo).status();
            assert!(made.unwrap().success());
        }
        let edited = swapping(&target, &fifo, || {
            Publisher::edit(&target, options()).and_then(Publisher::publish)
        });
        let _ = edited;
    }
}

#[test]
fn a_replica_is_written_by_those_who_say_its_generation() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("m.db");
    let origin = |number: u64| Origin {
        generation: number,
        mark: format!("{number:032x}"),
        serial: None,
        standing: None,
    };
    let shared = |number: u64, before: Option<Before>| Options {
        origin: Some(origin(number)),
        source: Some("of another host".into()),
        before,
        on_duplicate: OnDuplicate::Replace,
        ..options()
    };
    let meta = |target: &Path| match open_any(target, MapName::new(MapClass::Hash, target)) {
        Ok(Opened::Redb(map)) => map.meta().clone(),
        other => panic!("{other:?}"),
    };
    let put = |options: Options, value: &str| {
        let mut publisher = Publisher::edit(&target, options)?;
        publisher.put(Entry::new("a", value))?;
        publisher.publish()
    };
    put(options(), "0").unwrap();
    put(shared(1, None), "1").unwrap();
    assert_eq!(meta(&target).origin, Some(origin(1)));
    assert_eq!(meta(&target).source.as_deref(), Some("of another host"));
    for refused in [
        put(options(), "2"),
        Publisher::create(&target, options()).map(|_| unreachable!()),
    ] {
        let why = refused.unwrap_err().to_string();
        assert!(why.contains("a replica of a shared map"), "{why}");
    }
    // Whoever is asked before sees the new content, and his error keeps the old one.
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    let mut answers = vec![Ok(()), Err(StoreError::InUse { path: "e".into() })];
    let before = Before::new(move |draft| {
        let Opened::Redb(map) = draft.map else {
            panic!("{draft:?}");
        };
        let changed = draft.changed.map(<[Lhs]>::to_vec);
        noted.lock().unwrap().push((map.get(b"a")?, changed));
        answers.pop().unwrap_or(Ok(()))
    });
    assert!(put(shared(2, Some(before.clone())), "2").is_err());
    assert_eq!(dump(&target), "a=1");
    put(shared(3, Some(before.clone())), "3").unwrap();
    assert_eq!(dump(&target), "a=3");
    // What is written anew may differ anywhere.
    let rewriting = Options {
        edit: EditBy::Rewriting,
        ..shared(4, Some(before.clone()))
    };
    put(rewriting, "4").unwrap();
    let new = Publisher::create(&target, shared(5, Some(before))).unwrap();
    new.publish_sorted(None, &mut |sink| sink(b"a", b"5"))
        .unwrap();
    let changed = Some(vec![Lhs::from("a")]);
    assert_eq!(
        *seen.lock().unwrap(),
        [
            (Some(Rhs::from("2")), changed.clone()),
            (Some(Rhs::from("3")), changed),
            (Some(Rhs::from("4")), None),
            (Some(Rhs::from("5")), None),
        ]
    );
}

/// A disk whose files have no access lists.
#[derive(Debug)]
struct WithoutLists;

impl Disk for WithoutLists {
    fn set_attribute(&self, _: &fs::File, _: &std::ffi::CStr, _: &[u8]) -> io::Result<()> {
        Err(io::Error::from_raw_os_error(libc::ENOTSUP))
    }
}

/// `user::rw- user:61234:r-- group::--- mask::r-- other::---`, as acl(5) stores it.
fn access_list() -> Vec<u8> {
    let none = u32::MAX;
    let entries = [
        (1, 6, none),
        (2, 4, 61_234),
        (4, 0, none),
        (16, 4, none),
        (32, 0, none),
    ];
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, bits, id) in entries {
        list.extend(u16::to_le_bytes(tag));
        list.extend(u16::to_le_bytes(bits));
        list.extend(u32::to_le_bytes(id));
    }
    list
}

#[test]
fn the_access_list_is_kept() {
    let name = c"system.posix_acl_access";
    let disks: [(Arc<dyn Disk>, u32); 2] = [
        (Arc::new(System), 0o640),
        // The mask must not become what the group may do.
        (Arc::new(WithoutLists), 0o600),
    ];
    for (disk, mode) in disks {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("m.db");
        publish(&target, &[("a", "1")]);
        let old = fs::File::open(&target).unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
        if System.set_attribute(&old, name, &access_list()).is_err() {
            eprintln!("the file system has no access lists: not tried");
            return;
        }
        let options = Options { disk, ..options() };
        let mut publisher = Publisher::edit(&target, options).unwrap();
        publisher.set(Entry::new("b", "2")).unwrap();
        publisher.publish().unwrap();
        let had = super::super::acl::Attributes::of(&old).unwrap();
        let new = fs::File::open(&target).unwrap();
        let has = super::super::acl::Attributes::of(&new).unwrap();
        assert_eq!(has == had, mode == 0o640, "{has:?}");
        assert_eq!(new.metadata().unwrap().permissions().mode() & 0o777, mode);
        assert_eq!(dump(&target), "a=1 b=2");
    }
}

#[test]
fn the_default_list_of_a_folder_lets_nobody_in_who_was_out() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("m.db");
    publish(&target, &[("a", "1")]);
    fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).unwrap();
    let folder = fs::File::open(dir.path()).unwrap();
    let default = c"system.posix_acl_default";
    if System
        .set_attribute(&folder, default, &access_list())
        .is_err()
    {
        eprintln!("the file system has no access lists: not tried");
        return;
    }
    let mut publisher = Publisher::edit(&target, options()).unwrap();
    publisher.set(Entry::new("b", "2")).unwrap();
    publisher.publish().unwrap();
    let new = fs::File::open(&target).unwrap();
    let has = super::super::acl::Attributes::of(&new).unwrap();
    assert_eq!(has, super::super::acl::Attributes::default());
    assert_eq!(new.metadata().unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn every_berkeley_file_is_kept() {
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/sasldb2/small.sasldb2");
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("m.db");
    for kept in ["m.bdb", "m.bdb.1", "m.bdb.2"] {
        fs::copy(&recorded, &target).unwrap();
        let published = publish(&target, &[("a", kept)]);
        assert_eq!(published.kept_berkeley, Some(dir.path().join(kept)));
        assert_eq!(
            fs::read(dir.path().join(kept)).unwrap(),
            fs::read(&recorded).unwrap()
        );
    }
}

#[test]
fn names_that_keep_the_old_content_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("m.db");
    publish(&target, &[("a", "1")]);
    fs::hard_link(&target, dir.path().join("jail.db")).unwrap();
    let options = Options {
        safety: Safety::LinksAllowed,
        ..options()
    };
    let mut publisher = Publisher::edit(&target, options).unwrap();
    let told = publisher.file_warnings().join("\n");
    assert!(
        told.contains("m.db has 1 more names (hard links)"),
        "{told}"
    );
    publisher.set(Entry::new("b", "2")).unwrap();
    publisher.publish().unwrap();
    assert_eq!(dump(&dir.path().join("jail.db")), "a=1");
}
