//! `/map`, `/parse`, `/try`, `/tryflags`, `/mx`, `/canon`.

use std::io::{self, Write};

use libmaps::decision::Trace;
use libmaps::lhs::Lhs;
use libmaps::map::Map;
use libmaps::policy::facts::{Answer, Need};
use libmaps::policy::maps::{Handle, open_map};
use libmaps::policy::rewrite::AddressRole;
use libmaps::policy::route::canonify::HostNames;
use libmaps::policy::route::parse::Resolved;
use tools::consult::Given;

use super::{Next, Shell, print_trace, trace_line, workspace};
use crate::resolver::{Asker, Resolver};

impl Shell {
    pub(super) fn slash(&mut self, text: &str, out: &mut dyn Write) -> io::Result<Next> {
        let (command, rest) = match text.split_once([' ', '\t']) {
            Some((command, rest)) => (command, rest.trim()),
            None => (text.trim(), ""),
        };
        match command {
            "" => writeln!(out, "Usage: /[canon|map|mx|parse|try|tryflags]")?,
            "quit" => return Ok(Next::Quit),
            "map" => self.map(rest, out)?,
            "parse" if rest.is_empty() => writeln!(out, "Usage: /parse address")?,
            "parse" => self.parse_address(rest, out)?,
            "try" => self.try_mailer(rest, out)?,
            "tryflags" => match role(rest) {
                Some(role) => self.role = role,
                None => writeln!(out, "Usage: /tryflags [Hh|Ee][Ss|Rr]")?,
            },
            "mx" if rest.is_empty() => writeln!(out, "Usage: /mx address")?,
            "mx" => self.exchangers(rest, out)?,
            "canon" if rest.is_empty() => writeln!(out, "Usage: /canon address")?,
            "canon" => {
                let name = self.canonical(rest).unwrap_or_else(|| rest.to_owned());
                writeln!(out, "getcanonname({rest}) returns {name}")?;
            }
            _ => writeln!(out, "Unknown \"/\" command /{text}")?,
        }
        Ok(Next::Prompt)
    }

    fn canonical(&self, host: &str) -> Option<String> {
        let given = Given::default();
        let found = self.consultant.names(&given).canonical(host.as_bytes())?;
        Some(String::from_utf8_lossy(&found).into_owned())
    }

    fn map(&self, rest: &str, out: &mut dyn Write) -> io::Result<()> {
        let (name, key) = match rest.split_once([' ', '\t']) {
            Some((name, key)) => (name, key.trim()),
            None => (rest, ""),
        };
        if name.is_empty() {
            return writeln!(out, "Usage: /map mapname key");
        }
        if key.is_empty() {
            return writeln!(out, "No key specified");
        }
        let found = match name {
            "host" => Ok(self.canonical(key).map(|host| format!("{host}."))),
            "dequote" => Ok(dequoted(key)),
            "aliases" => self.alias(key),
            _ => match self.handle(name) {
                Some(Ok(handle)) => get(&handle, key),
                Some(Err(error)) => Err(error),
                None => return writeln!(out, "Map named \"{name}\" not found"),
            },
        };
        match found {
            Ok(Some(value)) => writeln!(out, "map_lookup: {name} ({key}) returns {value} (0)"),
            Ok(None) => writeln!(out, "map_lookup: {name} ({key}) no match (0)"),
            Err(error) => writeln!(out, "map_lookup: {name} ({key}) no match (75): {error}"),
        }
    }

