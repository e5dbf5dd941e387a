//! Where a mailer triple leads: the hosts of its list, their ports, or a socket.
//!
//! The host of a triple may be a list, `a:b:c` or `a,b`, tried in order. `[host]` is
//! reached by its addresses, without MX; `[192.0.2.1]` and `[IPv6:2001:db8::1]` are
//! addresses. Digits behind a host of the list are its port (`[host]:2525`); else the
//! mailer's arguments name one (`TCP $h 2525`), else it is 25, and 24 for LMTP.

use std::net::IpAddr;
use std::path::PathBuf;

use libmaps::address::parse_ip;
use libmaps::site::model::Mailer;

use crate::macros;

/// Most hosts of a list that are tried.
const MAX_HOSTS: usize = 16;

/// Where a copy goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// To the first of these that takes it.
    Hosts(Vec<Next>),
    /// To a socket of this machine.
    Socket(PathBuf),
}

/// A host of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    /// Which.
    pub host: NextHost,
    /// Its port.
    pub port: u16,
}

/// How a host is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextHost {
    /// A mail domain: its MX are asked for.
    Domain(String),
    /// `[host]`: its addresses are.
    Exact(String),
    /// An address.
    Address(IpAddr),
}

impl Route {
    /// The route of a mailer for this host.
    ///
    /// # Errors
    /// What is wrong with the mailer's arguments, or the list.
    pub fn of(mailer: &Mailer, host: &str) -> Result<Self, String> {
        let value = |name: &str| (name == "h").then_some(host);
        let mut words = mailer.arguments.split_whitespace();
        let kind = words.next().unwrap_or_default();
        let place = words.next().map(|word| macros::expand(word, &value));
        match (kind, place) {
            ("FILE", Some(path)) if path.starts_with('/') => Ok(Route::Socket(path.into())),
            ("TCP" | "IPC", Some(list)) => {
                let port = match words.next() {
                    Some(word) => {
                        let word = macros::expand(word, &value);
                        port_of(&word).ok_or_else(|| wrong(mailer))?
                    }
                    None if mailer.has('z') => 24,
                    None => 25,
                };
                match hosts(&list, port) {
                    all if all.is_empty() => Err(format!("no host in `{host}`")),
                    all => Ok(Route::Hosts(all)),
                }
            }
            _ => Err(wrong(mailer)),
        }
    }
}

fn wrong(mailer: &Mailer) -> String {
    format!(
        "mailer {}: expected `TCP $h`, `TCP $h PORT` or `FILE PATH`, not `{}`",
        mailer.name, mailer.arguments
    )
}

fn port_of(word: &str) -> Option<u16> {
    match word {
        "smtp" => Some(25),
        "submission" => Some(587),
        "lmtp" => Some(24),
        digits => digits.parse().ok().filter(|port| *port > 0),
    }
}

/// The hosts of a list, each with the port that follows it or else this one.
#[must_use]
pub fn hosts(list: &str, port: u16) -> Vec<Next> {
    let mut all: Vec<Next> = Vec::new();
    for word in words(list) {
        let digits = !word.is_empty() && word.bytes().all(|c| c.is_ascii_digit());
        if digits && let (Some(last), Some(port)) = (all.last_mut(), port_of(word)) {
            last.port = port;
            continue;
        }
        if let Some(host) = host_of(word)
            && all.len() < MAX_HOSTS
        {
            all.push(Next { host, port });
        }
    }
    all
}

/// Splits at colons and commas outside of brackets.
fn words(list: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0i32;
    let parts = list.split(move |c| {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            _ => {}
        }
        depth <= 0 && matches!(c, ':' | ',')
    });
    parts.map(str::trim)
}

fn host_of(word: &str) -> Option<NextHost> {
    let bare = |name: &str| name.trim_end_matches('.').to_owned();
    if let Some(inner) = word.strip_prefix('[').and_then(|w| w.strip_suffix(']')) {
        return match parse_ip(inner.as_bytes()) {
            Some(addr) => Some(NextHost::Address(addr)),
            None => Some(NextHost::Exact(bare(inner))).filter(|_| !bare(inner).is_empty()),
        };
    }
    let name = bare(word);
    (!name.is_empty()).then_some(NextHost::Domain(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    fn shown(list: &str) -> Vec<String> {
        let all = hosts(list, 25);
        all.iter()
            .map(|next| format!("{:?} {}", next.host, next.port))
            .collect()
    }

    #[test]
    fn lists_of_hosts() {
        for (list, want) in [
            ("b.example", &["Domain(\"b.example\") 25"][..]),
            ("b.example.", &["Domain(\"b.example\") 25"]),
            ("[b.example]", &["Exact(\"b.example\") 25"]),
            ("[127.0.0.1]:2525", &["Address(127.0.0.1) 2525"]),
            ("[IPv6:2001:db8::1]:2525", &["Address(2001:db8::1) 2525"]),
            (
                "a:[b]:26:c,d",
                &[
                    "Domain(\"a\") 25",
                    "Exact(\"b\") 26",
                    "Domain(\"c\") 25",
                    "Domain(\"d\") 25",
                ],
            ),
            ("2525", &["Domain(\"2525\") 25"]),
            ("a:99999", &["Domain(\"a\") 25", "Domain(\"99999\") 25"]),
            ("[]", &[]),
            ("::", &[]),
        ] {
            assert_eq!(shown(list), want, "{list}");
        }
        assert_eq!(hosts(&"a:".repeat(1000), 25).len(), MAX_HOSTS);
    }

    #[test]
    fn arguments_of_mailers() {
        let route = |arguments: &str, flags: &str| {
            let mailer = Mailer {
                name: "m".into(),
                path: "[IPC]".into(),
                flags: flags.into(),
                arguments: arguments.into(),
                ..Mailer::default()
            };
            Route::of(&mailer, "b.example")
        };
        let to = |name: &str, port| {
            Ok(Route::Hosts(vec![Next {
                host: NextHost::Domain(name.into()),
                port,
            }]))
        };
        assert_eq!(route("TCP $h", ""), to("b.example", 25));
        assert_eq!(route("TCP $h", "z"), to("b.example", 24));
        assert_eq!(route("IPC $h 2525", ""), to("b.example", 2525));
        assert_eq!(route("TCP hub.example", ""), to("hub.example", 25));
        assert_eq!(
            route("FILE /run/lmtp", "z"),
            Ok(Route::Socket("/run/lmtp".into()))
        );
        for wrong in ["", "TCP", "TCP $h x", "FILE lmtp", "UDP $h"] {
            assert!(route(wrong, "").is_err(), "{wrong}");
        }
    }
}
