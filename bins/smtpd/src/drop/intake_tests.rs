//! The drop folder on a disk that fails.

use std::sync::Mutex;

use libmaps::store::disk::System;

use super::super::file::DropWriter;
use super::super::submission::{Submission, Wanted};
use super::*;

/// Acts on the drop folder that fail, once each.
#[derive(Debug, Default)]
struct Failing {
    syncs: Mutex<u32>,
    removals: Mutex<Vec<PathBuf>>,
}

impl Disk for Failing {
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        let mut left = self.syncs.lock().unwrap();
        if path.ends_with("clientmqueue") && *left > 0 {
            *left -= 1;
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        System.sync_folder(path)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut failing = self.removals.lock().unwrap();
        if let Some(at) = failing.iter().position(|p| p == path) {
            failing.remove(at);
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        System.remove_file(path)
    }
}

struct Place {
    root: tempfile::TempDir,
    disk: Arc<Failing>,
    world: Arc<World>,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let disk = Arc::new(Failing::default());
        let world = World::of_test(root.path(), Arc::clone(&disk) as Arc<dyn Disk>);
        Place { root, disk, world }
    }

    fn folder(&self) -> PathBuf {
        self.root.path().join("var/spool/clientmqueue")
    }

    fn intake(&self) -> Intake {
        Intake::open(Arc::new(RwLock::new(Arc::clone(&self.world))))
    }

    fn drop(&self, text: &[u8]) -> DropId {
        let mut writer = DropWriter::create(&self.folder()).unwrap();
        writer.push(text).unwrap();
        let submission = Submission::to(vec![Wanted {
            address: "ann".into(),
            notify: None,
            orcpt: None,
        }]);
        writer.finish(&submission).unwrap()
    }

    /// The messages that may be tried.
    fn due(&self) -> Vec<String> {
        let due = std::iter::from_fn(|| self.world.queue.take_due(u64::MAX));
        let mut due: Vec<String> = due.map(String::from).collect();
        due.sort_unstable();
        due
    }
}

fn shown(mut ids: Vec<DropId>) -> Vec<String> {
    ids.sort_unstable();
    ids.iter().map(|id| id.as_str().to_owned()).collect()
}

#[tokio::test]
async fn messages_are_let_go_though_the_folder_was_not_synced_at_first() {
    let place = Place::new();
    let mut intake = place.intake();
    let ids: Vec<DropId> = (0..3).map(|_| place.drop(b"Subject: x\r\n\r\n")).collect();
    *place.disk.syncs.lock().unwrap() = 1;
    intake.take_now().await;
    assert_eq!(fs::read_dir(place.folder()).unwrap().count(), 0);
    assert_eq!(place.due(), [""; 0]);
    // While it rests nothing is done.
    intake.take_now().await;
    assert_eq!(place.due(), [""; 0]);
    intake.resting.clear();
    intake.take_now().await;
    assert_eq!(place.due(), shown(ids));
    assert!(intake.held.is_empty());
}

#[tokio::test]
async fn a_file_that_stays_keeps_only_its_own_message() {
    let place = Place::new();
    let mut intake = place.intake();
    let (stays, goes) = (
        place.drop(b"Subject: x\r\n\r\n"),
        place.drop(b"Subject: y\r\n\r\n"),
    );
    let file = stays.complete(&place.folder());
    place.disk.removals.lock().unwrap().push(file.clone());
    intake.take_now().await;
    assert!(file.exists());
    assert_eq!(place.due(), [goes.as_str()]);
    intake.resting.clear();
    intake.take_now().await;
    assert!(!file.exists());
    assert_eq!(place.due(), [stays.as_str()]);
}

