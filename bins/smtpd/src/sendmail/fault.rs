//! What is wrong with an address, as far as its text tells; the maps are the server's to ask.

use std::sync::Arc;

use libmaps::address::in_brackets;
use libmaps::map::Map;
use libmaps::policy::route::MailerTriple;
use libmaps::policy::route::canonify::{Addressing, NoNames};
use libmaps::policy::route::tables::RouteTables;
use libmaps::site::Site;
use libmaps::sysexits::SysExit;

use crate::drop::submission::is_address;

/// The status of an address that does not read (RFC 3463 section 3.2).
const BAD_SYNTAX: &str = "5.1.3";

/// The status of a message that goes round in circles (RFC 3463 section 3.5).
const TOO_MANY_HOPS: &str = "5.4.6";

/// Why an address is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// How the program ends.
    pub exit: SysExit,
    /// Enhanced status code.
    pub status: String,
    /// In sendmail's words.
    pub text: String,
}

impl Fault {
    /// Of text that is no address.
    fn of_text(text: impl Into<String>) -> Self {
        Fault {
            exit: SysExit::Usage,
            status: BAD_SYNTAX.into(),
            text: text.into(),
        }
    }

    /// Of text with this sign, but without the other of its pair.
    pub(super) fn unbalanced(sign: char) -> Self {
        Fault::of_text(format!("Unbalanced '{sign}'"))
    }

    /// Of every recipient of a message that has come so far.
    pub(super) fn too_many_hops(hops: u32, max: i64) -> Self {
        Fault {
            exit: SysExit::Unavailable,
            status: TOO_MANY_HOPS.into(),
            text: format!("Too many hops {hops} ({max} max)"),
        }
    }

    /// The fault of an address, if it has one.
    pub(super) fn of(site: &Site, address: &[u8]) -> Option<Self> {
        if !is_address(address) {
            return Some(Fault::of_text("Invalid address"));
        }
        let first = address.strip_prefix(b"\"").unwrap_or(address);
        let direct = match first.first() {
            Some(b'|') => Some("Cannot mail directly to programs"),
            Some(b'/') => Some("Cannot mail directly to files"),
            Some(b':') if starts_with_include(first) => Some("Cannot mail directly to :include:s"),
            _ => None,
        };
        if let Some(text) = direct {
            return Some(Fault::of_text(text));
        }
        let tables: RouteTables<Arc<dyn Map>> = RouteTables::default();
        let addressing = Addressing {
            site,
            tables: &tables,
            names: &NoNames,
            daemon_flags: "",
        };
        let triple = addressing.route(&in_brackets(address)).ok()?.outcome;
        // A site without MAILER(smtp) and the like is the server's affair.
        (triple.is_error() && triple.host.starts_with(b"5.1.")).then(|| Fault::of_triple(&triple))
    }

    /// Of an error triple: `"553 Hostname required"` and the like.
    fn of_triple(triple: &MailerTriple) -> Self {
        let text = String::from_utf8_lossy(&triple.user).replace('"', "");
        let words = match text.split_once(' ') {
            Some((code, words)) if code.len() == 3 && code.bytes().all(|c| c.is_ascii_digit()) => {
                words
            }
            _ => text.as_str(),
        };
        Fault {
            exit: exit_of(&triple.host),
            status: String::from_utf8_lossy(&triple.host).into_owned(),
            text: words.to_owned(),
        }
    }
}

fn starts_with_include(text: &[u8]) -> bool {
    const WORD: &[u8] = b":include:";
    text.get(..WORD.len())
        .is_some_and(|head| head.eq_ignore_ascii_case(WORD))
}

/// What sendmail exits with for the status of an `error` mailer, or a word in its place
/// (8.17, each tried). One that is temporary is no fault of the address.
pub(super) fn exit_of(status: &[u8]) -> SysExit {
    match status {
        b"tempfail" | [b'4', b'.', ..] => SysExit::Ok,
        b"nouser" | b"5.1.1" | b"5.1.6" => SysExit::NoUser,
        b"nohost" | b"5.1.2" | b"5.1.8" => SysExit::NoHost,
        b"usage" | b"5.1.3" | b"5.1.7" => SysExit::Usage,
        b"config" | b"5.1.5" | b"5.4.6" => SysExit::Config,
        b"software" => SysExit::Software,
        b"protocol" | b"5.4.4" | [b'5', b'.', b'5', b'.', ..] => SysExit::Protocol,
        b"5.4.0" | b"5.4.2" => SysExit::IoErr,
        b"5.4.1" | b"5.4.3" | b"5.4.5" => SysExit::Ok,
        b"5.1.0" | b"5.2.3" | [b'5', b'.', b'7', b'.', ..] => SysExit::DataErr,
        [b'5', b'.', b'3', b'.', ..] => SysExit::OsErr,
        _ => SysExit::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exits_are_sendmails() {
        for (status, exit) in [
            ("nouser", 67),
            ("5.1.1", 67),
            ("5.1.2", 68),
            ("nohost", 68),
            ("5.0.0", 69),
            ("5.2.2", 69),
            ("5.6.0", 69),
            ("dataerr", 69),
            ("", 69),
            ("5.1.3", 64),
            ("usage", 64),
            ("5.3.5", 71),
            ("5.7.1", 65),
            ("5.4.6", 78),
            ("5.5.2", 76),
            ("4.2.1", 0),
            ("tempfail", 0),
        ] {
            assert_eq!(exit_of(status.as_bytes()).code(), exit, "{status}");
        }
    }
}
