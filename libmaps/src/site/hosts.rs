//! `/etc/hosts` and the order in which name services are asked.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use crate::opening;
use crate::site::model::Site;

/// A hosts file: names and addresses that are known without DNS.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    lines: Vec<Line>,
    by_name: HashMap<Box<str>, Vec<u32>>,
    by_address: HashMap<IpAddr, u32>,
}

#[derive(Clone, Debug)]
struct Line {
    address: IpAddr,
    /// The name of the line that is taken for canonical: its first one with a dot, else its first one.
    canonical: Box<str>,
    names: Vec<Box<str>>,
}

impl Hosts {
    /// Reads the text of a hosts file. Lines that are none are passed over, as everybody does.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        let mut hosts = Hosts::default();
        for line in text.split(|b| *b == b'\n') {
            let line = line.split(|b| *b == b'#').next().unwrap_or_default();
            if let Ok(line) = std::str::from_utf8(line) {
                hosts.add(line);
            }
        }
        hosts
    }

    /// The hosts file of the site: its `HostsFile` below the root where that stands there, else the system's.
    /// A missing file is an empty one.
    pub fn of(site: &Site) -> io::Result<Self> {
        let path = site.options.files.hosts.as_deref();
        match path {
            Some(path) => Ok(Hosts::parse(&site.read_or_system(path)?)),
            None => Ok(Hosts::default()),
        }
    }

    fn add(&mut self, line: &str) {
        let mut words = line.split_ascii_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse().ok()) else {
            return;
        };
        let names: Vec<&str> = words.map(|name| name.trim_end_matches('.')).collect();
        let canonical = names
            .iter()
            .find(|name| name.contains('.'))
            .or(names.first());
        let (Some(canonical), Ok(number)) = (canonical, u32::try_from(self.lines.len())) else {
            return;
        };
        self.lines.push(Line {
            address,
            canonical: (*canonical).into(),
            names: names.iter().map(|name| (*name).into()).collect(),
        });
        self.by_address.entry(address).or_insert(number);
        for name in names {
            let numbers = self
                .by_name
                .entry(name.to_ascii_lowercase().into())
                .or_default();
            if numbers.last() != Some(&number) {
                numbers.push(number);
            }
        }
    }

    fn lines_of(&self, name: &str) -> impl Iterator<Item = &Line> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let numbers = self
            .by_name
            .get(name.as_str())
            .map_or(&[][..], Vec::as_slice);
        numbers.iter().filter_map(|n| self.lines.get(*n as usize))
    }

    /// Whether the name stands in the file; case and a trailing dot don't count.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        self.lines_of(name).next().is_some()
    }

    /// The canonical form of a name as sendmail's `$[name$]` finds it here: the first name with a dot on the first line
    /// that holds it; where that line has none, its first name with `domain` (`$m`, perhaps empty) added.
    #[must_use]
    pub fn canonical(&self, name: &str, domain: &str) -> Option<String> {
        let line = self.lines_of(name).next()?;
        if line.canonical.contains('.') || domain.is_empty() {
            return Some(line.canonical.to_string());
        }
        Some(format!("{}.{domain}", line.canonical))
    }

    /// All names on the first line that holds the name.
    #[must_use]
    pub fn aliases(&self, name: &str) -> Vec<&str> {
        let line = self.lines_of(name).next();
        line.map_or_else(Vec::new, |line| {
            line.names.iter().map(AsRef::as_ref).collect()
        })
    }

    /// The addresses of a name, in the order of the file.
    #[must_use]
    pub fn addresses(&self, name: &str) -> Vec<IpAddr> {
        self.lines_of(name).map(|line| line.address).collect()
    }

    /// The canonical name of the first line with this address.
    #[must_use]
    pub fn name_of(&self, address: IpAddr) -> Option<&str> {
        let number = *self.by_address.get(&address)?;
        self.lines.get(number as usize).map(|line| &*line.canonical)
    }
}

/// A name service of `service.switch`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Service {
    /// `files`: `/etc/hosts`, `/etc/passwd`, alias files.
    Files,
    /// `dns`.
    Dns,
    /// Another one (`nis`, `ldap`, ...), which this suite does not ask.
    Other(String),
}

