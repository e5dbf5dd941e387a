//! DAEMON_OPTIONS, CLIENT_OPTIONS and mail filters.

use super::{Call, M4Error, Place, Reader, Severity, lossy};
use crate::site::model::options::OptionValue;
use crate::site::model::options::{Letters, Limit, Load};
use crate::site::model::{ClientOptions, DaemonOptions, Family, FilterFailure, MailFilter};

/// Which ends of connections a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ports {
    Daemon,
    Client,
}

/// A DAEMON_OPTIONS or CLIENT_OPTIONS. As in sendmail's m4, its text is expanded at the end of the file.
pub(super) struct PortLine {
    ports: Ports,
    text: String,
    place: Place,
}

impl Reader {
    pub(super) fn port_line(&mut self, ports: Ports, text: &str, place: &Place) {
        self.port_lines.push(PortLine {
            ports,
            text: text.to_owned(),
            place: place.clone(),
        });
    }

    /// The listeners and connections of the macros, behind those of `LOCAL_CONFIG`, as in sendmail.cf: `O` lines of
    /// the site don't replace the listeners that sendmail has by itself.
    pub(super) fn listeners(&mut self) -> Result<(), M4Error> {
        for (ports, old, new) in [
            (Ports::Daemon, "confDAEMON_OPTIONS", "DAEMON_OPTIONS"),
            (Ports::Client, "confCLIENT_OPTIONS", "CLIENT_OPTIONS"),
        ] {
            let Some(text) = self.value(old)?.filter(|text| !text.is_empty()) else {
                continue;
            };
            let place = self.m4.defined_at(old).cloned();
            let place = place.unwrap_or_else(|| self.m4.main_file());
            let said = format!("{old} is an old name of {new}, and counts like it");
            self.m4.report_at(&place, Severity::Warning, said);
            // It is expanded by now.
            self.port_line(ports, &format!("`{text}'"), &place);
        }
        let mut says_nothing = true;
        for line in std::mem::take(&mut self.port_lines) {
            self.m4.define("_PORT_LINE_", line.text.as_bytes());
            let text = self.value("_PORT_LINE_")?.unwrap_or_default();
            match line.ports {
                Ports::Daemon => {
                    says_nothing = false;
                    self.daemon_options(&text, &line.place);
                }
                Ports::Client => self.client_options(&text, &line.place),
            }
        }
        if says_nothing && self.m4.is_defined("_NETINET6_") {
            self.site.daemons.push(DaemonOptions::new("MTA-v4", "smtp"));
            let mut daemon = DaemonOptions::new("MTA-v6", "smtp");
            daemon.family = Family::Inet6;
            self.site.daemons.push(daemon);
        } else if says_nothing {
            self.site.daemons.push(DaemonOptions::new("MTA", "smtp"));
        }
        if !self.site.features.no_default_msa {
            let mut daemon = DaemonOptions::new("MSA", "587");
            daemon.modifiers.0.push('E');
            self.site.daemons.push(daemon);
        }
        Ok(())
    }

    pub(super) fn daemon_options(&mut self, text: &str, place: &Place) {
        let name = format!("Daemon{}", self.site.daemons.len());
        let mut daemon = DaemonOptions::new(&name, "smtp");
        for (key, value) in pairs(text) {
            // sendmail looks at the first letter of the key only. `Proxy`, the balancers that are
            // believed, is no word of sendmail's.
            match key.chars().next() {
                _ if key.eq_ignore_ascii_case("proxy") => {
                    daemon.others.push((key.to_owned(), value.to_owned()));
                }
                Some('N' | 'n') => daemon.name = value.to_owned(),
                Some('F' | 'f') => daemon.family = self.family(value, place),
                Some('A' | 'a') => daemon.address = Some(value.to_owned()),
                Some('P' | 'p') => daemon.port = value.to_owned(),
                Some('M' | 'm') => daemon.modifiers = Letters::read(value).unwrap_or_default(),
                Some('C' | 'c') => match Limit::read(value) {
                    Ok(children) => daemon.children = children,
                    Err(why) => self.unread(key, value, why, place),
                },
                Some('L' | 'l') if value.is_empty() => daemon.backlog = None,
                Some('L' | 'l') => match value.parse() {
                    Ok(backlog) => daemon.backlog = Some(backlog),
                    Err(_) => self.unread(key, value, "expected a number", place),
                },
                Some('I' | 'i') => {
                    daemon.filters = Some(
                        value
                            .split([' ', ';'])
                            .filter(|f| !f.is_empty())
                            .map(str::to_owned)
                            .collect(),
                    )
                }
                Some(letter @ ('D' | 'd' | 'q' | 'Q' | 'r' | 'R' | 's' | 'S')) => {
                    let (key, fault) = match letter {
                        'D' => ("DeliveryMode", None),
                        'd' => ("delayLA", Load::read(value).err()),
                        'q' | 'Q' => ("queueLA", Load::read(value).err()),
                        'r' => ("refuseLA", Load::read(value).err()),
                        'R' => ("ReceiveBufSize", Limit::read(value).err()),
                        _ => ("SendBufSize", Limit::read(value).err()),
                    };
                    if let Some(why) = fault {
                        self.unread(key, value, why, place);
                    }
                    daemon.others.push((key.to_owned(), value.to_owned()));
                }
                _ => {
                    let text = format!("DAEMON_OPTIONS: {key}={value} is not known");
                    self.m4.report_at(place, Severity::Error, text);
                }
            }
        }
        if daemon.port_number().is_none() {
            let text = format!(
                "DAEMON_OPTIONS: port {} is neither a number nor a service known here",
                daemon.port
            );
            self.m4.report_at(place, Severity::Error, text);
        }
        if let Some(unknown) = daemon
            .modifiers
            .0
            .chars()
            .find(|c| !"abcfhrsuACEOS".contains(*c))
        {
            let text = format!("DAEMON_OPTIONS: modifier {unknown} is not known");
            self.m4.report_at(place, Severity::Error, text);
        }
        self.note_place(&format!("DAEMON_OPTIONS({})", daemon.name), place);
        self.site.daemons.push(daemon);
    }

