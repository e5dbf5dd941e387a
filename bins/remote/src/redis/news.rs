//! News of new generations: a subscription, on a connection and a thread of its own.

use std::thread;
use std::time::Duration;

use libmaps::store::shared::Server;
use libmaps::sysexits::SysExit;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::{CHANNEL, single};
use crate::fault::Fault;

/// News that wait to be taken; more are the same as these, since each map is looked at whole.
const MAX_NEWS: usize = 1_024;
/// How often the thread looks whether anybody still wants news.
const ROUND: Duration = Duration::from_secs(2);

/// A subscription.
pub(super) struct News {
    told: Receiver<Result<String, Fault>>,
}

impl News {
    /// Subscribes; in a cluster at any of its nodes, which tell each other.
    pub(super) fn start(server: &Server) -> Result<Self, Fault> {
        let mut connection = single(server)?;
        let (tell, told) = channel(MAX_NEWS);
        thread::Builder::new().name("news".into()).spawn(move || {
            if let Err(fault) = hear(&mut connection, &tell) {
                let _ = tell.blocking_send(Err(fault));
            }
        })?;
        Ok(News { told })
    }

    /// The maps that there is news of, or `None` when the time is over.
    pub(super) async fn wait(&mut self, time: Duration) -> Result<Option<Vec<String>>, Fault> {
        let first = match tokio::time::timeout(time, self.told.recv()).await {
            Err(_) => return Ok(None),
            Ok(Some(first)) => first?,
            Ok(None) => return Err(Fault::new(SysExit::TempFail, "the subscription ended")),
        };
        let mut maps = vec![first];
        while let Ok(next) = self.told.try_recv() {
            maps.push(next?);
        }
        Ok(Some(maps))
    }
}

/// Hands on what is told until nobody wants it or the connection ends.
fn hear(
    connection: &mut redis::Connection,
    tell: &Sender<Result<String, Fault>>,
) -> Result<(), Fault> {
    let mut subscription = connection.as_pubsub();
    subscription.subscribe(CHANNEL)?;
    subscription.set_read_timeout(Some(ROUND))?;
    while !tell.is_closed() {
        match subscription.get_message() {
            Ok(message) => {
                // A channel that is full holds news enough.
                let _ = tell.try_send(Ok(message.get_payload()?));
            }
            Err(error) if error.is_timeout() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
