//! Where a socketmap server listens, as sendmail and as Postfix write it.
//!
//! | written | by |
//! |---|---|
//! | `unix:/path`, `local:/path` | sendmail |
//! | `inet:port@host`, `inet6:port@host` | sendmail |
//! | `unix:/path:name`, `unix:/path@name` | Postfix, and us: with the map's name |
//! | `inet:host:port:name` | Postfix: with the map's name |

use std::fmt;
use std::path::PathBuf;

use super::message::MAX_NAME_OCTETS;

/// Longest path of a UNIX socket: sun_path of sockaddr_un(7), which ends in a NUL.
const MAX_PATH_OCTETS: usize = 107;

/// The server's socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A UNIX socket.
    Unix(PathBuf),
    /// A host, by name or address, and a port.
    Inet(String, u16),
}

impl fmt::Display for Endpoint {
    /// As sendmail writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Unix(path) => write!(f, "unix:{}", path.display()),
            Endpoint::Inet(host, port) => write!(f, "inet:{port}@{host}"),
        }
    }
}

/// The server's socket, and the name of a map there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The socket.
    pub endpoint: Endpoint,
    /// The map, as the server knows it.
    pub map: String,
}

impl fmt::Display for Address {
    /// As Postfix writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.endpoint {
            Endpoint::Unix(path) => write!(f, "unix:{}:{}", path.display(), self.map),
            Endpoint::Inet(host, port) => write!(f, "inet:{host}:{port}:{}", self.map),
        }
    }
}

/// What is wrong with an address: what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AddressFault(&'static str);

const FORMS: AddressFault = AddressFault(
    "expected unix:/path or inet:port@host, or with the map's name unix:/path:name or inet:host:port:name",
);

impl Endpoint {
    /// Reads a socket as sendmail writes it: `unix:/path`, `local:/path`, `inet:port@host`.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse(text: &str) -> Result<Self, AddressFault> {
        let (family, rest) = text.split_once(':').ok_or(FORMS)?;
        match family {
            "unix" | "local" => unix(rest),
            "inet" | "inet6" => {
                let (port, host) = rest.split_once('@').ok_or(FORMS)?;
                inet(host, port)
            }
            _ => Err(FORMS),
        }
    }
}

impl Address {
    /// Reads an address with the map's name (Postfix's way), or without it (sendmail's),
    /// where `default` is the name.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse(text: &str, default: Option<&str>) -> Result<Self, AddressFault> {
        let named = |endpoint, map: &str| {
            let is_name = !map.is_empty()
                && map.len() <= MAX_NAME_OCTETS
                && map.bytes().all(|octet| octet.is_ascii_graphic());
            let map = map.to_owned();
            match is_name {
                true => Ok(Address { endpoint, map }),
                false => Err(AddressFault("expected a name of the map without blanks")),
            }
        };
        let (family, rest) = text.split_once(':').ok_or(FORMS)?;
        let split = match family {
            "unix" | "local" => rest
                .rsplit_once([':', '@'])
                .filter(|(_, m)| !m.contains('/')),
            "inet" | "inet6" if !rest.contains('@') => rest.rsplit_once(':'),
            "inet" | "inet6" => None,
            _ => return Err(FORMS),
        };
        match (split, default) {
            (Some((socket, map)), _) if family == "unix" || family == "local" => {
                named(unix(socket)?, map)
            }
            (Some((socket, map)), _) => {
                let (host, port) = socket.rsplit_once(':').ok_or(FORMS)?;
                named(inet(host, port)?, map)
            }
            (None, Some(map)) => named(Endpoint::parse(text)?, map),
            (None, None) => Err(AddressFault(
                "expected the map's name: unix:/path:name or inet:host:port:name",
            )),
        }
    }
}

fn unix(path: &str) -> Result<Endpoint, AddressFault> {
    if !path.starts_with('/') {
        return Err(AddressFault("expected the full path of a socket"));
    }
    if path.len() > MAX_PATH_OCTETS || path.contains('\0') {
        return Err(AddressFault("a socket's path has at most 107 octets"));
    }
    Ok(Endpoint::Unix(path.into()))
}

fn inet(host: &str, port: &str) -> Result<Endpoint, AddressFault> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = port
        .parse()
        .map_err(|_| AddressFault("expected a port number"))?;
    let fits = |octet: u8| octet.is_ascii_alphanumeric() || b"-._:%".contains(&octet);
    if host.is_empty() || !host.bytes().all(fits) {
        return Err(AddressFault("expected a host"));
    }
    Ok(Endpoint::Inet(host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_programs_ways() {
        for (text, default, want) in [
            ("unix:/run/maps", Some("access"), "unix:/run/maps:access"),
            ("local:/run/maps", Some("access"), "unix:/run/maps:access"),
            (
                "unix:/run/maps:virtuser",
                Some("access"),
                "unix:/run/maps:virtuser",
            ),
            ("unix:/run/maps@virtuser", None, "unix:/run/maps:virtuser"),
            (
                "unix:/run/a:b/maps",
                Some("access"),
                "unix:/run/a:b/maps:access",
            ),
            (
                "inet:5461@127.0.0.1",
                Some("sts"),
                "inet:127.0.0.1:5461:sts",
            ),
            ("inet6:5461@::1", Some("sts"), "inet:::1:5461:sts"),
            (
                "inet:mx.example:5461:access",
                None,
                "inet:mx.example:5461:access",
            ),
            ("inet:[::1]:5461:access", None, "inet:::1:5461:access"),
        ] {
            let address = Address::parse(text, default).map(|a| a.to_string());
            assert_eq!(address, Ok(want.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_none() {
        let long = format!("unix:/{}", "x".repeat(107));
        for (text, default) in [
            ("", Some("a")),
            ("/run/maps", Some("a")),
            ("unix:maps", Some("a")),
            ("unix:/run/maps", None),
            ("unix:/run/maps:", None),
            ("unix:/run/maps:a b", None),
            ("inet:127.0.0.1", Some("a")),
            ("inet:99999@127.0.0.1", Some("a")),
            ("inet:1@", Some("a")),
            ("inet:host:port:name", None),
            ("inet:ine\nt:1@h:1:name", None),
            ("inet:1@a@b", Some("a")),
            ("tcp:1@host", Some("a")),
            (long.as_str(), Some("a")),
        ] {
            assert!(Address::parse(text, default).is_err(), "{text}");
        }
    }
}
