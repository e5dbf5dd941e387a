//! News of new generations: a subscription, on a connection and a thread of its own.

use std::sync::mpsc::channel;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use libmaps::store::shared::Server;
use libmaps::sysexits::SysExit;
use redis::Value;

use super::{CHANNEL, single};
use crate::fault::Fault;
use crate::heard::{Heard, News};

/// How often the thread looks whether anybody still wants news.
const ROUND: Duration = Duration::from_secs(2);
/// How often a server that says nothing is asked whether it is still there: a connection that
/// went without a word would be deaf for ever.
const PING: Duration = Duration::from_secs(20);

/// A subscription.
pub(super) struct Subscription {
    heard: Arc<Heard>,
}

impl Subscription {
    /// Subscribes; in a cluster at any of its nodes, which tell each other. What is committed from
    /// then on is told.
    pub(super) fn start(server: &Server) -> Result<Self, Fault> {
        let mut connection = single(server)?;
        let patience = server.timeout;
        let heard = Arc::new(Heard::default());
        let tell = Arc::downgrade(&heard);
        let (begin, begun) = channel();
        thread::Builder::new().name("news".into()).spawn(move || {
            let mut subscription = connection.as_pubsub();
            let subscribed = subscription.subscribe(CHANNEL).map_err(Fault::from);
            let is_good = subscribed.is_ok();
            if begin.send(subscribed).is_err() || !is_good {
                return;
            }
            let ended = hear(&mut subscription, &tell, patience);
            if let (Err(fault), Some(tell)) = (ended, tell.upgrade()) {
                tell.end(fault);
            }
        })?;
        // The thread answers within the timeout of its connection, or ends.
        let ended = |_| Fault::new(SysExit::TempFail, "the subscription ended");
        begun.recv().map_err(ended)??;
        Ok(Subscription { heard })
    }

    /// What there is news of, as soon as there is any.
    pub(super) async fn wait(&mut self, time: Duration) -> Result<News, Fault> {
        self.heard.wait(time).await
    }
}

/// Hands on what is told until nobody wants it or the connection ends.
fn hear(
    subscription: &mut redis::PubSub<'_>,
    tell: &Weak<Heard>,
    patience: Duration,
) -> Result<(), Fault> {
    subscription.set_read_timeout(Some(ROUND))?;
    let mut heard = Instant::now();
    while tell.strong_count() > 0 {
        match subscription.get_message() {
            Ok(message) => {
                heard = Instant::now();
                // What is no name of a map is nobody's news.
                let map = String::from_utf8(message.get_payload()?);
                if let (Ok(map), Some(tell)) = (map, tell.upgrade()) {
                    tell.tell(&map);
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
