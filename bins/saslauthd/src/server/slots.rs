//! The places for connections, and the tokens that name them to epoll and the pool.

use super::connection::Connection;
use super::service::PendingKey;

/// A fixed number of places.
#[derive(Debug)]
pub(super) struct Slots {
    places: Vec<Place>,
    free: Vec<usize>,
}

/// A place; the generation tells a connection from those before it.
#[derive(Debug, Default)]
struct Place {
    generation: u32,
    connection: Option<Connection>,
    key: Option<PendingKey>,
}

impl Slots {
    /// So many free places.
    pub(super) fn new(limit: usize) -> Self {
        let mut places = Vec::new();
        places.resize_with(limit, Place::default);
        Slots {
            places,
            free: (0..limit).rev().collect(),
        }
    }

    /// Places, free or taken.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Taken places.
    pub(super) fn open(&self) -> usize {
        self.places.len().saturating_sub(self.free.len())
    }

    /// True where there is no free place.
    pub(super) fn is_full(&self) -> bool {
        self.free.is_empty()
    }

    /// Takes a free place; gives the connection back where there is none.
    pub(super) fn insert(&mut self, connection: Connection) -> Result<usize, Connection> {
        let Some(slot) = self.free.pop() else {
            return Err(connection);
        };
        match self.places.get_mut(slot) {
            None => Err(connection),
            Some(place) => {
                // Half the numbers: tokens above are the server's own.
                place.generation = place.generation.wrapping_add(1) & (u32::MAX >> 1);
                place.connection = Some(connection);
                Ok(slot)
            }
        }
    }

    /// Frees a place.
    pub(super) fn remove(&mut self, slot: usize) -> Option<Connection> {
        let place = self.places.get_mut(slot)?;
        place.key = None;
        let connection = place.connection.take()?;
        self.free.push(slot);
        Some(connection)
    }

    /// The connection in a place.
    pub(super) fn get(&mut self, slot: usize) -> Option<&mut Connection> {
        self.places.get_mut(slot)?.connection.as_mut()
    }

    /// All connections with their places.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Connection)> {
        let places = self.places.iter().enumerate();
        places.filter_map(|(slot, place)| Some((slot, place.connection.as_ref()?)))
    }

    /// Keeps the cache key of a request that is being checked.
    pub(super) fn keep_key(&mut self, slot: usize, key: Option<PendingKey>) {
        if let Some(place) = self.places.get_mut(slot) {
            place.key = key;
        }
    }

    /// Takes that key back.
    pub(super) fn take_key(&mut self, slot: usize) -> Option<PendingKey> {
        self.places.get_mut(slot)?.key.take()
    }

    /// The name of the connection in a place.
    pub(super) fn token(&self, slot: usize) -> u64 {
        let generation = self.places.get(slot).map_or(0, |p| p.generation);
        u64::from(generation) << 32 | slot as u64
    }

    /// The place of a connection, if it is still there.
    pub(super) fn find(&self, token: u64) -> Option<usize> {
        let slot = (token & u64::from(u32::MAX)) as usize;
        let place = self.places.get(slot)?;
        (u64::from(place.generation) == token >> 32 && place.connection.is_some()).then_some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    fn connection() -> Connection {
        Connection::new(UnixStream::pair().unwrap().0, Instant::now())
    }

    #[test]
    fn a_token_does_not_outlive_its_connection() {
        let mut slots = Slots::new(2);
        let first = slots.insert(connection()).unwrap();
        let token = slots.token(first);
        assert_eq!(slots.find(token), Some(first));
        slots.insert(connection()).unwrap();
        assert!(slots.is_full());
        assert!(slots.insert(connection()).is_err());
        slots.remove(first).unwrap();
        assert_eq!((slots.find(token), slots.open()), (None, 1));
        assert_eq!(slots.insert(connection()).unwrap(), first);
        assert_eq!(slots.find(token), None);
        assert_ne!(slots.token(first), token);
        assert_eq!(slots.iter().count(), slots.len());
    }
}
