//! The effective model as text and as JSON: what `mapctl site` prints.

use std::fmt::Write as _;

use super::model::options::OptionView;
use super::model::{
    Class, DaemonOptions, DnsListAction, DnsListKind, Mailer, MapSpec, RegexMap, Site,
};

/// A section of the model: its title and its lines, each a name and a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// The title.
    pub title: &'static str,
    /// Names and values.
    pub lines: Vec<(String, String)>,
}

/// The model in sections, in the order in which an administrator asks: names, listeners, tables, relaying, masquerading,
/// mailers, classes, options.
#[must_use]
pub fn sections(site: &Site) -> Vec<Section> {
    let mut sections = vec![
        names(site),
        Section {
            title: "listeners",
            lines: site.daemons.iter().map(daemon).collect(),
        },
        tables(site),
        features(site),
        relays(site),
        Section {
            title: "mailers",
            lines: site.mailers.defined.iter().map(mailer).collect(),
        },
        classes(site),
        options(site),
    ];
    sections.retain(|section| !section.lines.is_empty());
    sections
}

/// The model as text: titles, and below each its names and values in columns.
#[must_use]
pub fn text(site: &Site) -> String {
    let mut out = String::new();
    for section in sections(site) {
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(section.title);
        out.push('\n');
        let width = section
            .lines
            .iter()
            .map(|(name, _)| name.chars().count())
            .max()
            .unwrap_or(0);
        for (name, value) in &section.lines {
            // Writing to a String does not fail.
            let _ = writeln!(out, "{}", format!("  {name:width$}  {value}").trim_end());
        }
    }
    out
}

