//! Maps that hosts share: the follower that keeps their replicas new.
//!
//! It is a program of its own, mapremote(8): a crash of it, an engine that
//! hangs, or memory that a large map takes there never touch a session. This
//! server starts it before it gives up its rights, since the follower writes
//! where the maps are and talks to other hosts. There it is a small process
//! that starts the one which works anew whenever that ends, and finds out
//! itself, at each line from here, which maps the site shares: nobody who
//! takes this server over can make it read or write other files. When this
//! server ends, in whatever way, the follower's standard input ends, and so
//! does it.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout};
use std::sync::Arc;
use std::thread;

use libmaps::site::Site;
use libmaps::site::model::ClassMap;
use libmaps::store::shared::Connection;
use libmaps::sysexits::SysExit;
use serde_json::Value;
use tools::shared::{files_of, make_connection_files, spawn};

use crate::log::{Level, Log};

/// What its lines are about.
const ABOUT: &str = "follower of shared maps";

/// The follower of a site's shared maps; dropped, it ends.
pub struct Follower {
    root: Option<PathBuf>,
    /// The site's configuration, where that is not the usual file.
    file: Option<PathBuf>,
    child: Option<Child>,
    /// What it says, until somebody listens.
    out: Option<ChildStdout>,
}

impl Follower {
    /// Starts to follow the shared maps of a site, with the rights of this moment and without a
    /// thread; those that never had a replica are fetched first, once, so that the server can
    /// start on a new host.
    #[must_use]
    pub fn start(site: &Site, file: Option<&Path>, log: &Log) -> Self {
        if let Err((file, why)) = make_connection_files(site) {
            let text = format!("{ABOUT}: {}: {why}", file.display());
            log.say(Level::Error, &text);
        }
        let files = files_of(site);
        fetch_missing(site, &files, log);
        let mut follower = Follower {
            root: site.root.clone(),
            file: file.map(Path::to_path_buf),
            child: None,
            out: None,
        };
        if !files.is_empty()
            && let Err(why) = follower.begin()
        {
            log.say(Level::Error, &format!("{ABOUT}: {why}"));
        }
        follower
    }

    fn begin(&mut self) -> Result<(), String> {
        let mut args: Vec<&OsStr> = ["--with-parent", "--site"].map(OsStr::new).into();
        if let Some(file) = &self.file {
            args.extend([OsStr::new("--config"), file.as_os_str()]);
        }
        let (child, out) = start(&args, self.root.as_ref())?;
        (self.child, self.out) = (Some(child), Some(out));
        Ok(())
    }

    /// Logs what it says from now on, in a thread.
    pub fn watch(&mut self, log: &Arc<Log>) {
        let Some(out) = self.out.take() else { return };
        let (hearing, told) = (Arc::clone(log), Arc::clone(log));
        let watch = move || {
            tell_lines(ABOUT, out, &hearing);
            let text = "follower of shared maps: it ended; they stay as they are";
            hearing.say(Level::Warning, text);
        };
        if let Err(e) = thread::Builder::new().name("follower".into()).spawn(watch) {
            told.say(Level::Error, &format!("follower of shared maps: {e}"));
        }
    }

    /// Has it find out anew what the configuration and the connection files say: whether this
    /// server takes them or not, the maps on this host are the newest.
    pub fn read_anew(&mut self) {
        let input = self.child.as_mut().and_then(|child| child.stdin.as_mut());
        if let Some(input) = input
            && input.write_all(b"\n").is_err()
        {
            // It is gone; what is said of a dead one is said by `renew`.
            self.child = None;
        }
    }

    /// Sees to it that the shared maps of a site are followed.
    ///
    /// # Errors
    /// They are not, since this server has no right any more to start a program.
    pub fn renew(&mut self, site: &Site, log: &Arc<Log>) -> Result<(), String> {
        if self.child.is_some() || files_of(site).is_empty() {
            return Ok(());
        }
        self.begin()?;
        self.watch(log);
        Ok(())
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }
}

fn start(more: &[&OsStr], root: Option<&PathBuf>) -> Result<(Child, ChildStdout), String> {
    let mut args: Vec<&OsStr> = vec!["follow".as_ref(), "--json".as_ref()];
    if let Some(root) = root {
        args.extend([OsStr::new("--root"), root.as_os_str()]);
    }
    args.extend(more);
    let mut child = spawn(&args)?;
    match child.stdout.take() {
        Some(out) => Ok((child, out)),
        None => Err("no pipe from it".into()),
    }
}

