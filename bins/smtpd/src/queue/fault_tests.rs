//! The queue on disks that fail, are full, or have damaged what was on them.

use super::tests::{add, envelope, killed, text_of};
use super::*;

#[tokio::test]
async fn a_queue_whose_making_was_broken_off_is_made_anew() {
    for left in [vec![], vec![0; 320], vec![0; 1 << 20]] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("queue.redb"), &left).unwrap();
        let queue = Queue::open(dir.path()).unwrap();
        add(&queue, "a", b"1").await;
        drop(queue);
        assert_eq!(Queue::open(dir.path()).unwrap().len(), 1);
    }
    for damaged in [vec![7; 4096], vec![0; 5 << 20]] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("queue.redb"), &damaged).unwrap();
        let opened = Queue::open(dir.path());
        assert!(opened.is_err(), "it may be somebody's mail");
        let left = std::fs::read(dir.path().join("queue.redb")).unwrap();
        assert!(left == damaged);
    }
}

/// Notes which folders are synced.
#[derive(Debug, Default)]
struct Folders(std::sync::Mutex<Vec<std::path::PathBuf>>);

impl Disk for Folders {
    fn sync_folder(&self, path: &Path) -> std::io::Result<()> {
        self.0.lock().unwrap().push(path.into());
        System.sync_folder(path)
    }
}

#[test]
fn the_names_of_a_queue_are_durable_before_it_takes_mail() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("var/queue");
    // The second one finds everything there, perhaps left by one that was killed.
    for _ in 0..2 {
        let disk = Arc::new(Folders::default());
        drop(Queue::open_on(&folder, Arc::clone(&disk) as Arc<dyn Disk>).unwrap());
        let synced = disk.0.lock().unwrap();
        for path in [
            folder.join("journal"),
            folder.clone(),
            dir.path().join("var"),
        ] {
            assert!(synced.contains(&path), "{}: {synced:?}", path.display());
        }
    }
}

/// A disk that fails from one of the next syncs on.
#[derive(Debug)]
struct FailingSyncs {
    left: std::sync::atomic::AtomicUsize,
}

impl Disk for FailingSyncs {
    fn sync_data(&self, file: &std::fs::File) -> std::io::Result<()> {
        let left = |left: usize| left.checked_sub(1);
        match self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, left)
        {
            Ok(_) => System.sync_data(file),
            Err(_) => Err(std::io::Error::from_raw_os_error(libc::EIO)),
        }
    }
}

#[tokio::test]
async fn a_notice_of_a_commit_that_was_broken_off_stays_with_its_message() {
    for syncs in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(FailingSyncs {
            left: usize::MAX.into(),
        });
        let queue = Queue::open_on(dir.path(), Arc::clone(&disk) as Arc<dyn Disk>).unwrap();
        add(&queue, "a", b"1").await;
        assert!(queue.take_due(0).is_some());
        let mut told = queue.envelope("a").unwrap();
        told.warned = true;
        let notice = Envelope {
            origin: Origin::Notice,
            ..envelope("n")
        };
        disk.left.store(syncs, Ordering::SeqCst);
        let notices = vec![(notice, Body::Small(b"text".to_vec()))];
        let _ = queue.settle(&told, notices).await;
        disk.left.store(usize::MAX, Ordering::SeqCst);
        add(&queue, "other", b"2").await;
        let is_told = queue.envelope("a").unwrap() == told;
        assert_eq!(is_told, queue.envelope("n").is_ok(), "after {syncs} syncs");
    }
}

#[tokio::test]
async fn a_refused_message_that_comes_up_after_a_crash_has_its_text() {
    let big = vec![b'x'; 100_000];
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(FailingSyncs {
        left: usize::MAX.into(),
    });
    let queue = Queue::open_on(dir.path(), Arc::clone(&disk) as Arc<dyn Disk>).unwrap();
    add(&queue, "a", b"1").await;
    disk.left.store(0, Ordering::SeqCst);
    for _ in 0..2 {
        let mut spool = queue.spool("b");
        spool.push(&big).unwrap();
        let body = spool.finish().unwrap();
        let error = queue.add(envelope("b"), body).await.unwrap_err();
        assert!(matches!(*error, QueueError::Doubtful { .. }), "{error}");
        let dead = killed(dir.path());
        let again = Queue::open(dead.path()).unwrap();
        assert!(again.envelope("b").is_ok(), "the system kept it");
        assert_eq!(text_of(&again, "b"), big);
    }
    disk.left.store(usize::MAX, Ordering::SeqCst);
    add(&queue, "c", b"2").await;
    let error = queue.add(envelope("d"), Body::Large).await.unwrap_err();
    let certain = matches!(*error, QueueError::Io { .. });
    assert!(certain, "no doubt is left: {error}");
    let dead = killed(dir.path());
    let again = Queue::open(dead.path()).unwrap();
    assert_eq!(again.ids().join(" "), "a c");
}

/// A disk that is full at times.
#[derive(Debug, Default)]
struct FullDisk {
    full: std::sync::atomic::AtomicBool,
    forgotten: AtomicUsize,
}

