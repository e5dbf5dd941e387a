//! A replica that is written while its entries come.
//!
//! The store is filled by a thread of its own, so that little is left to do when the last entry
//! is here. It takes entries in the order of their LHSs alone, which is the order in which
//! engines give them.

use std::cmp::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use libmaps::map::{Sink, StoreError};
use libmaps::store::publish::{Filled, Options, Publisher};
use libmaps::store::redb::Duplicates;
use libmaps::store::shared::frame::Frame;
use libmaps::store::shared::{Connection, Digest};
use libmaps::sysexits::SysExit;

use crate::fault::Fault;

/// What is handed over at once, in octets of frames.
const PIECE_OCTETS: usize = 256 << 10;
/// How many pieces wait for the store at the most.
const PIECES_WAITING: usize = 4;

/// A draft of a replica that is being filled. Dropped, it is removed.
pub struct Filling {
    /// Frames; an empty piece is the last one.
    to: Option<SyncSender<Vec<u8>>>,
    thread: Option<JoinHandle<Result<Filled, StoreError>>>,
    piece: Vec<u8>,
    last: Option<Vec<u8>>,
    duplicates: Duplicates,
    digest: Digest,
}

impl Filling {
    /// Takes the lock of the replica and begins a draft, for entries of which one LHS has several
    /// or not.
    ///
    /// # Errors
    /// As [`Publisher::create`]; no thread can be started.
    pub fn begin(
        connection: &Connection,
        duplicates: Duplicates,
        options: Options,
    ) -> Result<Self, Fault> {
        let path = connection.replica.clone();
        let source = options.source.clone();
        let publisher = Publisher::create(&path, options)?;
        let (to, pieces) = sync_channel(PIECES_WAITING);
        let fill = move || {
            let cut = || StoreError::io(&path, "fill", std::io::ErrorKind::UnexpectedEof.into());
            publisher.fill_sorted(source, &mut |sink| take_all(&pieces, sink, &cut))
        };
        let thread = thread::Builder::new().name("fill".into()).spawn(fill)?;
        Ok(Filling {
            to: Some(to),
            thread: Some(thread),
            piece: Vec::with_capacity(PIECE_OCTETS * 2),
            last: None,
            duplicates,
            digest: Digest::default(),
        })
    }

    /// Takes the next entry.
    ///
    /// # Errors
    /// It comes out of order; the draft can't be filled.
    pub fn put(&mut self, lhs: &[u8], place: u32, rhs: &[u8]) -> Result<(), Fault> {
        match &mut self.last {
            None => self.last = Some(lhs.to_vec()),
            Some(last) => match (last.as_slice().cmp(lhs), self.duplicates) {
                (Ordering::Greater, _) => {
                    return Err(Fault::damaged("the entries came out of order"));
                }
                // The digest does not see that a key came twice: the places tell that, which are
                // data too.
                (Ordering::Equal, Duplicates::None) => {
                    return Err(Fault::damaged("a key came twice"));
                }
                (Ordering::Equal, Duplicates::Kept) => {}
                (Ordering::Less, _) => {
                    last.clear();
                    last.extend_from_slice(lhs);
                }
            },
        }
        self.digest.add(lhs, place, rhs);
        let rhs = Some(rhs);
        Frame { lhs, place, rhs }.append(&mut self.piece)?;
        match self.piece.len() >= PIECE_OCTETS {
            true => self.hand_over(),
            false => Ok(()),
        }
    }

    fn hand_over(&mut self) -> Result<(), Fault> {
        let next = Vec::with_capacity(PIECE_OCTETS * 2);
        let piece = std::mem::replace(&mut self.piece, next);
        match self.to.as_ref().map(|to| to.send(piece)) {
            Some(Ok(())) => Ok(()),
            // The thread has ended, and says why.
            _ => self.end().map(drop),
        }
    }

    /// The digest of what was put.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Waits until the draft is filled.
    ///
    /// # Errors
    /// It can't be.
    pub fn finish(mut self) -> Result<Filled, Fault> {
        if !self.piece.is_empty() {
            self.hand_over()?;
        }
        if let Some(to) = self.to.take() {
            // Whether the thread is there shows in a moment.
            let _ = to.send(Vec::new());
        }
        self.end()
    }

