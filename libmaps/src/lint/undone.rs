//! What a site asks for and smtpd does not do: found at its start and by `mapctl check`, not in use.

use crate::map::MapClass;
use crate::policy::maps::counts_file;
use crate::sasl::mechanism::Mechanism;
use crate::site::model::{Family, FilterFailure, QueueGroup};
use crate::site::{Diagnostic, Place, Severity, Site};
use crate::store::shared::Connection;
use crate::terms::{OptionError, Terms};

/// What is not done, with file and line. An error is what would let mail through, or in,
/// that the site wants kept out.
#[must_use]
pub fn findings(site: &Site) -> Vec<Diagnostic> {
    let mut all = Vec::new();
    filters(site, &mut all);
    all.extend(super::options::findings(site));
    values(site, &mut all);
    daemons(site, &mut all);
    counts(site, &mut all);
    queue_group(site, &mut all);
    super::mailers::findings(site, &mut all);
    super::words::findings(site, &mut all);
    all
}

/// Mail filters are not asked. `F=` says what that means: nothing where it is not there.
fn filters(site: &Site, all: &mut Vec<Diagnostic>) {
    let asked = &site.options.filters.input;
    let by_daemons = site.daemons.iter().flat_map(|d| d.filters.iter().flatten());
    let names =
        |name: &str| asked.has(name) || by_daemons.clone().any(|f| f.eq_ignore_ascii_case(name));
    for filter in site.filters.iter().filter(|f| names(&f.name)) {
        let name = &filter.name;
        let (severity, meaning) = match filter.on_failure {
            FilterFailure::Pass => (Severity::Warning, "mail passes without it"),
            _ => (
                Severity::Error,
                "its F= says that no mail may pass without it",
            ),
        };
        let text = format!("mail filter {name} is not asked: {meaning}");
        all.push(Diagnostic::new(
            &place(site, &format!("MAIL_FILTER({name})")),
            severity,
            text,
        ));
    }
    let is_defined = |name: &&String| {
        let mut defined = site.filters.iter();
        defined.any(|filter| filter.name.eq_ignore_ascii_case(name))
    };
    let of_site = asked
        .0
        .iter()
        .map(|name| ("InputMailFilters".to_owned(), name));
    let of_daemons = site.daemons.iter().flat_map(|daemon| {
        let said = format!("DAEMON_OPTIONS({})", daemon.name);
        let names = daemon.filters.iter().flatten();
        names.map(move |name| (said.clone(), name))
    });
    for (said, name) in of_site
        .chain(of_daemons)
        .filter(|(_, name)| !is_defined(name))
    {
        let text = format!("{said} names {name}, which no MAIL_FILTER defines");
        let at = site.options.given(&said).cloned();
        let at = at.unwrap_or_else(|| place(site, &said));
        all.push(Diagnostic::new(&at, Severity::Error, text));
    }
}

