//! A writer of a shared map: mapremote at the other end of two pipes.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout};
use std::sync::{Arc, Mutex, PoisonError};

use libmaps::map::{Map, MapName, StoreError};
use libmaps::store::publish::{Before, Finished, Options};
use libmaps::store::redb::Meta;
use libmaps::store::shared::frame::{Frame, write_end};
use libmaps::store::shared::{Connection, Difference, Digest, Offer, Origin, Ready, Way, Wish};
use libmaps::store::{self, Opened};
use libmaps::sysexits::SysExit;

use super::changes::{Changes, at, between, digest_of, with_places};
use super::program::spawn;

/// The longest line of mapremote, in octets.
const MAX_LINE_OCTETS: u64 = 64 << 10;

/// The right to write a shared map: mapremote holds the engine's lock while this lives. Dropped
/// after a publish, it waits until mapremote has begun to remove what the engine need not keep any
/// more: what is much is removed by a process that nobody waits for.
#[derive(Debug)]
pub struct Writer {
    ready: Ready,
    pipe: Arc<Mutex<Pipe>>,
}

#[derive(Debug)]
struct Pipe {
    child: Child,
    /// Closed, mapremote ends.
    to: Option<BufWriter<ChildStdin>>,
    from: BufReader<ChildStdout>,
    connection: Connection,
    wish: Wish,
}

impl Writer {
    /// Waits for the engine's lock; with [`Wish::Edit`] the replica is the current generation then.
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    pub fn begin(connection: &Connection, wish: Wish) -> Result<Self, StoreError> {
        let mut args: Vec<&OsStr> = vec!["write".as_ref(), wish.as_str().as_ref()];
        if let Some(root) = &connection.root {
            args.extend([OsStr::new("--root"), root.as_os_str()]);
        }
        args.extend([OsStr::new("--"), connection.file.as_os_str()]);
        let mut child = spawn(&args).map_err(|why| connection.error(SysExit::Unavailable, why))?;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(connection.error(SysExit::OsErr, "no pipe to mapremote"));
        };
        let mut pipe = Pipe {
            child,
            to: Some(BufWriter::with_capacity(1 << 17, to)),
            from: BufReader::new(from),
            connection: connection.clone(),
            wish,
        };
        let line = pipe.line("ready ")?;
        let Some(ready) = Ready::parse(&line) else {
            return Err(pipe.fault("mapremote is of another version"));
        };
        Ok(Writer {
            ready,
            pipe: Arc::new(Mutex::new(pipe)),
        })
    }

    /// Makes a map written with these options the replica, once the engine has it.
    pub fn enter(&self, options: &mut Options) {
        let (origin, before) = self.shared();
        options.origin = Some(origin);
        options.before = Some(before);
    }

    /// What the replica is to say of itself, and who sees it before it is published.
    #[must_use]
    pub fn shared(&self) -> (Origin, Before) {
        let pipe = Arc::clone(&self.pipe);
        let ready = self.ready.clone();
        let before = Before::new(move |draft| {
            let mut pipe = pipe.lock().unwrap_or_else(PoisonError::into_inner);
            pipe.send(draft, &ready)
        });
        (self.ready.origin.clone(), before)
    }
}

impl Pipe {
    /// Brings what the draft holds to the engine.
    fn send(&mut self, draft: Finished<'_>, ready: &Ready) -> Result<(), StoreError> {
        let Opened::Redb(new) = draft.map else {
            return Err(self.fault("only maps of class hash and btree are shared"));
        };
        let old = self.old(ready)?;
        let old = old
            .filter(|(old, _)| ready.difference == Difference::Welcome && alike(old, new.meta()));
        let (digest, changes) = match (old, draft.changed) {
            // The digest goes on from that of the engine, so that followers come to the same.
            (Some((old, digest)), Some(changed)) => {
                at(changed, &old, new.as_ref(), digest, new.meta().entries)?
            }
            (Some((old, _)), None) => between(&old, new.as_ref(), new.meta().entries)?,
            (None, _) => (digest_of(new.as_ref())?, None),
        };
        let way = match &changes {
            Some(changes) => Way::Difference {
                keys: changes.len() as u64,
            },
            None => Way::Full,
        };
        let offer = Offer::of(new.meta(), way, digest);
        let sent = self.write(&offer, changes.as_ref(), new.as_ref())?;
        match sent {
            Ok(()) => self.line("done").map(drop),
            // It went away, and what it said before that is worth more than "broken pipe".
            Err(e) => match self.line("done") {
                Err(told) => Err(told),
                Ok(_) => Err(self.fault(&format!("mapremote: {e}"))),
            },
        }
    }

