//! What a follower knows of the engine, beside the replica, for monitoring: a JSON object.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use libmaps::store::shared::{Connection, follower_file, follower_notes, provider_of};
use serde_json::{Value, json};

/// Notes that the engine was heard now, which generation is current there, and what went wrong.
///
/// A file that can't be written is no reason to follow no more.
pub fn note(connection: &Connection, current: Option<u64>, error: Option<&str>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let heard = now.map_or(0, |now| now.as_secs());
    write(connection, &json!(heard), &json!(current), error);
}

/// Notes that the engine can't be heard, and why; when it was heard last, and what was current
/// then, stays.
pub fn note_silence(connection: &Connection, error: &str) {
    let before = read(&connection.replica).unwrap_or_default();
    let known = |key: &str| before.get(key).cloned().unwrap_or_default();
    write(connection, &known("heard"), &known("current"), Some(error));
}

fn read(replica: &Path) -> Option<Value> {
    serde_json::from_slice(&follower_notes(replica).ok()?).ok()
}

/// The most changes that are noted of a host.
const MAX_MISSING: usize = 8;

/// Changes that this host of the connection file was found to lack.
#[must_use]
pub fn missing(connection: &Connection, host: &str) -> Vec<String> {
    let all = read(&connection.replica).unwrap_or_default();
    let changes = all
        .get("behind")
        .and_then(|hosts| hosts.get(host)?.as_array());
    let good = |c: char| c.is_ascii_alphanumeric() || ".#".contains(c);
    let text = |change: &Value| {
        change
            .as_str()
            .filter(|c| c.chars().all(good))
            .map(str::to_owned)
    };
    changes.into_iter().flatten().filter_map(text).collect()
}

/// Notes that a host lacks a change; the first one of each provider counts.
pub fn note_missing(connection: &Connection, host: &str, change: &str) {
    let mut known = missing(connection, host);
    let provider = provider_of(change);
    if known.len() >= MAX_MISSING || known.iter().any(|k| provider_of(k) == provider) {
        return;
    }
    known.push(change.to_owned());
    let mut notes = read(&connection.replica).unwrap_or_default();
    if let Some(hosts) = notes.get_mut("behind").and_then(Value::as_object_mut) {
        hosts.insert(host.to_owned(), json!(known));
    } else {
        let behind = json!({host: known});
        match notes.as_object_mut() {
            Some(notes) => drop(notes.insert("behind".into(), behind)),
            None => {
                notes = json!({"heard": null, "current": null, "error": null, "behind": behind});
            }
        }
    }
    put(&connection.replica, &notes);
}

/// Notes that a host, or each, lacks nothing.
pub fn forget(connection: &Connection, host: Option<&str>) {
    let Some(mut notes) = read(&connection.replica) else {
        return;
    };
    let Some(all) = notes.as_object_mut() else {
        return;
    };
    let Some(mut hosts) = all.remove("behind") else {
        return;
    };
    if let (Some(host), Some(hosts)) = (host, hosts.as_object_mut()) {
        if hosts.remove(host).is_none() {
            return;
        }
        if !hosts.is_empty() {
            all.insert("behind".into(), json!(hosts));
        }
    }
    put(&connection.replica, &notes);
}

fn write(connection: &Connection, heard: &Value, current: &Value, error: Option<&str>) {
    // More than is read again would be lost, and with it what a host lacks.
    let error: Option<String> = error.map(|e| e.chars().take(MAX_ERROR).collect());
    let mut notes = json!({"heard": heard, "current": current, "error": error});
    let behind = read(&connection.replica).and_then(|before| before.get("behind").cloned());
    if let (Some(behind), Some(notes)) = (behind, notes.as_object_mut()) {
        notes.insert("behind".into(), behind);
    }
    put(&connection.replica, &notes);
}

/// The most characters of an error that are noted.
const MAX_ERROR: usize = 4096;

fn put(replica: &Path, notes: &Value) {
    let text = notes.to_string();
    let path = follower_file(replica);
    let mut draft = path.clone().into_os_string();
    draft.push(".draft");
    if write_new(Path::new(&draft), &text).is_ok() {
        let _ = fs::rename(&draft, &path);
    }
}

/// Who may write in the folder may be somebody else: a file of ours is a new one, and no link is
/// followed.
fn write_new(draft: &Path, text: &str) -> io::Result<()> {
    if let Err(e) = fs::remove_file(draft)
        && e.kind() != io::ErrorKind::NotFound
    {
        return Err(e);
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(draft)?;
    writeln!(file, "{text}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use libmaps::map::MapClass;

    fn connection(folder: &Path) -> Connection {
        let file = folder.join("m.pgsql");
        Connection::parse(MapClass::Pgsql, &file, None, "host db\nuser mail\n").unwrap()
    }

    #[test]
    fn silence_leaves_what_was_heard_before() {
        let folder = tempfile::tempdir().unwrap();
        let connection = connection(folder.path());
        note(&connection, Some(7), None);
        let heard = read(&connection.replica).unwrap()["heard"].clone();
        note_silence(&connection, "no answer");
        let now = read(&connection.replica).unwrap();
        assert_eq!(
            now,
            json!({"heard": heard, "current": 7, "error": "no answer"})
        );
        note(&connection, Some(8), None);
        assert_eq!(read(&connection.replica).unwrap()["error"], Value::Null);
    }

    #[test]
    fn what_a_host_lacks_outlasts_other_notes() {
        let folder = tempfile::tempdir().unwrap();
        let connection = connection(folder.path());
        let (first, later) = ("1.0Z#0#001#0", "2.0Z#0#001#0");
        for host in ["a:389", "b:389"] {
            note_missing(&connection, host, first);
            note_missing(&connection, host, later);
            note_missing(&connection, host, "1.0Z#0#002#0");
        }
        note(&connection, Some(7), Some(&"x".repeat(100_000)));
        note_silence(&connection, "no answer");
        assert_eq!(missing(&connection, "a:389"), [first, "1.0Z#0#002#0"]);
        forget(&connection, Some("a:389"));
        assert!(missing(&connection, "a:389").is_empty());
        assert_eq!(missing(&connection, "b:389").len(), 2);
        forget(&connection, None);
        assert!(missing(&connection, "b:389").is_empty());
        assert_eq!(read(&connection.replica).unwrap()["current"], 7);
        // What is no change number goes into no filter.
        let notes = json!({"behind": {"a:389": ["*)(a=*", 7, first]}});
        put(&connection.replica, &notes);
        assert_eq!(missing(&connection, "a:389"), [first]);
    }

    #[test]
    fn a_link_in_the_drafts_place_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let connection = connection(folder.path());
        let other = folder.path().join("other");
        fs::write(&other, "precious").unwrap();
        let file = follower_file(&connection.replica);
        let draft = file.with_file_name(".m.pgsql.db.follower.draft");
        std::os::unix::fs::symlink(&other, &draft).unwrap();
        note(&connection, Some(7), None);
        assert_eq!(fs::read_to_string(&other).unwrap(), "precious");
        assert_eq!(read(&connection.replica).unwrap()["current"], 7);
    }
}
