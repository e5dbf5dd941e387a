//! News of new generations.

use crate::proxy::Proxy;
use crate::server::Server;
use crate::stage::Host;

#[test]
fn what_is_committed_while_a_follower_subscribes_is_seen_at_once() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let proxy = Proxy::start(server.port);
    let (here, there) = (server.host("m"), Host::new());
    // One that would see it at its next poll alone.
    let file = format!("host 127.0.0.1\nport {}\ntls off\npoll 86400\n", proxy.port);
    there.write("m.redis", &file);
    here.good("makemap redis m", "a 1\n");
    proxy.hold("SUBSCRIBE");
    let follower = there.follow("m.redis");
    proxy.wait_until_it_holds();
    here.good("makemap redis m", "a 2\n");
    proxy.release();
    follower.wait_for_generation(2);
    // And what comes then is told.
    here.good("makemap redis m", "a 3\n");
    follower.wait_for_generation(3);
}