    fn alias(&self, key: &str) -> Result<Option<String>, String> {
        for handle in &self.consultant.maps.aliases {
            if let Some(found) = get(handle, key)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// A map of the site, by the names of sendmail's and of the FEATUREs.
    fn handle(&self, name: &str) -> Option<Result<Handle, String>> {
        let maps = &self.consultant.maps;
        let known = match name {
            "access" => maps.access.as_ref(),
            "virtuser" | "virtusertable" => maps.virtusertable.as_ref(),
            "mailertable" => maps.mailertable.as_ref(),
            "generics" | "genericstable" => maps.genericstable.as_ref(),
            "domaintable" => maps.domaintable.as_ref(),
            _ => None,
        };
        if let Some(handle) = known {
            return Some(Ok(handle.clone()));
        }
        let spec = self.consultant.site.maps.get(name)?;
        match open_map(&self.consultant.site, spec) {
            Ok(handle) => handle.map(Ok),
            Err(error) => Some(Err(error.to_string())),
        }
    }

    fn exchangers(&self, host: &str, out: &mut dyn Write) -> io::Result<()> {
        let site = &self.consultant.site;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let answer = runtime.block_on(async {
            let resolver = Resolver::of(site).map_err(|e| e.to_string())?;
            let need = Need::BestMx(host.as_bytes().into());
            Ok::<_, String>(resolver.answer(&Asker::Ours, &need).await)
        });
        match answer {
            Ok(Answer::Found(names)) => {
                writeln!(out, "getmxrr({host}) returns {} value(s):", names.len())?;
                for name in names {
                    writeln!(out, "\t{}", String::from_utf8_lossy(&name))?;
                }
                Ok(())
            }
            Ok(Answer::NotFound) => writeln!(out, "getmxrr({host}) returns 0 value(s):"),
            Ok(Answer::Temporary) => writeln!(out, "getmxrr({host}): no answer now (75)"),
            Err(error) => writeln!(out, "getmxrr({host}): {error}"),
        }
    }

    /// `/parse`: rulesets 3 and 0, the mailer's own, and 4.
    fn parse_address(&self, address: &str, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "Cracked address = $g")?;
        writeln!(out, "Parsing {} address", role_words(self.role))?;
        let given = Given::default();
        let names = self.consultant.names(&given);
        let addressing = self.consultant.addressing(&names, "");
        let mut trace = Trace::new();
        trace_line(out, "canonify", "input", address)?;
        let canonical = match addressing.canonify(address.as_bytes(), &mut trace) {
            Ok(Ok(canonical)) => canonical,
            Ok(Err(error)) => return writeln!(out, "{address}... {error}"),
            Err(error) => return writeln!(out, "{address}... {error}"),
        };
        let focused = workspace::of_canonical(&canonical);
        trace_line(out, "canonify", "returns", &focused)?;
        trace_line(out, "parse", "input", &focused)?;
        let resolved = match addressing.parse(canonical, &mut trace) {
            Ok(resolved) => resolved,
            Err(error) => return writeln!(out, "{address}... {error}"),
        };
        trace_line(out, "parse", "returns", &workspace::of_resolved(&resolved))?;
        match (&resolved, addressing.route(address.as_bytes())) {
            (Resolved::Error(refusal), _) => {
                let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
                let at = refusal.status.as_deref().map(text).unwrap_or_default();
                let why = text(&refusal.text);
                writeln!(out, "{address}... {}", words_of(&why))?;
                writeln!(out, "mailer *error*, host {at}, user {why}")?;
            }
            (Resolved::Triple(triple), Ok(decision)) => {
                let found = &decision.outcome;
                let mut line = format!("mailer {}", found.mailer);
                if !found.host.is_empty() {
                    let dot = match &triple.host {
                        Some(host) if host.ends_with(b".") => ".",
                        _ => "",
                    };
                    let host = String::from_utf8_lossy(&found.host);
                    line.push_str(&format!(", host {host}{dot}"));
                }
                let user = String::from_utf8_lossy(&found.user);
                trace_line(out, "final", "returns", &user)?;
                writeln!(out, "{line}, user {user}")?;
            }
            (_, Err(error)) => writeln!(out, "{address}... {error}")?,
        }
        print_trace(out, &trace)
    }

    /// `/try`: what an address becomes for a mailer.
    fn try_mailer(&self, rest: &str, out: &mut dyn Write) -> io::Result<()> {
        let Some((name, address)) = rest.split_once([' ', '\t']) else {
            return writeln!(out, "Usage: /try mailer address");
        };
        let address = address.trim();
        let Some(mailer) = self.consultant.site.mailers.get(name) else {
            return writeln!(out, "Unknown mailer {name}");
        };
        let role = role_words(self.role);
        writeln!(out, "Trying {role} address {address} for mailer {name}")?;
        let given = Given::default();
        let names = self.consultant.names(&given);
        let addressing = self.consultant.addressing(&names, "");
        match addressing.rewrite(self.role, mailer, address.as_bytes()) {
            Ok(decision) => {
                let result = String::from_utf8_lossy(&decision.outcome);
                trace_line(out, "canonify", "input", address)?;
                trace_line(out, "final", "returns", &result)?;
                writeln!(out, "Rcode = 0, addr = {result}")?;
                print_trace(out, &decision.trace)
            }
            Err(error) => writeln!(out, "Rcode = 75, addr = {address}: {error}"),
        }
    }
}

fn get(handle: &Handle, key: &str) -> Result<Option<String>, String> {
    let lhs = Lhs::folded(key.as_bytes());
    if lhs.as_bytes().starts_with(b"authinfo:") {
        return Err("AuthInfo entries hold passwords and are not shown".to_owned());
    }
    let found = handle
        .map()
        .get(lhs.as_bytes())
        .map_err(|e| e.to_string())?;
    Ok(found.map(|rhs| String::from_utf8_lossy(rhs.as_bytes()).into_owned()))
}

/// Without the quotes around it; nothing where there are none.
fn dequoted(key: &str) -> Option<String> {
    let inner = key.strip_prefix('"')?.strip_suffix('"')?;
    Some(inner.to_owned())
}

/// The words of `"553 Hostname required"`.
fn words_of(text: &str) -> &str {
    let text = text.trim_matches('"');
    match text.split_once(' ') {
        Some((code, words)) if code.len() == 3 && code.bytes().all(|c| c.is_ascii_digit()) => words,
        _ => text,
    }
}

fn role(flags: &str) -> Option<AddressRole> {
    if flags.is_empty() {
        return None;
    }
    let (mut header, mut sender) = (false, false);
    for c in flags.chars() {
        match c {
            'H' | 'h' => header = true,
            'E' | 'e' => header = false,
            'S' | 's' => sender = true,
            'R' | 'r' => sender = false,
            _ => return None,
        }
    }
    Some(match (header, sender) {
        (true, true) => AddressRole::HeaderSender,
        (true, false) => AddressRole::HeaderRecipient,
        (false, true) => AddressRole::EnvelopeSender,
        (false, false) => AddressRole::EnvelopeRecipient,
    })
}

fn role_words(role: AddressRole) -> &'static str {
    match role {
        AddressRole::HeaderSender => "header sender",
        AddressRole::HeaderRecipient => "header recipient",
        AddressRole::EnvelopeSender => "envelope sender",
        AddressRole::EnvelopeRecipient => "envelope recipient",
    }
}
