//! What the machine says about itself: its name and addresses.

use std::io;
use std::net::IpAddr;
use std::path::Path;

use crate::opening;

use super::hosts::{Hosts, read_or_system};
use super::model::below;

/// The host a configuration is read for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Its name, qualified where the hosts file tells how; empty if it has none.
    pub name: String,
    /// Other names of its line in the hosts file.
    pub aliases: Vec<String>,
    /// The addresses of its name in the hosts file.
    pub own: Vec<IpAddr>,
    /// The addresses of its interfaces.
    pub interfaces: Vec<IpAddr>,
}

impl Machine {
    /// The host that `root` describes: the name in its `/etc/hostname`, or none, and the loopback addresses. Without a
    /// root this machine, as gethostname(3) and getifaddrs(3) tell.
    pub fn of(root: Option<&Path>) -> io::Result<Self> {
        let hosts = Hosts::parse(&read_or_system(root, Path::new("/etc/hosts"))?);
        let (name, mut interfaces) = match root {
            Some(_) => {
                let text = match opening::read(&below(root, Path::new("/etc/hostname"))) {
                    Ok(text) => text,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                    Err(error) => return Err(error),
                };
                let text = String::from_utf8_lossy(&text).trim().to_owned();
                (text, vec![IpAddr::from([127, 0, 0, 1])])
            }
            None => (host_name(), interface_addresses()?),
        };
        let own = hosts.addresses(&name);
        interfaces.sort_unstable();
        interfaces.dedup();
        let aliases = hosts
            .aliases(&name)
            .into_iter()
            .map(str::to_owned)
            .collect();
        let name = if name.contains('.') {
            name
        } else {
            hosts.canonical(&name, "").unwrap_or(name)
        };
        Ok(Machine {
            name,
            aliases,
            own,
            interfaces,
        })
    }
}

/// gethostname(3).
fn host_name() -> String {
    let mut buffer = [0u8; 256];
    // The one way to the host's name; the length given is the buffer's, and the last octet stays NUL.
    #[allow(unsafe_code)]
    let code = unsafe { libc::gethostname(buffer.as_mut_ptr().cast(), buffer.len() - 1) };
    if code != 0 {
        return String::new();
    }
    let name = buffer.split(|b| *b == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

/// The addresses of all interfaces.
fn interface_addresses() -> io::Result<Vec<IpAddr>> {
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // getifaddrs is the one way to the interfaces; the list is walked once and freed.
    #[allow(unsafe_code)]
    unsafe {
        if libc::getifaddrs(&raw mut list) != 0 {
            return Err(io::Error::last_os_error());
        }
        let mut addresses = Vec::new();
        let mut entry = list;
        while !entry.is_null() {
            let address = (*entry).ifa_addr;
            if !address.is_null() {
                match i32::from((*address).sa_family) {
                    libc::AF_INET => {
                        let address = address.cast::<libc::sockaddr_in>().read_unaligned();
                        addresses.push(IpAddr::from(address.sin_addr.s_addr.to_ne_bytes()));
                    }
                    libc::AF_INET6 => {
                        let address = address.cast::<libc::sockaddr_in6>().read_unaligned();
                        addresses.push(IpAddr::from(address.sin6_addr.s6_addr));
                    }
                    _ => {}
                }
            }
            entry = (*entry).ifa_next;
        }
        libc::freeifaddrs(list);
        Ok(addresses)
    }
}

/// An address as a domain literal of class w, with IPv6 as sendmail writes it (`UseCompressedIPv6Addresses`).
/// An IPv4 address in the form of IPv6 (RFC 4291 section 2.5.5.2) is the IPv4 address, to sendmail too.
#[must_use]
pub fn domain_literal(address: IpAddr, compressed_ipv6: bool) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => format!("[{address}]"),
        IpAddr::V6(address) if compressed_ipv6 => format!("[IPv6:{address}]"),
        IpAddr::V6(address) => {
            let groups: Vec<String> = address
                .segments()
                .iter()
                .map(|g| format!("{g:x}"))
                .collect();
            format!("[IPv6:{}]", groups.join(":"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_tells_the_name() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        assert_eq!(Machine::of(Some(root.path())).unwrap().name, "");
        std::fs::write(root.path().join("etc/hostname"), "mx\n").unwrap();
        std::fs::write(
            root.path().join("etc/hosts"),
            "10.0.0.2 mx mx.example.org alias\n",
        )
        .unwrap();
        let machine = Machine::of(Some(root.path())).unwrap();
        assert_eq!(machine.name, "mx.example.org");
        assert_eq!(machine.aliases, ["mx", "mx.example.org", "alias"]);
        assert_eq!(machine.own, [IpAddr::from([10, 0, 0, 2])]);
        assert_eq!(machine.interfaces, [IpAddr::from([127, 0, 0, 1])]);
    }

    #[test]
    fn this_machine_has_a_loopback_address() {
        let machine = Machine::of(None).unwrap();
        assert!(
            machine.interfaces.iter().any(IpAddr::is_loopback),
            "{machine:?}"
        );
    }

    #[test]
    fn literals_are_written_as_sendmail_does() {
        assert_eq!(
            domain_literal("10.0.0.1".parse().unwrap(), false),
            "[10.0.0.1]"
        );
        assert_eq!(
            domain_literal("::1".parse().unwrap(), false),
            "[IPv6:0:0:0:0:0:0:0:1]"
        );
        assert_eq!(domain_literal("::1".parse().unwrap(), true), "[IPv6:::1]");
        let mapped = "::ffff:192.0.2.1".parse().unwrap();
        for compressed in [false, true] {
            assert_eq!(domain_literal(mapped, compressed), "[192.0.2.1]");
        }
    }
}
