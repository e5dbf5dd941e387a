//! Mailers that a site defines and smtpd can't serve as they say.

use super::undone::place;
use crate::site::ids::ids_of;
use crate::site::model::{Mailer, Means};
use crate::site::{Diagnostic, Severity, Site};

/// What is wrong with the mailers of a site. An error is one whose mail nobody would deliver.
pub(super) fn findings(site: &Site, all: &mut Vec<Diagnostic>) {
    let mailers = &site.mailers;
    if mailers.get(&mailers.local).is_none() {
        let text = format!("confLOCAL_MAILER: there is no mailer {}", mailers.local);
        say(site, "confLOCAL_MAILER", Severity::Error, text, all);
    }
    let relays = &site.relays;
    for (what, relay) in [
        ("SMART_HOST", &relays.smart_host),
        ("MAIL_HUB", &relays.mail_hub),
        ("LOCAL_RELAY", &relays.local),
        ("LUSER_RELAY", &relays.luser),
    ] {
        let relay = relay.as_deref().filter(|relay| !relay.starts_with('['));
        let Some((mailer, _)) = relay.and_then(|relay| relay.split_once(':')) else {
            continue;
        };
        if mailer != "error" && mailers.get(mailer).is_none() {
            let text = format!("{what}: there is no mailer {mailer}");
            say(site, what, Severity::Error, text, all);
        }
    }
    for mailer in &mailers.defined {
        let name = &mailer.name;
        let means = Means::of(site, mailer);
        let mut find = |severity, text: String| {
            let text = format!("mailer {name}: {text}");
            say(site, &format!("MAILER({name})"), severity, text, all);
        };
        if let Means::Unserved(why) = &means {
            find(Severity::Error, why.clone());
        }
        if !means.runs() {
            continue;
        }
        if let Some(user) = &mailer.user
            && let Err(why) = runnable(site, user)
        {
            find(Severity::Error, format!("U={user}: {why}"));
        }
        // Below another root it is another machine's.
        if site.root.is_none() && mailers.missing.contains(&mailer.path) {
            let text = format!("{} is not there: its mail waits", mailer.path);
            find(Severity::Warning, text);
        }
        if as_root(mailer) {
            let text =
                "F=S without U= has sendmail run its program as root; here it runs as DefaultUser";
            find(Severity::Warning, text.to_owned());
        }
    }
}

/// Whether sendmail would run its program as root, and not as a user of this host.
fn as_root(mailer: &Mailer) -> bool {
    mailer.has('S') && mailer.user.is_none() && !mailer.has('w')
}

/// Whether a program may run as this user.
fn runnable(site: &Site, text: &str) -> Result<(), String> {
    match ids_of(site, text)? {
        (0, _) => Err("no program is run as root".to_owned()),
        _ => Ok(()),
    }
}

fn say(site: &Site, what: &str, severity: Severity, text: String, all: &mut Vec<Diagnostic>) {
    all.push(Diagnostic::new(&place(site, what), severity, text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_mailers() {
        let mut site = Site::default();
        let mut add = |name: &str, path: &str, flags: &str, user: Option<&str>| {
            site.mailers.defined.push(Mailer {
                name: name.to_owned(),
                path: path.to_owned(),
                flags: flags.to_owned(),
                arguments: "x $u".to_owned(),
                user: user.map(str::to_owned),
                ..Mailer::default()
            });
        };
        add("local", "/bin/mail", "wS", None);
        add("fine", "/bin/sh", "nS", Some("daemon"));
        add("roots", "/bin/sh", "nS", None);
        add("away", "/nonexistent/mda", "", None);
        add("numbers", "/bin/sh", "", Some("8"));
        add("number", "/bin/sh", "", Some("8:8"));
        add("zero", "/bin/sh", "", Some("root:mail"));
        add("nobodys", "/bin/sh", "", Some("daemon:no-such-group"));
        add("none", "/bin/sh", "", Some("daemon:"));
        add("blanks", "/bin/sh", "", Some("daemon : daemon"));
        add("bare", "sh", "", None);
        site.mailers.missing.insert("/nonexistent/mda".to_owned());
        let mut all = Vec::new();
        findings(&site, &mut all);
        let said: Vec<String> = all.iter().map(ToString::to_string).collect();
        let want = [
            "warning: mailer roots: F=S without U= has sendmail run its program as root; here it runs as DefaultUser",
            "warning: mailer away: /nonexistent/mda is not there: its mail waits",
            "error: mailer numbers: U=8: 8: which group?",
            "error: mailer zero: U=root:mail: no program is run as root",
            "error: mailer nobodys: U=daemon:no-such-group: no-such-group: no such group",
            "error: mailer none: U=daemon:: : no such group",
            "error: mailer blanks: U=daemon : daemon: daemon : no such user",
            "error: mailer bare: P=sh: expected an absolute path or [IPC]",
        ];
        assert_eq!(said.len(), want.len(), "{said:#?}");
        for (said, want) in said.iter().zip(want) {
            assert!(said.ends_with(want), "{said}");
        }
        site.mailers.local = "cyrus".to_owned();
        let mut all = Vec::new();
        findings(&site, &mut all);
        let first = all.first().map(ToString::to_string).unwrap_or_default();
        assert!(
            first.ends_with("error: confLOCAL_MAILER: there is no mailer cyrus"),
            "{first}"
        );
    }
}
