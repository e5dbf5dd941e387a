//! What went wrong with a generation is not tried again and again.

use crate::server::Server;
use crate::stage::{Host, until};

const ENTRIES: u32 = 1_000;

/// When the follower heard the engine last, in seconds.
fn heard(host: &Host) -> u64 {
    let notes = std::fs::read(host.path(".m.pgsql.db.follower")).unwrap_or_default();
    let notes: serde_json::Value = serde_json::from_slice(&notes).unwrap_or_default();
    notes["heard"].as_u64().unwrap_or(0)
}

/// The rows of entries that were read so far.
fn rows_read(server: &Server) -> u64 {
    let read = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables
                 WHERE relname = 'mailmaps_entry'";
    server.sql_in("again", read).parse().unwrap()
}

#[test]
fn a_damaged_generation_is_not_fetched_at_each_poll() {
    let Some(server) = Server::shared() else {
        return;
    };
    server.database("again");
    let here = server.host("again", &["m"]);
    let text: String = (0..ENTRIES).map(|n| format!("k{n} v\n")).collect();
    here.good("makemap pgsql m", &text);
    server.sql_in(
        "again",
        "UPDATE mailmaps_entry SET value = 'x' WHERE generation = 1 AND key = 'k7'",
    );
    let there = Host::new();
    let often = server.connection("again").replace("poll 2\n", "poll 1\n");
    there.write("m.pgsql", &often);
    let before = rows_read(&server);
    let follower = there.follow("m.pgsql");
    let event = follower.wait_for("error");
    let why = "entries with digest";
    assert!(event["error"].as_str().unwrap().contains(why), "{event}");
    for _ in 0..6 {
        let last = heard(&there);
        until("a poll", || heard(&there) > last);
    }
    let read = rows_read(&server) - before;
    assert!(read < 2 * u64::from(ENTRIES), "{read} rows");
    // The fault is known all the same.
    let notes = std::fs::read_to_string(there.path(".m.pgsql.db.follower")).unwrap();
    assert!(notes.contains(why), "{notes}");
    // Another generation is another matter.
    here.good("mapctl push --full hash:m.pgsql.db pgsql:m", "");
    follower.wait(|e| e["event"] == "published" && e["generation"] == 2);
    assert_eq!(there.replica("m.pgsql").unwrap().len(), 1_000);
}
