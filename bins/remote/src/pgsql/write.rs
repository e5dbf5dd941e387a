//! Writing: the lock, the entries and the switch.

use std::pin::pin;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::SinkExt;
use libmaps::store::shared::frame::Frame;
use libmaps::store::shared::{Origin, Way};
use libmaps::sysexits::SysExit;

use super::read::For;
use super::schema::{CHANNEL, DDL, MAX_KEY_OCTETS};
use super::{Pgsql, Values};
use crate::engine::{Generation, Give, Head, Switch, too_long};
use crate::fault::{Fault, HELD, within};

/// What begins each COPY in binary format, before flags and the length of an extension.
const COPY_HEAD: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What is sent at once, in octets.
const PIECE_OCTETS: usize = 64 << 10;

/// How long a writer waits for another.
const PATIENCE: Duration = Duration::from_secs(300);

impl Pgsql {
    /// As [`Pgsql::lock_within`], for as long as a writer waits.
    ///
    /// # Errors
    /// Another writer holds the map for longer, or the server does not answer.
    pub(super) async fn lock_row(&mut self, map: &str) -> Result<Head, Fault> {
        let head = self.lock_within(map, PATIENCE).await?;
        head.ok_or_else(|| Fault::new(SysExit::TempFail, HELD))
    }

    /// Waits for the right to write a map, for so long at the most; a server that does not say by
    /// then that it is over has hung, and is waited for as long as for any answer. `None` if
    /// another writer holds it still; what was begun is undone then.
    ///
    /// # Errors
    /// The server does not answer, or has no such map any more.
    pub async fn lock_within(
        &mut self,
        map: &str,
        patience: Duration,
    ) -> Result<Option<Head>, Fault> {
        match self.wait_for_lock(map, patience).await {
            Ok(head) => Ok(Some(head)),
            Err(fault) if is_held(&fault) => {
                self.batch("ROLLBACK").await?;
                Ok(None)
            }
            Err(fault) => Err(fault),
        }
    }

