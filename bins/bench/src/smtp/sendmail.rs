//! The original, with a `sendmail.cf` made from the same `sendmail.mc`.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use super::server::{Role, apart, done, log};
use super::site;
use crate::setting::Bench;

/// As it stands in tables.
pub(super) const TITLE: &str = "sendmail";

/// Where its macros for m4 are, below the root of its package.
const MACROS: &str = "usr/share/sendmail/cf";

/// The command that starts it.
pub(super) fn command(bench: &Bench, role: Role, port: u16) -> io::Result<Command> {
    let find = |name| bench.peers.find("sendmail", name).map_err(io::Error::other);
    // Debian's sendmail(8) is reached by links that another package may hold.
    let peer = find("sendmail")?;
    let installed = Path::new("/usr/libexec/sendmail/sendmail");
    let program = match peer.root.is_none() && installed.is_file() {
        true => installed,
        false => &peer.program,
    };
    let package = peer.root.clone().unwrap_or_else(|| "/".into());
    let macros = package.join(MACROS);
    let root = site::folder(bench, "sendmail")?;
    let (mail, at) = (root.join("etc/mail"), root.display());
    site::lay_out(&root, role, port, &own_options(&root))?;
    let mc = fs::read_to_string(mail.join("sendmail.mc"))?;
    fs::write(
        mail.join("sendmail.mc"),
        mc.replace("`/etc/mail/", &format!("`{at}/etc/mail/")),
    )?;
    let cf = mail.join("sendmail.cf");
    let mut m4 = Command::new("m4");
    m4.arg(format!("-D_CF_DIR_={}/", macros.display()));
    m4.arg(macros.join("m4/cf.m4")).arg("sendmail.mc");
    let made = m4.current_dir(&mail).stderr(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&made.stdout);
    fs::write(
        &cf,
        text.replace("/etc/mail/access", &format!("{at}/etc/mail/access"))
            .replace(
                "/etc/mail/virtusertable",
                &format!("{at}/etc/mail/virtusertable"),
            ),
    )?;
    if role == Role::Tables {
        let makemap = find("makemap")?;
        for (name, text) in [
            ("access", site::access("REJECT")),
            ("virtusertable", site::virtual_users()),
        ] {
            let source = mail.join(name);
            fs::write(&source, text)?;
            let mut makemap = makemap.command();
            makemap.arg("-C").arg(&cf).arg("hash").arg(&source);
            done(makemap.stdin(fs::File::open(&source)?))?;
        }
    }
    let hosts = root.join("etc/hosts");
    // Without a name with dots in the system's own hosts file it waits for a minute.
    let script = "mount --bind \"$1\" /etc/hosts && \"$2\" -C \"$3\" -bi >/dev/null 2>&1; \
                  hostname mx.bench.example; \"$2\" -C \"$3\" -bD & wait";
    let mut command = apart(script, &[&hosts, program, &cf]);
    command.stderr(log(&root)?);
    Ok(command)
}

/// What keeps it in its folder.
fn own_options(root: &Path) -> String {
    let at = root.display();
    format!(
        "define(`QUEUE_DIR', `{at}/var/spool/mqueue')dnl\ndefine(`STATUS_FILE', `')dnl\n\
         define(`confPID_FILE', `{at}/pid')dnl\n\
         define(`confSERVICE_SWITCH_FILE', `{at}/etc/mail/service.switch')dnl\n\
         define(`confHOSTS_FILE', `{at}/etc/hosts')dnl\n\
         define(`confDONT_BLAME_SENDMAIL', `GroupWritableDirPathSafe,MapInUnsafeDirPath,\
         LinkedMapInWritableDir,FileDeliveryToHardLink')dnl\n"
    )
}
