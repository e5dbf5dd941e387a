//! MAILER and MODIFY_MAILER_FLAGS.

use std::collections::HashMap;

use super::mailer_line::field_body;
use super::{Call, M4Error, Reader, Severity, lossy};
use crate::site::model::{Mailer, Rewriting};

/// What MODIFY_MAILER_FLAGS asks for, by the name before `_MAILER_FLAGS`.
#[derive(Debug, Default)]
pub(super) struct FlagChanges(HashMap<String, Change>);

#[derive(Debug, Default)]
struct Change {
    instead: Option<String>,
    added: String,
    dropped: String,
}

impl FlagChanges {
    /// `+abc` adds, `-abc` drops, `abc` replaces.
    pub(super) fn modify(&mut self, name: &str, flags: &str) {
        let change = self.0.entry(name.to_owned()).or_default();
        if let Some(flags) = flags.strip_prefix('+') {
            change.added.push_str(flags);
        } else if let Some(flags) = flags.strip_prefix('-') {
            change.dropped.push_str(flags);
        } else {
            *change = Change {
                instead: Some(flags.to_owned()),
                ..Change::default()
            };
        }
    }

    fn apply(&self, name: &str, flags: &str) -> String {
        let Some(change) = self.0.get(name) else {
            return flags.to_owned();
        };
        if let Some(instead) = &change.instead {
            return instead.clone();
        }
        let mut out = flags.to_owned();
        for letter in change.dropped.chars() {
            // One of each, as sendmail's macro does it.
            if let Some(at) = out.find(letter) {
                out.remove(at);
            }
        }
        for letter in change.added.chars() {
            if !out.contains(letter) {
                out.push(letter);
            }
        }
        out
    }
}

/// How a mailer of sendmail's `cf/mailer` is made up.
struct Recipe {
    name: &'static str,
    /// The prefix of the macros that change it.
    stem: &'static str,
    path: &'static str,
    /// Flags that the site's `..._MAILER_FLAGS` are added to.
    base: &'static str,
    /// `..._MAILER_FLAGS` when the site defines none.
    flags: &'static str,
    arguments: &'static str,
    rewriting: Rewriting,
}

const fn recipe(
    name: &'static str,
    stem: &'static str,
    path: &'static str,
    base: &'static str,
    flags: &'static str,
    arguments: &'static str,
    rewriting: Rewriting,
) -> Recipe {
    Recipe {
        name,
        stem,
        path,
        base,
        flags,
        arguments,
        rewriting,
    }
}

const UUX: &str = "uux - -r -a$g -gC $h!rmail ($u)";