    fn end(&mut self) -> Result<Filled, Fault> {
        self.to = None;
        let stopped = || Fault::new(SysExit::Software, "the thread that fills a draft stopped");
        let thread = self.thread.take().ok_or_else(stopped)?;
        Ok(thread.join().map_err(|_| stopped())??)
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        // The draft and the lock are gone when this is.
        let _ = self.end();
    }
}

/// Hands all entries to the store; `cut` is the error of their end before the last piece.
fn take_all(
    pieces: &Receiver<Vec<u8>>,
    sink: &mut Sink<'_>,
    cut: &dyn Fn() -> StoreError,
) -> Result<(), StoreError> {
    loop {
        let piece = pieces.recv().map_err(|_| cut())?;
        if piece.is_empty() {
            return Ok(());
        }
        let mut rest = piece.as_slice();
        while let Some((frame, behind)) = Frame::split(rest).map_err(|_| cut())? {
            sink(frame.lhs, frame.rhs.unwrap_or_default())?;
            rest = behind;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    use libmaps::map::MapClass;
    use libmaps::store::publish::OnDuplicate;
    use libmaps::store::shared::Origin;

    fn begin(folder: &Path, duplicates: Duplicates) -> Filling {
        let file = folder.join("m.pgsql");
        let text = "host db\nuser mail\n";
        let connection = Connection::parse(MapClass::Pgsql, &file, None, text).unwrap();
        let options = Options {
            origin: Origin::parse("7 0123456789abcdef0123456789abcdef"),
            on_duplicate: match duplicates {
                Duplicates::None => OnDuplicate::Refuse,
                Duplicates::Kept => OnDuplicate::KeepAll,
            },
            ..Options::new(MapClass::Hash, "test")
        };
        Filling::begin(&connection, duplicates, options).unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| !name.ends_with(".lock")).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_put_is_the_map_once_it_is_published() {
        let folder = tempfile::tempdir().unwrap();
        let mut filling = begin(folder.path(), Duplicates::None);
        let mut want = Digest::default();
        // More than one piece.
        for n in 0..20_000u32 {
            let (lhs, rhs) = (format!("{n:06}"), format!("value {n}"));
            filling.put(lhs.as_bytes(), 0, rhs.as_bytes()).unwrap();
            want.add(lhs.as_bytes(), 0, rhs.as_bytes());
        }
        assert_eq!(filling.digest(), want);
        let filled = filling.finish().unwrap();
        let published = filled.publish(&mut |_| Ok(())).unwrap();
        assert_eq!(published.entries, 20_000);
        assert_eq!(names(folder.path()), ["m.pgsql.db"]);
        let map = libmaps::store::open(&folder.path().join("m.pgsql.db")).unwrap();
        assert_eq!(
            map.get(b"012345").unwrap().unwrap().as_bytes(),
            b"value 12345"
        );
    }

    #[test]
    fn what_comes_out_of_order_is_damage_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        for (duplicates, lhs, why) in [
            (Duplicates::None, "a", "out of order"),
            (Duplicates::Kept, "a", "out of order"),
            (Duplicates::None, "b", "a key came twice"),
        ] {
            let mut filling = begin(folder.path(), duplicates);
            filling.put(b"b", 0, b"1").unwrap();
            let fault = filling.put(lhs.as_bytes(), 1, b"2").unwrap_err();
            assert!(fault.why.contains(why), "{fault}");
            assert_eq!(fault.exit, SysExit::IoErr);
            drop(filling);
            assert!(names(folder.path()).is_empty());
        }
        let mut filling = begin(folder.path(), Duplicates::Kept);
        filling.put(b"b", 0, b"1").unwrap();
        filling.put(b"b", 1, b"2").unwrap();
        assert_eq!(filling.digest().entries(), 2);
        drop(filling);
        assert!(names(folder.path()).is_empty());
    }
}