    /// The replica as it is, with the digest that the engine has of it, if that is the current
    /// generation.
    fn old(&self, ready: &Ready) -> Result<Option<(store::RedbMap, Digest)>, StoreError> {
        let path = &self.connection.replica;
        let Some(base) = &ready.base else {
            return Ok(None);
        };
        match store::open_any(path, MapName::new(self.connection.class, path)) {
            Ok(Opened::Redb(map))
                if map.meta().origin.as_ref().map(|o| &o.mark) == Some(&base.mark) =>
            {
                Ok(Some((*map, base.digest)))
            }
            // What was edited is not what the engine has.
            _ if self.wish == Wish::Edit => Err(StoreError::InUse { path: path.clone() }),
            _ => Ok(None),
        }
    }

    /// Writes the offer and the entries; the inner error is the pipe's.
    fn write(
        &mut self,
        offer: &Offer,
        changes: Option<&Changes>,
        new: &dyn Map,
    ) -> Result<std::io::Result<()>, StoreError> {
        let Some(to) = &mut self.to else {
            return Ok(Err(std::io::ErrorKind::BrokenPipe.into()));
        };
        let mut broken = to.write_all(offer.text().as_bytes()).err();
        let mut octets = Vec::new();
        let mut put = |frame: Frame<'_>| {
            octets.clear();
            let put = frame
                .append(&mut octets)
                .and_then(|()| to.write_all(&octets));
            put.is_err().then(|| broken = put.err()).is_none()
        };
        match changes {
            Some(changes) => {
                let frames = changes
                    .iter()
                    .flat_map(|(lhs, values)| frames(lhs.as_bytes(), values));
                let mut frames = frames;
                let _ = frames.all(&mut put);
            }
            None => {
                let mut whole = true;
                with_places(new, &mut |lhs, place, rhs| {
                    let rhs = Some(rhs);
                    whole = whole && put(Frame { lhs, place, rhs });
                    Ok(())
                })?;
            }
        }
        if let Some(e) = broken {
            return Ok(Err(e));
        }
        Ok(write_end(to).and_then(|()| to.flush()))
    }

    /// What follows `word` on mapremote's next line.
    fn line(&mut self, word: &str) -> Result<String, StoreError> {
        let mut line = Vec::new();
        let read = self
            .from
            .by_ref()
            .take(MAX_LINE_OCTETS)
            .read_until(b'\n', &mut line);
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end_matches('\n');
        if let Some(rest) = line.strip_prefix(word) {
            return Ok(rest.to_owned());
        }
        if let Some((code, why)) = line.strip_prefix("error ").and_then(|e| e.split_once(' ')) {
            let exit = code.parse().ok().and_then(SysExit::of_code);
            return Err(self
                .connection
                .error(exit.unwrap_or(SysExit::Software), why));
        }
        let why = match read {
            Ok(0) => "mapremote went away without a word".into(),
            Ok(_) => format!("mapremote said {line:?}"),
            Err(e) => format!("mapremote: {e}"),
        };
        Err(self.fault(&why))
    }

    fn fault(&self, why: &str) -> StoreError {
        self.connection.error(SysExit::Software, why)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.to = None;
        // Its end is all that is left to wait for; what it has to say stands on standard error.
        let _ = self.child.wait();
    }
}

/// Whether a map can be said as a difference from another: both were built alike.
fn alike(old: &store::RedbMap, new: &Meta) -> bool {
    let old = old.meta();
    // A password that was taken away shall not stay in a generation before.
    let secret = new.options == libmaps::sasl::edit::DESCRIBED;
    !secret
        && old.class == new.class
        && old.duplicates == new.duplicates
        && old.options == new.options
}

/// The frames of a key that differs.
fn frames<'a>(lhs: &'a [u8], values: &'a [libmaps::rhs::Rhs]) -> impl Iterator<Item = Frame<'a>> {
    let gone = values.is_empty().then_some(Frame {
        lhs,
        place: 0,
        rhs: None,
    });
    let there = values.iter().zip(0..).map(move |(rhs, place)| Frame {
        lhs,
        place,
        rhs: Some(rhs.as_bytes()),
    });
    there.chain(gone)
}
