//! Addresses as the local mailer writes them: in fields that are added, and in front of
//! mailboxes.

use libmaps::policy::facts::Facts;
use libmaps::policy::rewrite::AddressRole;

use super::with_names;
use crate::maps::Snapshot;
use crate::resolver::Asker;
use crate::world::World;

/// The address in this role; as it is where no rule can be asked.
pub(crate) async fn local_form(
    world: &World,
    asker: &Asker,
    snapshot: &Snapshot,
    role: AddressRole,
    address: &[u8],
) -> Vec<u8> {
    let mut facts = Facts::new();
    let (rewritten, _) = with_names(world, asker, &mut facts, |names| {
        let addressing = snapshot.addressing(names, "");
        let mailer = world.site.mailers.get(&world.site.mailers.local)?;
        addressing.rewrite(role, mailer, address).ok()
    })
    .await;
    rewritten.map_or_else(|| address.to_vec(), |decision| decision.outcome)
}
