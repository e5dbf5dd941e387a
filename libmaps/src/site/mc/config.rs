//! Lines of `sendmail.cf` that a `.mc` file holds itself: `LOCAL_CONFIG` and rules.

use super::class::What;
use super::{Place, Reader, Severity, lossy};
use crate::site::model::MapSpec;
use crate::site::model::options::OptionError;

/// Rulesets a site may define, and what its rules would change.
const RULESETS: &[(&str, &str)] = &[
    ("local_check_relay", "who may connect"),
    ("check_relay", "who may connect"),
    ("local_check_mail", "who may send"),
    ("check_mail", "who may send"),
    ("local_check_rcpt", "who may send to whom, and relay"),
    ("check_rcpt", "who may send to whom, and relay"),
    ("local_relay_auth", "who may relay after authentication"),
    ("local_relaytofulladdress", "who may relay"),
    ("local_trust_auth", "who may use AUTH= for others"),
    ("trust_auth", "who may use AUTH= for others"),
    ("local_tls_client", "which TLS is enough for clients"),
    ("local_tls_server", "which TLS is enough for servers"),
    ("local_tls_rcpt", "which TLS is enough for recipients"),
    ("local_try_tls", "for whom STARTTLS is used"),
    ("local_srv_features", "what clients are offered"),
    ("local_clt_features", "what is used with servers"),
    ("local_greet_pause", "how long clients wait"),
    ("local_localaddr", "where local mail goes"),
    ("sender=1", "how senders are rewritten"),
    ("recipient=2", "how recipients are rewritten"),
    ("check_data", "what is answered to DATA"),
    ("check_eoh", "which headers are accepted"),
    ("check_eom", "which messages are accepted"),
    ("check_compat", "who may send to whom"),
    ("check_vrfy", "who may use VRFY"),
    ("check_expn", "who may use EXPN"),
    ("check_etrn", "who may use ETRN"),
    ("queuegroup", "which queue is used"),
];

/// Macros of which sendmail.cf has rules only where a definition makes them (cf/m4/proto.m4): its `D` line may say
/// another value then.
const RELAYS: &[(&str, &str)] = &[
    ("M", "MASQUERADE_NAME"),
    ("H", "MAIL_HUB"),
    ("R", "LOCAL_RELAY"),
    ("L", "LUSER_RELAY"),
    ("Y", "UUCP_RELAY"),
    ("B", "BITNET_RELAY"),
    ("C", "DECNET_RELAY"),
    ("F", "FAX_RELAY"),
];

impl Reader {
    /// Lines that were written to these diversions.
    pub(super) fn config_lines(&mut self, diversions: &[i64]) {
        for diversion in diversions {
            for line in self.m4.output().config_lines(*diversion) {
                let text = lossy(&line.text);
                self.config_line(&text, &line.place);
            }
        }
    }

    fn config_line(&mut self, text: &str, place: &Place) {
        let mut chars = text.chars();
        let kind = chars.next().unwrap_or(' ');
        let rest = chars.as_str();
        if let Some(name) = called_macro(text) {
            self.unknown_macro(name, place);
            return;
        }
        match kind {
            'C' => {
                let (class, words) = cf_name(rest);
                self.add_class(class, What::Words(words.to_owned()), place);
            }
            'F' => {
                let (class, file) = cf_name(rest);
                self.add_class(class, What::File(file.to_owned()), place);
            }
            'T' => self.add_class("t", What::Words(rest.to_owned()), place),
            'D' => self.macro_line(rest, place),
            'O' => self.option_line(rest.trim_start(), place),
            'K' => self.map_line(rest, place),
            'M' => self.mailer_line(rest, place),
            'S' | 'R' => self.rule_line(text, "rules outside a ruleset section", place),
            'H' => self.ignored("header line", text, place),
            'P' => self.precedence_line(rest, text, place),
            'E' => self.ignored("environment variable", text, place),
            'Q' => self.ignored("queue group", text, place),
            'X' => self.filter_line(rest, place),
            'V' | 'L' => {}
            _ => {
                let text = format!(
                    "expected a macro or a line of sendmail.cf: {}",
                    shortened(text)
                );
                self.m4.report_at(place, Severity::Warning, text);
            }
        }
    }

    fn ignored(&mut self, what: &str, text: &str, place: &Place) {
        let text = format!("{what} is ignored: {}", shortened(text));
        self.m4.report_at(place, Severity::Warning, text);
    }

    fn unknown_macro(&mut self, name: &str, place: &Place) {
        let text = format!("macro {name} is not known; it may change anything");
        self.m4.report_at(place, Severity::Error, text);
    }

    fn macro_line(&mut self, rest: &str, place: &Place) {
        let (name, value) = cf_name(rest);
        let value = value.trim_end().to_owned();
        let macro_name = match name {
            "j" => "confDOMAIN_NAME",
            "S" => "SMART_HOST",
            "n" => "confMAILER_NAME",
            "w" => {
                self.local.host = self.cf_text(&value);
                return;
            }
            "m" => {
                self.local.domain = self.cf_text(&value);
                return;
            }
            _ => match RELAYS.iter().find(|(letter, _)| *letter == name) {
                Some((_, relay)) if self.m4.is_defined(relay) => relay,
                asked => {
                    if let Some((letter, relay)) = asked {
                        let text = format!(
                            "D{letter} changes no mail, as with sendmail: its rules ask ${letter} only where {relay} is defined; \
                             remove the line, or define {relay}"
                        );
                        self.m4.report_at(place, Severity::Warning, text);
                    }
                    self.site.macros.insert(name.to_owned(), value);
                    return;
                }
            },
        };
        self.note_place(macro_name, place);
        // The value is text, not m4, by now.
        self.m4.define(macro_name, format!("`{value}'").as_bytes());
    }

