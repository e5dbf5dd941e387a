//! Writing a whole map: what a writer says, and what it is told.

use std::io::{BufReader, Read, Write};

use libmaps::build::aliases::MARK;
use libmaps::store::redb::Duplicates;
use libmaps::store::shared::frame::{Frame, Frames};
use libmaps::store::shared::{Connection, Offer, Wish};
use libmaps::sysexits::SysExit;

use super::Entries;
use super::difference::{self, Goal};
use super::job::Job;
use super::resolve::too_much;
use super::search::{Empty, Kind, Search};
use crate::fault::Fault;
use crate::write::{Accounts, Seen, Written, wait_for_writer};

/// Takes a new map from a writer, and gives it to the directory.
///
/// # Errors
/// Any of them leaves the directory's map as it was, unless it says otherwise.
pub(crate) async fn write(
    connection: &Connection,
    wish: Wish,
    input: impl Read + Send + 'static,
    mut output: impl Write,
) -> Result<Written, Fault> {
    let mut job = Job::begin(connection).await?;
    let old = match wish {
        Wish::Edit => Some(job.bring_base().await?),
        Wish::Load | Wish::Whole => None,
    };
    writeln!(output, "{}", job.ready()?.line())?;
    output.flush()?;
    let input = BufReader::with_capacity(1 << 17, input);
    let mut input = wait_for_writer(&mut job.directory, input).await?;
    let offer = match Offer::read(&mut input) {
        Ok(offer) => offer,
        // The writer found nothing to write, or failed and has told why.
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(Written::Nothing),
        Err(e) => return Err(e.into()),
    };
    let new = read_all(&mut input, &offer, &job.search)?;
    difference::check(&new)?;
    if new.is_empty() && job.search.empty == Empty::Fault {
        let why = "the map would be empty, which followers take for a fault; `empty yes` in the \
                   connection file takes it for an empty map";
        return Err(Fault::new(SysExit::DataErr, why));
    }
    let goal = match old {
        Some(old) => Goal::between(&old, new),
        None => Goal::Whole(new),
    };
    job.reach(&goal).await?;
    writeln!(output, "done")?;
    output.flush()?;
    // The writer publishes what it made as the replica; what comes after that waits for it.
    let gone = tokio::task::spawn_blocking(move || std::io::copy(&mut input, &mut std::io::sink()));
    let _ = gone.await;
    Ok(Written::Committed)
}

/// The entries that the writer sends.
fn read_all(input: &mut impl Read, offer: &Offer, search: &Search) -> Result<Entries, Fault> {
    if offer.duplicates == Duplicates::Kept {
        let why = "a directory has one value of a key: build it without -d";
        return Err(Fault::new(SysExit::DataErr, why));
    }
    let mut seen = Seen::of(Accounts::Refused);
    seen.check_options(offer)?;
    let (mut new, mut octets) = (Entries::new(), 0);
    let mut frames = Frames::new(input);
    while let Some(frame) = frames.next_frame()? {
        seen.note(frame)?;
        let Some((
            Frame {
                lhs,
                rhs: Some(rhs),
                ..
            },
            _,
        )) = Frame::split(frame)?
        else {
            continue;
        };
        octets += lhs.len() + rhs.len();
        if octets > search.kind.max_octets() {
            return Err(too_much(search));
        }
        // Followers put it there.
        if search.kind == Kind::Aliases && lhs == MARK {
            continue;
        }
        // Followers fold all keys; two that are the same then are told of.
        if let Some(other) = new.insert(lhs.to_ascii_lowercase(), rhs.to_vec())
            && other != rhs
        {
            let key = String::from_utf8_lossy(lhs);
            let why = format!("key {key}: it comes twice, since a directory folds all keys");
            return Err(Fault::new(SysExit::DataErr, why));
        }
    }
    seen.check(offer)?;
    Ok(new)
}
