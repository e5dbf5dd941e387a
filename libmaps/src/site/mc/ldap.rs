//! Maps, aliases and classes by LDAP: `FEATURE(access_db, LDAP)`, `ldap -k ...`, `ALIAS_FILE` with
//! `ldap:`, `F{R}@LDAP`.
//!
//! Each becomes a shared map of class `ldap`, whose connection file is made of what the
//! configuration says once it is read to its end.

use std::path::PathBuf;

use super::{Place, Reader, Severity, lossy};
use crate::map::MapClass;
use crate::site::ldap::{Arguments, Asker, DEFAULT_SCHEMA, Purpose, connection_text};
use crate::site::model::{ClassMap, LdapMap, MapSpec};
use crate::store::path::with_suffix;
use crate::store::shared::Connection;

/// A definition whose connection file is made at the end.
pub(super) struct Pending {
    /// What it is called in messages.
    about: String,
    kind: Kind,
    /// The map's path without the suffix.
    path: PathBuf,
    arguments: Arguments,
    place: Place,
}

/// What it is for, with its name in sendmail's schema.
enum Kind {
    Map(&'static str),
    Aliases,
    Class(String),
}

/// Whether a class may be without words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Needed,
    /// `-o`.
    Optional,
}

/// The arguments of a class by LDAP, behind its `@`: none of sendmail's own schema.
pub(super) fn ldap_arguments(text: &str) -> Option<&str> {
    match text.trim() {
        DEFAULT_SCHEMA => Some(""),
        text => text.strip_prefix("ldap:"),
    }
}

/// The name of a FEATURE's map in sendmail's schema (cf/README).
fn name_in_schema(feature: &str) -> Option<&'static str> {
    Some(match feature {
        "access_db" => "access",
        "authinfo" => "authinfo",
        "bitdomain" => "bitdomain",
        "domaintable" => "domain",
        "genericstable" => "generics",
        "mailertable" => "mailer",
        "uucpdomain" => "uucpdomain",
        "virtusertable" => "virtuser",
        _ => return None,
    })
}

impl Reader {
    /// The text of a FEATURE's map, where it is one by LDAP: that of the replica's map.
    pub(super) fn ldap_table(
        &mut self,
        feature: &str,
        text: &str,
        place: &Place,
    ) -> Option<String> {
        let name = name_in_schema(feature)?;
        let arguments = match text {
            DEFAULT_SCHEMA => "",
            text => {
                let rest = text.strip_prefix("ldap ")?.trim_start();
                // `ldap /etc/mail/access` names a connection file.
                if !rest.starts_with('-') || !rest.contains(" -k") && !rest.starts_with("-k") {
                    return None;
                }
                rest
            }
        };
        let about = format!("FEATURE({feature})");
        let arguments = match Arguments::parse(arguments) {
            Ok(arguments) => arguments,
            Err(why) => {
                self.m4
                    .report_at(place, Severity::Error, format!("{about}: {why}"));
                Arguments::default()
            }
        };
        let file = match feature {
            "access_db" => "access",
            other => other,
        };
        let folder = self.value("MAIL_SETTINGS_DIR").ok().flatten();
        let path = PathBuf::from(folder.unwrap_or_default() + file);
        let mut words = vec!["ldap".to_owned()];
        words.extend(arguments.of_any_map());
        words.push(path.display().to_string());
        self.ldap_maps.push(Pending {
            about,
            kind: Kind::Map(name),
            path,
            arguments,
            place: place.clone(),
        });
        Some(words.join(" "))
    }

    /// Makes the connection files, once names and options are known.
    pub(super) fn finish_ldap(&mut self) {
        self.ldap_aliases();
        let pending = std::mem::take(&mut self.ldap_maps);
        if pending.is_empty() {
            return;
        }
        let spec = self.cf_text(&self.site.options.files.ldap_default);
        let default = match Arguments::parse(&spec) {
            Ok(default) => default,
            Err(why) => {
                let at = self.site.options.given("LDAPDefaultSpec").cloned();
                let at = at.unwrap_or_else(|| self.m4.main_file());
                self.m4
                    .report_at(&at, Severity::Error, format!("LDAPDefaultSpec: {why}"));
                return;
            }
        };
        for map in pending {
            self.ldap_map(&map, &default);
        }
    }

