//! Headers as the mailers of this host write them, found once for all copies of a message.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use libmaps::site::model::Mailer;
use tokio::sync::OnceCell;

use super::outcome::Outcome;
use crate::queue::Envelope;
use crate::relay::header_here;
use crate::world::World;

/// A header in place of the message's own, which has so many octets with the empty line.
pub(super) type Header = (Arc<[u8]>, u64);

/// What came of it: nothing where no address changes.
type Found = Result<Option<Header>, Outcome>;

/// The headers of one message, by the names of the mailers.
#[derive(Debug, Default)]
pub(super) struct Headers {
    found: Mutex<HashMap<String, Arc<OnceCell<Found>>>>,
}

impl Headers {
    /// The header as this mailer writes it, if that is not the message's own.
    ///
    /// # Errors
    /// The outcome of a copy where the message or a table can't be read.
    pub(super) async fn of(
        &self,
        world: &Arc<World>,
        envelope: &Envelope,
        mailer: &Mailer,
    ) -> Found {
        let cell = {
            let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(found.entry(mailer.name.clone()).or_default())
        };
        let write = async || {
            let header = header_here(world, mailer, envelope).await?;
            Ok(header.map(|(header, octets)| (header.into(), octets)))
        };
        cell.get_or_init(write).await.clone()
    }
}
