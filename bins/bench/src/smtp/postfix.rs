//! Postfix, installed or unpacked, with a configuration and a queue of its own.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::server::{Role, apart, done, log};
use super::site;
use crate::peers::Peer;
use crate::setting::Bench;

/// As it stands in tables.
pub(super) const TITLE: &str = "Postfix";

/// Two accounts that every system has, and that must differ: for the queue and for programs
/// that put mail into it.
const OWNER: (&str, u32) = ("mail", 8);
const GROUP: (&str, u32) = ("games", 60);

/// The services that take mail, keep it and pass it on, as Debian's master.cf has them.
const SERVICES: &str = "\
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
local unix - n n - - local
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
";

/// The command that starts it.
pub(super) fn command(bench: &Bench, role: Role, port: u16) -> io::Result<Command> {
    let find = |name| bench.peers.find("postfix", name).map_err(io::Error::other);
    let peer = find("postmap")?;
    let package = peer.root.clone().unwrap_or_else(|| "/".into());
    let libraries = package.join("usr/lib/postfix");
    let daemons = libraries.join("sbin");
    let root = site::folder(bench, "postfix")?;
    let config = root.join("etc");
    fs::create_dir_all(config.join("dynamicmaps.cf.d"))?;
    let plugin = libraries.join("postfix-cdb.so");
    let plugin = format!("cdb\t{}\tdict_cdb_open\tmkmap_cdb_open\n", plugin.display());
    fs::write(config.join("dynamicmaps.cf"), plugin)?;
    fs::write(config.join("main.cf"), main(&root, &package, role))?;
    let master = format!("127.0.0.1:{port} inet n - n - - smtpd\n{SERVICES}");
    fs::write(config.join("master.cf"), master)?;
    lay_out(&root)?;
    if role == Role::Tables {
        build(
            &peer,
            &config,
            &root.join("access"),
            &site::access("REJECT"),
        )?;
        build(
            &peer,
            &config,
            &root.join("virtual"),
            &site::virtual_users(),
        )?;
    }
    let hosts = root.join("hosts");
    fs::write(&hosts, "127.0.0.1 mx.bench.example localhost\n")?;
    let script = "mount --bind \"$1\" /etc/hosts && \"$2\" -c \"$3\" -d & wait";
    let mut command = apart(script, &[&hosts, &daemons.join("master"), &config]);
    command.env("LD_LIBRARY_PATH", &libraries);
    command.stderr(log(&root)?);
    Ok(command)
}

fn main(root: &Path, package: &Path, role: Role) -> String {
    let (at, package) = (root.display(), package.display());
    let own = match role {
        Role::Holding => "smtpd_client_restrictions = static:HOLD\n".to_owned(),
        Role::Tables => format!(
            "virtual_alias_domains = virtual.example\nvirtual_alias_maps = cdb:{at}/virtual\n\
             smtpd_client_restrictions = check_client_access cdb:{at}/access\n\
             smtpd_sender_restrictions = check_sender_access cdb:{at}/access\n\
             smtpd_recipient_restrictions = check_recipient_access cdb:{at}/access, \
             permit_mynetworks, reject\nsmtpd_delay_reject = no\n\
             smtpd_recipient_limit = 100000\nsmtpd_junk_command_limit = 1000000000\n"
        ),
        Role::Tls => String::new(),
        Role::Relaying(port) => format!("relayhost = [127.0.0.1]:{port}\n"),
    };
    format!(
        "compatibility_level = 3.6\nmail_owner = {}\nsetgid_group = {}\n\
         default_privs = nobody\nqueue_directory = {at}/spool\ndata_directory = {at}/data\n\
         command_directory = {package}/usr/sbin\n\
         daemon_directory = {package}/usr/lib/postfix/sbin\n\
         shlib_directory = {package}/usr/lib/postfix\nmeta_directory = {at}/etc\n\
         import_environment = MAIL_CONFIG MAIL_LOGTAG TZ LD_LIBRARY_PATH\nmaillog_file = {at}/log/mail\n\
         maillog_file_prefixes = {at}\nmyhostname = mx.bench.example\n\
         mydestination = mx.bench.example\nmynetworks = 127.0.0.0/8\n\
         inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\ndisable_dns_lookups = yes\n\
         smtpd_client_connection_count_limit = 0\ndefault_process_limit = 200\n\
         message_size_limit = 0\nmailbox_size_limit = 0\nin_flow_delay = 0\nalias_maps =\n\
         alias_database =\n{own}",
        OWNER.0, GROUP.0
    )
}

/// The folders of the queue, whose they have to be.
fn lay_out(root: &Path) -> io::Result<()> {
    let folder = |name: &str, mode: u32, owner: u32, group: u32| {
        let folder = root.join(name);
        fs::create_dir_all(&folder)?;
        chown(&folder, Some(owner), Some(group))?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(mode))
    };
    folder("log", 0o755, 0, 0)?;
    folder("data", 0o755, OWNER.1, OWNER.1)?;
    folder("spool", 0o755, 0, 0)?;
    folder("spool/pid", 0o755, 0, 0)?;
    for name in [
        "active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private",
        "saved", "trace",
    ] {
        folder(&format!("spool/{name}"), 0o700, OWNER.1, 0)?;
    }
    folder("spool/public", 0o710, OWNER.1, GROUP.1)?;
    folder("spool/maildrop", 0o730, OWNER.1, GROUP.1)
}

fn build(peer: &Peer, config: &PathBuf, source: &Path, text: &str) -> io::Result<()> {
    fs::write(source, text)?;
    let mut postmap = peer.command();
    let map = format!("cdb:{}", source.display());
    done(postmap.arg("-c").arg(config).arg(map))
}
