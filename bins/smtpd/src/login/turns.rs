//! Whose login is worked on next.
//!
//! Whoever checks passwords answers so many at a time and lets the others stand in one line. So
//! only some are asked at one time, and who is next is shared out by network: one that sends
//! many waits behind itself. A network from which only failures have come waits in a few places
//! of its own, whoever else is there.

use std::net::IpAddr;
use std::time::Duration;

use crate::deliver::lanes::{ComeAgain, Lanes, Place};
use crate::throttle::network;

/// Steps of logins at one time, and those of one network at the most.
static PLACES: Lanes = Lanes::new(64, 16, ROOM);
/// Those of networks that only fail, which need one of the others, too.
static FAILING: Lanes = Lanes::new(4, 2, ROOM);
/// Steps that may wait for a place, half of them of one network.
const ROOM: usize = 2_000;
/// Longest wait for a place.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is known of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing, or somebody has logged in from there.
    Good,
    /// Several have failed to log in, and nobody has.
    Failing,
}

/// A place; dropped, it is the next one's.
pub(super) struct Turn {
    _place: Place,
    _failing: Option<Place>,
}

impl Turn {
    /// Waits for one; an error is for the log.
    pub(super) async fn wait(addr: IpAddr, standing: Standing) -> Result<Self, String> {
        let lane = network(addr).to_string();
        let too_many = |_: ComeAgain| "too many logins wait for a place".to_owned();
        let failing = match standing {
            Standing::Good => None,
            Standing::Failing => {
                let place = FAILING.enter(&lane, 1, PATIENCE).await;
                Some(place.map_err(too_many)?)
            }
        };
        let place = PLACES.enter(&lane, 1, PATIENCE).await.map_err(too_many)?;
        Ok(Turn {
            _place: place,
            _failing: failing,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn networks_that_fail_hold_few_places_and_nobody_up() {
        let mut held = Vec::new();
        for n in 0..4 {
            let addr = format!("198.51.100.{n}").parse().unwrap();
            held.push(Turn::wait(addr, Standing::Failing).await.unwrap());
        }
        let next = Turn::wait("198.51.100.9".parse().unwrap(), Standing::Failing);
        let waited = tokio::time::timeout(Duration::from_millis(50), next).await;
        assert!(waited.is_err(), "a fifth place");
        let alice = Turn::wait("192.0.2.7".parse().unwrap(), Standing::Good).await;
        assert!(alice.is_ok());
    }
}
