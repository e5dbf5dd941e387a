//! Reading: where a map stands, its generations, their entries.

use std::pin::pin;
use std::time::Duration;

use futures_util::{FutureExt, TryStreamExt};
use libmaps::store::shared::frame::Frame;
use libmaps::store::shared::{Digest, Offer, Origin, Way};
use libmaps::sysexits::SysExit;
use tokio_postgres::Row;
use tokio_postgres::binary_copy::BinaryCopyOutStream;
use tokio_postgres::types::Type;

use super::Pgsql;
use crate::engine::{Current, Generation, Generations, Head, Take};
use crate::fault::{Fault, within};

/// Whether the map's row is to be locked, and how long the answer may take then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum For {
    Reading,
    Writing(Duration),
}

const GENERATION: &str = "\
SELECT generation, mark, base, keys, entries, digest, class, duplicates, options, source, program,
       host, extract(epoch FROM clock_timestamp() - committed)::float8
  FROM mailmaps_generation WHERE map = $1";

impl Pgsql {
    pub(super) async fn head(&mut self, map: &str, purpose: For) -> Result<Option<Head>, Fault> {
        let text = "SELECT id, serial, current, last FROM mailmaps_map WHERE name = $1";
        let text = match purpose {
            For::Reading => text.to_owned(),
            For::Writing(_) => format!("{text} FOR UPDATE"),
        };
        let row = match purpose {
            For::Reading => self.maybe(&text, &[&map]).await?,
            For::Writing(patience) => {
                within(patience, self.client.query_opt(&text, &[&map])).await?
            }
        };
        let Some(row) = row else { return Ok(None) };
        let id: i32 = row.try_get(0)?;
        self.ids.insert(map.to_owned(), id);
        let serial = unsigned(row.try_get(1)?)?;
        let current = match row.try_get::<_, Option<i64>>(2)? {
            None => Current::Never,
            Some(number) => {
                let text = format!("{GENERATION} AND generation = $2");
                let found = self.maybe(&text, &[&id, &number]).await?;
                let missing = || {
                    let why = format!("generation {number} is current, and is not there");
                    Fault::damaged(why)
                };
                let record = found.ok_or_else(missing);
                Current::of(record.and_then(|row| generation(&row)), Some(serial))
            }
        };
        Ok(Some(Head {
            serial,
            last: unsigned(row.try_get(3)?)?,
            current,
        }))
    }

    pub(super) async fn all_generations(&mut self, map: &str) -> Result<Generations, Fault> {
        let id = self.id(map)?;
        let text = format!("{GENERATION} ORDER BY generation DESC");
        let rows = self.all(&text, &[&id]).await?;
        let mut all = Generations::default();
        for row in &rows {
            let number = unsigned(row.try_get(0)?)?;
            all.take(number, generation(row));
        }
        Ok(all)
    }

    pub(super) async fn copy_out(
        &mut self,
        map: &str,
        generation: &Generation,
        take: &mut Take<'_>,
    ) -> Result<(), Fault> {
        let (id, number) = (self.id(map)?, generation.origin.generation);
        let text = format!(
            "COPY (SELECT key, place, value FROM mailmaps_entry \
             WHERE map = {id} AND generation = {number} ORDER BY key, place) \
             TO STDOUT (FORMAT binary)"
        );
        let stream = within(self.timeout, self.client.copy_out(&text)).await?;
        let types = [Type::BYTEA, Type::INT4, Type::BYTEA];
        let mut rows = pin!(BinaryCopyOutStream::new(stream, &types));
        loop {
            // Most rows are here already: a clock is needed for those that are waited for.
            let next = match rows.try_next().now_or_never() {
                Some(next) => next?,
                None => within(self.timeout, rows.try_next()).await?,
            };
            let Some(row) = next else {
                return Ok(());
            };
            let place: i32 = row.try_get(1)?;
            take(Frame {
                lhs: row.try_get(0)?,
                place: u32::try_from(place).map_err(|_| bad("place"))?,
                rhs: row.try_get(2)?,
            })?;
        }
    }
}

fn generation(row: &Row) -> Result<Generation, Fault> {
    let entries = unsigned(row.try_get(4)?)?;
    let keys: Option<i64> = row.try_get(3)?;
    let base: Option<i64> = row.try_get(2)?;
    let age: f64 = row.try_get(12)?;
    let digest: &str = row.try_get(5)?;
    let number: i64 = row.try_get(0)?;
    let mark: &str = row.try_get(1)?;
    Ok(Generation {
        origin: Origin::parse(&format!("{number} {mark}")).ok_or_else(|| bad("mark"))?,
        base: base.map(unsigned).transpose()?,
        offer: Offer {
            way: match keys.filter(|_| base.is_some()) {
                Some(keys) => Way::Difference {
                    keys: unsigned(keys)?,
                },
                None => Way::Full,
            },
            digest: Digest::parse(digest, entries).ok_or_else(|| bad("digest"))?,
            class: Offer::class_of(row.try_get(6)?).ok_or_else(|| bad("class"))?,
            duplicates: Offer::duplicates_of(row.try_get(7)?).ok_or_else(|| bad("duplicates"))?,
            options: row.try_get(8)?,
            source: row.try_get(9)?,
            program: row.try_get(10)?,
        },
        host: row.try_get(11)?,
        age: Duration::try_from_secs_f64(age.max(0.0)).unwrap_or_default(),
    })
}

fn unsigned(number: i64) -> Result<u64, Fault> {
    u64::try_from(number).map_err(|_| bad("number"))
}

fn bad(column: &str) -> Fault {
    Fault::new(
        SysExit::IoErr,
        format!("the tables hold a {column} that makes no sense"),
    )
}
