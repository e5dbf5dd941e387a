//! The maps of a transaction, and what is made of them once.

use std::sync::{Arc, OnceLock};

use libmaps::map::{Entries, KeyCase, Map, MapName, StoreError};
use libmaps::rhs::Rhs;
use libmaps::site::users::Users;
use libmaps::table::aliases::AliasTable;

use crate::maps::Snapshot;
use crate::world::World;

/// Maps and users of one moment: that of MAIL, VRFY or EXPN, or that in which a client came.
pub(super) struct TransactionMaps {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) users: Users,
    aliases: OnceLock<AliasTable<Existence>>,
}

impl TransactionMaps {
    /// Those of this moment.
    pub(super) fn take(world: &World) -> Self {
        TransactionMaps {
            snapshot: world.snapshot(),
            users: world.users.now(),
            aliases: OnceLock::new(),
        }
    }

    /// Those for a client that has just come, who asks about no user before MAIL.
    pub(super) fn for_client(world: &World) -> Self {
        TransactionMaps {
            snapshot: world.snapshot(),
            users: world.users.clone(),
            aliases: OnceLock::new(),
        }
    }

    /// The alias table, which tells only which aliases there are.
    pub(super) fn existing_aliases(&self) -> &AliasTable<Existence> {
        let maps = self.snapshot.aliases.iter();
        self.aliases
            .get_or_init(|| AliasTable::new(maps.map(|map| map.with(Existence))))
    }
}

/// An alias map that answers only whether there is such an alias: RCPT must not cost
/// more for a list of 100,000 than for a user.
pub(super) struct Existence(Arc<dyn Map>);

impl Map for Existence {
    fn get(&self, lhs: &[u8]) -> Result<Option<Rhs>, StoreError> {
        Ok(self.0.get(lhs)?.map(|_| Rhs::from("/dev/null")))
    }

    fn get_all(&self, lhs: &[u8]) -> Result<Vec<Rhs>, StoreError> {
        Ok(self.get(lhs)?.into_iter().collect())
    }

    fn iter(&self) -> Entries<'_> {
        self.0.iter()
    }

    fn name(&self) -> &MapName {
        self.0.name()
    }

    fn key_case(&self) -> KeyCase {
        self.0.key_case()
    }
}
