//! How many records are looked up at one time.
//!
//! Each takes sockets while its name server says nothing, and clients choose names whose
//! servers never will. So there are places, as many as the limit of open files allows, and
//! who asks has a lane of his own: a client's network, whatever names its clients use, and for
//! deliveries each name. No lane has more than half of what the others leave free, and whoever
//! waits for a place has all of his time before him when he gets it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::proto::rr::Name;

use super::Unknown;
use crate::deliver::lanes::{Lanes, Place};
use crate::throttle::network;

/// Descriptors that a lookup may take: two servers are asked side by side.
pub(crate) const FILES_OF_LOOKUP: u64 = 2;
/// A place for so many open files, within these bounds.
const FILES_PER_PLACE: u64 = 16;
const LEAST: usize = 16;
const MOST: usize = 1000;
/// Most of one lane.
const MOST_OF_ONE: usize = 250;
/// Most that wait.
const ROOM: usize = 16_384;
/// Longest wait for a place.
const PATIENCE: Duration = Duration::from_secs(60);

static LOOKUPS: Lanes = Lanes::new(LEAST, MOST_OF_ONE, ROOM);

/// Who asks for names.
#[derive(Clone, Debug)]
pub enum Asker {
    /// A client, by its network.
    Client(Arc<str>),
    /// Ourselves, for a delivery or a user of this host.
    Ours,
}

impl Asker {
    /// The client with this address.
    #[must_use]
    pub fn client(addr: IpAddr) -> Self {
        Asker::Client(network(addr).to_string().into())
    }

    /// A place, perhaps after a wait.
    pub(super) async fn enter(&self, name: &Name) -> Result<Place, Unknown> {
        self.enter_by(&LOOKUPS, name, PATIENCE).await
    }

    async fn enter_by(
        &self,
        lookups: &'static Lanes,
        name: &Name,
        patience: Duration,
    ) -> Result<Place, Unknown> {
        let place = match self {
            Asker::Client(network) => lookups.enter(network, 1, patience).await,
            Asker::Ours => lookups.enter(&name.to_ascii(), 1, patience).await,
        };
        place.map_err(|_| Unknown)
    }
}

/// How many lookups so many open files allow at one time.
pub(crate) fn places_for(open_files: u64) -> usize {
    let places = usize::try_from(open_files / FILES_PER_PLACE).unwrap_or(MOST);
    places.clamp(LEAST, MOST)
}

/// Allows so many lookups at one time.
pub(crate) fn set_places(places: usize) {
    LOOKUPS.set_places(places);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_client_s_network_takes_all_places() {
        static LOOKUPS: Lanes = Lanes::new(16, MOST_OF_ONE, ROOM);
        let now = Duration::ZERO;
        let name = Name::from_ascii("slow.example.").unwrap();
        let greedy = Asker::client("2001:db8::1".parse().unwrap());
        let other = Asker::client("192.0.2.1".parse().unwrap());
        let mut taken = Vec::new();
        while let Ok(place) = greedy.enter_by(&LOOKUPS, &name, now).await {
            taken.push(place);
        }
        assert_eq!(taken.len(), 5);
        let same = Asker::client("2001:db8::2".parse().unwrap());
        assert!(same.enter_by(&LOOKUPS, &name, now).await.is_err(), "a /64");
        taken.push(other.enter_by(&LOOKUPS, &name, now).await.unwrap());
        taken.push(Asker::Ours.enter_by(&LOOKUPS, &name, now).await.unwrap());
        drop(taken);
        assert!(same.enter_by(&LOOKUPS, &name, now).await.is_ok());
    }

    #[test]
    fn places_come_from_the_limit_of_open_files() {
        let places = [0, 1_024, 16_384, 524_288, u64::MAX].map(places_for);
        assert_eq!(places, [16, 64, 1000, 1000, 1000]);
    }
}
