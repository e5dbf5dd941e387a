//! Removing what is old: its records at once, under the lock of the map, its entries in batches.

use std::time::{Duration, Instant};

use super::write::signed;
use super::{Pgsql, Values};
use crate::engine::{Amount, Left, MOMENT, removable};
use crate::fault::Fault;

/// Rows that are removed in one transaction.
const ROWS_AT_ONCE: u32 = 10_000;

/// Of the generations that writers before left to others, so many, the newest ones, may be in work.
/// What is older nobody has removed, and a writer does not leave it again.
const IN_WORK: usize = 2;

/// The pause after a batch is so many times as long as the batch took: others use the server too,
/// followers that fetch what has just become current above all.
const PAUSE: u32 = 3;
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What a batch has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Batch {
    /// It was the last one.
    Last,
    /// There may be more rows.
    Full,
}

impl Pgsql {
    /// The records of what is to go are removed under the lock, so that nobody rolls back to half
    /// a generation; then the entries that no record names, in batches.
    pub(super) async fn remove_old(
        &mut self,
        map: &str,
        keep: u32,
        amount: Amount,
    ) -> Result<Left, Fault> {
        let head = match amount {
            Amount::All => self.lock_row(map).await?,
            Amount::Little => match self.lock_within(map, MOMENT).await? {
                Some(head) => head,
                None => return Ok(Left::Nothing),
            },
        };
        let id = self.id(map)?;
        let all = self.all_generations(map).await?;
        let current = head.current.generation().map(|g| g.origin.generation);
        let old: Vec<i64> = removable(&all, current, keep)
            .into_iter()
            .map(signed)
            .collect::<Result<_, _>>()?;
        if !old.is_empty() {
            let text = "DELETE FROM mailmaps_generation WHERE map = $1 AND generation = ANY($2)";
            self.execute(text, &[&id, &old]).await?;
        }
        // What a crash of the server brings back is removed after a later write.
        self.batch("COMMIT; SET synchronous_commit = off").await?;
        if amount == Amount::All {
            for number in self.without_record(id).await? {
                self.remove_entries(id, number, Pace::WithPauses).await?;
            }
            return Ok(Left::Nothing);
        }
        if old.is_empty() {
            // To look for what is left of others would take more time than the write did: the
            // server reads through all that was removed lately.
            return Ok(Left::Nothing);
        }
        let mut left = Left::Nothing;
        let (now, before): (Vec<i64>, Vec<i64>) = self
            .without_record(id)
            .await?
            .into_iter()
            .partition(|number| old.contains(number));
        let split = before.len().saturating_sub(IN_WORK);
        let (forgotten, in_work) = before.split_at(split);
        for number in forgotten {
            self.remove_entries(id, *number, Pace::AtOnce).await?;
        }
        for number in in_work.iter().chain(&now) {
            if self.remove_batch(id, *number, &mut Vec::new()).await? == Batch::Full {
                left = Left::Much;
            }
        }
        Ok(left)
    }

    /// The generations that have entries and no record, the oldest first.
    async fn without_record(&self, id: i32) -> Result<Vec<i64>, Fault> {
        let mut found = Vec::new();
        let mut after = -1_i64;
        let text = "SELECT min(generation) FROM mailmaps_entry WHERE map = $1 AND generation > $2";
        loop {
            let next = self.one(text, &[&id, &after]).await?;
            let Some(number) = next.try_get::<_, Option<i64>>(0)? else {
                return Ok(found);
            };
            after = number;
            let text = "SELECT 1 FROM mailmaps_generation WHERE map = $1 AND generation = $2";
            if self.maybe(text, &[&id, &number]).await?.is_none() {
                found.push(number);
            }
        }
    }

    async fn remove_entries(&self, id: i32, number: i64, pace: Pace) -> Result<(), Fault> {
        let mut from = Vec::new();
        loop {
            let began = Instant::now();
            // Others may remove the same rows, so that a batch that is not full is not the last.
            let before = from.clone();
            self.remove_batch(id, number, &mut from).await?;
            if from == before {
                return Ok(());
            }
            if pace == Pace::WithPauses {
                let pause = began.elapsed().saturating_mul(PAUSE);
                tokio::time::sleep(pause.min(LONGEST_PAUSE)).await;
            }
        }
    }

    /// Removes the rows of the next keys at or behind `from`, which stands behind them then.
    async fn remove_batch(&self, id: i32, number: i64, from: &mut Vec<u8>) -> Result<Batch, Fault> {
        // What is removed stays in the index for a while: each batch begins behind the one before.
        let text = "SELECT key FROM (SELECT key FROM mailmaps_entry \
             WHERE map = $1 AND generation = $2 AND key >= $3 ORDER BY key LIMIT $4) AS batch \
             ORDER BY key DESC LIMIT 1";
        let most = i64::from(ROWS_AT_ONCE);
        let values: Values<'_> = &[&id, &number, &*from, &most];
        let Some(end) = self.maybe(text, values).await? else {
            return Ok(Batch::Last);
        };
        let end: Vec<u8> = end.try_get(0)?;
        let text = "DELETE FROM mailmaps_entry \
             WHERE map = $1 AND generation = $2 AND key >= $3 AND key <= $4";
        let values: Values<'_> = &[&id, &number, &*from, &end];
        let removed = self.execute(text, values).await?;
        *from = end;
        // The first key behind it.
        from.push(0);
        Ok(match removed >= u64::from(ROWS_AT_ONCE) {
            true => Batch::Full,
            false => Batch::Last,
        })
    }
}

/// How batches follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    AtOnce,
    WithPauses,
}
