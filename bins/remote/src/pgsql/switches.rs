//! The switches of a map that are remembered: rows of the entries' table, of generation -1, which
//! none has. The key is the switch's number, eight octets, the highest first; each value is a mark.
//!
//! There they need no table of their own, which a site that is there would have to make, and to
//! grant. Programs of before do not see them, and what those write is not remembered.

use libmaps::store::shared::Origin;

use super::{Pgsql, Values};
use crate::engine::REMEMBERED;
use crate::fault::Fault;

/// The generation of the rows.
const SWITCHES: i64 = -1;

impl Pgsql {
    pub(super) async fn marks_of(&self, map: &str, serial: u64) -> Result<Vec<String>, Fault> {
        let id = self.id(map)?;
        let text = "SELECT value FROM mailmaps_entry \
             WHERE map = $1 AND generation = $2 AND key = $3 ORDER BY place";
        let values: Values<'_> = &[&id, &SWITCHES, &key(serial)];
        let mut marks = Vec::new();
        for row in self.all(text, values).await? {
            let mark: Option<&[u8]> = row.try_get(0)?;
            let mark = mark.unwrap_or_default();
            marks.push(String::from_utf8_lossy(mark).into_owned());
        }
        Ok(marks)
    }

    /// Notes the switch of `new`, and that it goes on from `here`; forgets those of long ago.
    pub(super) async fn remember(
        &self,
        id: i32,
        new: &Origin,
        here: Option<&Origin>,
    ) -> Result<(), Fault> {
        let serial = new.serial.unwrap_or(0);
        if let Some(last) = serial.checked_sub(REMEMBERED) {
            let text = "DELETE FROM mailmaps_entry \
                 WHERE map = $1 AND generation = $2 AND key <= $3";
            let values: Values<'_> = &[&id, &SWITCHES, &key(last)];
            self.execute(text, values).await?;
        }
        let row = |origin: &Origin| Some((key(origin.serial?), origin.mark.as_bytes().to_vec()));
        let (own_key, own_mark) = (key(serial), new.mark.as_bytes());
        let (here_key, here_mark) = here.and_then(row).unzip();
        // What is known of a switch stays beside what another writer knows.
        let text = "INSERT INTO mailmaps_entry (map, generation, key, place, value) \
             SELECT $1, $2, noted.key, \
                    (SELECT coalesce(max(place) + 1, 0) FROM mailmaps_entry AS other \
                      WHERE map = $1 AND generation = $2 AND other.key = noted.key), \
                    noted.mark \
               FROM (VALUES ($3::bytea, $4::bytea), ($5::bytea, $6::bytea)) AS noted (key, mark) \
              WHERE noted.key IS NOT NULL \
                AND NOT EXISTS (SELECT 1 FROM mailmaps_entry AS other \
                      WHERE map = $1 AND generation = $2 AND other.key = noted.key \
                        AND other.value = noted.mark)";
        let values: Values<'_> = &[&id, &SWITCHES, &own_key, &own_mark, &here_key, &here_mark];
        self.execute(text, values).await.map(drop)
    }
}

fn key(serial: u64) -> Vec<u8> {
    serial.to_be_bytes().to_vec()
}
