//! Where a service is offered.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

/// An address to listen at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// `unix:PATH`.
    Unix(PathBuf),
    /// `inet:HOST:PORT`; port 0 takes a free one.
    Inet(SocketAddr),
    /// `systemd`, `systemd:NAME`: the sockets that a service manager passes, or those with
    /// this FileDescriptorName.
    Passed(Option<String>),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Unix(path) => write!(f, "unix:{}", path.display()),
            ListenAddress::Inet(address) => write!(f, "inet:{address}"),
            ListenAddress::Passed(None) => f.write_str("systemd"),
            ListenAddress::Passed(Some(name)) => write!(f, "systemd:{name}"),
        }
    }
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (family, rest) = text.split_once(':').unwrap_or((text, ""));
        match (family, rest) {
            ("unix" | "local", path) if path.starts_with('/') => {
                Ok(ListenAddress::Unix(path.into()))
            }
            ("inet" | "inet6", address) if !address.is_empty() => {
                let mut found = address.to_socket_addrs().map_err(|e| e.to_string())?;
                let address = found.next().ok_or("the host has no address")?;
                Ok(ListenAddress::Inet(address))
            }
            ("systemd", "") if !text.contains(':') => Ok(ListenAddress::Passed(None)),
            ("systemd", name) if !name.is_empty() => {
                Ok(ListenAddress::Passed(Some(name.to_owned())))
            }
            _ => Err("expected unix:/path, inet:host:port or systemd[:name]".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for text in [
            "unix:/run/maps",
            "inet:127.0.0.1:0",
            "inet:[::1]:7",
            "systemd",
            "systemd:m",
        ] {
            assert_eq!(
                text.parse::<ListenAddress>().map(|a| a.to_string()),
                Ok(text.into())
            );
        }
        for text in [
            "",
            "/run/maps",
            "unix:run",
            "inet:",
            "inet:127.0.0.1",
            "systemd:",
            "tcp:1",
        ] {
            assert!(text.parse::<ListenAddress>().is_err(), "{text}");
        }
    }
}
