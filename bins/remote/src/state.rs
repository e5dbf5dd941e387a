//! What a follower knows of the engine, beside the replica, for monitoring: a JSON object.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use libmaps::store::shared::{Connection, follower_file};
use serde_json::json;

/// Notes that the engine was heard, which generation is current there, and what went wrong.
///
/// A file that can't be written is no reason to follow no more.
pub fn note(connection: &Connection, current: Option<u64>, error: Option<&str>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let heard = now.map_or(0, |now| now.as_secs());
    let text = json!({"heard": heard, "current": current, "error": error}).to_string();
    let path = follower_file(&connection.replica);
    let mut draft = path.clone().into_os_string();
    draft.push(".draft");
    if fs::write(&draft, text + "\n").is_ok() {
        let _ = fs::rename(&draft, &path);
    }
}
