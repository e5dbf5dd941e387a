//! newaliases, with the configuration that Debian's sendmail has, and with the least there is.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::build::{Build, Feed, WALL};
use crate::peers::Peer;
use crate::report::{Bound, Subject, Target};
use crate::setting::Bench;

const OURS: &str = "newaliases";
const OURS_BARE: &str = "newaliases, few rules";
const THEIRS: &str = "sendmail's newaliases";
const THEIRS_BARE: &str = "sendmail's newaliases, few rules";

/// Where a configuration is looked for: what Debian's package makes of its sendmail.mc.
const CONFIGURATION: &str = "/etc/mail/sendmail.cf";

/// What sendmail asks for besides the file: its name, and that every name is local.
const FEW_RULES: &str = "V10/Berkeley\nSparse=0\nR$+\t$#local $: $1\n\
     Mlocal, P=/bin/true, F=lsDFMAw5:/|@qPn9, A=true\n\
     Mprog, P=/bin/sh, F=lsDFMoqeu9, A=sh -c $u\n";

/// A name, and that the folder's mode doesn't matter.
const PLACES: &str = "Djmail.example.com\nO DontBlameSendmail=TrustStickyBit\n";

pub(super) fn subject() -> Subject {
    let target = |size, times| Target {
        ours: OURS,
        size,
        figure: WALL,
        bound: Bound::Times(times, THEIRS),
    };
    Subject {
        title: "build aliases".into(),
        sizes: "aliases",
        rows: Vec::new(),
        targets: vec![target(100_000, 40.0), target(1_000_000, 200.0)],
    }
}

/// From so many aliases on, those with few rules are left out: no target names them, and theirs
/// take minutes.
const LARGE: u32 = 500_000;

/// All newaliases there are, on so many aliases in the bench's folder.
pub(super) fn builds(
    bench: &Bench,
    size: u32,
    skipped: &mut Vec<String>,
) -> io::Result<Vec<Build>> {
    let program = bench.program("newaliases")?;
    let theirs = bench.peers.find("sendmail", "newaliases");
    let theirs = theirs.map_err(|why| skipped.push(why)).ok();
    let full = match fs::read_to_string(CONFIGURATION) {
        Ok(text) => Some(configuration(bench, "full.cf", &text)?),
        Err(e) => {
            skipped.push(format!("newaliases with all rules: {CONFIGURATION}: {e}"));
            None
        }
    };
    let bare = match size < LARGE {
        true => Some(configuration(bench, "bare.cf", FEW_RULES)?),
        false => None,
    };
    let mut builds = Vec::new();
    let feed = || Feed::Beside(bench.at("aliases"));
    let args = |config: &Path| ["-C".into(), config.as_os_str().to_owned()];
    let configurations = [(full, OURS, THEIRS), (bare, OURS_BARE, THEIRS_BARE)];
    for (config, our_title, their_title) in configurations {
        let Some(config) = config else { continue };
        builds.push(Build::ours(our_title, &program, feed()).args(args(&config)));
        if let Some(peer) = &theirs {
            builds.push(named_well(bench, their_title, peer)?.args(args(&config)));
        }
    }
    Ok(builds)
}

/// The program where this host has a qualified name, which a mount of its own gives it: without
/// one sendmail sleeps for a minute before it does anything.
fn named_well(bench: &Bench, title: &str, peer: &Peer) -> io::Result<Build> {
    let feed = Feed::Beside(bench.at("aliases"));
    let name = fs::read_to_string("/proc/sys/kernel/hostname")?;
    let name = name.trim();
    if name.contains('.') {
        return Ok(Build::peer(title, peer, feed));
    }
    let hosts = bench.at("hosts");
    fs::write(
        &hosts,
        format!("127.0.0.1 localhost\n127.0.0.1 {name}.example.com {name}\n"),
    )?;
    let unshare = Peer {
        program: "/usr/bin/unshare".into(),
        root: peer.root.clone(),
    };
    let script = r#"mount --bind "$1" /etc/hosts && shift && exec "$@""#;
    let build = Build::peer(title, &unshare, feed)
        .args(["--mount", "sh", "-c", script, "sh"])
        .args([hosts, peer.program.clone()]);
    Ok(build)
}

/// A configuration with the aliases and the queue in the bench's folder.
fn configuration(bench: &Bench, name: &str, text: &str) -> io::Result<PathBuf> {
    let path = bench.at(name);
    let places = format!(
        "{PLACES}O AliasFile={}\nO QueueDirectory={}\n",
        bench.at("build").join("aliases").display(),
        bench.folder().display()
    );
    let mut lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with("O AliasFile=") && !line.starts_with("O QueueDirectory="))
        .collect();
    // Behind the V line, which has to be the first to count, and before all rules.
    let version = lines.iter().position(|line| line.starts_with('V'));
    lines.insert(version.map_or(0, |at| at + 1), &places);
    fs::write(&path, lines.join("\n") + "\n")?;
    Ok(path)
}
