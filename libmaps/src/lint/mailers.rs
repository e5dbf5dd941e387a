//! Mailers that a site defines and smtpd can't serve as they say.

use std::path::Path;

use crate::site::model::{Mailer, Means};
use crate::site::users::Users;
use crate::site::{Diagnostic, Place, Severity, Site};

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
        if site.root.is_none() && !Path::new(&mailer.path).exists() {
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
    let (user, group) = match text.split_once([':', '.']) {
        Some((user, group)) => (user.trim(), Some(group.trim())),
        None => (text.trim(), None),
    };
    let uid = match user.parse::<u32>() {
        Ok(_) if group.is_none() => return Err("a number wants a group behind it".to_owned()),
        Ok(uid) => uid,
        Err(_) => {
            let users = Users::of(site).map_err(|error| format!("/etc/passwd: {error}"))?;
            match users.get(user).map_err(|error| error.to_string())? {
                Some(found) => found.uid,
                None => return Err("there is no such user".to_owned()),
            }
        }
    };
    if uid == 0 {
        return Err("no program is run as root".to_owned());
    }
    match group {
        Some(group) if group.parse::<u32>().is_err() && !has_group(site, group) => {
            Err("there is no such group".to_owned())
        }
        _ => Ok(()),
    }
}

fn has_group(site: &Site, name: &str) -> bool {
    let text = site.read_or_system(Path::new("/etc/group"));
    let text = text.unwrap_or_default();
    let mut lines = text.split(|octet| *octet == b'\n');
    lines.any(|line| line.split(|octet| *octet == b':').next() == Some(name.as_bytes()))
}

fn say(site: &Site, what: &str, severity: Severity, text: String, all: &mut Vec<Diagnostic>) {
    let whole = || Place::new(Path::new("sendmail.mc"), 0);
    let place = site.places.get(what).cloned().unwrap_or_else(whole);
    all.push(Diagnostic::new(&place, severity, text));
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
        add("bare", "sh", "", None);
        let mut all = Vec::new();
        findings(&site, &mut all);
        let said: Vec<String> = all.iter().map(ToString::to_string).collect();
        let want = [
            "warning: mailer roots: F=S without U= has sendmail run its program as root; here it runs as DefaultUser",
            "warning: mailer away: /nonexistent/mda is not there: its mail waits",
            "error: mailer numbers: U=8: a number wants a group behind it",
            "error: mailer zero: U=root:mail: no program is run as root",
            "error: mailer nobodys: U=daemon:no-such-group: there is no such group",
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
