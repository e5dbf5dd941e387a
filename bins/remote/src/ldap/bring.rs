//! Making what a directory has after a change the replica.

use std::time::Duration;

use libmaps::store::shared::Connection;
use libmaps::sysexits::SysExit;

use super::Directory;
use crate::engine::Engine;
use crate::fault::Fault;
use crate::replica::{self, How};

/// How often the replica is tried again, and the first pause before that; each further one is
/// longer by as much.
const MAX_PAUSES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(50);

/// Makes what the directory has now the replica, which says of itself after which changes it was
/// read; a writer's draft does not.
///
/// # Errors
/// The replica is as it was.
pub(crate) async fn bring(connection: &Connection) -> Result<(), Fault> {
    let mut directory = Directory::connect(&connection.server).await?;
    directory.bring(connection).await
}

impl Directory {
    /// Makes what the directory has now the replica. Others change entries too, perhaps faster than
    /// a map is read: it is tried several times.
    pub(super) async fn bring(&mut self, connection: &Connection) -> Result<(), Fault> {
        let mut brought = self.bring_once(connection).await;
        for n in 1..=MAX_PAUSES {
            match &brought {
                Err(fault) if fault.exit == SysExit::TempFail => {}
                _ => break,
            }
            tokio::time::sleep(PAUSE * n).await;
            brought = self.bring_once(connection).await;
        }
        brought.map_err(|fault| {
            let why = format!("the directory has the change, and not the replica: {fault}");
            Fault::new(fault.exit, why)
        })
    }

    pub(super) async fn bring_once(&mut self, connection: &Connection) -> Result<(), Fault> {
        let head = self.look(connection).await?;
        if let Some(there) = head.map_or(Ok(None), |head| head.current.known())? {
            replica::update(self, connection, &there, How::AtAnyPrice).await?;
        }
        Ok(())
    }
}
