//! Who is connected.

use std::fmt;
use std::net::IpAddr;

/// What became of looking the client's name up, as sendmail's
/// `{client_resolve}` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolve {
    /// The address has a name and the name has the address.
    Ok,
    /// The address has no name.
    Fail,
    /// The address has a name, but the name does not have the address.
    Forged,
    /// Nobody can tell at the moment.
    Temp,
}

/// The connected host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub addr: IpAddr,
    /// Its port.
    pub port: u16,
    /// Its name, or its address in square brackets where it has none.
    pub name: String,
    /// What is known about the name.
    pub resolve: Resolve,
}

impl Peer {
    /// A peer of whom only the address is known.
    #[must_use]
    pub fn nameless(addr: IpAddr, port: u16, resolve: Resolve) -> Self {
        Peer {
            addr,
            port,
            name: bracketed(addr),
            resolve,
        }
    }
}

impl Peer {
    /// A process of this host, which is known by the user it runs as: `user@localhost`.
    #[must_use]
    pub fn local(name: String) -> Self {
        Peer {
            addr: IpAddr::from([127, 0, 0, 1]),
            port: 0,
            name,
            resolve: Resolve::Ok,
        }
    }
}

/// An address as sendmail writes it where a name could stand.
#[must_use]
pub fn bracketed(addr: IpAddr) -> String {
    match addr {
        IpAddr::V4(v4) => format!("[{v4}]"),
        IpAddr::V6(v6) => format!("[IPv6:{v6}]"),
    }
}

impl fmt::Display for Peer {
    /// `name [address]`, `[address]`, or `name [address] (may be forged)`; a process of this
    /// host has no port, and only its name is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = bracketed(self.addr);
        if self.port == 0 && self.addr.is_loopback() && self.name.ends_with("@localhost") {
            return f.write_str(&self.name);
        }
        if self.name == address {
            return f.write_str(&address);
        }
        write!(f, "{} {address}", self.name)?;
        if self.resolve == Resolve::Forged {
            f.write_str(" (may be forged)")?;
        }
        Ok(())
    }
}
