//! Watching the drop folder.
//!
//! The folder is looked at four times a second and read when it has changed. A complete
//! file goes into the queue, is removed, the removal is synced, and only then may its
//! message be tried. A server that ends in between finds the file at its next start, and
//! the message under the file's id in the queue: nothing is lost and nothing comes twice.
//! A removal that did not come off, or was not synced, is done again, whether or not the
//! folder still lists the file.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant, SystemTime};

use libmaps::site::Site;
use libmaps::store::disk::Disk;
use tokio::task::JoinSet;

use super::file::{DropFault, MAX_JSON_OCTETS};
use super::take::take;
use super::{DropId, Submit, is_unfinished, rights};
use crate::log::Level;
use crate::privilege::hand_over::{self, DROP_FOLDER_MODE, Heir};
use crate::privilege::{self, Becoming};
use crate::server::current;
use crate::world::World;

/// How often the folder is looked at.
const TICK: Duration = Duration::from_millis(250);
/// A folder that has changed no longer ago than this is read again: times of files are coarse.
const SETTLED: Duration = Duration::from_secs(2);
/// How long a file rests that could not be taken for the time being.
const REST: Duration = Duration::from_secs(30);
/// Age of a file under a name for unfinished ones at which nobody writes it any more.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);
/// Most files taken between two looks at the folder.
const MAX_AT_ONCE: usize = 1000;
/// How often, and with what waits between, the folder is read at the start where that fails.
const FIRST_READS: usize = 20;
/// Most files that are taken side by side.
const BATCH: usize = 32;
/// Most octets of their envelopes, which are in memory meanwhile.
const BATCH_OCTETS: u64 = 2 * MAX_JSON_OCTETS;
/// The user and group whose folder it is.
const OWNER: &str = "smmsp:smmsp";

/// Makes the drop folder if it is not there: mode 0770, of smmsp where there is such a
/// user and we are root, so that the server which becomes another can take what is dropped.
/// Must run before rights are given up; the folder.
pub fn prepare(site: &Site, becoming: Option<&Becoming>) -> PathBuf {
    let folder = Submit::of(site).folder_of(site);
    let smmsp = || privilege::ids_of(site, OWNER).ok();
    let heir = |becoming: &Becoming| Heir {
        uid: becoming.heir().uid,
        gid: smmsp().map_or(becoming.heir().gid, |(_, group)| group),
    };
    if folder.exists() {
        if let Some(becoming) = becoming.filter(|becoming| becoming.is_ours()) {
            // One that can't be given is reported by the watch.
            let _ = hand_over::drop_folder(&folder, heir(becoming));
        }
        return folder;
    }
    // The folders above it are passed through by every user.
    let parent = folder.parent().unwrap_or(&folder);
    let _ = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(parent);
    let made = fs::DirBuilder::new().mode(DROP_FOLDER_MODE).create(&folder);
    if made.is_ok() {
        // Whatever our umask. A folder that can't be made is reported by the watch.
        let mode = fs::Permissions::from_mode(DROP_FOLDER_MODE);
        let _ = fs::set_permissions(&folder, mode);
        let owner = match becoming {
            Some(becoming) => Some(heir(becoming)),
            None => smmsp().map(|(uid, gid)| Heir { uid, gid }),
        };
        if let Some(Heir { uid, gid }) = owner {
            let _ = std::os::unix::fs::chown(&folder, Some(uid), Some(gid));
        }
    }
    folder
}

/// Whether files were left for the next look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Nothing,
    Some,
}

/// The folder, and who is trusted there.
struct Place {
    submit: Submit,
    folder: PathBuf,
}

impl Place {
    /// How long the envelope of a file may be.
    fn weight(&self, id: &DropId) -> u64 {
        let metadata = fs::symlink_metadata(id.complete(&self.folder));
        metadata.map_or(0, |m| m.len()).min(MAX_JSON_OCTETS)
    }
}

/// How many of these files are taken side by side, one in any case.
fn batch_size(weights: impl Iterator<Item = u64>) -> usize {
    let mut room = BATCH_OCTETS;
    let fitting = weights.take(BATCH).take_while(|weight| {
        let left = room.checked_sub(*weight);
        room = left.unwrap_or(0);
        left.is_some()
    });
    fitting.count().max(1)
}

/// A drop folder that is watched.
pub struct Intake {
    world: Arc<RwLock<Arc<World>>>,
    place: Arc<Place>,
    /// The folder as it was when it was read last.
    seen: Option<(SystemTime, u64)>,
    /// Messages that wait for the removal of their files; of those that are just being taken
    /// the queue may not know yet.
    held: HashSet<DropId>,
    /// Files that rest, and until when.
    resting: HashMap<DropId, Instant>,
    /// What was said last about a folder that can't be read.
    complaint: String,
}