impl FullDisk {
    fn check(&self) -> std::io::Result<()> {
        match self.full.load(Ordering::SeqCst) {
            true => Err(std::io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
}

impl Disk for FullDisk {
    fn forget(&self, file: &std::fs::File) -> std::io::Result<()> {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        System.forget(file)
    }

    fn set_len(&self, file: &std::fs::File, octets: u64) -> std::io::Result<()> {
        self.check()?;
        System.set_len(file, octets)
    }

    fn sync_data(&self, file: &std::fs::File) -> std::io::Result<()> {
        self.check()?;
        System.sync_data(file)
    }

    fn write_all_at(
        &self,
        file: &std::fs::File,
        octets: &[u8],
        offset: u64,
    ) -> std::io::Result<()> {
        self.check()?;
        System.write_all_at(file, octets, offset)
    }
}

#[tokio::test]
async fn a_queue_whose_database_has_failed_is_not_free() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(dir.path()).unwrap();
    // As if the database were just being opened anew: nobody has its lock.
    std::fs::rename(
        dir.path().join("queue.redb"),
        dir.path().join("queue.other"),
    )
    .unwrap();
    assert!(matches!(Queue::open(dir.path()), Err(QueueError::InUse(_))));
    assert!(!dir.path().join("queue.redb").exists());
    drop(queue);
    Queue::open(dir.path()).unwrap();
}

#[tokio::test]
async fn a_full_disk_takes_mail_when_it_has_room_again() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(FullDisk::default());
    let queue = Queue::open_on(dir.path(), Arc::clone(&disk) as Arc<dyn Disk>).unwrap();
    add(&queue, "one", b"hello").await;
    disk.full.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        let refused = queue.add(envelope("two"), Body::Small(b"x".to_vec())).await;
        // Nothing can be taken back from it either.
        let error = refused.unwrap_err();
        assert!(matches!(*error, QueueError::Doubtful { .. }), "{error}");
    }
    assert_eq!(queue.len(), 1);
    disk.full.store(false, Ordering::SeqCst);
    assert_eq!(text_of(&queue, "one"), b"hello");
    add(&queue, "two", b"again").await;
    assert_eq!(queue.envelope("one").unwrap(), envelope("one"));
    assert_eq!(text_of(&queue, "two"), b"again");
    drop(queue);
    let queue = Queue::open_on(dir.path(), Arc::clone(&disk) as Arc<dyn Disk>).unwrap();
    assert_eq!(queue.len(), 2);
    // What the system remembers of the file before it was opened is not believed.
    assert_eq!(disk.forgotten.load(Ordering::SeqCst), 2);
}

#[test]
fn what_the_system_remembers_after_a_failed_sync_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(FullDisk::default());
    let shared = Arc::clone(&disk) as Arc<dyn Disk>;
    let base = super::base::Base::open(dir.path().join("queue.redb"), shared).unwrap();
    let forgotten = || disk.forgotten.load(Ordering::SeqCst);
    assert_eq!(forgotten(), 1);
    let mut layer = super::layer::Layer::default();
    layer.apply(Change::add(&envelope("a"), Body::Small(b"1".to_vec())).unwrap());
    disk.full.store(true, Ordering::SeqCst);
    assert!(base.take_in(&layer, 1).is_err());
    disk.full.store(false, Ordering::SeqCst);
    base.take_in(&layer, 1).unwrap();
    assert_eq!(forgotten(), 2);
    assert_eq!(base.text("a").unwrap().unwrap(), b"1");
    // Nor is one made anew whose beginning is gone.
    let path = dir.path().join("queue.redb");
    disk.full.store(true, Ordering::SeqCst);
    assert!(base.take_in(&layer, 2).is_err());
    disk.full.store(false, Ordering::SeqCst);
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0; 16], 0).unwrap();
    assert!(base.take_in(&layer, 2).is_err());
    assert!(std::fs::metadata(&path).unwrap().len() > 4096);
}

#[test]
fn a_database_that_takes_nothing_in_is_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(FullDisk::default());
    let shared = Arc::clone(&disk) as Arc<dyn Disk>;
    let (store, _journal) = Store::open(dir.path(), &shared).unwrap();
    assert_eq!(store.trouble(), None);
    disk.full.store(true, Ordering::SeqCst);
    let leaving = store.leaving();
    assert!(store.take_in(&leaving, 1).is_err());
    let trouble = store.trouble().unwrap();
    assert!(trouble.contains("queue.redb"), "{trouble}");
    disk.full.store(false, Ordering::SeqCst);
    store.take_in(&leaving, 1).unwrap();
    assert_eq!(store.trouble(), None);
}

#[tokio::test]
async fn a_damaged_database_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    {
        let queue = Queue::open(dir.path()).unwrap();
        for n in 0..40 {
            add(&queue, &format!("m{n:02}"), &[b'x'; 3000]).await;
        }
    }
    let path = dir.path().join("queue.redb");
    let whole = std::fs::read(&path).unwrap();
    let used: Vec<usize> = (0..whole.len()).step_by(4096).collect();
    let used = used.iter().filter(|at| whole[**at..][..4096] != [0; 4096]);
    let mut errors = 0;
    for (n, at) in used.enumerate() {
        let mut damaged = whole.clone();
        for octet in damaged[at + n * 37 % 64..][..16].iter_mut() {
            *octet ^= 0x55;
        }
        std::fs::write(&path, &damaged).unwrap();
        let opened = Queue::open(dir.path());
        let read = opened.and_then(|queue| {
            for id in queue.ids() {
                queue.text(&queue.envelope(&id)?)?;
            }
            Ok(())
        });
        errors += usize::from(read.is_err());
    }
    assert!(errors > 0);
}