/// The mailers that MAILER(name) defines.
fn recipes(name: &str) -> Option<Vec<Recipe>> {
    use Rewriting as R;
    Some(match name {
        "local" => vec![
            recipe(
                "local",
                "LOCAL_MAILER",
                "/bin/mail",
                "lsDFMAw5:/|@q",
                "Prmn9",
                "mail -d $u",
                R::Local,
            ),
            recipe(
                "prog",
                "LOCAL_SHELL",
                "/bin/sh",
                "lsDFMoq",
                "eu9",
                "sh -c $u",
                R::Local,
            ),
        ],
        "smtp" => vec![
            recipe(
                "smtp",
                "SMTP_MAILER",
                "[IPC]",
                "mDFMuX",
                "",
                "TCP $h",
                R::Smtp,
            ),
            recipe(
                "esmtp",
                "ESMTP_MAILER",
                "[IPC]",
                "mDFMuXa",
                "",
                "TCP $h",
                R::Smtp,
            ),
            recipe(
                "smtp8",
                "SMTP8_MAILER",
                "[IPC]",
                "mDFMuX8",
                "",
                "TCP $h",
                R::Smtp,
            ),
            recipe(
                "dsmtp",
                "DSMTP_MAILER",
                "[IPC]",
                "mDFMuXa%",
                "",
                "TCP $h",
                R::Smtp,
            ),
            recipe(
                "relay",
                "RELAY_MAILER",
                "[IPC]",
                "mDFMuXa8",
                "",
                "TCP $h",
                R::Relay,
            ),
        ],
        "procmail" => vec![recipe(
            "procmail",
            "PROCMAIL_MAILER",
            "/usr/local/bin/procmail",
            "DFM",
            "SPhnu9",
            "procmail -Y -m $h $f $u",
            R::SmtpBoth,
        )],
        "cyrus" => vec![
            recipe(
                "cyrus",
                "CYRUS_MAILER",
                "/usr/sbin/cyrdeliver",
                "lsDFMnPq",
                "Ah5@/:|",
                "cyrdeliver -e -m $h -- $u",
                R::Local,
            ),
            recipe(
                "cyrusbb",
                "CYRUS_BB_MAILER",
                "/usr/sbin/cyrdeliver",
                "lsDFMnP",
                "u",
                "cyrdeliver -e -m $u",
                R::Local,
            ),
        ],
        "cyrusv2" => vec![recipe(
            "cyrusv2",
            "CYRUSV2_MAILER",
            "[IPC]",
            "lsDFMnqXz",
            "A@/:|m",
            "FILE /var/run/cyrus/socket/lmtp",
            R::LocalLmtp,
        )],
        "uucp" => vec![
            recipe(
                "uucp",
                "UUCP_MAILER",
                "/usr/bin/uux",
                "DFMhuUd",
                "",
                UUX,
                R::None,
            ),
            recipe(
                "uucp-old",
                "UUCP_MAILER",
                "/usr/bin/uux",
                "DFMhuUd",
                "",
                UUX,
                R::None,
            ),
            recipe(
                "suucp",
                "UUCP_MAILER",
                "/usr/bin/uux",
                "mDFMhuUd",
                "",
                UUX,
                R::None,
            ),
            recipe(
                "uucp-new",
                "UUCP_MAILER",
                "/usr/bin/uux",
                "mDFMhuUd",
                "",
                UUX,
                R::None,
            ),
            recipe(
                "uucp-dom",
                "UUCP_MAILER",
                "/usr/bin/uux",
                "mDFMhud",
                "",
                UUX,
                R::Smtp,
            ),
            recipe(
                "uucp-uudom",
                "UUCP_MAILER",
                "/usr/bin/uux",
                "mDFMhud",
                "",
                UUX,
                R::Smtp,
            ),
        ],
        "usenet" => vec![recipe(
            "usenet",
            "USENET_MAILER",
            "/usr/lib/news/inews",
            "",
            "rsDFMmn",
            "inews -m -h -n $u",
            R::Local,
        )],
        "fax" => vec![recipe(
            "fax",
            "FAX_MAILER",
            "/usr/bin/faxmail",
            "DFMhu",
            "",
            "faxmail -d $u@$h $f",
            R::SmtpBoth,
        )],
        _ => return None,
    })
}

impl Reader {
    pub(super) fn mailer(&mut self, call: &Call) -> Result<(), M4Error> {
        let name = lossy(call.argument(0));
        self.m4.define("_MAILER_DEFINED_", b"1");
        let mark = format!("_MAILER_{name}_");
        if self.m4.is_defined(&mark) {
            // FEATURE(nullclient) and FEATURE(msp) bring their own.
            return Ok(());
        }
        self.m4.define(&mark, b"");
        self.note_place(&format!("MAILER({name})"), &call.place);
        let Some(recipes) = recipes(&name) else {
            let text = format!("MAILER({name}) is not known: mail for it can't be delivered");
            self.m4.report_at(&call.place, Severity::Error, text);
            return Ok(());
        };
        if name == "uucp" {
            let text =
                "MAILER(uucp) is ignored in part: addresses with ! are not routed by UUCP hosts";
            self.m4.report_at(&call.place, Severity::Warning, text);
        }
        self.site.mailers.speaks_smtp |= name == "smtp";
        for recipe in &recipes {
            let mailer = self.made_of(recipe)?;
            self.note_place(&format!("MAILER({})", mailer.name), &call.place);
            self.site.mailers.defined.push(mailer);
        }
        Ok(())
    }

