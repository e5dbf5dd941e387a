//! News of new generations: a subscription, on a connection and a thread of its own.

use std::thread;
use std::time::{Duration, Instant};

use libmaps::store::shared::Server;
use libmaps::sysexits::SysExit;
use redis::Value;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::{CHANNEL, single};
use crate::fault::Fault;

/// News that wait to be taken; more are the same as these, since each map is looked at whole.
const MAX_NEWS: usize = 1_024;
/// How often the thread looks whether anybody still wants news.
const ROUND: Duration = Duration::from_secs(2);
/// How often a server that says nothing is asked whether it is still there: a connection that
/// went without a word would be deaf for ever.
const PING: Duration = Duration::from_secs(20);

/// A subscription.
pub(super) struct News {
    told: Receiver<Result<String, Fault>>,
}

impl News {
    /// Subscribes; in a cluster at any of its nodes, which tell each other. What is committed from
    /// then on is told.
    pub(super) fn start(server: &Server) -> Result<Self, Fault> {
        let mut connection = single(server)?;
        let patience = server.timeout;
        let (tell, told) = channel(MAX_NEWS);
        let (begin, begun) = std::sync::mpsc::channel();
        thread::Builder::new().name("news".into()).spawn(move || {
            let mut subscription = connection.as_pubsub();
            let subscribed = subscription.subscribe(CHANNEL).map_err(Fault::from);
            let is_good = subscribed.is_ok();
            if begin.send(subscribed).is_err() || !is_good {
                return;
            }
            if let Err(fault) = hear(&mut subscription, &tell, patience) {
                let _ = tell.blocking_send(Err(fault));
            }
        })?;
        // The thread answers within the timeout of its connection, or ends.
        let ended = |_| Fault::new(SysExit::TempFail, "the subscription ended");
        begun.recv().map_err(ended)??;
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
    subscription: &mut redis::PubSub<'_>,
    tell: &Sender<Result<String, Fault>>,
    patience: Duration,
) -> Result<(), Fault> {
    subscription.set_read_timeout(Some(ROUND))?;
    let mut heard = Instant::now();
    while !tell.is_closed() {
        match subscription.get_message() {
            Ok(message) => {
                heard = Instant::now();
                // What is no name of a map is nobody's news. A channel that is full holds enough.
                if let Ok(map) = String::from_utf8(message.get_payload()?) {
                    let _ = tell.try_send(Ok(map));
                }
            }
            Err(error) if error.is_timeout() && heard.elapsed() >= PING => {
                subscription.set_read_timeout(Some(patience))?;
                subscription.ping::<Value>()?;
                subscription.set_read_timeout(Some(ROUND))?;
                heard = Instant::now();
            }
            Err(error) if error.is_timeout() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