/// Options of whose value a part is not done.
fn values(site: &Site, all: &mut Vec<Diagnostic>) {
    let given = |name: &str| site.options.given(name).cloned();
    if let Some(at) = given("AuthMechanisms") {
        let words = site.options.auth.mechanisms.0.iter();
        for word in words.filter(|word| Mechanism::parse(word.as_bytes()).is_none()) {
            let text =
                format!("confAUTH_MECHANISMS: {word} is not offered: smtpd does not have it");
            all.push(Diagnostic::new(&at, Severity::Warning, text));
        }
    }
    let tls = &site.options.tls;
    for (option, words, terms) in [
        ("ServerSSLOptions", &tls.server_options, tls.server_terms()),
        ("ClientSSLOptions", &tls.client_options, tls.client_terms()),
    ] {
        let list = given("CipherList").filter(|_| !terms.has_tls12());
        if !terms.has_tls()
            && let Some(at) = given(option).or(list)
        {
            let text = format!("{option}: neither TLS 1.2, with a cipher, nor TLS 1.3 is left");
            all.push(Diagnostic::new(&at, Severity::Error, text));
        }
        let Some(at) = given(option) else {
            continue;
        };
        for word in &words.0 {
            if let Err(error @ OptionError::Unknown) = Terms::default().set_option(word) {
                let text = format!("{option}: {word} {error}");
                all.push(Diagnostic::new(&at, Severity::Warning, text));
            }
        }
    }
    let terms = tls.server_terms();
    let is_empty = terms.ciphers.as_ref().is_some_and(|list| list.is_empty());
    if let Some(at) = given("CipherList").filter(|_| is_empty && terms.has_tls13()) {
        let text =
            "CipherList: no cipher of TLS 1.2 is left that is spoken here, so only TLS 1.3 is";
        all.push(Diagnostic::new(&at, Severity::Warning, text));
    }
    let two = |path: &Option<std::path::PathBuf>| {
        path.as_ref()
            .is_some_and(|p| p.as_os_str().as_encoded_bytes().contains(&b','))
    };
    if let Some(at) = given("ServerCertFile").filter(|_| two(&site.options.tls.server_cert)) {
        let text = "ServerCertFile names two certificates: only the first is used";
        all.push(Diagnostic::new(&at, Severity::Warning, text));
    }
}

/// Connections are counted with other hosts only if it can be, and for the rules that ask.
fn counts(site: &Site, all: &mut Vec<Diagnostic>) {
    let Some(at) = site.options.given("ConnectionRateMap") else {
        return;
    };
    let fault = match counts_file(site) {
        Ok(None) => return,
        Ok(Some(file)) => {
            let read = Connection::read(MapClass::Redis, &file, site.root.as_deref());
            read.err().map(|error| error.to_string())
        }
        Err(expected) => Some(expected.to_owned()),
    };
    let mut find = |severity, text: String| all.push(Diagnostic::new(at, severity, text));
    if let Some(fault) = fault {
        find(Severity::Error, format!("ConnectionRateMap: {fault}"));
    }
    let features = &site.features;
    if features.ratecontrol.is_none() && features.conncontrol.is_none() {
        let text = "ConnectionRateMap has no effect: neither FEATURE(ratecontrol) nor FEATURE(conncontrol) asks for counts";
        find(Severity::Warning, text.into());
    }
}

fn daemons(site: &Site, all: &mut Vec<Diagnostic>) {
    let tls = &site.options.tls;
    let has_tls = tls.server_cert.is_some() && tls.server_key.is_some();
    for daemon in &site.daemons {
        let name = &daemon.name;
        let at = place(site, &format!("DAEMON_OPTIONS({name})"));
        if daemon.modifiers.has('s') && !has_tls {
            let text = format!(
                "daemon {name} has TLS from the first octet (M=s), but confSERVER_CERT and confSERVER_KEY are not set"
            );
            all.push(Diagnostic::new(&at, Severity::Warning, text));
        }
        if daemon.family == Family::Local {
            let text = format!("daemon {name}: Family=local is not served");
            let severity = match daemon.modifiers.has('O') {
                true => Severity::Warning,
                false => Severity::Error,
            };
            all.push(Diagnostic::new(&at, severity, text));
        }
    }
}

/// A queue of several folders: mail that waits in them is left to sendmail.
fn queue_group(site: &Site, all: &mut Vec<Diagnostic>) {
    let Some(QueueGroup { named, folder }) = site.queue_group() else {
        return;
    };
    let at = site.options.given("QueueDirectory").cloned();
    let at = at.unwrap_or_else(|| place(site, "QUEUE_DIR"));
    let text = format!(
        "QUEUE_DIR {}: one queue is kept, in {}; what waits in those folders only sendmail can send",
        named.display(),
        folder.display()
    );
    all.push(Diagnostic::new(&at, Severity::Warning, text));
}

/// Where the site says this, or its configuration as a whole.
pub(super) fn place(site: &Site, what: &str) -> Place {
    let whole = || Place::new(std::path::Path::new("sendmail.mc"), 0);
    site.places.get(what).cloned().unwrap_or_else(whole)
}
