//! In which order a publisher acts, and what it does where an act can't be done.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::tests::{options, publish};
use super::*;
use crate::store::disk::{Disk, System};
use crate::store::shared::Origin;

/// Notes the acts that a crash must not put out of order.
#[derive(Debug, Default)]
struct Order(Mutex<Vec<String>>);

impl Order {
    fn note(&self, what: &str, path: &Path) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        self.0.lock().unwrap().push(format!("{what} {name}"));
    }
}

impl Disk for Order {
    fn sync(&self, file: &fs::File) -> io::Result<()> {
        self.0.lock().unwrap().push("sync".into());
        System.sync(file)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.0.lock().unwrap().push("sync the folder".into());
        System.sync_folder(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.note("rename to", to);
        System.rename(from, to)
    }
}

#[test]
fn the_old_berkeley_file_is_safe_before_the_map_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("m.db");
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata");
    fs::copy(testdata.join("berkeley/load-hash-p512.db"), &target).unwrap();
    let order = Arc::new(Order::default());
    let options = Options {
        disk: Arc::clone(&order) as Arc<dyn Disk>,
        ..options()
    };
    let mut publisher = Publisher::edit(&target, options).unwrap();
    publisher.put(Entry::new("added", "1")).unwrap();
    publisher.publish().unwrap();
    assert_eq!(
        *order.0.lock().unwrap(),
        [
            "sync",
            "sync",
            "rename to m.bdb",
            "sync the folder",
            "rename to m.db",
            "sync the folder",
        ]
    );
}

/// A folder that may be written and not read, as mode 0300 makes it for all but root.
#[derive(Debug, Default)]
struct NotRead(Order);

impl Disk for NotRead {
    fn sync(&self, file: &fs::File) -> io::Result<()> {
        self.0.sync(file)
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        Err(io::Error::from(io::ErrorKind::PermissionDenied))
    }

    fn sync_file_system(&self, file: &fs::File) -> io::Result<()> {
        let acts = &self.0.0;
        acts.lock().unwrap().push("sync the file system".into());
        System.sync_file_system(file)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }
}

#[test]
fn a_map_in_a_folder_that_is_not_read_is_safe_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("m.db");
    let disk = Arc::new(NotRead::default());
    let options = Options {
        disk: Arc::clone(&disk) as Arc<dyn Disk>,
        ..options()
    };
    let mut publisher = Publisher::create(&target, options).unwrap();
    publisher.put(Entry::new("a", "1")).unwrap();
    publisher.publish().unwrap();
    assert_eq!(
        *disk.0.0.lock().unwrap(),
        ["sync", "rename to m.db", "sync the file system"]
    );
    // And as it is, where this is not root.
    let mode = |mode| fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
    mode(0o300);
    publish(&target, &[("a", "2")]);
    mode(0o700);
}

/// Where nothing can be renamed.
#[derive(Debug)]
struct NoRename;

impl Disk for NoRename {
    fn sync(&self, file: &fs::File) -> io::Result<()> {
        System.sync(file)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        System.sync_folder(path)
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::Error::from(io::ErrorKind::StorageFull))
    }
}

#[test]
fn hosts_get_a_generation_when_a_rename_is_all_that_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("m.db");
    publish(&target, &[("a", "1")]);
    let order = Arc::new(Order::default());
    let shared = |disk: Arc<dyn Disk>, order: &Arc<Order>| {
        let order = Arc::clone(order);
        Options {
            before: Some(Before::new(move |_| {
                order.0.lock().unwrap().push("asked".into());
                Ok(())
            })),
            origin: Some(Origin {
                generation: 1,
                mark: "0".repeat(32),
                serial: Some(1),
                standing: None,
            }),
            disk,
            on_duplicate: OnDuplicate::Replace,
            ..options()
        }
    };
    let edit = |options: Options| {
        let mut publisher = Publisher::edit(&target, options)?;
        publisher.put(Entry::new("a", "2"))?;
        publisher.publish()
    };
    edit(shared(Arc::clone(&order) as Arc<dyn Disk>, &order)).unwrap();
    assert_eq!(
        *order.0.lock().unwrap(),
        ["sync", "asked", "rename to m.db", "sync the folder"]
    );
    // The one thing that can go wrong then is told as what it is.
    let error = edit(shared(Arc::new(NoRename), &order)).unwrap_err();
    assert_eq!(error.exit(), crate::sysexits::SysExit::IoErr);
    let text = error.to_string();
    assert!(text.contains("the engine has the new generation"), "{text}");
}
