//! Listeners, client connections and mail filters.

use std::net::IpAddr;

use super::options::{Letters, Limit};

/// Which addresses a listener or a connection uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// IPv4, sendmail's default.
    #[default]
    Inet,
    /// IPv6.
    Inet6,
    /// A socket in the file system.
    Local,
}

impl Family {
    /// sendmail's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Family::Inet => "inet",
            Family::Inet6 => "inet6",
            Family::Local => "local",
        }
    }
}

/// One `DAEMON_OPTIONS`: a listener (op.me, section 5.6, DaemonPortOptions).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonOptions {
    /// `Name`: what logs and `${daemon_name}` call it.
    pub name: String,
    /// `Family`.
    pub family: Family,
    /// `Addr`: an address or a host name; none means all.
    pub address: Option<String>,
    /// `Port`: a number, or a service such as `smtp`, `submission`, `smtps`.
    pub port: String,
    /// `Modifiers`: `a` AUTH needed, `b` same address for sending, `c` canonify, `f` fully qualified names needed, `h`
    /// its name in HELO, `r` reverse path, `s` TLS from the first octet, `u` unqualified names allowed; `A` no AUTH,
    /// `C` don't canonify, `E` no ETRN, `O` optional, `S` no STARTTLS.
    pub modifiers: Letters,
    /// `children`: sessions at one time.
    pub children: Limit,
    /// `Listen`: length of the queue of connections.
    pub backlog: Option<u32>,
    /// `delayLA`, `queueLA`, `refuseLA`, `DeliveryMode`, `SendBufSize`, `ReceiveBufSize`: as written; see
    /// [`DaemonOptions::other`].
    pub others: Vec<(String, String)>,
    /// `InputMailFilters` of this listener; none means those of the site.
    pub filters: Option<Vec<String>>,
}

impl DaemonOptions {
    /// The listener of this name and port on all IPv4 addresses, without modifiers.
    #[must_use]
    pub fn new(name: &str, port: &str) -> Self {
        DaemonOptions {
            name: name.to_owned(),
            family: Family::Inet,
            address: None,
            port: port.to_owned(),
            modifiers: Letters::default(),
            children: Limit::default(),
            backlog: None,
            others: Vec::new(),
            filters: None,
        }
    }

    /// The port number; service names are those of IANA, asked of nobody.
    #[must_use]
    pub fn port_number(&self) -> Option<u16> {
        match self.port.to_ascii_lowercase().as_str() {
            "smtp" | "mail" => Some(25),
            "submission" => Some(587),
            "smtps" | "ssmtp" | "urd" | "submissions" => Some(465),
            "lmtp" => Some(24),
            digits => digits.parse().ok(),
        }
    }

    /// The value of one of the other keys; case and underscores don't count.
    #[must_use]
    pub fn other(&self, key: &str) -> Option<&str> {
        let plain = |text: &str| text.replace('_', "").to_ascii_lowercase();
        let found = self.others.iter().find(|(k, _)| plain(k) == plain(key));
        found.map(|(_, value)| value.as_str())
    }

    /// `SendBufSize` or `ReceiveBufSize` in octets.
    #[must_use]
    pub fn buffer_octets(&self, key: &str) -> Option<u32> {
        self.other(key)?
            .trim()
            .parse()
            .ok()
            .filter(|size| *size > 0)
    }

    /// `${daemon_flags}`: the modifiers with a blank around each, capitals doubled, as rules see them.
    #[must_use]
    pub fn flags_macro(&self) -> String {
        let mut text = String::new();
        for letter in self.modifiers.0.chars() {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push(letter);
            if letter.is_ascii_uppercase() {
                text.push(letter);
            }
        }
        text
    }
}

/// One `CLIENT_OPTIONS`: how connections are made (op.me, ClientPortOptions).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientOptions {
    /// `Family`.
    pub family: Family,
    /// `Addr`: the local address.
    pub address: Option<String>,
    /// `Port`: the local port.
    pub port: Option<String>,
    /// `Modifiers`: `A` no AUTH, `S` no STARTTLS.
    pub modifiers: Letters,
    /// Everything else, as written.
    pub others: Vec<(String, String)>,
}

impl ClientOptions {
    /// The local address as a number, with or without the tag `IPv6:`; none where there is none, or a name.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        let text = self.address.as_deref()?.trim();
        let tagged = text
            .get(..5)
            .filter(|tag| tag.eq_ignore_ascii_case("IPv6:"));
        let text = text.get(tagged.map_or(0, str::len)..)?;
        text.parse().ok()
    }
}

/// One `MAIL_FILTER`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailFilter {
    /// Its name.
    pub name: String,
    /// `S=`: `unix:/path`, `local:/path`, `inet:port@host`, `inet6:port@host`.
    pub socket: String,
    /// `F=`: what a failure of the filter means.
    pub on_failure: FilterFailure,
    /// `T=`: the time-outs as written, `C:5m;S:10s;R:10s;E:5m`.
    pub timeouts: String,
}

/// What a failure of a filter means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FilterFailure {
    /// No `F=`: go on as if it were not there.
    #[default]
    Pass,
    /// `R`: refuse.
    Reject,
    /// `T`: refuse for now.
    TemporaryFailure,
    /// `4`: answer 421 and close.
    Shutdown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_are_numbers() {
        for (text, want) in [
            ("127.0.0.2", Some("127.0.0.2")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("IPv6:2001:db8::1", Some("2001:db8::1")),
            ("ipv6:::1", Some("::1")),
            ("mail.example.com", None),
            ("", None),
        ] {
            let options = ClientOptions {
                address: Some(text.to_owned()),
                ..ClientOptions::default()
            };
            assert_eq!(options.ip(), want.map(|ip| ip.parse().unwrap()), "{text}");
        }
    }
}