    /// `Pname=number`.
    fn precedence_line(&mut self, rest: &str, text: &str, place: &Place) {
        let read = rest
            .split_once('=')
            .and_then(|(word, number)| Some((word.trim(), number.trim().parse().ok()?)));
        match read {
            Some((word, number)) if !word.is_empty() => {
                let word = word.to_ascii_lowercase();
                self.site.precedences.insert(word, number);
            }
            _ => {
                let text = format!("expected Pname=number: {}", shortened(text));
                self.m4.report_at(place, Severity::Warning, text);
            }
        }
    }

    fn option_line(&mut self, rest: &str, place: &Place) {
        let Some((name, value)) = rest.split_once('=') else {
            let text = format!(
                "option is ignored: {} (expected O Name=value)",
                shortened(rest)
            );
            self.m4.report_at(place, Severity::Warning, text);
            return;
        };
        let (name, value) = (name.trim(), value.trim());
        match name.to_ascii_lowercase().as_str() {
            "daemonportoptions" => self.daemon_options(value, place),
            "clientportoptions" => self.client_options(value, place),
            _ => self.set_option(name, value, place),
        }
    }

    pub(super) fn set_option(&mut self, name: &str, value: &str, place: &Place) {
        match self.site.options.set(name, value, place) {
            Ok(()) => {}
            Err(OptionError::Unknown) => {
                let severity = weight_of(name);
                self.m4
                    .report_at(place, severity, format!("option {name} is not known"));
            }
            Err(OptionError::Value(expected)) => {
                let text = format!("option {name}={value}: {expected}");
                self.m4.report_at(place, Severity::Error, text);
            }
        }
    }

    fn map_line(&mut self, rest: &str, place: &Place) {
        let (name, spec) = rest
            .trim_start()
            .split_once(char::is_whitespace)
            .unwrap_or((rest, ""));
        match MapSpec::parse(spec) {
            Ok(map) => {
                let text = format!("map {name} is asked by no rule");
                self.m4.report_at(place, Severity::Note, text);
                let map = map.named(name);
                self.site.maps.insert(name.to_owned(), map);
            }
            Err(why) => {
                self.m4
                    .report_at(place, Severity::Warning, format!("map {name}: {why}"));
            }
        }
    }

    /// Reports every ruleset that the site brings.
    pub(super) fn rules(&mut self) {
        for (diversion, section) in [
            (1, "LOCAL_NET_CONFIG: rules that decide where mail goes"),
            (2, "LOCAL_RULE_3: rules that rewrite every address"),
            (3, "LOCAL_RULE_0: rules that decide where mail goes"),
            (4, "LOCAL_UUCP: rules that decide where mail goes"),
            (8, "LOCAL_DNSBL: rules that decide who may connect"),
            (9, "LOCAL_RULESETS: rules that may change anything"),
        ] {
            let mut reported = false;
            for line in self.m4.output().config_lines(diversion) {
                let text = lossy(&line.text);
                match text.chars().next() {
                    // A ruleset is reported by its head, rules without one by the first.
                    Some('S') => self.rule_line(&text, section, &line.place),
                    Some('R') if reported => {}
                    Some('R') => self.rule_line(&text, section, &line.place),
                    _ => {
                        self.config_line(&text, &line.place);
                        continue;
                    }
                }
                reported = true;
            }
        }
    }

    fn rule_line(&mut self, text: &str, section: &str, place: &Place) {
        let name = text
            .strip_prefix('S')
            .map(str::trim)
            .filter(|_| text.starts_with('S'));
        let known = name.and_then(|name| {
            RULESETS
                .iter()
                .find(|(known, _)| name.eq_ignore_ascii_case(known))
        });
        let said = match (name, known) {
            (Some(name), Some((_, what))) => {
                format!("ruleset {name} is not run: it would change {what}")
            }
            (Some(name), None) => format!("ruleset {name} is not run ({section})"),
            (None, _) => format!("rules are not run ({section}): {}", shortened(text)),
        };
        self.m4.report_at(place, Severity::Error, said);
    }
}

/// How much an unknown option of this name matters.
pub(super) fn weight_of(name: &str) -> Severity {
    let name = name.to_ascii_lowercase();
    let grave = ["auth", "relay", "trust", "tls", "ssl", "cert", "privacy"];
    if grave.iter().any(|word| name.contains(word)) {
        Severity::Error
    } else {
        Severity::Warning
    }
}

/// `{Name}rest` or `xrest`.
fn cf_name(text: &str) -> (&str, &str) {
    match text.strip_prefix('{').and_then(|t| t.split_once('}')) {
        Some(pair) => pair,
        None => text.split_at(text.chars().next().map_or(0, char::len_utf8)),
    }
}

/// The name of a macro call that nobody expanded: `NAME(`.
fn called_macro(text: &str) -> Option<&str> {
    let (name, _) = text.split_once('(')?;
    let is_name = name.len() > 1 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    (is_name && name.bytes().any(|b| b.is_ascii_uppercase())).then_some(name)
}

fn shortened(text: &str) -> String {
    let short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        format!("{short}...")
    } else {
        short
    }
}