    fn ldap_map(&mut self, map: &Pending, default: &Arguments) {
        let cluster = self.site.macros.get("sendmailMTACluster");
        let asker = Asker {
            host: &self.site.host_name,
            cluster: cluster.map(String::as_str).unwrap_or_default(),
        };
        let purpose = match &map.kind {
            Kind::Map(name) => Purpose::Map(name),
            Kind::Aliases => Purpose::Aliases,
            Kind::Class(name) => Purpose::Class(name),
        };
        let arguments = map.arguments.clone().over(default);
        let file = with_suffix(map.path.as_os_str(), ".ldap");
        let made = connection_text(&arguments, purpose, asker).and_then(|made| {
            let text = self.cf_text(&made.text);
            let root = self.site.root.as_deref();
            Connection::parse(MapClass::Ldap, &self.site.below(&file), root, &text)
                .map_err(|error| error.reason())?;
            Ok((text, made.warnings))
        });
        match made {
            Ok((text, warnings)) => {
                for warning in warnings {
                    let text = format!("{}: {warning}", map.about);
                    self.m4.report_at(&map.place, Severity::Warning, text);
                }
                self.site.ldap_maps.push(LdapMap {
                    file,
                    text,
                    place: map.place.clone(),
                });
            }
            Err(why) => {
                let text = format!("{}: {why}", map.about);
                self.m4.report_at(&map.place, Severity::Error, text);
            }
        }
    }

    /// `F{class}key@ldap:-k ... -v ...`; without arguments, of sendmail's own schema.
    pub(super) fn ldap_class(
        &mut self,
        class: &str,
        key: &str,
        arguments: &str,
        presence: Presence,
        place: &Place,
    ) {
        if self.site.classes.named_mut(class).is_none() {
            self.unknown_class(class, place);
            return;
        }
        let about = format!("class {class}");
        let mut arguments = match Arguments::parse(arguments) {
            Ok(arguments) => arguments.with_key(key),
            Err(why) => {
                let text = format!("{about}: {why}");
                self.m4.report_at(place, Severity::Error, text);
                return;
            }
        };
        let folder = self.value("MAIL_SETTINGS_DIR").ok().flatten();
        let others = self.site.shared_classes.maps();
        let number = match others.filter(|other| other.class == class).count() {
            0 => String::new(),
            others => format!("-{}", others + 1),
        };
        let path = folder.unwrap_or_default() + "class-" + class + &number;
        let mut map = MapSpec::new("ldap", &path);
        if presence == Presence::Optional {
            map.optional = true;
            arguments = arguments.optional();
        }
        self.site.shared_classes.add(ClassMap {
            class: class.to_owned(),
            map,
            place: place.clone(),
        });
        self.ldap_maps.push(Pending {
            about,
            kind: Kind::Class(class.to_owned()),
            path: path.into(),
            arguments,
            place: place.clone(),
        });
    }

    /// Takes `ldap:` and `ldap:-k ...` out of AliasFile, and puts the replica's map there.
    fn ldap_aliases(&mut self) {
        let given = self.site.options.files.aliases.clone();
        if !given.contains("ldap:") {
            return;
        }
        let at = self.site.options.given("AliasFile").cloned();
        let at = at.unwrap_or_else(|| self.m4.main_file());
        let folder = self.value("MAIL_SETTINGS_DIR").ok().flatten();
        let path = PathBuf::from(folder.unwrap_or_default() + "aliases");
        let mut parts = Vec::new();
        let mut is_there = false;
        for part in split_quoted(&given) {
            let rest = part.trim().strip_prefix("ldap:").map(str::trim);
            let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with('-')) else {
                parts.push(part.trim().to_owned());
                continue;
            };
            let fault = match Arguments::parse(rest) {
                // `ldap:-o /etc/mail/aliases` names a connection file.
                Err(_) if !rest.contains("-k") => {
                    parts.push(part.trim().to_owned());
                    continue;
                }
                Err(why) => Some(why),
                Ok(_) if is_there => Some("LDAP is named twice; put the filters into one".into()),
                Ok(arguments) => {
                    let mut flags = arguments.of_any_map();
                    flags.push(path.display().to_string());
                    parts.push(format!("ldap:{}", flags.join(" ")));
                    is_there = true;
                    self.ldap_maps.push(Pending {
                        about: "ALIAS_FILE".into(),
                        kind: Kind::Aliases,
                        path: path.clone(),
                        arguments,
                        place: at.clone(),
                    });
                    None
                }
            };
            if let Some(why) = fault {
                let text = format!("ALIAS_FILE: {why}");
                self.m4.report_at(&at, Severity::Error, text);
            }
        }
        self.site.options.files.aliases = parts.join(",");
    }

    /// `confLDAP_CLUSTER` is `${sendmailMTACluster}`.
    pub(super) fn ldap_cluster(&mut self) {
        if let Ok(Some(cluster)) = self.m4.value("confLDAP_CLUSTER") {
            let cluster = self.cf_text(lossy(&cluster).trim());
            self.site
                .macros
                .insert("sendmailMTACluster".to_owned(), cluster);
        }
    }
}

/// Splits at commas that are not in double quotes.
fn split_quoted(text: &str) -> Vec<String> {
    let (mut parts, mut is_quoted) = (vec![String::new()], false);
    for c in text.chars() {
        match c {
            ',' if !is_quoted => parts.push(String::new()),
            c => {
                is_quoted ^= c == '"';
                if let Some(part) = parts.last_mut() {
                    part.push(c);
                }
            }
        }
    }
    parts
}