/// The model as one JSON object: a member for each section, and in it a string for each name. Options that have the
/// value they have when nothing is said are left out.
#[must_use]
pub fn json(site: &Site) -> String {
    let mut members: Vec<String> = Vec::new();
    for section in sections(site) {
        let lines: Vec<String> = section
            .lines
            .iter()
            .map(|(name, value)| format!("{}:{}", quoted(name), quoted(value)))
            .collect();
        members.push(format!("{}:{{{}}}", quoted(section.title), lines.join(",")));
    }
    format!("{{{}}}", members.join(","))
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if u32::from(c) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn names(site: &Site) -> Section {
    let mut lines = vec![
        ("host name ($j)".to_owned(), site.host_name.clone()),
        ("domain ($m)".to_owned(), site.domain.clone()),
        ("errors from ($n)".to_owned(), site.error_name.clone()),
    ];
    if let Some(root) = &site.root {
        lines.insert(0, ("root".to_owned(), root.display().to_string()));
    }
    for (word, number) in &site.precedences {
        lines.push((format!("precedence {word}"), number.to_string()));
    }
    Section {
        title: "names",
        lines,
    }
}

fn daemon(daemon: &DaemonOptions) -> (String, String) {
    let address = daemon.address.as_deref().unwrap_or("*");
    let mut text = format!("{} {address} port {}", daemon.family.as_str(), daemon.port);
    if !daemon.modifiers.0.is_empty() {
        text.push_str(&format!(" modifiers {}", daemon.modifiers.0));
    }
    (daemon.name.clone(), text)
}

fn tables(site: &Site) -> Section {
    let features = &site.features;
    let mut lines = Vec::new();
    if let Some(access) = &features.access {
        let mut text = access.map.text();
        for (word, on) in [
            ("skip", access.skip),
            ("lookupdotdomain", access.lookup_dot_domain),
            ("relaytofulladdress", access.relay_to_full_address),
        ] {
            if on {
                text.push_str(&format!(" ({word})"));
            }
        }
        lines.push(("access".to_owned(), text));
    }
    let mut add = |name: &str, map: &Option<MapSpec>| {
        if let Some(map) = map {
            lines.push((name.to_owned(), map.text()));
        }
    };
    add("mailertable", &features.mailertable);
    add("virtusertable", &features.virtusertable);
    add("genericstable", &features.genericstable);
    add("domaintable", &features.domaintable);
    add("authinfo", &features.authinfo);
    for (number, file) in site.alias_files().iter().enumerate() {
        lines.push((format!("aliases {}", number + 1), file.map.text()));
    }
    Section {
        title: "tables",
        lines,
    }
}

fn features(site: &Site) -> Section {
    let f = &site.features;
    let mut lines: Vec<(String, String)> = Vec::new();
    for (name, on) in [
        ("accept_unqualified_senders", f.accept_unqualified_senders),
        ("accept_unresolvable_domains", f.accept_unresolvable_domains),
        ("block_bad_helo", f.block_bad_helo),
        ("blocklist_recipients", f.blocklist_recipients),
        ("check_cert_altnames", f.check_cert_altnames),
        ("compat_check", f.compat_check),
        ("generics_entire_domain", f.generics_entire_domain),
        ("loose_relay_check", f.loose_relay_check),
        ("no_default_msa", f.no_default_msa),
        ("preserve_local_plus_detail", f.preserve_local_plus_detail),
        ("preserve_luser_host", f.preserve_luser_host),
        ("promiscuous_relay", f.promiscuous_relay),
        ("redirect", f.redirect),
        ("relay_based_on_MX", f.relay_based_on_mx),
        ("relay_entire_domain", f.relay_entire_domain),
        ("relay_hosts_only", f.relay_hosts_only),
        ("relay_local_from", f.relay_local_from),
        ("require_rdns", f.require_rdns),
        ("stickyhost", f.stickyhost),
        ("tls_session_features", f.tls_session_features),
        ("use_client_ptr", f.use_client_ptr),
        ("use_ct_file", f.use_ct_file),
        ("use_cw_file", f.use_cw_file),
        ("virtuser_entire_domain", f.virtuser_entire_domain),
        ("allmasquerade", site.masquerade.all),
        ("limited_masquerade", site.masquerade.limited),
        ("local_no_masquerade", site.masquerade.not_local),
        ("masquerade_entire_domain", site.masquerade.entire_domain),
        ("masquerade_envelope", site.masquerade.envelope),
    ] {
        if on {
            lines.push((name.to_owned(), "on".to_owned()));
        }
    }
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            lines.push((name.to_owned(), value.to_lowercase()));
        }
    };
    add(
        "always_add_domain",
        f.always_add_domain.as_ref().map(|d| {
            if d.is_empty() {
                "$j".to_owned()
            } else {
                d.clone()
            }
        }),
    );
    add(
        "delay_checks",
        f.delay_checks.map(|d| format!("{:?}", d.mode)),
    );
    add(
        "relay_mail_from",
        f.relay_mail_from.map(|r| format!("{r:?}")),
    );
    add("nouucp", f.nouucp.map(|b| format!("{b:?}")));
    add("nopercenthack", f.nopercenthack.map(|b| format!("{b:?}")));
    add(
        "nocanonify",
        f.nocanonify.map(|n| {
            if n.canonify_hosts {
                "except hosts"
            } else {
                "on"
            }
            .to_owned()
        }),
    );
    add(
        "greet_pause",
        f.greet_pause.map(|g| {
            g.milliseconds
                .map_or_else(|| "by access".to_owned(), |ms| format!("{ms} ms"))
        }),
    );
    let control = |c: crate::site::model::Control| {
        let when = if c.at_once {
            "at once"
        } else {
            "with the other checks"
        };
        format!("{when}, {}", if c.terminate { "421" } else { "452" })
    };
    add("ratecontrol", f.ratecontrol.map(control));
    add("conncontrol", f.conncontrol.map(control));
    add("TLS_PERM_ERR", f.tls_perm_err.then(|| "on".to_owned()));
    add("smrsh", f.smrsh.clone());
    add("nullclient", f.nullclient.clone());
    add("msp", f.msp.clone());
    let expressions: [(&str, &Option<RegexMap>); 4] = [
        ("badmx", &f.badmx),
        ("check_other", &f.check_other),
        ("_CERT_REGEX_ISSUER_", &f.cert_issuer),
        ("_CERT_REGEX_SUBJECT_", &f.cert_subject),
    ];
    for (name, map) in expressions {
        lines.extend(
            map.as_ref()
                .map(|map| (name.to_owned(), map.text().to_owned())),
        );
    }
    for list in &f.dns_lists {
        let name = match list.kind {
            DnsListKind::Dnsbl => "dnsbl",
            DnsListKind::EnhDnsbl => "enhdnsbl",
            DnsListKind::Rhsbl => "rhsbl",
        };
        let action = match &list.action {
            DnsListAction::Reject(text) => text.0.clone(),
            DnsListAction::Quarantine => "quarantine".to_owned(),
            DnsListAction::Discard => "discard".to_owned(),
        };
        lines.push((format!("{name} {}", list.zone), action));
    }
    Section {
        title: "features",
        lines,
    }
}