impl Intake {
    /// Looks for files whose message the queue holds already and keeps those messages from
    /// being tried until their files are gone. Must run before delivery starts.
    #[must_use]
    pub fn open(world: Arc<RwLock<Arc<World>>>) -> Self {
        let now = current(&world);
        let submit = Submit::of(&now.site);
        let folder = submit.folder_of(&now.site);
        let mut intake = Intake {
            world,
            place: Arc::new(Place { submit, folder }),
            seen: None,
            held: HashSet::new(),
            resting: HashMap::new(),
            complaint: String::new(),
        };
        for id in intake.complete_at_first(&now) {
            if now.queue.holds(id.as_str()) {
                now.queue.hold_back(id.as_str());
                intake.held.insert(id);
            }
        }
        warn_about_folder(&now, &intake.place.folder);
        intake
    }

    /// Takes what comes, until the task is dropped.
    pub async fn run(mut self) {
        loop {
            let world = current(&self.world);
            if world.overload().is_none() && self.has_changed() {
                self.take_all(&world).await;
            }
            tokio::time::sleep(TICK).await;
        }
    }

    /// Takes all that is there now.
    pub async fn take_now(&mut self) {
        let world = current(&self.world);
        while self.take_all(&world).await == Left::Some {}
    }

    /// The complete files at the start. Without knowing them a message may be tried while its
    /// file is there, and once more when that is taken: a folder that is there and can't be
    /// read is tried for a while.
    fn complete_at_first(&self, world: &World) -> Vec<DropId> {
        for _ in 1..FIRST_READS {
            match self.complete() {
                Ok(ids) => return ids,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
                Err(_) => std::thread::sleep(TICK),
            }
        }
        self.complete().unwrap_or_else(|error| {
            let folder = self.place.folder.display();
            let text = format!(
                "drop folder {folder}: {error}; dropped mail that the queue has may go out twice"
            );
            world.log.say(Level::Error, &text);
            Vec::new()
        })
    }

    /// Whether the folder must be read.
    fn has_changed(&mut self) -> bool {
        let now = Instant::now();
        if self.resting.values().any(|until| *until <= now) {
            self.resting.retain(|_, until| *until > now);
            return true;
        }
        let Ok(metadata) = fs::metadata(&self.place.folder) else {
            return self.seen.take().is_some() || self.complaint.is_empty();
        };
        let changed = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let settled = changed.elapsed().is_ok_and(|age| age > SETTLED);
        let seen = Some((changed, metadata.ino()));
        let fresh = self.seen != seen;
        self.seen = seen.filter(|_| settled);
        fresh
    }

    async fn take_all(&mut self, world: &Arc<World>) -> Left {
        let mut ids = match self.complete() {
            Ok(ids) => ids,
            Err(error) => {
                let text = format!("drop folder {}: {error}", self.place.folder.display());
                if self.complaint != text {
                    world.log.say(Level::Warning, &text);
                    self.complaint = text;
                }
                return Left::Nothing;
            }
        };
        self.complaint.clear();
        // The file of one that waits may be gone already, and its name not for good.
        let listed: HashSet<DropId> = ids.iter().cloned().collect();
        ids.extend(self.held.difference(&listed).cloned());
        ids.retain(|id| !self.resting.contains_key(id));
        // The removals change the folder, so the rest is not forgotten.
        let left = match ids.len() > MAX_AT_ONCE {
            true => Left::Some,
            false => Left::Nothing,
        };
        ids.truncate(MAX_AT_ONCE);
        let mut rest = ids.as_slice();
        while !rest.is_empty() {
            let weights = rest.iter().map(|id| self.place.weight(id));
            let (batch, more) = rest
                .split_at_checked(batch_size(weights))
                .unwrap_or((rest, &[]));
            self.take_batch(world, batch).await;
            rest = more;
        }
        left
    }

    /// Takes some files side by side: they share the syncs of the queue and of the folder.
    async fn take_batch(&mut self, world: &Arc<World>, ids: &[DropId]) {
        let (mut taken, mut tasks, mut running) = (Vec::new(), JoinSet::new(), HashMap::new());
        for id in ids {
            if world.queue.holds(id.as_str()) {
                // Only a message that waits for this removal is let go after it: any other
                // may be on its way at this moment.
                let text = "the queue has this dropped message already";
                world.log.about(Level::Info, id.as_str(), text);
                taken.push(id.clone());
                continue;
            }
            self.held.insert(id.clone());
            let (world, place, file) = (Arc::clone(world), Arc::clone(&self.place), id.clone());
            let task =
                tasks.spawn(async move { take(&world, &place.submit, &place.folder, &file).await });
            running.insert(task.id(), id.clone());
        }
        while let Some(done) = tasks.join_next_with_id().await {
            let (task, result) = match done {
                Ok(done) => done,
                // Nothing is known of what it did, so it is done again like any other.
                Err(error) => (error.id(), Err(DropFault::Io(io::Error::other(error)))),
            };
            let Some(id) = running.remove(&task) else {
                continue;
            };
            match result {
                Ok(()) => taken.push(id),
                Err(DropFault::Gone) => {
                    self.held.remove(&id);
                }
                Err(fault) if fault.is_temporary() => {
                    let text = format!("dropped message not taken: {fault}");
                    // One that the queue has all the same waits for the removal of its file.
                    if !world.queue.holds(id.as_str()) {
                        self.held.remove(&id);
                    }
                    self.rest(world, id, &text);
                }
                Err(fault) => {
                    if self.refuse(world, &id, &fault) {
                        taken.push(id);
                    }
                }
            }
        }
        self.remove(world, taken).await;
    }

