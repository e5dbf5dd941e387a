//! By what means a mailer hands mail over, found in its `P=`, `A=` and `F=` (op.me, section 5.4).

use std::path::{Path, PathBuf};

use super::{LocalDelivery, Mailer, Site};

/// Local mailers that write to the mailboxes of this system and do nothing else that a site could
/// see: the server does that itself.
const MAILBOX_WRITERS: [&str; 3] = ["mail", "mail.local", "sensible-mda"];

/// By what means mail is handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Means {
    /// The server writes to the user's mailbox.
    Mailbox,
    /// A program has the message on its standard input.
    Program,
    /// A program speaks LMTP (RFC 2033) on its standard input and output.
    LmtpProgram,
    /// An LMTP server of this machine takes it by this socket.
    LmtpSocket(PathBuf),
    /// The relay: SMTP or LMTP to a host or a socket.
    Relay,
    /// None that has a mailer of its own: files, lists.
    BuiltIn,
    /// None that there is: what is wrong, or not done.
    Unserved(String),
}

impl Means {
    /// Those of a mailer of a site.
    #[must_use]
    pub fn of(site: &Site, mailer: &Mailer) -> Self {
        let is_local = is_local(site, mailer);
        let first = mailer.arguments.split_whitespace().next();
        match mailer.path.as_str() {
            _ if mailer.name.starts_with('*') => Means::BuiltIn,
            "" => unserved("P= is not there"),
            "[IPC]" | "[TCP]" => match (first, mailer.arguments.split_whitespace().nth(1)) {
                (Some("FILE"), Some(path)) if mailer.has('z') && is_local => {
                    Means::LmtpSocket(path.into())
                }
                (Some("FILE"), Some(path)) if path.starts_with('/') => Means::Relay,
                (Some("TCP" | "IPC"), Some(_)) => Means::Relay,
                _ => unserved(&format!(
                    "expected A=TCP $h, A=TCP $h PORT or A=FILE PATH, not A={}",
                    mailer.arguments
                )),
            },
            path if !path.starts_with('/') => {
                unserved(&format!("P={path}: expected an absolute path or [IPC]"))
            }
            path if is_local && writes_mailboxes(site, path, &mailer.arguments) => Means::Mailbox,
            _ if mailer.root_folder.is_some() => unserved("/= is not done"),
            _ if mailer.has('U') => unserved("F=U: From lines of UUCP are not written"),
            _ if first.is_none() => unserved("A= is not there"),
            _ if names_user(&mailer.arguments) => Means::Program,
            _ if mailer.has('z') => Means::LmtpProgram,
            _ => unserved("A= is without $u: SMTP is not spoken with programs"),
        }
    }

    /// Whether a program of the site runs.
    #[must_use]
    pub fn runs(&self) -> bool {
        matches!(self, Means::Program | Means::LmtpProgram)
    }
}

fn unserved(why: &str) -> Means {
    Means::Unserved(why.to_owned())
}

/// Whether it is the mailer for users of this host.
fn is_local(site: &Site, mailer: &Mailer) -> bool {
    let is = |name: &str| mailer.name.eq_ignore_ascii_case(name);
    is(&site.mailers.local) || is("local")
}

/// Whether all that this program does for local mail is done without it. `mail.local -h` writes
/// elsewhere; procmail, which OSTYPE(linux) names whether or not it is installed, has nobody's
/// recipes to obey where it is not.
fn writes_mailboxes(site: &Site, path: &str, arguments: &str) -> bool {
    let name = Path::new(path).file_name().and_then(|name| name.to_str());
    match name {
        Some("mail.local") => !arguments.split_whitespace().any(|word| word == "-h"),
        Some("procmail") => {
            site.features.local == LocalDelivery::Procmail && site.mailers.missing.contains(path)
        }
        Some(name) => MAILBOX_WRITERS.contains(&name),
        None => false,
    }
}

/// Whether the user stands in the arguments; without him sendmail speaks SMTP with the program.
fn names_user(arguments: &str) -> bool {
    ["$u", "$&u", "${u}", "$&{u}"]
        .iter()
        .any(|word| arguments.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn means(name: &str, path: &str, flags: &str, arguments: &str) -> Means {
        let site = Site::default();
        let mailer = Mailer {
            name: name.to_owned(),
            path: path.to_owned(),
            flags: flags.to_owned(),
            arguments: arguments.to_owned(),
            ..Mailer::default()
        };
        Means::of(&site, &mailer)
    }

    #[test]
    fn means_by_path_arguments_and_flags() {
        let socket = || Means::LmtpSocket("/run/lmtp".into());
        for (name, path, flags, arguments, want) in [
            ("local", "/bin/mail", "w", "mail -d $u", Means::Mailbox),
            (
                "local",
                "/usr/libexec/mail.local",
                "z",
                "mail.local -l",
                Means::Mailbox,
            ),
            (
                "local",
                "/usr/libexec/mail.local",
                "",
                "mail.local -h box -d $u",
                Means::Program,
            ),
            (
                "local",
                "/usr/sbin/sensible-mda",
                "",
                "sensible-mda $g $u $h",
                Means::Mailbox,
            ),
            ("mda", "/bin/mail", "", "mail $u", Means::Program),
            (
                "local",
                "/usr/lib/dovecot/lda",
                "w",
                "lda -d $u",
                Means::Program,
            ),
            ("local", "/opt/lmtpd", "z", "lmtpd -l", Means::LmtpProgram),
            ("local", "[IPC]", "z", "FILE /run/lmtp", socket()),
            ("local", "[IPC]", "", "FILE /run/smtp", Means::Relay),
            ("cyrusv2", "[IPC]", "z", "FILE /run/lmtp", Means::Relay),
            ("esmtp", "[IPC]", "", "TCP $h", Means::Relay),
            ("*file*", "[FILE]", "", "FILE $u", Means::BuiltIn),
        ] {
            assert_eq!(
                means(name, path, flags, arguments),
                want,
                "{path} {arguments}"
            );
        }
        for (path, flags, arguments) in [
            ("", "", "x $u"),
            ("mda", "", "mda $u"),
            ("[LPC]", "", "x $u"),
            ("[IPC]", "", "x $h"),
            ("[IPC]", "", "FILE lmtp"),
            ("/bin/bsmtp", "", "bsmtp"),
            ("/usr/bin/uux", "U", "uux - $h!rmail ($u)"),
            ("/bin/x", "", ""),
        ] {
            let means = means("m", path, flags, arguments);
            assert!(matches!(means, Means::Unserved(_)), "{path}: {means:?}");
        }
    }
}