    fn unread(&mut self, key: &str, value: &str, expected: &str, place: &Place) {
        let text = format!("DAEMON_OPTIONS: {key}={value}: {expected}");
        self.m4.report_at(place, Severity::Error, text);
    }

    pub(super) fn client_options(&mut self, text: &str, place: &Place) {
        let mut client = ClientOptions::default();
        for (key, value) in pairs(text) {
            match key.chars().next() {
                Some('F' | 'f') => client.family = self.family(value, place),
                Some('A' | 'a') => client.address = Some(value.to_owned()),
                Some('P' | 'p') => client.port = Some(value.to_owned()),
                Some('M' | 'm') => client.modifiers = Letters::read(value).unwrap_or_default(),
                _ => {
                    let text = format!("CLIENT_OPTIONS: {key}={value} is not done");
                    self.m4.report_at(place, Severity::Warning, text);
                    client.others.push((key.to_owned(), value.to_owned()));
                }
            }
        }
        let address = client.address.as_deref().filter(|text| !text.is_empty());
        if let Some(text) = address.filter(|_| client.ip().is_none()) {
            let text = format!(
                "CLIENT_OPTIONS: Addr={text}: expected an IP address; the system chooses one"
            );
            self.m4.report_at(place, Severity::Warning, text);
        }
        let modifiers = client.modifiers.0.chars();
        for letter in modifiers.filter(|letter| !"AS".contains(*letter)) {
            let text = format!("CLIENT_OPTIONS: modifier {letter} is not done");
            self.m4.report_at(place, Severity::Warning, text);
        }
        self.site.clients.push(client);
    }

    fn family(&mut self, text: &str, place: &Place) -> Family {
        match text.to_ascii_lowercase().as_str() {
            "inet" => Family::Inet,
            "inet6" => Family::Inet6,
            "local" | "unix" => Family::Local,
            _ => {
                let text = format!("Family={text}: expected inet, inet6 or local");
                self.m4.report_at(place, Severity::Error, text);
                Family::Inet
            }
        }
    }

    pub(super) fn mail_filter(&mut self, call: &Call) {
        let name = lossy(call.argument(0)).trim().to_owned();
        self.filter(&name, &lossy(call.argument(1)), &call.place);
        if call.name == "INPUT_MAIL_FILTER" {
            let names = match self.m4.text_of("confINPUT_MAIL_FILTERS") {
                Some(before) if !before.is_empty() => [before, b", ", name.as_bytes()].concat(),
                _ => name.into_bytes(),
            };
            self.m4.define("confINPUT_MAIL_FILTERS", &names);
        }
    }

    /// `Xname, Key=value, ...`: what MAIL_FILTER makes.
    pub(super) fn filter_line(&mut self, rest: &str, place: &Place) {
        let (name, equates) = rest.split_once(',').unwrap_or((rest, ""));
        self.filter(name.trim(), equates, place);
    }

    fn filter(&mut self, name: &str, equates: &str, place: &Place) {
        let mut filter = MailFilter {
            name: name.to_owned(),
            socket: String::new(),
            on_failure: FilterFailure::Pass,
            timeouts: String::new(),
        };
        for (key, value) in pairs(equates) {
            match key.chars().next() {
                Some('S') => filter.socket = value.to_owned(),
                Some('F') => {
                    filter.on_failure = match value.chars().next() {
                        Some('R') => FilterFailure::Reject,
                        Some('T') => FilterFailure::TemporaryFailure,
                        Some('4') => FilterFailure::Shutdown,
                        _ => FilterFailure::Pass,
                    }
                }
                Some('T') => filter.timeouts = value.to_owned(),
                _ => {
                    let text = format!("filter {name}: {key}={value} is not known");
                    self.m4.report_at(place, Severity::Warning, text);
                }
            }
        }
        self.note_place(&format!("MAIL_FILTER({name})"), place);
        self.site.filters.push(filter);
    }
}

/// `Key=value, Key=value`; blanks around them don't count.
pub(super) fn pairs(text: &str) -> Vec<(&str, &str)> {
    let parts = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    parts
        .map(|part| {
            part.split_once('=')
                .map_or((part, ""), |(k, v)| (k.trim(), v.trim()))
        })
        .collect()
}