    async fn wait_for_lock(&mut self, map: &str, patience: Duration) -> Result<Head, Fault> {
        if !self.has_schema().await? {
            self.make_schema().await?;
        }
        // Each statement sees what was confirmed before it, whatever the server's default: what the
        // writer before us left is what we wait for.
        // Confirmed is durable, whatever the server's default; one that waits for standbys stays.
        // A writer whose source comes slowly says so every few seconds; one that says nothing for
        // so long is stopped, and what it holds is free. A statement that sends entries has an
        // hour: a writer that is stopped there is waited for no longer.
        self.batch(&format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED;
             SET LOCAL lock_timeout = '{}ms';
             SET LOCAL idle_in_transaction_session_timeout = '120s';
             SET LOCAL statement_timeout = '3600s';
             SELECT set_config('synchronous_commit', 'on', true)
              WHERE current_setting('synchronous_commit') IN ('off', 'local')",
            patience.as_millis()
        ))
        .await?;
        let patience = patience.saturating_add(self.timeout);
        let make = "INSERT INTO mailmaps_map (name) VALUES ($1) ON CONFLICT (name) DO NOTHING";
        let there = "SELECT 1 FROM mailmaps_map WHERE name = $1";
        let found = self.maybe(there, &[&map]).await?;
        if found.is_none() {
            // Waits for another first writer.
            let values: Values<'_> = &[&map];
            let made = within(patience, self.client.execute(make, values));
            made.await?;
        }
        let head = self.head(map, For::Writing(patience)).await?;
        head.ok_or_else(|| Fault::new(SysExit::TempFail, "the map was removed just now"))
    }

    async fn make_schema(&self) -> Result<(), Fault> {
        let lock = "SELECT pg_advisory_xact_lock(7236832837)";
        let made = self
            .batch(&format!(
                "BEGIN ISOLATION LEVEL READ COMMITTED; {lock}; {DDL} COMMIT"
            ))
            .await;
        if made.is_err() {
            let _ = self.batch("ROLLBACK").await;
        }
        made
    }

    pub(super) async fn copy_in(
        &mut self,
        map: &str,
        generation: &Generation,
        give: &mut Give<'_>,
    ) -> Result<(), Fault> {
        let id = self.id(map)?;
        let number = signed(generation.origin.generation)?;
        let text =
            "COPY mailmaps_entry (map, generation, key, place, value) FROM STDIN (FORMAT binary)";
        let sink = within(self.timeout, self.client.copy_in::<_, Bytes>(text)).await?;
        let mut sink = pin!(sink);
        let mut piece = BytesMut::with_capacity(PIECE_OCTETS * 2);
        piece.put_slice(COPY_HEAD);
        while let Some(octets) = give()? {
            let Some((frame, _)) = Frame::split(&octets)? else {
                continue;
            };
            if frame.lhs.len() > MAX_KEY_OCTETS {
                return Err(too_long("key", frame.lhs.len(), MAX_KEY_OCTETS));
            }
            put_row(&mut piece, id, number, frame)?;
            if piece.len() >= PIECE_OCTETS {
                within(self.timeout, sink.send(piece.split().freeze())).await?;
            }
        }
        piece.put_i16(-1);
        within(self.timeout, sink.send(piece.freeze())).await?;
        // The server may have much to write before it answers.
        within(self.timeout.saturating_mul(10), sink.finish()).await?;
        Ok(())
    }

    pub(super) async fn switch(
        &mut self,
        map: &str,
        switch: Switch<'_>,
        here: Option<&Origin>,
    ) -> Result<(), Fault> {
        let id = self.id(map)?;
        let generation = switch.generation();
        let number = signed(generation.origin.generation)?;
        if let Switch::New(_) = switch {
            self.insert_generation(id, number, generation).await?;
        }
        let text = "UPDATE mailmaps_map \
             SET serial = greatest(serial + 1, $3), current = $2, last = greatest(last, $2) \
             WHERE id = $1";
        let serial = signed(generation.origin.serial.unwrap_or(0))?;
        self.execute(text, &[&id, &number, &serial]).await?;
        self.remember(id, &generation.origin, here).await?;
        let text = "SELECT pg_notify($1, $2)";
        self.all(text, &[&CHANNEL, &map]).await?;
        let done = self.client.batch_execute("COMMIT");
        let done = within(self.timeout.saturating_mul(10), done).await;
        done.map_err(|fault| {
            let why = format!("{}; it may or may not have become current", fault.why);
            Fault::new(fault.exit, why)
        })
    }

    async fn insert_generation(
        &self,
        id: i32,
        number: i64,
        generation: &Generation,
    ) -> Result<(), Fault> {
        let text = "INSERT INTO mailmaps_generation (map, generation, mark, base, keys, entries, \
             digest, class, duplicates, options, source, program, host, committed) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, clock_timestamp())";
        let offer = &generation.offer;
        let base = generation.base.map(signed).transpose()?;
        let keys = match offer.way {
            Way::Full => None,
            Way::Difference { keys } => Some(signed(keys)?),
        };
        let entries = signed(offer.digest.entries())?;
        let digest = offer.digest.to_string();
        let (class, duplicates) = (offer.class.as_str(), offer.duplicates_word());
        let values: Values<'_> = &[
            &id,
            &number,
            &generation.origin.mark,
            &base,
            &keys,
            &entries,
            &digest,
            &class,
            &duplicates,
            &offer.options,
            &offer.source,
            &offer.program,
            &generation.host,
        ];
        self.execute(text, values).await.map(drop)
    }
}

/// Whether a lock was waited for in vain: `lock_not_available`.
fn is_held(fault: &Fault) -> bool {
    fault.why.contains("(55P03)")
}

fn put_row(piece: &mut BytesMut, id: i32, number: i64, frame: Frame<'_>) -> Result<(), Fault> {
    let place = i32::try_from(frame.place);
    let place = place.map_err(|_| Fault::new(SysExit::DataErr, "too many values of a key"))?;
    let length = |octets: &[u8]| {
        i32::try_from(octets.len()).map_err(|_| too_long("value", octets.len(), i32::MAX as usize))
    };
    piece.put_i16(5);
    piece.put_i32(4);
    piece.put_i32(id);
    piece.put_i32(8);
    piece.put_i64(number);
    piece.put_i32(length(frame.lhs)?);
    piece.put_slice(frame.lhs);
    piece.put_i32(4);
    piece.put_i32(place);
    match frame.rhs {
        None => piece.put_i32(-1),
        Some(rhs) => {
            piece.put_i32(length(rhs)?);
            piece.put_slice(rhs);
        }
    }
    Ok(())
}

pub(super) fn signed(number: u64) -> Result<i64, Fault> {
    i64::try_from(number).map_err(|_| Fault::new(SysExit::Software, "a number beyond 2^63"))
}
