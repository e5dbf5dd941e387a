//! What a follower says: a line for each event, for people or as JSON.

use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use libmaps::store::shared::Connection;
use serde_json::json;

use crate::engine::Generation;
use crate::fault::Fault;
use crate::replica::Update;

/// How events are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A line of text.
    Text,
    /// A JSON object.
    Json,
}

/// How long a follower took to bring a generation.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// Until the last of its entries was here, of which much is the network's and the engine's.
    pub fetch: Duration,
    /// From then until it was the map.
    pub publish: Duration,
}

/// What programs read while a map can't be made new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stays {
    /// The replica that there is.
    Map,
    /// Nothing: there was none yet.
    Nothing,
    /// Which file would be the replica is not known.
    Unknown,
}

impl Stays {
    /// As this file is there or not.
    #[must_use]
    pub fn of(replica: &Path) -> Self {
        match replica.exists() {
            true => Stays::Map,
            false => Stays::Nothing,
        }
    }
}

/// Where events go: standard output, one line each.
#[derive(Debug)]
pub struct Log {
    style: Style,
    one_at_a_time: Mutex<()>,
}

impl Log {
    /// A log of this style.
    #[must_use]
    pub fn new(style: Style) -> Self {
        Log {
            style,
            one_at_a_time: Mutex::new(()),
        }
    }

    fn line(&self, text: &str) {
        let _one = self.one_at_a_time.lock();
        let mut out = std::io::stdout().lock();
        // Without a reader there is nobody to tell; maps are kept in any case.
        let _ = out.write_all(format!("{text}\n").as_bytes());
        let _ = out.flush();
    }

    /// The replica holds a generation now. How long after its commit that began and was done is told
    /// of new ones; when an older one was made current again nobody knows.
    pub fn published(
        &self,
        connection: &Connection,
        generation: &Generation,
        update: Update,
        took: Took,
    ) {
        let (file, number) = (connection.file.display(), generation.origin.generation);
        let entries = generation.offer.digest.entries();
        let whole = took.fetch + took.publish;
        let began = match update.replaced() {
            Some(before) if before > number => None,
            _ => Some(generation.age),
        };
        let lag = began.map(|began| (began + whole).as_secs_f64());
        let [whole, fetch, publish] =
            [whole, took.fetch, took.publish].map(|time| time.as_secs_f64());
        let keys = match update {
            Update::Changed { keys, .. } => Some(keys),
            _ => None,
        };
        match self.style {
            Style::Json => self.line(
                &json!({
                    "event": "published",
                    "map": file.to_string(),
                    "generation": number,
                    "entries": entries,
                    "keys_changed": keys,
                    "lag_seconds": lag,
                    "began_seconds": began.map(|began| began.as_secs_f64()),
                    "took_seconds": whole,
                    "fetch_seconds": fetch,
                    "publish_seconds": publish,
                })
                .to_string(),
            ),
            Style::Text => {
                let how = keys.map_or(String::new(), |n| format!(", {n} keys changed"));
                let lag = match lag {
                    Some(lag) => format!("{lag:.3} s after it was committed"),
                    None => "made current again".to_owned(),
                };
                self.line(&format!(
                    "{file}: generation {number}, {entries} entries{how}, {lag}, \
                     {fetch:.3} s to fetch it, {publish:.3} s to publish it"
                ));
            }
        }
    }

    /// The replica is as new as the engine's map: told once after each connection.
    pub fn current(&self, connection: &Connection, generation: u64) {
        let file = connection.file.display();
        match self.style {
            Style::Json => self.line(
                &json!({"event": "current", "map": file.to_string(), "generation": generation})
                    .to_string(),
            ),
            Style::Text => self.line(&format!("{file}: generation {generation} is current")),
        }
    }

    /// There is no generation to follow yet.
    pub fn empty(&self, connection: &Connection) {
        let file = connection.file.display();
        match self.style {
            Style::Json => {
                self.line(&json!({"event": "empty", "map": file.to_string()}).to_string());
            }
            Style::Text => self.line(&format!("{file}: the map has no generation yet")),
        }
    }

    /// What concerns no map alone.
    pub fn trouble(&self, why: &str) {
        match self.style {
            Style::Json => self.line(&json!({"event": "trouble", "error": why}).to_string()),
            Style::Text => self.line(&format!("follower: {why}")),
        }
    }

    /// The process that follows ended and is about to be started again.
    pub fn restarted(&self, why: &str) {
        match self.style {
            Style::Json => self.line(&json!({"event": "restarted", "error": why}).to_string()),
            Style::Text => self.line(&format!("follower: {why}, started again")),
        }
    }

    /// Connections are counted with other hosts, or, with a fault, not.
    pub fn counting(&self, connection: &Connection, fault: Option<&Fault>) {
        let file = connection.file.display();
        match (self.style, fault) {
            (Style::Json, None) => {
                self.line(&json!({"event": "counting", "map": file.to_string()}).to_string());
            }
            (Style::Json, Some(fault)) => self.line(
                &json!({
                    "event": "alone",
                    "map": file.to_string(),
                    "error": fault.to_string(),
                    "temporary": fault.exit.is_temporary(),
                })
                .to_string(),
            ),
            (Style::Text, None) => {
                self.line(&format!("{file}: connections are counted with other hosts"));
            }
            (Style::Text, Some(fault)) => {
                self.line(&format!("{file}: {fault}; this host counts for itself"));
            }
        }
    }

    /// Something went wrong with the map of this connection file; the replica stays as it is.
    pub fn failed(&self, file: &Path, fault: &Fault, stays: Stays) {
        let file = file.display();
        match self.style {
            Style::Json => self.line(
                &json!({
                    "event": "error",
                    "map": file.to_string(),
                    "error": fault.to_string(),
                    "exit": fault.exit.code(),
                    "temporary": fault.exit.is_temporary(),
                })
                .to_string(),
            ),
            Style::Text => {
                let stays = match stays {
                    Stays::Map => "; the last good map stays",
                    Stays::Nothing => "; there is no map here yet",
                    Stays::Unknown => "",
                };
                self.line(&format!("{file}: {fault}{stays}"));
            }
        }
    }
}