    fn made_of(&mut self, recipe: &Recipe) -> Result<Mailer, M4Error> {
        let stem = recipe.stem;
        // FLAGS of esmtp, smtp8 and dsmtp are SMTP_MAILER_FLAGS; those of relay are too where it has none.
        let is_smtp = matches!(recipe.name, "smtp" | "esmtp" | "smtp8" | "dsmtp" | "relay");
        let own = self.value(&format!("{stem}_FLAGS"))?;
        let flags = match own {
            Some(flags) if !is_smtp || matches!(recipe.name, "smtp" | "relay") => flags,
            _ if is_smtp => self.value("SMTP_MAILER_FLAGS")?.unwrap_or_default(),
            _ => recipe.flags.to_owned(),
        };
        let base = match self.value(&format!("_DEF_{stem}_FLAGS"))? {
            Some(base) if matches!(recipe.name, "local" | "prog") => base,
            _ => recipe.base.to_owned(),
        };
        let change = match recipe.name {
            "prog" => "SHELL",
            "cyrusbb" => "CYRUS",
            _ => stem.trim_end_matches("_MAILER"),
        };
        let flags = self.flags.apply(change, &format!("{base}{flags}"));
        // cyrusbb is cyrus with other flags and arguments.
        let program = match recipe.name {
            "cyrusbb" => "CYRUS_MAILER",
            _ => stem,
        };
        let path = match self.value(&format!("{program}_PATH"))? {
            Some(path) if !is_smtp => path,
            None if recipe.name == "procmail" => self
                .value("PROCMAIL_PATH")?
                .unwrap_or_else(|| recipe.path.to_owned()),
            _ => recipe.path.to_owned(),
        };
        let arguments = match self.value(&format!("{stem}_ARGS"))? {
            Some(given) if recipe.name == "usenet" => format!("{given} $u"),
            Some(given) => given,
            None => recipe.arguments.to_owned(),
        };
        let size = match recipe.name {
            // sendmail's relay mailer has no limit.
            "relay" => None,
            "prog" => self.value("LOCAL_MAILER_MAX")?,
            "fax" => self.value("FAX_MAILER_MAX")?.or(Some("100000".to_owned())),
            _ if stem == "UUCP_MAILER" => match self.value("UUCP_MAILER_MAX")? {
                None => self.value("UUCP_MAX_SIZE")?.or(Some("100000".to_owned())),
                given => given,
            },
            _ if is_smtp => self.value("SMTP_MAILER_MAX")?,
            _ => self.value(&format!("{program}_MAX"))?,
        };
        let user = match recipe.name {
            "cyrus" | "cyrusbb" => self
                .value("CYRUS_MAILER_USER")?
                .or(Some("cyrus:mail".to_owned())),
            _ => None,
        };
        let line_end = match recipe.name {
            "local" => self.value("LOCAL_MAILER_EOL")?,
            "cyrusv2" => Some("\\r\\n".to_owned()),
            _ if is_smtp => Some("\\r\\n".to_owned()),
            _ => None,
        };
        let max_octets = size.and_then(|text| text.trim().parse().ok());
        let line = match recipe.name {
            "relay" => Some(
                self.value("RELAY_MAILER_LL")?
                    .unwrap_or_else(|| "2040".to_owned()),
            ),
            _ if is_smtp => Some(
                self.value("SMTP_MAILER_LL")?
                    .unwrap_or_else(|| "990".to_owned()),
            ),
            _ => None,
        };
        let lmtp = self.site.features.local == crate::site::model::LocalDelivery::Lmtp;
        Ok(Mailer {
            name: recipe.name.to_owned(),
            path,
            flags,
            // It is read as a field of an M line.
            arguments: field_body(&arguments).0,
            user: user.map(|user| user.trim().to_owned()),
            line_end: line_end.map(|text| field_body(&text).0),
            root_folder: None,
            max_octets,
            line_octets: line
                .and_then(|text| text.trim().parse().ok())
                .filter(|n| *n > 0),
            directory: match recipe.name {
                "prog" => Some(
                    self.value("LOCAL_SHELL_DIR")?
                        .unwrap_or_else(|| "$z:/".to_owned()),
                ),
                _ => None,
            },
            rewriting: match recipe.rewriting {
                Rewriting::Local if recipe.name == "local" && lmtp => Rewriting::LocalLmtp,
                other => other,
            },
        })
    }
}
