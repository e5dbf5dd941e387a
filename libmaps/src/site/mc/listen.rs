//! DAEMON_OPTIONS, CLIENT_OPTIONS and mail filters.

use super::{Call, Place, Reader, Severity, lossy};
use crate::site::model::options::OptionValue;
use crate::site::model::options::{Letters, Limit};
use crate::site::model::{ClientOptions, DaemonOptions, Family, FilterFailure, MailFilter};

impl Reader {
    pub(super) fn daemon_options(&mut self, text: &str, place: &Place) {
        self.m4.define("_DPO_", b"given");
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
                Some('C' | 'c') => daemon.children = Limit::read(value).unwrap_or_default(),
                Some('L' | 'l') => daemon.backlog = value.parse().ok(),
                Some('I' | 'i') => {
                    daemon.filters = Some(
                        value
                            .split([' ', ';'])
                            .filter(|f| !f.is_empty())
                            .map(str::to_owned)
                            .collect(),
                    )
                }
                Some('D' | 'd' | 'q' | 'Q' | 'r' | 'R' | 's' | 'S' | 'T') => {
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

    pub(super) fn client_options(&mut self, text: &str, place: &Place) {
        let mut client = ClientOptions::default();
        for (key, value) in pairs(text) {
            match key.chars().next() {
                Some('F' | 'f') => client.family = self.family(value, place),
                Some('A' | 'a') => client.address = Some(value.to_owned()),
                Some('P' | 'p') => client.port = Some(value.to_owned()),
                Some('M' | 'm') => client.modifiers = Letters::read(value).unwrap_or_default(),
                _ => client.others.push((key.to_owned(), value.to_owned())),
            }
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
        let mut filter = MailFilter {
            name: name.clone(),
            socket: String::new(),
            on_failure: FilterFailure::Pass,
            timeouts: String::new(),
        };
        for (key, value) in pairs(&lossy(call.argument(1))) {
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
                    self.m4.report_at(&call.place, Severity::Warning, text);
                }
            }
        }
        if call.name == "INPUT_MAIL_FILTER" {
            let names = match self.m4.text_of("confINPUT_MAIL_FILTERS") {
                Some(before) if !before.is_empty() => [before, b", ", name.as_bytes()].concat(),
                _ => name.clone().into_bytes(),
            };
            self.m4.define("confINPUT_MAIL_FILTERS", &names);
        }
        self.note_place(&format!("MAIL_FILTER({name})"), &call.place);
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
