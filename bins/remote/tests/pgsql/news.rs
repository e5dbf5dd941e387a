//! News of the server's, more than a follower takes at once.

use crate::server::{Server, signal};
use crate::stage::Host;

#[test]
fn many_news_of_one_map_hide_none_of_another() {
    let Some(server) = Server::shared() else {
        return;
    };
    server.database("news");
    let here = server.host("news", &["m", "other"]);
    here.good("makemap pgsql m", "a 1\n");
    here.good("makemap pgsql other", "a 1\n");
    // One that would see it at its next poll alone.
    let there = Host::new();
    let rarely = server
        .connection("news")
        .replace("poll 2\n", "poll 86400\n");
    for name in ["m.pgsql", "other.pgsql"] {
        there.write(name, &rarely);
    }
    let follower = there.follow("m.pgsql other.pgsql");
    let of_other = |e: &serde_json::Value| e["map"].as_str().unwrap_or("").contains("other");
    follower.wait(|e| of_other(e) && e["generation"] == 1);
    // Busy, as with a big map.
    let process = follower.process.0.id().to_string();
    signal("STOP", &process);
    server.sql_in(
        "news",
        "DO $$ BEGIN
           FOR n IN 1 .. 3000 LOOP PERFORM pg_notify('mailmaps', 'm'); COMMIT; END LOOP;
         END $$",
    );
    here.good("makemap pgsql other", "a 2\n");
    signal("CONT", &process);
    follower.wait(|e| of_other(e) && e["generation"] == 2);
}
