//! The handshake of TLS, at the first octet or after STARTTLS.

use std::io;
use std::sync::Arc;

use super::{patience, tell_lost};
use crate::consult::Consultant;
use crate::log::Level;
use crate::session::Peer;
use crate::throttle::Place;
use crate::tls::TlsFacts;
use crate::wire::Wire;
use crate::world::World;

/// Does it, and logs how it ended; nothing where there is no TLS then.
pub(super) async fn shake(
    world: &World,
    place: &Place,
    wire: &mut Wire,
    peer: &Peer,
    consultant: &mut Consultant,
) -> Option<TlsFacts> {
    let tls = world.tls.as_ref()?;
    let report = |text: &str| world.log.say(Level::Error, text);
    let wish = consultant.wish().await;
    let handshake = wish.and_then(|wish| {
        let handshake = tls.handshake(&wish, report);
        handshake.map_err(|error| error.to_string())
    });
    let handshake = match handshake {
        Ok(handshake) => handshake,
        Err(why) => {
            report(&format!("tls_srv_features={why}, relay={peer}"));
            return None;
        }
    };
    let config = Arc::clone(&handshake.config);
    let patience = patience(world.site.options.timeouts.starttls);
    place.begin();
    let done = place.wait(patience, wire.start_tls(config)).await;
    if let Err(error) = done.and_then(|done| done) {
        tell_failed(world, place, peer, &error);
        return None;
    }
    let facts = handshake.facts(wire.tls()?);
    let text = format!(
        "STARTTLS=server, relay={peer}, version={}, verify={}, cipher={}, bits={}",
        facts.tls.version, facts.tls.verify, facts.tls.cipher, facts.tls.bits
    );
    world.log.say(Level::Info, &text);
    if !facts.tls.cert_subject.is_empty() {
        // As access(5) wants them.
        let text = format!(
            "STARTTLS=server, cert-subject={:.256}, cert-issuer={:.256}",
            facts.tls.cert_subject, facts.tls.cert_issuer
        );
        world.log.say(Level::Info, &text);
    }
    Some(facts)
}

fn tell_failed(world: &World, place: &Place, peer: &Peer, error: &io::Error) {
    if let Some(lost) = place.lost() {
        return tell_lost(world, lost, &peer.to_string(), "");
    }
    let text = format!("STARTTLS=server, relay={peer}, failed: {error}");
    world.log.say(Level::Warning, &text);
}