#[tokio::test]
async fn what_waits_for_its_file_is_not_said_to_be_tried() {
    let place = Place::new();
    let mut intake = place.intake();
    let id = place.drop(b"Subject: x\r\n\r\n");
    let file = id.complete(&place.folder());
    place.disk.removals.lock().unwrap().push(file);
    intake.take_now().await;
    let queue = &place.world.queue;
    assert_eq!(
        queue.waits_for(id.as_str()),
        Some("its dropped file to be removed")
    );
    let said = queue.set_hold(id.as_str(), None).await.unwrap_err();
    assert_eq!(
        said.to_string(),
        format!("{id}: waits for its dropped file to be removed; the log says what is in the way")
    );
    queue.run_now();
    assert_eq!(place.due(), [""; 0]);
    intake.resting.clear();
    intake.take_now().await;
    assert_eq!(queue.waits_for(id.as_str()), None);
    assert_eq!(place.due(), [id.as_str()]);
}

#[tokio::test]
async fn what_tells_of_a_refused_file_waits_until_that_is_aside_for_good() {
    let place = Place::new();
    let mut intake = place.intake();
    let id = place.drop(b"Subject: x\r\n\r\na bare\rCR\r\n");
    *place.disk.syncs.lock().unwrap() = 1;
    intake.take_now().await;
    assert!(id.refused(&place.folder()).exists());
    assert_eq!(place.due(), [""; 0]);
    intake.resting.clear();
    intake.take_now().await;
    assert_eq!(place.due(), [id.as_str()]);
}

#[tokio::test]
async fn what_the_queue_has_no_folder_for_rests_and_is_taken_later() {
    let place = Place::new();
    let mut intake = place.intake();
    // So large that its text becomes a file of the queue.
    let text = [b"Subject: x\r\n\r\n".as_slice(), &[b'x'; 3_000_000]].concat();
    let id = place.drop(&text);
    let (queue, aside) = (
        place.root.path().join("queue"),
        place.root.path().join("aside"),
    );
    fs::rename(&queue, &aside).unwrap();
    intake.take_now().await;
    assert!(id.complete(&place.folder()).exists());
    assert!(intake.resting.contains_key(&id));
    assert!(!intake.held.contains(&id));
    fs::rename(&aside, &queue).unwrap();
    intake.resting.clear();
    intake.take_now().await;
    assert_eq!(place.due(), [id.as_str()]);
    assert!(!id.complete(&place.folder()).exists());
}

#[tokio::test]
async fn a_file_that_is_gone_is_forgotten() {
    let place = Place::new();
    let mut intake = place.intake();
    let id = place.drop(b"Subject: x\r\n\r\n");
    fs::remove_file(id.complete(&place.folder())).unwrap();
    intake.take_batch(&place.world, &[id]).await;
    assert!(intake.resting.is_empty() && intake.held.is_empty());
}

#[test]
fn large_files_are_not_taken_side_by_side_with_many() {
    let size = |weights: &[u64]| batch_size(weights.iter().copied());
    assert_eq!(size(&[1_000; 100]), BATCH);
    assert_eq!(size(&[MAX_JSON_OCTETS; 100]), 2);
    assert_eq!(size(&[1_000, MAX_JSON_OCTETS, MAX_JSON_OCTETS, 1_000]), 2);
    assert_eq!(size(&[BATCH_OCTETS + 1, 1]), 1);
    assert_eq!(size(&[1_000, 1_000]), 2);
    let place = Place::new();
    let id = place.drop(b"Subject: x\r\n\r\n");
    let length = fs::metadata(id.complete(&place.folder())).unwrap().len();
    assert_eq!(place.intake().place.weight(&id), length);
}

#[tokio::test]
async fn all_that_is_there_is_taken_at_once() {
    let place = Place::new();
    let mut intake = place.intake();
    let text = b"Subject: x\r\n\r\n";
    let first = place.drop(text);
    let file = fs::read(first.complete(&place.folder())).unwrap();
    for _ in 0..MAX_AT_ONCE {
        let id = DropId::random().unwrap();
        fs::write(id.complete(&place.folder()), &file).unwrap();
    }
    intake.take_now().await;
    assert_eq!(place.due().len(), MAX_AT_ONCE + 1);
}