/// `service.switch`: which services are asked, in which order (op.me, section 5.6, ServiceSwitchFile).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSwitch {
    /// For host names; without `Dns` nobody asks a name server.
    pub hosts: Vec<Service>,
    /// For aliases.
    pub aliases: Vec<Service>,
    /// For users.
    pub passwd: Vec<Service>,
}

impl Default for ServiceSwitch {
    /// What sendmail does without the file: `hosts dns files`, `aliases files`, `passwd files`.
    fn default() -> Self {
        ServiceSwitch {
            hosts: vec![Service::Dns, Service::Files],
            aliases: vec![Service::Files],
            passwd: vec![Service::Files],
        }
    }
}

impl ServiceSwitch {
    /// Reads the text: a line for each kind of name, then its services.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        let mut switch = ServiceSwitch::default();
        let text = String::from_utf8_lossy(text);
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            let list = match words.next() {
                Some("hosts") => &mut switch.hosts,
                Some("aliases") => &mut switch.aliases,
                Some("passwd") => &mut switch.passwd,
                _ => continue,
            };
            *list = words.map(service).collect();
        }
        switch
    }

    /// The site's switch file below its root; missing means the default.
    pub fn of(site: &Site) -> io::Result<Self> {
        let Some(path) = site.options.files.service_switch.as_deref() else {
            return Ok(ServiceSwitch::default());
        };
        match opening::read(&site.below(path)) {
            Ok(text) => Ok(ServiceSwitch::parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(ServiceSwitch::default()),
            Err(error) => Err(error),
        }
    }

    /// Whether a name server may be asked about hosts.
    #[must_use]
    pub fn asks_dns(&self) -> bool {
        self.hosts.contains(&Service::Dns)
    }
}

fn service(word: &str) -> Service {
    match word.to_ascii_lowercase().as_str() {
        "files" => Service::Files,
        "dns" => Service::Dns,
        _ => Service::Other(word.to_owned()),
    }
}

/// Reads `path` below `root` where it stands there, else the system's own file; a missing file is an empty one.
pub(super) fn read_or_system(root: Option<&Path>, path: &Path) -> io::Result<Vec<u8>> {
    let below = super::model::below(root, path);
    let missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    match opening::read(&below) {
        Err(error) if missing(&error) && root.is_some() => match opening::read(path) {
            Err(error) if missing(&error) => Ok(Vec::new()),
            other => other,
        },
        Err(error) if missing(&error) => Ok(Vec::new()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTS: &[u8] = b"10.0.0.1 foo\n\
        10.0.0.2 a.b.example foo2 # a comment\n\
        10.0.0.3 short x.y.example z\n\
        # 10.9.9.9 gone.example\n\
        nonsense here\n\
        10.0.0.4 MiXed.example\n\
        2001:db8::1 MIXED.example v6.example\n\
        10.0.0.9\n";

    #[test]
    fn names_become_canonical_as_recorded_from_sendmail() {
        let hosts = Hosts::parse(HOSTS);
        for (name, expected) in [
            ("foo", Some("foo.domain.example")),
            ("foo2", Some("a.b.example")),
            ("foo2.anything.org", None),
            ("short", Some("x.y.example")),
            ("z.", Some("x.y.example")),
            ("mixed.example", Some("MiXed.example")),
            ("mixed", None),
            ("gone.example", None),
            ("a", None),
        ] {
            assert_eq!(
                hosts.canonical(name, "domain.example").as_deref(),
                expected,
                "{name}"
            );
            assert_eq!(hosts.knows(name), expected.is_some(), "{name}");
        }
        assert_eq!(hosts.canonical("foo", "").as_deref(), Some("foo"));
    }

    #[test]
    fn addresses_and_names() {
        let hosts = Hosts::parse(HOSTS);
        let addresses: Vec<String> = hosts
            .addresses("mixed.example")
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(addresses, ["10.0.0.4", "2001:db8::1"]);
        assert_eq!(
            hosts.name_of("10.0.0.3".parse().unwrap()),
            Some("x.y.example")
        );
        assert_eq!(hosts.name_of("10.0.0.9".parse().unwrap()), None);
    }

    #[test]
    fn the_switch_says_who_is_asked() {
        let switch = ServiceSwitch::parse(b"# order\nhosts files\naliases files nis\n");
        assert!(!switch.asks_dns());
        assert_eq!(
            switch.aliases,
            [Service::Files, Service::Other("nis".to_owned())]
        );
        assert!(ServiceSwitch::default().asks_dns());
    }
}