/// Fetches the words of classes that this host never had, so that the configuration can be read
/// whole on a new host. A server that has given up its rights can't, and is told so by what is
/// missing then.
pub fn fetch_classes(site: &Site, log: &Log) {
    let missing = |class: &&ClassMap| !class.replica(site).is_ok_and(|replica| replica.exists());
    let missing: Vec<&ClassMap> = site.shared_classes.maps().filter(missing).collect();
    if missing.is_empty() {
        return;
    }
    if let Err((file, why)) = make_connection_files(site) {
        let text = format!("{ABOUT}: {}: {why}", file.display());
        log.say(Level::Error, &text);
    }
    let files = missing.iter().map(|class| class.connection_file(site));
    fetch_missing(site, &files.collect::<Vec<PathBuf>>(), log);
}

/// Looks once at the maps that have no replica yet.
fn fetch_missing(site: &Site, files: &[PathBuf], log: &Log) {
    let missing = |file: &&PathBuf| {
        let replica = Connection::readable(file, site.root.as_deref());
        replica.is_ok_and(|replica| !replica.exists())
    };
    let missing: Vec<PathBuf> = files.iter().filter(missing).cloned().collect();
    if missing.is_empty() {
        return;
    }
    let mut args: Vec<&OsStr> = ["--once", "--"].map(OsStr::new).into();
    args.extend(missing.iter().map(|file| file.as_os_str()));
    match start(&args, site.root.as_ref()) {
        Ok((mut child, out)) => {
            drop(child.stdin.take());
            tell_lines(ABOUT, out, log);
            let _ = child.wait();
        }
        Err(why) => log.say(Level::Error, &format!("shared maps: {why}")),
    }
}

/// Logs what a mapremote says, to its end; `about` is what it does.
pub(crate) fn tell_lines(about: &str, out: ChildStdout, log: &Log) {
    for line in BufReader::new(out).lines().map_while(Result::ok) {
        let (level, text) = told(about, &line);
        log.say(level, &text);
    }
}

/// A line of mapremote, for the log; `about` is what it does.
fn told(about: &str, line: &str) -> (Level, String) {
    let event: Value = serde_json::from_str(line).unwrap_or_default();
    let word = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or("?");
    let number = |key: &str| event.get(key).and_then(Value::as_u64).unwrap_or(0);
    let map = word("map");
    match event.get("event").and_then(Value::as_str) {
        Some("published") => {
            // An older generation that counts again has none.
            let lag = event.get("lag_seconds").and_then(Value::as_f64);
            let lag = lag.map_or(String::new(), |lag| format!(" lag={lag:.3}s"));
            let text = format!(
                "shared map {map}: generation={} entries={}{lag}",
                number("generation"),
                number("entries"),
            );
            (Level::Info, text)
        }
        Some("current") => {
            let text = format!("shared map {map}: generation={}", number("generation"));
            (Level::Info, text)
        }
        Some("empty") => (
            Level::Warning,
            format!("shared map {map}: it has no generation yet"),
        ),
        Some("error") => {
            // What waiting does not mend is somebody's to mend.
            let waiting = u64::from(SysExit::TempFail.code());
            let level = match event.get("exit").and_then(Value::as_u64) {
                Some(exit) if exit != waiting => Level::Error,
                _ => Level::Warning,
            };
            let text = format!("shared map {map} kept as it was: {}", word("error"));
            (level, text)
        }
        Some("trouble") => (Level::Error, format!("{about}: {}", word("error"))),
        Some("counting") => {
            let text = format!("{about}: shared with other hosts by {map}");
            (Level::Info, text)
        }
        Some("alone") => (
            Level::Warning,
            format!(
                "{about}: this host counts for itself: {map}: {}",
                word("error")
            ),
        ),
        Some("restarted") => (
            Level::Error,
            format!("{about}: {}, started again", word("error")),
        ),
        _ => (Level::Warning, format!("{about}: {line}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_become_lines() {
        for (line, text) in [
            (
                r#"{"event":"published","map":"a.pgsql","generation":7,"entries":3,"lag_seconds":0.25}"#,
                "shared map a.pgsql: generation=7 entries=3 lag=0.250s",
            ),
            (
                r#"{"event":"error","map":"a.pgsql","error":"no answer"}"#,
                "shared map a.pgsql kept as it was: no answer",
            ),
            (
                r#"{"event":"error","map":"a.pgsql","error":"no answer","exit":75}"#,
                "shared map a.pgsql kept as it was: no answer",
            ),
            (
                r#"{"event":"error","map":"a.pgsql","error":"gone","exit":74}"#,
                "shared map a.pgsql kept as it was: gone",
            ),
            ("what", "follower of shared maps: what"),
        ] {
            let (level, said) = told(ABOUT, line);
            assert_eq!(said, text);
            assert_eq!(level == Level::Error, text.ends_with("gone"), "{line}");
        }
    }
}