fn relays(site: &Site) -> Section {
    let r = &site.relays;
    let mut lines = Vec::new();
    for (name, value) in [
        ("SMART_HOST", &r.smart_host),
        ("MAIL_HUB", &r.mail_hub),
        ("LUSER_RELAY", &r.luser),
        ("LOCAL_RELAY", &r.local),
        ("UUCP_RELAY", &r.uucp),
        ("BITNET_RELAY", &r.bitnet),
        ("DECNET_RELAY", &r.decnet),
        ("FAX_RELAY", &r.fax),
        ("MASQUERADE_AS", &site.masquerade.name),
    ] {
        if let Some(value) = value {
            lines.push((name.to_owned(), value.clone()));
        }
    }
    Section {
        title: "passed on to",
        lines,
    }
}

fn mailer(mailer: &Mailer) -> (String, String) {
    let user = mailer.user.as_ref();
    let user = user.map_or(String::new(), |user| format!(" as {user}"));
    let text = format!(
        "{} ({}) {}{user}",
        mailer.path, mailer.flags, mailer.arguments
    );
    (mailer.name.clone(), text)
}

fn classes(site: &Site) -> Section {
    let c = &site.classes;
    let all: [(&str, &Class); 13] = [
        ("local hosts ($=w)", &c.local_hosts),
        ("local domains ($=m)", &c.local_domains),
        ("trusted users ($=t)", &c.trusted_users),
        ("relay domains ($=R)", &c.relay_domains),
        ("masqueraded ($=M)", &c.masquerade_domains),
        ("not masqueraded ($=N)", &c.masquerade_exceptions),
        ("exposed users ($=E)", &c.exposed_users),
        ("generics domains ($=G)", &c.generics_domains),
        ("virtual hosts ($={VirtHost})", &c.virtual_hosts),
        ("local users ($=L)", &c.local_users),
        ("canonified ($={Canonify})", &c.canonify_domains),
        ("pseudo-domains ($=P)", &c.pseudo_domains),
        (
            "trusted mechanisms ($={TrustAuthMech})",
            &c.trusted_mechanisms,
        ),
    ];
    let lines = all
        .into_iter()
        .filter(|(_, class)| !class.is_empty())
        .map(|(name, class)| {
            let words: Vec<String> = class
                .sorted()
                .iter()
                .map(|w| String::from_utf8_lossy(w).into_owned())
                .collect();
            (name.to_owned(), words.join(" "))
        });
    Section {
        title: "classes",
        lines: lines.collect(),
    }
}

/// Options that differ from what sendmail has when nothing is said, or that the site gives.
fn options(site: &Site) -> Section {
    let differs =
        |view: &OptionView| view.value != view.default || site.options.given(view.name).is_some();
    let lines = site
        .options
        .views()
        .into_iter()
        .filter(differs)
        .map(|view| {
            let value = match site.options.given(view.name) {
                Some(place) if place.line > 0 => format!("{} (line {})", view.value, place.line),
                _ => view.value,
            };
            (view.name.to_owned(), value)
        });
    Section {
        title: "options",
        lines: lines.collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::site::{Machine, mc};

    fn site() -> Site {
        let text = b"OSTYPE(`linux')define(`confSMTP_LOGIN_MSG', `\"$j\" \\ \x01hello')MASQUERADE_AS(`m.example')\n";
        mc::read(None, Path::new("x.mc"), text.to_vec(), &Machine::default()).site
    }

    #[test]
    fn text_has_a_title_and_columns_for_each_section() {
        let text = text(&site());
        assert!(text.starts_with("names\n  host name ($j)"), "{text}");
        assert!(
            text.contains("\npassed on to\n  MASQUERADE_AS  m.example\n"),
            "{text}"
        );
        assert!(text.lines().all(|line| line == line.trim_end()), "{text}");
    }

    #[test]
    fn json_is_json_and_says_the_same() {
        let json: serde_json::Value = serde_json::from_str(&json(&site())).unwrap();
        for section in sections(&site()) {
            for (name, value) in section.lines {
                assert_eq!(json[section.title][name.as_str()], value, "{name}");
            }
        }
        let message = json["options"]["SmtpGreetingMessage"].as_str().unwrap();
        assert!(
            message.contains('"') && message.contains('\u{1}'),
            "{message}"
        );
    }
}
