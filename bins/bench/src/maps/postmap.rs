//! postmap(1), installed or unpacked.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::build::{Build, Feed};
use crate::setting::Bench;

/// Builds a map of a class that Postfix has in a plugin; a text if it can't.
///
/// # Errors
/// Its configuration can't be written.
pub(super) fn build(
    bench: &Bench,
    title: &str,
    class: &str,
    source: &Path,
) -> io::Result<Result<Build, String>> {
    let peer = match bench.peers.find("postfix", "postmap") {
        Ok(peer) => peer,
        Err(why) => return Ok(Err(why)),
    };
    let mut build = Build::peer(title, &peer, Feed::Beside(source.into()));
    if let Some(root) = &peer.root {
        let config = configuration(bench.folder(), &root.join("usr/lib/postfix"))?;
        build = build.args(["-c".into(), config.into_os_string()]);
    }
    let name = source.file_name().unwrap_or_default().to_string_lossy();
    Ok(Ok(build.args([format!("{class}:{name}")])))
}

/// A configuration for a postmap that is not installed as its package wants it.
fn configuration(folder: &Path, plugins: &Path) -> io::Result<PathBuf> {
    let config = folder.join("postfix");
    if config.exists() {
        return Ok(config);
    }
    fs::create_dir_all(config.join("dynamicmaps.cf.d"))?;
    let line = |class: &str| {
        let plugin = plugins.join(format!("postfix-{class}.so"));
        let plugin = plugin.display();
        format!("{class}\t{plugin}\tdict_{class}_open\tmkmap_{class}_open\n")
    };
    fs::write(
        config.join("dynamicmaps.cf"),
        line("cdb") + line("lmdb").as_str(),
    )?;
    // Two accounts that every system has, and that must differ.
    fs::write(
        config.join("main.cf"),
        format!(
            "compatibility_level = 3.6\nmail_owner = mail\nsetgid_group = games\n\
             default_privs = nobody\nlmdb_map_size = 17179869184\nqueue_directory = {}\n\
             shlib_directory = {}\nmeta_directory = {}\n",
            folder.display(),
            plugins.display(),
            config.display()
        ),
    )?;
    Ok(config)
}