    /// Removes the files of messages that the queue has, and lets go those that wait for it.
    async fn remove(&mut self, world: &World, taken: Vec<DropId>) {
        if taken.is_empty() {
            return;
        }
        let (place, disk) = (Arc::clone(&self.place), world.queue.disk());
        let ids = taken.clone();
        let removing =
            tokio::task::spawn_blocking(move || remove_for_good(&*disk, &ids, &place.folder));
        let removed = removing.await.unwrap_or_else(|error| {
            let failed = || Err(error.to_string());
            taken.iter().map(|_| failed()).collect()
        });
        for (id, removed) in taken.into_iter().zip(removed) {
            match removed {
                Ok(()) => {
                    if self.held.remove(&id) {
                        world.queue.admit(id.as_str());
                    }
                }
                Err(error) => {
                    let file = id.complete(&self.place.folder);
                    let text = format!("remove dropped file {}: {error}", file.display());
                    self.rest(world, id, &text);
                }
            }
        }
    }

    fn rest(&mut self, world: &World, id: DropId, text: &str) {
        world.log.about(Level::Error, id.as_str(), text);
        self.resting.insert(id, Instant::now() + REST);
    }

    /// A file that can't be understood never will be: it is put aside. True where the queue
    /// holds what tells its sender of that: this is let go once the new name is durable.
    fn refuse(&mut self, world: &World, id: &DropId, fault: &DropFault) -> bool {
        let told = world.queue.holds(id.as_str());
        if !told {
            self.held.remove(id);
        }
        let (from, to) = (
            id.complete(&self.place.folder),
            id.refused(&self.place.folder),
        );
        let owner = fs::symlink_metadata(&from).map_or(u32::MAX, |m| m.uid());
        match fs::rename(&from, &to) {
            Ok(()) => {
                let text = format!(
                    "dropped file of user {owner} refused: {fault}; it is kept as {}",
                    to.display()
                );
                world.log.about(Level::Warning, id.as_str(), &text);
                told
            }
            Err(error) => {
                self.rest(world, id.clone(), &format!("{fault}; put aside: {error}"));
                false
            }
        }
    }

    /// Ids of the complete files, oldest first; abandoned ones are removed.
    fn complete(&self) -> io::Result<Vec<DropId>> {
        let mut ids = Vec::new();
        for entry in fs::read_dir(&self.place.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if let Some(id) = DropId::of_file(&name) {
                ids.push(id);
            } else if is_unfinished(&name) && is_abandoned(&entry) {
                let _ = fs::remove_file(entry.path());
            }
        }
        ids.sort_unstable();
        Ok(ids)
    }
}

fn is_abandoned(entry: &fs::DirEntry) -> bool {
    let changed = entry.metadata().and_then(|m| m.modified());
    changed.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > ABANDONED))
}

/// Removes the files. Those of which this says `Ok` do not come back; of each other it says
/// why it may.
fn remove_for_good(disk: &dyn Disk, ids: &[DropId], folder: &Path) -> Vec<Result<(), String>> {
    let removed: Vec<io::Result<()>> = ids
        .iter()
        .map(|id| match disk.remove_file(&id.complete(folder)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
        .collect();
    let synced = disk.sync_folder(folder).map_err(|error| error.to_string());
    let result = |removed: io::Result<()>| match removed {
        Ok(()) => synced.clone(),
        Err(error) => Err(error.to_string()),
    };
    removed.into_iter().map(result).collect()
}

/// What an administrator should know about the folder.
fn warn_about_folder(world: &World, folder: &Path) {
    let Ok(metadata) = fs::metadata(folder) else {
        return;
    };
    if metadata.mode() & 0o002 != 0 {
        let text = format!("drop folder {}: world writable", folder.display());
        world.log.say(Level::Warning, &text);
    }
    if let Some(why) = rights::lacking(folder) {
        let text = format!(
            "drop folder {}: can't take mail out of it: {why}; what is dropped waits until \
             {} and a restart of the server",
            folder.display(),
            rights::mending(folder, &world.site)
        );
        world.log.say(Level::Error, &text);
    }
    let foreign = fs::read_dir(folder).into_iter().flatten().flatten();
    let foreign = foreign.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"qf"));
    let count = foreign.count();
    let waiting = match count {
        0 => None,
        1 => Some("1 message of sendmail's own client queue waits".to_owned()),
        count => Some(format!(
            "{count} messages of sendmail's own client queue wait"
        )),
    };
    if let Some(waiting) = waiting {
        let text = format!(
            "drop folder {}: {waiting} there; the sendmail that they are of can send them (-Ac -qf)",
            folder.display()
        );
        world.log.say(Level::Warning, &text);
    }
}

#[cfg(test)]
#[path = "intake_tests.rs"]
mod tests;
